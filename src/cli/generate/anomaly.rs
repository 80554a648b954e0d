//! Anomalies that are put into generated series, and where.

use clap::ValueEnum;
use serde::Serialize;
use tidewatch_env::Rng;
use tidewatch_metrics::EventTime;

use crate::cli::generate::family::{FAMILIES, Traits};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum InjectedKind {
    /// A few samples far above.
    Spike,
    /// Some samples near zero.
    Drop,
    /// Another level from now on.
    LevelShift,
    /// Several times the noise.
    VarianceChange,
    /// The day out of step.
    SeasonalBreak,
    /// The last value again and again.
    Flatline,
}

/// All kinds, in the order in which plans take them.
pub(crate) const KINDS: [InjectedKind; 6] = [
    InjectedKind::Spike,
    InjectedKind::Drop,
    InjectedKind::LevelShift,
    InjectedKind::VarianceChange,
    InjectedKind::SeasonalBreak,
    InjectedKind::Flatline,
];

/// One anomaly of one series: from `onset` on, until before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Anomaly {
    /// What goes wrong.
    pub(crate) kind: InjectedKind,
    /// The series, by its index in the generator.
    pub(crate) series: usize,
    /// The first time at which it shows.
    pub(crate) onset: EventTime,
    /// The first time at which it no longer does.
    pub(crate) end: EventTime,
}

impl InjectedKind {
    /// The name in labels and in the demo's report.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Spike => "spike",
            Self::Drop => "drop",
            Self::LevelShift => "level_shift",
            Self::VarianceChange => "variance_change",
            Self::SeasonalBreak => "seasonal_break",
            Self::Flatline => "flatline",
        }
    }

    /// How many samples it lasts in a plan: long enough to be seen, as long as its kind asks.
    pub(crate) const fn samples(self) -> i64 {
        match self {
            Self::Spike => 3,
            Self::Drop => 6,
            Self::LevelShift | Self::VarianceChange | Self::SeasonalBreak => 60,
            Self::Flatline => 90,
        }
    }

    /// Whether it can be told from health in such a series.
    pub(crate) fn suits(self, series: usize) -> bool {
        let family = FAMILIES[series % FAMILIES.len()];
        match self {
            Self::SeasonalBreak => family.is_seasonal(),
            Self::VarianceChange => !family.has_bursts(),
            Self::Spike | Self::Drop | Self::LevelShift | Self::Flatline => true,
        }
    }

    /// What it makes of a healthy `value`, beside stronger noise and another time of day.
    pub(crate) fn disturbed(self, value: f64, traits: &Traits) -> f64 {
        let Traits { level, amplitude, noise, .. } = *traits;
        match self {
            Self::Spike => value + 0.6 * level + amplitude + 15.0 * noise,
            Self::Drop => 0.05 * value,
            Self::LevelShift => value + 0.35 * level + 12.0 * noise,
            Self::VarianceChange | Self::SeasonalBreak | Self::Flatline => value,
        }
    }
}

/// Where anomalies are to be put.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Not before this: the time of a sample.
    pub(crate) from: EventTime,
    /// Over before this.
    pub(crate) to: EventTime,
    /// Nanoseconds between two samples; more than 0.
    pub(crate) interval_nanos: i64,
}

/// Up to `count` anomalies within `window`: all kinds in turn, spread over `series` series.
///
/// In each series they lie apart, so that one does not hide another. Fewer come out where series
/// and time do not suffice.
pub(crate) fn plan(count: usize, series: usize, window: Window, seed: u64) -> Vec<Anomaly> {
    let mut rng = Rng::from_seed(seed ^ 0x616e_6f6d_616c_7921);
    let mut order: Vec<usize> = (0..series).collect();
    shuffle(&mut order, &mut rng);
    let mut free = vec![window.from.nanos(); series];
    let mut planned = Vec::with_capacity(count);
    let mut cursor = 0;
    // Where a series gets several, each leaves room for those that follow it.
    let steps = window.to.nanos().saturating_sub(window.from.nanos()) / window.interval_nanos;
    let rounds = count.div_ceil(series.max(1)).max(1) as u64;
    let share = (u64::try_from(steps).unwrap_or(0) / rounds).max(1);
    for kind in KINDS.into_iter().cycle().take(count) {
        let length = kind.samples().saturating_mul(window.interval_nanos);
        let room = |from: i64| {
            let nanos = window.to.nanos().saturating_sub(from).saturating_sub(length);
            u64::try_from(nanos / window.interval_nanos).ok().filter(|room| *room > 0)
        };
        let next = (0..series).map(|skip| (cursor + skip) % series).find_map(|place| {
            let series = order[place];
            let room = room(free[series]).filter(|_| kind.suits(series))?;
            Some((place, series, room))
        });
        let Some((place, series, room)) = next else { continue };
        cursor = place + 1;
        let step = i64::try_from(rng.below(room.min(share)))
            .expect("64 bits of nanoseconds are fewer steps");
        let onset = free[series] + step * window.interval_nanos;
        let end = onset + length;
        free[series] = end.saturating_add(4 * length);
        let (onset, end) = (EventTime::new(onset), EventTime::new(end));
        planned.push(Anomaly { kind, series, onset, end });
    }
    planned.sort_by_key(|anomaly| (anomaly.onset, anomaly.series));
    planned
}

/// Fisher and Yates.
fn shuffle(items: &mut [usize], rng: &mut Rng) {
    for last in (1..items.len()).rev() {
        let other = rng.below(last as u64 + 1);
        items.swap(last, usize::try_from(other).expect("it is below an index"));
    }
}

#[cfg(test)]
mod tests {
    use tidewatch_metrics::AnomalyKind;

    use super::*;

    const WINDOW: Window = Window {
        from: EventTime::new(1_000_000),
        to: EventTime::new(1_000_000 + 4_000 * 10),
        interval_nanos: 10,
    };

    #[test]
    fn kinds_have_the_names_that_alerts_have_for_them() {
        let known = AnomalyKind::OF_SAMPLES.map(AnomalyKind::name);
        assert!(KINDS.iter().all(|kind| known.contains(&Some(kind.name()))));
    }

    #[test]
    fn plans_take_all_kinds_in_turn_and_stay_in_their_window() {
        for seed in 0..200 {
            let planned = plan(12, 40, WINDOW, seed);
            assert_eq!(planned.len(), 12, "SEED={seed}");
            for kind in KINDS {
                let of_kind = planned.iter().filter(|anomaly| anomaly.kind == kind);
                assert_eq!(of_kind.count(), 2, "SEED={seed} {kind:?}");
            }
            for anomaly in &planned {
                assert!(anomaly.kind.suits(anomaly.series), "SEED={seed} {anomaly:?}");
                assert!(anomaly.onset >= WINDOW.from && anomaly.end <= WINDOW.to, "SEED={seed}");
                assert_eq!((anomaly.onset.nanos() - WINDOW.from.nanos()) % 10, 0);
            }
        }
    }

    #[test]
    fn anomalies_of_one_series_lie_apart() {
        let planned = plan(50, 1, WINDOW, 3);
        assert!(planned.len() > 4, "{planned:?}");
        assert!(planned.windows(2).all(|pair| pair[0].end < pair[1].onset), "{planned:?}");
    }

    #[test]
    fn nothing_is_planned_where_there_is_no_room() {
        assert_eq!(plan(5, 0, WINDOW, 1), []);
        let short = Window { to: EventTime::new(1_000_020), ..WINDOW };
        assert_eq!(plan(5, 3, short, 1), []);
        assert_eq!(plan(0, 3, WINDOW, 1), []);
    }
}
