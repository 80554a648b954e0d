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
/// The log's ticks are a second apart, so that no gap is taken for less.
const GAP_MILLIS_MIN: u32 = 1_000;
/// A gap of more than 2.5 median gaps is a pause if it is not longer than this, and else an end, which teaches nothing.
const PAUSE_MILLIS_MAX: u32 = 20_000;
const WEEK_NANOS: i64 = 7 * 86_400 * NANOS_PER_SECOND;
pub(crate) const NANOS_PER_MILLI: i64 = 1_000_000;
/// In the bytes, beside the count of gaps: they are in milliseconds, and the pauses follow. Before, they were whole seconds.
const WITH_PAUSES: u8 = 128;

/// The last gaps between the reports of a series, and its longest pauses.
///
/// With the median `m` of the last 16 gaps, but at least 1 s, and the longest pause `p` of this and the last week:
///
/// ```text
/// patience = max(2.5 m, 1.5 p)      pause: a gap of more than 2.5 m and at most 20 s
/// ```
///
/// So one report may be missing, and who stops is absent within three gaps. Who pauses is absent once, and not again for a
/// pause that is up to half as long again: at most six times in a week, and never for longer than 30 s.
/// The median, because an outage or two must not teach that they are normal: up to 7 of 16 gaps may be of any
/// length. Of an even number of gaps it is the greater one of the two in the middle. No patience until there are 8.
/// A slower cadence is learnt after 8 gaps of it, a quicker one after 9. State: 104 bytes. Time: O(1) per sample.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cadence {
    /// When the last report began; none before the first one.
    since: Option<UnixNanos>,
    /// Milliseconds, oldest first.
    gaps: [u32; GAPS_MAX],
    /// Of those that there are.
    count: u8,
    pauses: Pauses,
}

/// The longest pauses of a week of log time, since 1970, and of the one before, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Pauses {
    week: u32,
    here: u32,
    before: u32,
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
        let millis = gap.saturating_add(NANOS_PER_MILLI - 1) / NANOS_PER_MILLI;
        let millis = u32::try_from(millis).unwrap_or(u32::MAX);
        self.pauses.advance(heard);
        if self.usual_millis().is_some_and(|usual| u64::from(millis) > usual) {
            self.pauses.observe(millis);
        }
        let count = usize::from(self.count);
        if let Some(place) = self.gaps.get_mut(count) {
            *place = millis;
            self.count += 1;
        } else {
            self.gaps.rotate_left(1);
            self.gaps[GAPS_MAX - 1] = millis;
        }
    }

    /// Nobody listened until now: the time since the last report is no gap.
    pub(crate) fn restart(&mut self) {
        self.since = None;
    }

    /// The median gap, in milliseconds.
    pub(crate) fn median(&self) -> Option<u32> {
        let count = usize::from(self.count);
        let mut sorted = self.gaps;
        let gaps = sorted.get_mut(..count).filter(|_| count >= GAPS_MIN)?;
        gaps.sort_unstable();
        gaps.get(count / 2).copied()
    }

    /// 2.5 median gaps, in milliseconds.
    fn usual_millis(&self) -> Option<u64> {
        let gap = u64::from(self.median()?.max(GAP_MILLIS_MIN));
        Some(gap * 5 / 2)
    }

    /// For how long the series may be silent, in nanoseconds.
    pub(crate) fn patience(&self) -> Option<i64> {
        let millis = self.usual_millis()?.max(self.pauses.longest() * 3 / 2);
        let nanos = i64::try_from(millis).ok()?.saturating_mul(NANOS_PER_MILLI);
        Some(nanos.min(RULE_DURATION_NANOS_MAX))
    }

    pub(crate) fn digest(&self, out: &mut Digest) {
        out.i64(self.since.map_or(i64::MIN, UnixNanos::nanos));
        for number in self.pauses.numbers().iter().chain(self.known()) {
            out.u64(u64::from(*number));
        }
    }

    fn known(&self) -> impl Iterator<Item = &u32> {
        self.gaps.iter().take(usize::from(self.count))
    }

    pub(crate) fn encode(&self, out: &mut FieldWriter) {
        encode_time(self.since, out);
        out.u8(self.count | WITH_PAUSES);
        for number in self.known().chain(&self.pauses.numbers()) {
            out.u32(*number);
        }
    }

    /// What [`Cadence::encode`] wrote, or an earlier version.
    pub(crate) fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        let since = decode_time(fields)?;
        let count = fields.u8()?;
        let has_pauses = count & WITH_PAUSES != 0;
        let count = count & !WITH_PAUSES;
        let mut gaps = [0; GAPS_MAX];
        for gap in gaps.get_mut(..usize::from(count))? {
            let number = fields.u32()?;
            *gap = if has_pauses { number } else { number.saturating_mul(1_000) };
        }
        let pauses = if has_pauses {
            Pauses { week: fields.u32()?, here: fields.u32()?, before: fields.u32()? }
        } else {
            Pauses::default()
        };
        Some(Self { since, gaps, count, pauses })
    }
}

impl Pauses {
    /// Log time is `now`.
    fn advance(&mut self, now: UnixNanos) {
        let week = u32::try_from(now.nanos().div_euclid(WEEK_NANOS)).unwrap_or(0);
        if week <= self.week {
            return;
        }
        self.before = if week - self.week == 1 { self.here } else { 0 };
        (self.week, self.here) = (week, 0);
    }

    fn observe(&mut self, millis: u32) {
        if millis <= PAUSE_MILLIS_MAX {
            self.here = self.here.max(millis);
        }
    }

    fn longest(&self) -> u64 {
        u64::from(self.here.max(self.before))
    }

    /// In the order in which they are stored.
    fn numbers(&self) -> [u32; 3] {
        [self.week, self.here, self.before]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;

    fn millis(millis: i64) -> UnixNanos {
        UnixNanos::new(millis * 1_000_000)
    }

    /// The patience in milliseconds after samples at these times, in milliseconds.
    fn learnt(times: impl IntoIterator<Item = i64>) -> Option<i64> {
        let mut cadence = Cadence::default();
        times.into_iter().for_each(|time| cadence.observe(millis(time)));
        cadence.patience().map(|nanos| nanos / NANOS_PER_MILLI)
    }

    #[test]
    fn eight_gaps_teach_and_seven_do_not() {
        assert_eq!(learnt((0..8).map(|i| i * 10_000)), None);
        assert_eq!(learnt((0..9).map(|i| i * 10_000)), Some(25_000));
        assert_eq!(learnt((0..9).map(|i| i * 10_002)), Some(25_005));
        assert_eq!(learnt((0..9).map(|i| i * 300_000)), Some(750_000));
        assert_eq!(learnt((0..9).map(|i| i * 1_000)), Some(2_500));
        assert_eq!(learnt((0..9).map(|i| i * 600)), Some(2_500), "ticks are a second apart");
    }

    #[test]
    fn the_median_is_that_of_the_last_16_gaps() {
        for seed in 1..=50 {
            let mut rng = Rng::new(seed);
            let gaps: Vec<i64> =
                (0..40).map(|_| 500 + i64::try_from(rng.below(500_000)).unwrap()).collect();
            let mut time = 0;
            let mut cadence = Cadence::default();
            cadence.observe(millis(0));
            for (index, gap) in gaps.iter().enumerate() {
                time += gap;
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
        assert_eq!(learnt(bursts), Some(150_000));
    }

    #[test]
    fn outages_do_not_teach_patience_and_a_changed_cadence_does() {
        let mut times: Vec<i64> = (0..20).map(|i| i * 10_000).collect();
        times.extend((0..7).map(|i| 10_000_000 + i * 3_600_000));
        assert_eq!(learnt(times.iter().copied()), Some(25_000));
        times.push(10_000_000 + 7 * 3_600_000);
        assert_eq!(learnt(times), Some(9_000_000));
    }

    #[test]
    fn a_pause_is_remembered_for_this_week_and_the_next() {
        let mut cadence = Cadence::default();
        let mut time = 0;
        let mut after = |gaps: &[i64]| {
            for gap in gaps {
                time += gap;
                cadence.observe(millis(time));
            }
            cadence.patience().unwrap() / NANOS_PER_MILLI
        };
        let regular = [1_000; 9];
        assert_eq!(after(&regular), 2_500);
        assert_eq!(after(&[2_500]), 2_500, "as long as it may be silent");
        assert_eq!(after(&[2_501]), 3_751);
        assert_eq!(after(&[20_000, 3_000]), 30_000);
        assert_eq!(after(&[20_001, 3_600_000]), 30_000, "who is away for longer has stopped");
        assert_eq!(after(&regular), 30_000);
        let day = 86_400_000;
        let mut later = |gaps: &[i64]| after(&[gaps, &regular].concat());
        assert_eq!(later(&[6 * day, 4_000]), 30_000, "still the first week");
        assert_eq!(later(&[day, 6_000]), 30_000);
        assert_eq!(later(&[7 * day]), 9_000);
        assert_eq!(later(&[7 * day]), 2_500);
        assert_eq!(later(&[5_000]), 7_500);
        assert_eq!(later(&[14 * day]), 2_500, "a week was left out");
    }

    #[test]
    fn pauses_of_any_length_are_told_at_most_six_times_in_a_week() {
        for seed in 1..=20 {
            let mut rng = Rng::new(seed);
            let (mut cadence, mut time, mut told) = (Cadence::default(), 0, 0);
            let mut random = |below| i64::try_from(rng.below(below)).unwrap();
            while time < WEEK_NANOS / NANOS_PER_MILLI - 30_000 {
                let most = cadence.patience().unwrap_or(0) / NANOS_PER_MILLI;
                let gap = match random(400) {
                    // The worst that there is: just longer than what is borne.
                    0 => (most + 1).min(20_000),
                    1 => random(most.unsigned_abs() + 1).max(1_000),
                    _ => 900 + random(200),
                };
                told += u32::from(most > 0 && gap > most);
                time += gap;
                cadence.observe(millis(time));
            }
            assert!((3..=6).contains(&told), "seed {seed}: {told}");
        }
    }

    #[test]
    fn time_in_which_nobody_listened_is_no_gap() {
        let mut cadence = Cadence::default();
        (0..9).for_each(|i| cadence.observe(millis(i * 1_000)));
        cadence.restart();
        (0..9).for_each(|i| cadence.observe(millis(18_000 + i * 1_000)));
        assert_eq!(cadence.patience(), Some(2_500 * NANOS_PER_MILLI));
    }

    #[test]
    fn clocks_that_jump_stay_within_bounds() {
        let wild = (0..20).flat_map(|i| [i * 86_400_000_000, i]);
        assert_eq!(learnt(wild), Some(RULE_DURATION_NANOS_MAX / NANOS_PER_MILLI));
        assert_eq!(learnt((0..20).map(|i| -i * 10_000)), None, "time that goes back is no gap");
    }
}
