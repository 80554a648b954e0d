//! How often a series reports, learnt from when its samples came.

use tidewatch_metrics::UnixNanos;
use tidewatch_metrics::fields::{FieldReader, FieldWriter};
use tidewatch_metrics::time::NANOS_PER_SECOND;

use crate::hash::Digest;
use crate::limits::RULE_DURATION_NANOS_MAX;
use crate::order::{decode_time, encode_time};

/// Gaps that are remembered, and from how many on they say something.
const GAPS_MAX: usize = 16;
const GAPS_MIN: usize = 8;
/// Samples that come within this time of a report belong to it: many senders write several at a time.
const REPORT_NANOS: i64 = NANOS_PER_SECOND / 2;
/// A series is absent after so many gaps, and the greater of this time and half a gap: for the log's ticks, which are a second
/// apart, and for senders that are late or try again.
const PATIENCE_GAPS: i64 = 2;
const PATIENCE_NANOS: i64 = 30 * NANOS_PER_SECOND;

/// The last gaps between the reports of a series.
///
/// With the median `m` of the last 16 gaps, in whole seconds rounded up:
///
/// ```text
/// patience = 2 m + max(30 s, m / 2)
/// ```
///
/// So one report may be missing; who reports every half minute or more seldom is absent within three gaps.
/// The median, because an outage or two must not teach that they are normal: up to 7 of 16 gaps may be of any
/// length. Of an even number of gaps it is the greater one of the two in the middle. No patience until there are 8.
/// A slower cadence is learnt after 8 gaps of it, a quicker one after 9. State: 88 bytes. Time: O(1) per sample.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cadence {
    /// When the last report began; none before the first one.
    since: Option<UnixNanos>,
    /// Seconds, oldest first.
    gaps: [u32; GAPS_MAX],
    /// Of those that there are.
    count: u8,
}

impl Cadence {
    /// A sample came at `heard`.
    pub(crate) fn observe(&mut self, heard: UnixNanos) {
        let Some(since) = self.since else {
            self.since = Some(heard);
            return;
        };
        let gap = heard.nanos().saturating_sub(since.nanos());
        if gap < REPORT_NANOS {
            return;
        }
        self.since = Some(heard);
        let seconds = gap.saturating_add(NANOS_PER_SECOND - 1) / NANOS_PER_SECOND;
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        let count = usize::from(self.count);
        if let Some(place) = self.gaps.get_mut(count) {
            *place = seconds;
            self.count += 1;
        } else {
            self.gaps.rotate_left(1);
            self.gaps[GAPS_MAX - 1] = seconds;
        }
    }

    /// The median gap, in seconds.
    pub(crate) fn median(&self) -> Option<u32> {
        let count = usize::from(self.count);
        let mut sorted = self.gaps;
        let gaps = sorted.get_mut(..count).filter(|_| count >= GAPS_MIN)?;
        gaps.sort_unstable();
        gaps.get(count / 2).copied()
    }

    /// For how long the series may be silent, in nanoseconds.
    pub(crate) fn patience(&self) -> Option<i64> {
        let gap = i64::from(self.median()?).saturating_mul(NANOS_PER_SECOND);
        let slack = PATIENCE_NANOS.max(gap / 2);
        Some(gap.saturating_mul(PATIENCE_GAPS).saturating_add(slack).min(RULE_DURATION_NANOS_MAX))
    }

    pub(crate) fn digest(&self, out: &mut Digest) {
        out.i64(self.since.map_or(i64::MIN, UnixNanos::nanos));
        for gap in self.gaps.iter().take(usize::from(self.count)) {
            out.u64(u64::from(*gap));
        }
    }

    pub(crate) fn encode(&self, out: &mut FieldWriter) {
        encode_time(self.since, out);
        out.u8(self.count);
        for gap in self.gaps.iter().take(usize::from(self.count)) {
            out.u32(*gap);
        }
    }

    /// What [`Cadence::encode`] wrote.
    pub(crate) fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        let since = decode_time(fields)?;
        let count = fields.u8()?;
        let mut gaps = [0; GAPS_MAX];
        for gap in gaps.get_mut(..usize::from(count))? {
            *gap = fields.u32()?;
        }
        Some(Self { since, gaps, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;

    fn millis(millis: i64) -> UnixNanos {
        UnixNanos::new(millis * 1_000_000)
    }

    /// The patience in seconds after samples at these times, in milliseconds.
    fn learnt(times: impl IntoIterator<Item = i64>) -> Option<i64> {
        let mut cadence = Cadence::default();
        times.into_iter().for_each(|time| cadence.observe(millis(time)));
        cadence.patience().map(|nanos| nanos / NANOS_PER_SECOND)
    }

    #[test]
    fn eight_gaps_teach_and_seven_do_not() {
        assert_eq!(learnt((0..8).map(|i| i * 10_000)), None);
        assert_eq!(learnt((0..9).map(|i| i * 10_000)), Some(50));
        assert_eq!(learnt((0..9).map(|i| i * 10_001)), Some(52), "gaps are rounded up");
    }

    #[test]
    fn the_median_is_that_of_the_last_16_gaps() {
        for seed in 1..=50 {
            let mut rng = Rng::new(seed);
            let gaps: Vec<i64> =
                (0..40).map(|_| 1 + i64::try_from(rng.below(500)).unwrap()).collect();
            let mut time = 0;
            let mut cadence = Cadence::default();
            cadence.observe(millis(0));
            for (index, gap) in gaps.iter().enumerate() {
                time += gap * 1_000;
                cadence.observe(millis(time));
                let mut last: Vec<i64> = gaps[..=index].iter().rev().take(16).copied().collect();
                last.sort_unstable();
                let expected = (last.len() >= 8).then(|| last[last.len() / 2]);
                assert_eq!(cadence.median().map(i64::from), expected, "seed {seed}, gap {index}");
            }
        }
    }

    #[test]
    fn samples_that_come_together_are_one_report() {
        let bursts = (0..9).flat_map(|minute| (0..20).map(move |i| minute * 60_000 + i * 20));
        assert_eq!(learnt(bursts), Some(2 * 60 + 30));
    }

    #[test]
    fn outages_do_not_teach_patience_and_a_changed_cadence_does() {
        let mut times: Vec<i64> = (0..20).map(|i| i * 10_000).collect();
        times.extend((0..7).map(|i| 10_000_000 + i * 3_600_000));
        assert_eq!(learnt(times.iter().copied()), Some(2 * 10 + 30));
        times.push(10_000_000 + 7 * 3_600_000);
        assert_eq!(learnt(times), Some(2 * 3_600 + 1_800));
    }

    #[test]
    fn clocks_that_jump_stay_within_bounds() {
        let wild = (0..20).flat_map(|i| [i * 86_400_000_000, i]);
        assert_eq!(learnt(wild), Some(RULE_DURATION_NANOS_MAX / NANOS_PER_SECOND));
        assert_eq!(learnt((0..20).map(|i| -i * 10_000)), None, "time that goes back is no gap");
    }
}
