//! State that earlier formats stored.

use super::*;

/// The state of slot 204 as format 1 stored it, for ever: three series of [`catalog`] under its rules,
/// one of them not watched, with a refused row, profiles, an open episode, and alerts of every kind.
const FIXTURE: &[u8] = include_bytes!("../fixtures/slot-state-1.bin");
const FIXTURE_SLOT: Slot = Slot(204);

/// Restores `state`, and finds in it what was stored, but for the version; it has that hash and those parts.
fn is_read(mut runner: Runner, state: &[u8], hash: u64, parts: &[&str]) {
    let slot = Slot(state[1]);
    assert_eq!(runner.restore(slot, state, &log(1, 18, 1).catalog), Some(0));
    assert_eq!(runner.encode(slot).0[1..], state[1..]);
    assert_eq!(runner.pipeline.state_hash(), hash);
    has(&runner, parts);
}

fn has(runner: &Runner, parts: &[&str]) {
    let watches = format!("{:?}", runner.pipeline.watches);
    for part in parts {
        assert!(watches.contains(part), "{part}");
    }
}

/// Restores what had cadences or full detectors of an earlier version: it is written as one of this version, which has the same hash.
fn is_taken_over(by: fn() -> Runner, state: &[u8]) -> Runner {
    let (slot, catalog) = (Slot(state[1]), log(1, 18, 1).catalog);
    let mut runner = by();
    assert_eq!(runner.restore(slot, state, &catalog), Some(0));
    let stored = runner.encode(slot).0;
    assert_ne!(stored[1..], state[1..]);
    let mut again = by();
    assert_eq!(again.restore(slot, &stored, &catalog), Some(0));
    assert_eq!(again.pipeline.state_hash(), runner.pipeline.state_hash());
    assert_eq!(again.encode(slot).0, stored);
    runner
}

#[test]
fn stored_state_of_format_1_is_read() {
    let parts = ["Inactive", "Pending", "historical: false", "historical: true"];
    is_read(Runner::of_format_1(), FIXTURE, 7_156_728_894_342_430_125, &parts);
}

/// The state of a slot as format 2 stored it, for ever: series of [`catalog`] under [`RULES`], with rates, learnt cadences,
/// and silences that nobody awaits, for the samples were old when they came.
const FIXTURE_2: &[u8] = include_bytes!("../fixtures/slot-state-2.bin");

#[test]
fn stored_state_of_format_2_is_read() {
    let runner = is_taken_over(Runner::of_format_2, FIXTURE_2);
    has(&runner, &["Rate {", "Learnt(", "Fixed(", "gaps: [5100000", "here: 0", "due: None"]);
}

/// The state of a slot as format 3 stored it, for ever: series of [`catalog`] under [`RULES`], with full detectors and without.
const FIXTURE_3: &[u8] = include_bytes!("../fixtures/slot-state-3.bin");

#[test]
fn stored_state_of_format_3_is_read() {
    let runner = is_taken_over(Runner::new, FIXTURE_3);
    let models = (0..6).map(|local| runner.pipeline.detectors.full(local));
    let models: Vec<_> = models.map(|full| full.map(FullDetector::model)).collect();
    let (deviation, auto) = (Some(Model::Deviation), Some(Model::Auto));
    assert_eq!(models, [deviation, None, None, auto, None, auto]);
    let mut old = FIXTURE_3.to_vec();
    old[0] = 2;
    let catalog = log(1, 18, 1).catalog;
    assert_eq!(Runner::new().restore(Slot(old[1]), &old, &catalog), None, "no part of format 2");
}

/// The state of a slot as format 4 stored it with full detectors of version 4, for ever: as [`FIXTURE_3`], with what detectors and
/// alerts have seen of anomalies.
const FIXTURE_4: &[u8] = include_bytes!("../fixtures/slot-state-4.bin");

/// The same with full detectors of version 5.
const FIXTURE_4_FULL_5: &[u8] = include_bytes!("../fixtures/slot-state-4-full-5.bin");

#[test]
fn stored_state_of_format_4_is_read() {
    is_taken_over(Runner::new, FIXTURE_4);
    let runner = is_taken_over(Runner::new, FIXTURE_4_FULL_5);
    has(&runner, &["kind: Spike", "kind: Drop", "gaps: [300000"]);
}

/// The state of a slot as format 5 stores it, for ever: as [`FIXTURE_4_FULL_5`], and then each second a sample, and a pause.
const FIXTURE_5: &[u8] = include_bytes!("../fixtures/slot-state-5.bin");

#[test]
fn stored_state_of_format_5_is_read() {
    assert_eq!(FIXTURE_5[0], SLOT_STATE_FORMAT, "what is stored today");
    let parts = ["kind: Spike", "gaps: [1000", "here: 5000"];
    is_read(Runner::new(), FIXTURE_5, 17_179_289_518_541_567_470, &parts);
}

#[test]
#[cfg(not(feature = "planted-fault"))]
fn stored_state_of_format_1_goes_on_with_the_known_hashes() {
    let log = log(1, 18, 1);
    let mut runner = Runner::of_format_1();
    assert_eq!(runner.restore(FIXTURE_SLOT, FIXTURE, &log.catalog), Some(0));
    let series: Vec<SeriesRef> = runner.locals.keys().copied().collect();
    let mut told = 0;
    for index in 0..600 {
        let second = (2_000 + index) * STEP_SECONDS;
        let row = |series: &SeriesRef| {
            let noise = (index * 7_919 + i64::from(series.0) * 31) % 101;
            let spike = if index % 97 == 50 { 30.0 } else { 0.0 };
            let time = seconds(second);
            (*series, time, season(time) + noise as f64 / 50.0 + spike)
        };
        let rows = series.iter().map(row).collect();
        let put = runner.step(&log, &Record::Rows { received: received(second), rows }, |_| true);
        told += put.len() - series.len();
    }
    let output = runner.pipeline.output_hash();
    assert_eq!((series.len(), told), (3, 38));
    assert_eq!(
        output,
        OutputHash {
            samples: 3_047,
            severities: 8_404_262_928_175_293_986,
            alerts: 988_703_533_234_903_758
        }
    );
    assert_eq!(runner.pipeline.state_hash(), 17_340_735_326_342_021_022);
}

/// As a later version would find it that reads this one's full detectors no more.
#[test]
fn in_place_of_a_detector_of_a_version_that_is_not_read_a_new_one_lacks_the_history() {
    let log = log(1, 18, 1);
    let slot = Slot(FIXTURE_5[1]);
    let mut before = Runner::new();
    before.restore(slot, FIXTURE_5, &log.catalog).unwrap();
    let encoded = |runner: &Runner, local| {
        let mut out = FieldWriter::default();
        runner.pipeline.detectors.full(local)?.encode(&mut out);
        Some(out.into_bytes())
    };
    let outdated = (0..6).find(|local| encoded(&before, *local).is_some()).unwrap();
    let state = encoded(&before, outdated).unwrap();
    let at = FIXTURE_5.windows(state.len()).position(|bytes| bytes == state).unwrap();
    let mut bytes = FIXTURE_5.to_vec();
    bytes[at] = 2;
    let mut runner = Runner::new();
    assert_eq!(runner.restore(slot, &bytes, &log.catalog), Some(0));
    let (old, new) =
        [&before, &runner].map(|r| r.pipeline.detectors.full(outdated).unwrap()).into();
    assert_eq!(old.model(), new.model());
    assert!(!old.lacks_history() && new.lacks_history());
    let mut fresh = FullDetector::new(new.model()).unwrap();
    fresh.set_lacks_history(true);
    let mut out = FieldWriter::default();
    fresh.encode(&mut out);
    assert_eq!(encoded(&runner, outdated), Some(out.into_bytes()), "it begins anew");
    let (was, is) = [&before, &runner].map(|r| &r.pipeline.states[outdated as usize]).into();
    assert_eq!(
        (is.samples, is.last_time),
        (0, was.last_time),
        "the light part too, but for the order"
    );
    for local in (0..6).filter(|local| *local != outdated) {
        assert_eq!(encoded(&runner, local), encoded(&before, local), "{local} goes on");
    }
    // What is of a known version and not of its form is damage.
    bytes[at] = 5;
    bytes[at + 1] = 99;
    assert_eq!(Runner::new().restore(slot, &bytes, &log.catalog), None);
}
