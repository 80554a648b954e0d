//! What the demo's series go through, and when.

use std::time::Duration;

use tidewatch_env::Rng;
use tidewatch_metrics::EventTime;
use tidewatch_metrics::time::NANOS_PER_SECOND;

use crate::cli::generate::{Anomaly, Generator, GeneratorConfig, KINDS};

/// Six hosts with four metrics each.
const SERIES: usize = 24;
/// Between two samples of a series, in event time.
pub(crate) const INTERVAL_NANOS: i64 = 10 * NANOS_PER_SECOND;
/// Two days: the least that teaches a detector what a day is, and lets it see it once more.
pub(crate) const HISTORY_STEPS: i64 = 2 * 24 * 360;
/// What is played fast: less than the hour after which alerts count as historical.
const LIVE_STEPS: i64 = 50 * 6;
/// How much faster than it was measured: 50 minutes take 50 seconds.
pub(crate) const SPEED: i64 = 60;
/// The first anomaly begins this many steps after the history, each next one that many later.
const FIRST_ONSET_STEPS: i64 = 4 * 6;
const ONSET_PAUSE_STEPS: i64 = 33;
/// Onsets are moved by less than this many steps, so that they follow no clock.
const ONSET_JITTER_STEPS: u64 = 2 * 6;

/// The generated series with their anomalies, and which moment is played when.
#[derive(Debug)]
pub(crate) struct Script {
    start: EventTime,
    generator: Generator,
}

impl Script {
    /// The script of `seed` for a demo that begins `now`.
    ///
    /// One anomaly of each kind, each in a series of its own.
    pub(crate) fn new(now: EventTime, seed: u64) -> Self {
        let aligned = now.nanos().div_euclid(INTERVAL_NANOS) * INTERVAL_NANOS;
        let start = EventTime::new(aligned - (HISTORY_STEPS + LIVE_STEPS) * INTERVAL_NANOS);
        let config =
            GeneratorConfig { series: SERIES, start, interval_nanos: INTERVAL_NANOS, seed };
        let mut script = Self { start, generator: Generator::new(config) };
        for anomaly in script.plan(seed) {
            script.generator.inject(anomaly);
        }
        script
    }

    /// The generator before its first step.
    pub(crate) fn generator(&self) -> &Generator {
        &self.generator
    }

    /// The anomalies in the order of their onsets.
    pub(crate) fn anomalies(&self) -> &[Anomaly] {
        self.generator.injected()
    }

    /// The first moment behind the history.
    pub(crate) fn live_start(&self) -> EventTime {
        self.step(HISTORY_STEPS)
    }

    /// The first moment behind what is played fast.
    pub(crate) fn live_end(&self) -> EventTime {
        self.step(HISTORY_STEPS + LIVE_STEPS)
    }

    /// How far the series are at `played` since the history ended: fast until they meet `now`.
    pub(crate) fn moment(&self, played: Duration, now: EventTime) -> EventTime {
        let played = i64::try_from(played.as_nanos()).unwrap_or(i64::MAX);
        let fast = self.live_start().nanos().saturating_add(played.saturating_mul(SPEED));
        EventTime::new(fast.min(now.nanos()))
    }

    fn step(&self, step: i64) -> EventTime {
        EventTime::new(self.start.nanos() + step * INTERVAL_NANOS)
    }

    fn plan(&self, seed: u64) -> Vec<Anomaly> {
        let mut rng = Rng::from_seed(seed ^ 0x6465_6d6f);
        let mut free: Vec<usize> = (0..SERIES).collect();
        let mut onset_step = HISTORY_STEPS + FIRST_ONSET_STEPS;
        let mut planned = Vec::with_capacity(KINDS.len());
        for kind in KINDS {
            let suited: Vec<usize> =
                free.iter().copied().filter(|series| kind.suits(*series)).collect();
            let choice = usize::try_from(rng.below(suited.len() as u64)).expect("an index");
            let series = suited[choice];
            free.retain(|other| *other != series);
            let jitter = i64::try_from(rng.below(ONSET_JITTER_STEPS)).expect("a few steps");
            let onset = onset_step + jitter;
            let (onset, end) = (self.step(onset), self.step(onset + kind.samples()));
            planned.push(Anomaly { kind, series, onset, end });
            onset_step += ONSET_PAUSE_STEPS;
        }
        planned
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const NOW: EventTime = EventTime::new(1_760_000_003_500_000_000);

    #[test]
    fn every_kind_happens_once_in_a_series_of_its_own_and_ends_before_now() {
        for seed in 0..500 {
            let script = Script::new(NOW, seed);
            let anomalies = script.anomalies();
            let kinds: BTreeSet<_> = anomalies.iter().map(|anomaly| anomaly.kind).collect();
            let series: BTreeSet<_> = anomalies.iter().map(|anomaly| anomaly.series).collect();
            assert_eq!((kinds.len(), series.len()), (KINDS.len(), KINDS.len()), "SEED={seed}");
            assert!(anomalies.is_sorted_by_key(|anomaly| anomaly.onset), "SEED={seed}");
            for anomaly in anomalies {
                assert!(anomaly.kind.suits(anomaly.series), "SEED={seed} {anomaly:?}");
                assert!(anomaly.onset > script.live_start(), "SEED={seed} {anomaly:?}");
                assert!(anomaly.end < NOW, "SEED={seed} {anomaly:?}");
            }
        }
    }

    #[test]
    fn a_second_plays_a_minute_until_the_series_meet_the_clock() {
        let script = Script::new(NOW, 1);
        let live = script.live_start().nanos();
        assert_eq!(live, 1_760_000_000_000_000_000 - 3_000 * NANOS_PER_SECOND);
        let at = |seconds| script.moment(Duration::from_secs(seconds), NOW).nanos();
        assert_eq!([at(0), at(1), at(2)], [live, live + 60_000_000_000, live + 120_000_000_000]);
        assert_eq!(at(51), NOW.nanos(), "never ahead of the clock");
        assert_eq!(at(u64::MAX), NOW.nanos());
    }
}
