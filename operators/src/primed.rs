//! A full detector that learns from what its series had before: built beside the pipeline, and put in between two records.
//!
//! What a detector that has seen the rows comes to, as bytes; equal rows and detection give equal bytes:
//! ```text
//! version    u8 = 1
//! parts      u8: bit 2 first hour not over, 3 daily profile complete, 4 profile
//! state      as in `slot_state.rs`: the light detector is heard by `auto`
//! profile    as there
//! full       the state of the full detector, with its own version: `full.rs`
//! ```

#![deny(clippy::indexing_slicing)]

use tidewatch_metrics::fields::{FieldReader, FieldWriter};
use tidewatch_metrics::{EventTime, SeriesId, SeriesRef};

use crate::Pipeline;
use crate::detect::Detection;
use crate::full::FullDetector;
use crate::model::Model;
use crate::profile::Profile;
use crate::series_detector::SeriesDetector;
use crate::state::{FIRST_HOUR, SEASONAL, SeriesState};

/// Version of the bytes.
const FORMAT: u8 = 1;
/// The state has a profile. Only in the bytes.
const PROFILED: u8 = 16;
/// What the bytes have of the state's marks.
const MARKS: u8 = FIRST_HOUR | SEASONAL;

/// A series whose full detector began although the series had rows before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lacking {
    /// The series.
    pub series: SeriesRef,
    /// The time of its last row in order.
    pub last_time: EventTime,
}

/// Learns a series' stored rows for [`Pipeline::prime`].
#[derive(Debug)]
pub struct Primer {
    detector: SeriesDetector,
    last: EventTime,
}

/// What [`Primer::encode`] wrote.
#[derive(Debug)]
struct Primed {
    state: SeriesState,
    profile: Option<Profile>,
    full: FullDetector,
}

impl Primer {
    /// A detector that has seen nothing. `None` for the light model, which is never primed.
    #[must_use]
    pub fn new(detection: &Detection) -> Option<Self> {
        let is_full = detection.model != Model::Light;
        let last = EventTime::MIN;
        is_full.then(|| Self { detector: SeriesDetector::tuned(detection), last })
    }

    /// Takes the next row that was in order, whatever its value; others are passed over.
    pub fn observe(&mut self, time: EventTime, value: f64) {
        if time > self.last {
            self.last = time;
            self.detector.observe(time, value);
        }
    }

    /// The time of the last row; [`EventTime::MIN`] before the first one.
    #[must_use]
    pub fn last_time(&self) -> EventTime {
        self.last
    }

    /// The state that the pipeline takes.
    ///
    /// # Panics
    /// Never: the light detector is not primed.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (state, profile, full) = self.detector.parts();
        let mut out = FieldWriter::default();
        out.u8(FORMAT);
        out.u8(state.marks & MARKS | if profile.is_some() { PROFILED } else { 0 });
        state.encode(&mut out);
        if let Some(profile) = profile {
            profile.encode(&mut out);
        }
        full.expect("the light detector is not primed").encode(&mut out);
        out.into_bytes()
    }

    /// Bytes of memory that one takes at most.
    #[must_use]
    pub fn bytes_max(model: Model) -> usize {
        size_of::<Self>() + size_of::<Profile>() + FullDetector::heap_bytes_max(model)
    }
}

impl Primed {
    fn decode(id: SeriesId, bytes: &[u8]) -> Option<Self> {
        let mut fields = FieldReader::new(bytes);
        if fields.u8()? != FORMAT {
            return None;
        }
        let parts = fields.u8()?;
        if parts & !(MARKS | PROFILED) != 0 {
            return None;
        }
        let mut state = SeriesState::decode(id, &mut fields)?;
        state.marks = parts & MARKS;
        let has_profile = parts & PROFILED != 0;
        let profile = if has_profile { Some(Profile::decode(&mut fields)?) } else { None };
        let full = FullDetector::decode(&mut fields)?;
        fields.end()?;
        Some(Self { state, profile, full })
    }
}

impl Pipeline {
    /// How many series have a full detector that began although they had rows before.
    #[must_use]
    pub fn lacking(&self) -> u32 {
        self.detectors.lacking()
    }

    /// These series, in ascending order of the references.
    #[must_use]
    pub fn lacking_history(&self) -> Vec<Lacking> {
        if self.lacking() == 0 {
            return Vec::new();
        }
        let series = (0_u32..).zip(&self.refs).zip(&self.states);
        let lacks = |local| self.detectors.full(local).is_some_and(FullDetector::lacks_history);
        let lacking = series.filter(|((local, _), _)| lacks(*local));
        let mut lacking: Vec<Lacking> = lacking
            .map(|((_, series), state)| Lacking { series: *series, last_time: state.last_time })
            .collect();
        lacking.sort_unstable();
        lacking
    }

    /// Gives a series that lacks history what [`Primer::encode`] wrote; returns whether it lacked it until now.
    ///
    /// The detectors' state takes the place of what they had learnt since they began, unless that is of as many samples;
    /// what order, alerts and counts know of the series stays. Nothing changes where the series has no full
    /// detector of that model that lacks history, or the bytes are of another version.
    ///
    /// # Panics
    /// Where no such series was added.
    #[expect(clippy::indexing_slicing, reason = "the pipeline gave the index")]
    pub fn prime(&mut self, local: u32, primed: &[u8]) -> bool {
        let id = self.entries[local as usize].id;
        let lacks = self.detectors.full(local).filter(|full| full.lacks_history());
        let Some(model) = lacks.map(FullDetector::model) else { return false };
        let primed = Primed::decode(id, primed).filter(|primed| primed.full.model() == model);
        let Some(Primed { state: heard, profile, full }) = primed else { return false };
        let state = &mut self.states[local as usize];
        if heard.samples <= state.samples {
            self.detectors.end_lack(local, None);
            return true;
        }
        self.detectors.end_lack(local, Some(full));
        state.take_detector(&heard);
        self.light.replace_profile(state, profile);
        true
    }
}

#[cfg(test)]
#[path = "primed_tests.rs"]
mod tests;
