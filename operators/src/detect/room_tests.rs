use std::sync::Arc;

use tidewatch_metrics::catalog::SeriesEntry;
use tidewatch_metrics::fields::{FieldReader, FieldWriter};
use tidewatch_metrics::{SeriesRef, Severity, UnixNanos};

use super::*;
use crate::detect::{DetectRule, Detection};
use crate::testing::{Rng, Table, entry, season, seconds};
use crate::{DetectConfig, Emitted, Pipeline, PipelineConfig, SeriesDetector};

const SLOTS_USED: usize = 4;
const PER_SLOT: usize = 6;
const NOW: UnixNanos = UnixNanos::new(0);

/// Six series in each of four slots, in the order of their references.
fn series() -> Vec<Arc<SeriesEntry>> {
    let mut counts = std::collections::BTreeMap::<u8, usize>::new();
    let mut found = Vec::new();
    for host in 0.. {
        let entry = entry(&host.to_string());
        let slot = entry.id.slot().0;
        if !counts.contains_key(&slot) && counts.len() == SLOTS_USED {
            continue;
        }
        let count = counts.entry(slot).or_default();
        if *count < PER_SLOT {
            *count += 1;
            found.push(entry);
        }
        if found.len() == SLOTS_USED * PER_SLOT {
            return found;
        }
    }
    unreachable!("there are always further hosts")
}

fn detect(matchers: &[(&str, &str)], model: Model) -> DetectRule {
    let text = |(label, pattern): &(&str, &str)| ((*label).to_owned(), (*pattern).to_owned());
    let matchers = matchers.iter().map(text).collect();
    DetectRule::new(&DetectConfig { matchers, model, ..DetectConfig::default() }).unwrap()
}

/// `detects` with room for `count` detectors of both in each slot.
fn rules(detects: Vec<DetectRule>, count: u64) -> Arc<RuleSet> {
    let share = (count + 1) * bytes(Model::Auto) - 1;
    let rules = RuleSet::default().with_detection(detects).unwrap();
    let rules = rules.with_detector_bytes(share * SLOTS as u64);
    assert_eq!(rules.detector_bytes().unwrap() / bytes(Model::Auto), count, "for the test's sake");
    Arc::new(RuleSet::from_canonical_text(&rules.canonical_text()).unwrap())
}

fn everywhere() -> Vec<DetectRule> {
    vec![detect(&[], Model::Auto)]
}

fn pipeline(rules: &Arc<RuleSet>) -> Pipeline {
    let mut pipeline = Pipeline::new(PipelineConfig::default());
    pipeline.set_rules(Arc::clone(rules), NOW, &mut Emitted::default());
    pipeline
}

fn models(entries: &[Arc<SeriesEntry>]) -> Vec<Model> {
    entries.iter().map(|entry| Model::from_code(entry.detector()).unwrap()).collect()
}

/// The indices of the series in an order that has nothing to do with their references.
fn shuffled(seed: u64) -> Vec<usize> {
    let mut rng = Rng::new(seed);
    let mut order: Vec<(u64, usize)> =
        (0..SLOTS_USED * PER_SLOT).map(|index| (rng.next(), index)).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, index)| index).collect()
}

/// Takes those of `order` whose slots are `part` of `parts`.
fn meet(
    entries: &[Arc<SeriesEntry>],
    order: &[usize],
    rules: &Arc<RuleSet>,
    (part, parts): (u8, u8),
) -> Pipeline {
    let mut pipeline = pipeline(rules);
    for index in order {
        let entry = &entries[*index];
        if entry.id.slot().0 % parts == part {
            let series = SeriesRef(u32::try_from(*index).unwrap());
            pipeline.add_series(series, Arc::clone(entry));
        }
    }
    pipeline
}

/// The model of each series where `count` of each slot have a full one: the first of `order`.
fn expected(entries: &[Arc<SeriesEntry>], order: &[usize], count: usize) -> Vec<Model> {
    let mut expected = vec![Model::Light; entries.len()];
    for slot in entries.iter().map(|entry| entry.id.slot()) {
        let own = order.iter().filter(|index| entries[**index].id.slot() == slot);
        own.take(count).for_each(|index| expected[*index] = Model::Auto);
    }
    expected
}

#[test]
fn the_first_of_each_slot_have_full_detectors_however_many_shards_there_are() {
    let rules = rules(everywhere(), 3);
    for seed in 1..6 {
        let order = shuffled(seed);
        let whole = series();
        let pipeline = meet(&whole, &order, &rules, (0, 1));
        assert_eq!(models(&whole), expected(&whole, &order, 3));
        assert_eq!(pipeline.turned_away(), 12);
        for parts in [2, 7] {
            let apart = series();
            let parts = (0..parts).map(|part| meet(&apart, &order, &rules, (part, parts)));
            assert_eq!(parts.map(|part| part.turned_away()).sum::<u32>(), 12);
            assert_eq!(models(&apart), models(&whole));
        }
    }
}

#[test]
fn series_that_find_no_room_are_scored_by_the_light_detector() {
    let (rules, entries) = (rules(everywhere(), 3), series());
    let order: Vec<usize> = (0..entries.len()).collect();
    let mut pipeline = meet(&entries, &order, &rules, (0, 1));
    let (mut rng, mut table, mut out) = (Rng::new(3), Table::default(), Emitted::default());
    for index in 0..400_i64 {
        for series in 0..u32::try_from(entries.len()).unwrap() {
            let spike = if rng.below(50) == 0 { 40.0 } else { 0.0 };
            let time = seconds(index * 300);
            table.push(series, time, season(time) + rng.normal() + spike);
        }
    }
    table.apply(&mut pipeline, 0..table.len(), NOW, &mut out);
    let models = models(&entries);
    let mut alone: Vec<_> = models.iter().map(|model| SeriesDetector::new(*model)).collect();
    let mut severe = [0, 0];
    for (row, series) in table.series.iter().enumerate() {
        let judged = alone[*series as usize].observe(table.times[row], table.values[row]);
        let severity = judged.map_or(Severity::ZERO, |judged| judged.severity);
        assert_eq!(out.severities[row], severity, "row {row}");
        severe[usize::from(models[*series as usize] == Model::Auto)] +=
            u32::from(severity > Severity::ZERO);
    }
    assert!(severe[0] > 100 && severe[1] > 100, "{severe:?}");
}

#[test]
fn a_start_with_less_room_takes_detectors_from_the_last_and_one_with_more_gives_to_the_first() {
    let (entries, order) = (series(), shuffled(9));
    let mut pipeline = meet(&entries, &order, &rules(everywhere(), 3), (0, 1));
    let held = |models: &[Model], slot| -> Vec<usize> {
        let own = (0..entries.len()).filter(|index| entries[*index].id.slot() == slot);
        own.filter(|index| models[*index] == Model::Auto).collect()
    };
    let mut start = |count| {
        let before = models(&entries);
        pipeline.set_rules(rules(everywhere(), count), NOW, &mut Emitted::default());
        (before, models(&entries), pipeline.turned_away())
    };
    let (before, after, turned_away) = start(2);
    assert_eq!(turned_away, 16);
    for slot in entries.iter().map(|entry| entry.id.slot()) {
        assert_eq!(held(&after, slot), held(&before, slot)[..2], "the least references stay");
    }
    let (before, after, turned_away) = start(4);
    assert_eq!(turned_away, 8);
    for slot in entries.iter().map(|entry| entry.id.slot()) {
        let (before, after) = (held(&before, slot), held(&after, slot));
        assert!(before.iter().all(|index| after.contains(index)), "nobody loses theirs");
        let own = (0..entries.len()).filter(|index| entries[*index].id.slot() == slot);
        let first = own.filter(|index| !before.contains(index)).take(2);
        assert!(first.into_iter().all(|index| after.contains(&index)), "the least get theirs");
        assert_eq!(after.len(), 4);
    }
    let (before, after, _) = start(4);
    assert_eq!(before, after, "the same start changes nothing");
}

#[test]
fn the_first_detect_has_room_first() {
    let (entries, order) = (series(), shuffled(4));
    let one = detect(&[("host", "~ .*[02468]")], Model::Novelty);
    let even = |index: &usize| {
        let host = &entries[*index].key().labels()[0].1.clone();
        host.ends_with(['0', '2', '4', '6', '8'])
    };
    let mut pipeline = meet(&entries, &order, &rules(everywhere(), 2), (0, 1));
    let both = vec![one, detect(&[], Model::Auto)];
    pipeline.set_rules(rules(both, 2), NOW, &mut Emitted::default());
    let models = models(&entries);
    let mut others = 0;
    for slot in entries.iter().map(|entry| entry.id.slot()) {
        let own: Vec<usize> =
            (0..entries.len()).filter(|index| entries[*index].id.slot() == slot).collect();
        let count = |model| own.iter().filter(|index| models[**index] == model).count();
        let wanting = own.iter().filter(|index| even(index)).count();
        assert!(count(Model::Novelty) == wanting || count(Model::Auto) == 0, "{models:?}");
        others += count(Model::Auto);
    }
    assert!(models.contains(&Model::Novelty));
    assert!(others > 0, "{models:?}");
}

#[test]
fn who_had_room_is_part_of_the_state() {
    let (entries, order, rules) = (series(), shuffled(5), rules(everywhere(), 2));
    let pipeline = meet(&entries, &order, &rules, (0, 1));
    let before = models(&entries);
    let by_ref = |series: SeriesRef| entries.get(series.index()).cloned();
    let restored = |rules: &Arc<RuleSet>| {
        let mut restored = self::pipeline(rules);
        for slot in (0..=255).map(Slot) {
            let mut state = FieldWriter::default();
            pipeline.encode_slot(slot, &mut state);
            let state = state.into_bytes();
            restored.restore_slot(slot, &mut FieldReader::new(&state), by_ref)?;
        }
        Some(restored)
    };
    entries.iter().for_each(|entry| entry.set_detector(Model::Light.code()));
    let same = restored(&rules).expect("the same rules");
    assert_eq!(models(&entries), before);
    assert_eq!(same.state_hash(), pipeline.state_hash());
    assert_eq!(same.turned_away(), pipeline.turned_away());
    let unlimited = RuleSet::default().with_detection(everywhere()).unwrap();
    assert!(restored(&Arc::new(unlimited)).is_none(), "without a limit nobody is turned away");
    assert_eq!(Detection::by(Model::Auto), rules.detection(&entries[0].key()), "what is wanted");
}

#[test]
fn little_more_or_less_memory_is_the_same_limit() {
    let limit = |bytes| RuleSet::default().with_detector_bytes(bytes).detector_bytes().unwrap();
    assert_eq!(limit(3_000_000_000), limit(3_010_000_000));
    assert_eq!(limit(0), 0);
    assert_eq!(limit(255), 0);
    assert_eq!((limit(256 * 7), limit(256 * 9)), (7, 8));
    for bytes in [1_u64 << 20, 123_456_789, u64::MAX] {
        let share = bytes / 256;
        assert!(limit(bytes) <= share && limit(bytes) > share / 5 * 4, "{bytes}");
    }
}
