//! The state of one slot's series as bytes: what a checkpoint keeps of the operators.
//!
//! Format 5, which also reads 1 to 4. Numbers are little-endian, floats stand with all their bits, nothing is padded:
//! ```text
//! slot:
//!   version    u8 = 5
//!   slot       u8
//!   now        u8: 0 = the log has not ticked; 1 = i64, time of its last tick
//!   output     samples u64, severities u64, alerts u64: of the slot, since the log began
//!   series     u32 count, then each in ascending order of the references
//! series:
//!   reference  u32
//!   parts      u8: bit 0 trouble, 1 watch, 2 first hour not over, 3 daily profile complete, 4 profile,
//!              7 full detector (since format 3)
//!   state      last_time i64; last_value, quick, slow, hour_mean f64
//!              near and far, each: scale, threshold, excess f32
//!              drift, interval, heat f32; season before, here, after f32
//!              hour i32; samples, moves u32
//!              hour_samples, far_samples, run, run_longest, hold u16
//!              hold_age, calm, quiet u8; outliers, burst i8
//!   trouble    greatest i64, refused u32, and where refused > 0:
//!              refused_last i64, refused_since as `now`
//!   profile    anchor f64, 24 hours f32, visited u32, first u8, days u32
//!   full       since format 4: bytes u32; the state of a full detector, with its own version: `full.rs`
//!   watch      pushed u64, the last min(pushed, 24) values f64, oldest first
//!              severity u16, channel u8
//!              alerts u32 count, each, in the order of the rules' names: hash of the rule u128, then
//!              u8: 0 inactive; 1 pending: onset i64; 2 firing, 3 firing and historical: onset, held i64
//!              since format 4 each of these codes and 4: behind it, the kind of the anomaly u8 and what was usual f64
//!              where the rule looks at a rate: time i64, value f64 and rate f64 of the last sample
//!              where it has a budget: round i32 of the last sample for which it held, or of the first one
//!              where it waits for silence: due as `now`, onset i64, missing u8, and where patience is learnt:
//!              since as `now`, u8 count + 128, gaps in milliseconds u32 each, oldest first, week u32 and its longest
//!              pause and the one of the week before u32 each; before format 5 without the 128 and pauses, in seconds
//! ```
//!
//! Format 1 had no rules on rates and silence, format 2 no full detectors, format 3 no kinds and no lengths, format 4 no pauses, and else the same bytes. A series with a full detector
//! has the light one's state as it was when all of that was heard for the last time, with times, count, last value and runs of now.
//! The names of the numbers are those of the structs. Series ids, seeds, and which rules and `[[detect]]` match follow
//! from the catalog and the rules in force, dense indices from the pipeline.

#![deny(clippy::indexing_slicing)]

use std::sync::Arc;

use tidewatch_metrics::catalog::SeriesEntry;
use tidewatch_metrics::fields::{FieldReader, FieldWriter};
use tidewatch_metrics::{EventTime, SeriesRef, Slot, UnixNanos};

use crate::detect::{Beginning, StoredDetector};
use crate::full::FullDetector;
use crate::hash::Digest;
use crate::order::{Trouble, decode_time, encode_time};
use crate::profile::Profile;
use crate::state::{FIRST_HOUR, SEASONAL, SeriesState, TROUBLED, TUNED, WATCHED};
use crate::watch::Watch;
use crate::{OutputHash, Pipeline};

/// Version of the bytes.
pub const SLOT_STATE_FORMAT: u8 = 5;
/// The oldest version that is read.
const FORMAT_MIN: u8 = 1;
/// The first version with full detectors.
const FORMAT_WITH_FULL: u8 = 3;
/// The first version that says how long their states are.
const FORMAT_WITH_LENGTHS: u8 = 4;
/// The series has a profile. Only in the bytes; the state has its index.
const PROFILED: u8 = 16;
/// The series has a full detector. Only in the bytes.
const FULL: u8 = 128;
/// What the bytes have of the state's marks.
const MARKS: u8 = TROUBLED | WATCHED | FIRST_HOUR | SEASONAL;
/// Bytes of a series without trouble, profile and watch.
const SERIES_BYTES_MIN: usize = 120;

/// What the bytes of a slot hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotSummary {
    /// Number of series.
    pub series: u32,
    /// The slot's part of [`Pipeline::state_hash`].
    pub state_hash: u64,
    /// The slot's part of [`Pipeline::output_hash`].
    pub output: OutputHash,
}

/// One series, read and checked, before the pipeline takes it.
#[derive(Debug)]
struct Stored {
    series: SeriesRef,
    entry: Arc<SeriesEntry>,
    state: SeriesState,
    trouble: Option<Trouble>,
    profile: Option<Profile>,
    detector: Beginning,
    watch: Option<Watch>,
}

impl Pipeline {
    /// Appends the state of all series of `slot` to `out`; equal state gives equal bytes.
    ///
    /// The bytes mean something only together with the position in the log at which they were taken,
    /// the rules that were in force there, and the catalog that knows the references.
    pub fn encode_slot(&self, slot: Slot, out: &mut FieldWriter) -> SlotSummary {
        let mut series: Vec<(SeriesRef, u32)> = self.series_of(slot).collect();
        series.sort_unstable();
        let output = self.outputs.of(slot);
        out.u8(SLOT_STATE_FORMAT);
        out.u8(slot.0);
        encode_time(self.now, out);
        for sum in [output.samples, output.severities, output.alerts] {
            out.u64(sum);
        }
        out.count(series.len());
        let mut digest = Digest::default();
        let mut summary = SlotSummary { output, ..SlotSummary::default() };
        for (series, local) in series {
            out.u32(series.0);
            self.encode_series(local, out);
            let hash = self.series_hash(local, &mut digest);
            summary.state_hash = summary.state_hash.wrapping_add(hash);
            summary.series += 1;
        }
        summary
    }

    /// Takes back what [`Pipeline::encode_slot`] wrote; `entry` resolves a reference.
    ///
    /// Returns the dense index of every series, given as [`Pipeline::add_series`] gives them. `None`
    /// where the bytes are not of this form, and then the pipeline is as it was: another version or
    /// slot, an unknown reference, a rule that is not in force. What follows the slot stays in `fields`.
    ///
    /// ORDER: the rules in force first ([`Pipeline::set_rules`] on the empty pipeline), then all slots
    /// that the pipeline owns, then rows and ticks from the least of the slots' positions on, without
    /// the rows that a slot's own position already covers. Because those ticks come again, the
    /// pipeline's time is the least of the slots' times; it is each slot's own when its rows go on.
    ///
    /// # Panics
    /// Where the slot was restored before: a bug of the caller.
    pub fn restore_slot(
        &mut self,
        slot: Slot,
        fields: &mut FieldReader<'_>,
        entry: impl Fn(SeriesRef) -> Option<Arc<SeriesEntry>>,
    ) -> Option<Vec<(SeriesRef, u32)>> {
        let version = fields.u8()?;
        known_parts(version)?;
        if fields.u8()? != slot.0 {
            return None;
        }
        let now = decode_time(fields)?;
        let output =
            OutputHash { samples: fields.u64()?, severities: fields.u64()?, alerts: fields.u64()? };
        let count = fields.count()?;
        // The count is not taken at its word: it may be beyond the bytes.
        let mut stored: Vec<Stored> =
            Vec::with_capacity(count.min(fields.remaining() / SERIES_BYTES_MIN));
        for _ in 0..count {
            let series = SeriesRef(fields.u32()?);
            let entry = entry(series).filter(|entry| entry.id.slot() == slot)?;
            if stored.last().is_some_and(|before| before.series >= series) {
                return None;
            }
            stored.push(self.decode_series(series, entry, version, fields)?);
        }
        self.begin_slot(slot, now, output);
        Some(stored.into_iter().map(|stored| self.take_back(stored)).collect())
    }

    fn series_of(&self, slot: Slot) -> impl Iterator<Item = (SeriesRef, u32)> {
        let all = self.slots.iter().zip(&self.refs).zip(0_u32..);
        all.filter(move |((of, _), _)| **of == slot).map(|((_, series), local)| (*series, local))
    }

    #[expect(clippy::indexing_slicing, reason = "the pipeline gave the index")]
    fn encode_series(&self, local: u32, out: &mut FieldWriter) {
        let state = &self.states[local as usize];
        let profile = self.light.profile(state);
        let full = self.detectors.full(local);
        let part = |is: bool, part: u8| if is { part } else { 0 };
        let parts = part(profile.is_some(), PROFILED) | part(full.is_some(), FULL);
        out.u8(state.marks & MARKS | parts);
        state.encode(out);
        if state.is(TROUBLED) {
            self.order.trouble(local).expect("a troubled series has its entry").encode(out);
        }
        if let Some(profile) = profile {
            profile.encode(out);
        }
        if let Some(full) = full {
            let mut state = FieldWriter::default();
            full.encode(&mut state);
            out.blob(&state.into_bytes());
        }
        self.watches.encode(local, out);
    }

    fn decode_series(
        &self,
        series: SeriesRef,
        entry: Arc<SeriesEntry>,
        version: u8,
        fields: &mut FieldReader<'_>,
    ) -> Option<Stored> {
        let parts = fields.u8()?;
        if parts & !known_parts(version)? != 0 {
            return None;
        }
        let has = |part: u8| parts & part != 0;
        let mut state = SeriesState::decode(entry.id, fields)?;
        state.marks = parts & MARKS;
        let trouble = if has(TROUBLED) { Some(Trouble::decode(fields)?) } else { None };
        let mut profile = if has(PROFILED) { Some(Profile::decode(fields)?) } else { None };
        let full = if has(FULL) { decode_full(version, fields)? } else { StoredDetector::None };
        if matches!(full, StoredDetector::Outdated) {
            state.begin_anew();
            profile = None;
        }
        let has_rows = state.last_time != EventTime::MIN;
        let detector = self.detectors.restore(&entry, full, has_rows)?;
        let watch = self.watches.decode(&entry, has(WATCHED), fields)?;
        Some(Stored { series, entry, state, trouble, profile, detector, watch })
    }

    fn begin_slot(&mut self, slot: Slot, now: Option<UnixNanos>, output: OutputHash) {
        let first = !self.restored.contains(&true);
        self.now = if first { now } else { self.now.min(now) };
        self.outputs.restore(slot, output);
        self.watches.restore_slot(slot, now);
        let restored =
            self.restored.get_mut(usize::from(slot.0)).expect("one for each of 256 slots");
        assert!(!std::mem::replace(restored, true), "a slot is restored once");
    }

    fn take_back(&mut self, stored: Stored) -> (SeriesRef, u32) {
        let Stored { series, entry, mut state, trouble, profile, detector, watch } = stored;
        if let Some(profile) = profile {
            self.light.set_profile(&mut state, profile);
        }
        self.watches.restore(&entry, watch);
        if self.detectors.add_series(&entry, detector) {
            state.marks |= TUNED;
        }
        let local = self.push_series(series, entry, state);
        if let Some(trouble) = trouble {
            self.order.restore(local, trouble);
        }
        (series, local)
    }
}

/// The state of a full detector, as it stands in bytes of a version.
fn decode_full(version: u8, fields: &mut FieldReader<'_>) -> Option<StoredDetector> {
    if version < FORMAT_WITH_LENGTHS {
        return FullDetector::decode(fields).map(|full| StoredDetector::Known(Box::new(full)));
    }
    let state = fields.blob()?;
    if FullDetector::is_outdated(*state.first()?) {
        return Some(StoredDetector::Outdated);
    }
    let mut fields = FieldReader::new(state);
    let full = FullDetector::decode(&mut fields)?;
    (fields.remaining() == 0).then(|| StoredDetector::Known(Box::new(full)))
}

/// The parts that a series may have in bytes of a version; `None` for versions that are not read.
fn known_parts(version: u8) -> Option<u8> {
    match version {
        FORMAT_WITH_FULL..=SLOT_STATE_FORMAT => Some(MARKS | PROFILED | FULL),
        FORMAT_MIN..FORMAT_WITH_FULL => Some(MARKS | PROFILED),
        _ => None,
    }
}

#[cfg(test)]
#[path = "slot_state_tests.rs"]
mod tests;
