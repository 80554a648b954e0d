//! Silence of one series, as one rule looks at it.

use tidewatch_metrics::fields::{FieldReader, FieldWriter};
use tidewatch_metrics::time::NANOS_PER_SECOND;
use tidewatch_metrics::{EventTime, UnixNanos};

use crate::cadence::{Cadence, NANOS_PER_MILLI};
use crate::deadlines::Deadline;
use crate::hash::Digest;
use crate::limits::ALLOCATION_BYTES;
use crate::order::{decode_time, encode_time};
use crate::patience::Patience;

/// After a start a series that was awaited by what it has taught has at least this time: who sends often has to find the server again.
const RETURN_NANOS: i64 = 30 * NANOS_PER_SECOND;

/// How long a series has been silent, by log time.
///
/// A series is awaited from its first sample on that is not history already when it comes. The silence begins anew
/// with every sample, and with every start of the process: what was not listened to was not silent.
#[derive(Debug)]
pub(crate) struct Absence {
    bound: Bound,
    /// Log time after which the silence goes on to its next step; none while nothing is awaited.
    due: Option<UnixNanos>,
    /// Event time at which the series' patience ends, if no sample comes.
    onset: EventTime,
    /// Whether patience has ended since the last sample.
    is_missing: bool,
    /// Where the deadlines have it. Follows from the rest, so that it is neither stored nor hashed.
    pub(crate) queued: Option<UnixNanos>,
}

/// For how long the series may be silent.
#[derive(Debug)]
enum Bound {
    Fixed(i64),
    Learnt(Box<Cadence>),
}

impl Absence {
    pub(crate) fn new(patience: Patience) -> Self {
        let bound = match patience {
            Patience::Fixed(nanos) => Bound::Fixed(nanos),
            Patience::Learnt => Bound::Learnt(Box::default()),
        };
        Self { bound, due: None, onset: EventTime::MIN, is_missing: false, queued: None }
    }

    /// Takes a sample of `time` that came at `heard`; after one that is not live nothing is awaited.
    /// Returns whether it ends an absence.
    pub(crate) fn observe(&mut self, time: EventTime, heard: UnixNanos, is_live: bool) -> bool {
        if let Bound::Learnt(cadence) = &mut self.bound {
            cadence.observe(heard);
        }
        let bound = self.bound();
        self.onset = EventTime::new(time.nanos().saturating_add(bound.unwrap_or(0)));
        self.due = bound.filter(|_| is_live).map(|bound| later(heard, bound));
        std::mem::replace(&mut self.is_missing, false)
    }

    /// Patience has ended, and what came of it has `further` to wait, if anything.
    pub(crate) fn miss(&mut self, further: Option<i64>) {
        self.is_missing = true;
        self.due = self.due.zip(further).map(|(due, further)| later(due, further));
    }

    /// Listening begins anew at `from`; `hold` is what an absence waits for once it is noticed.
    pub(crate) fn restart(&mut self, from: UnixNanos, hold: i64) {
        let mut wait = if self.is_missing { Some(hold) } else { self.bound() };
        if let Bound::Learnt(cadence) = &mut self.bound {
            cadence.restart();
            wait = wait.map(|nanos| nanos.max(RETURN_NANOS));
        }
        if let (Some(due), Some(wait)) = (self.due, wait) {
            self.due = Some(due.max(later(from, wait)));
        }
    }

    /// For how long the series may be silent, in nanoseconds; none while that is not known.
    pub(crate) fn bound(&self) -> Option<i64> {
        match &self.bound {
            Bound::Fixed(nanos) => Some(*nanos),
            Bound::Learnt(cadence) => cadence.patience(),
        }
    }

    /// Nanoseconds between reports, where that is what patience was learnt from.
    pub(crate) fn learnt_gap(&self) -> Option<i64> {
        match &self.bound {
            Bound::Fixed(_) => None,
            Bound::Learnt(cadence) => Some(i64::from(cadence.median()?) * NANOS_PER_MILLI),
        }
    }

    pub(crate) fn due(&self) -> Option<UnixNanos> {
        self.due
    }

    pub(crate) fn onset(&self) -> EventTime {
        self.onset
    }

    pub(crate) fn digest(&self, out: &mut Digest) {
        out.i64(self.due.map_or(i64::MIN, UnixNanos::nanos));
        out.i64(self.onset.nanos());
        out.u64(u64::from(self.is_missing));
        if let Bound::Learnt(cadence) = &self.bound {
            cadence.digest(out);
        }
    }

    pub(crate) fn encode(&self, out: &mut FieldWriter) {
        encode_time(self.due, out);
        out.i64(self.onset.nanos());
        out.u8(u8::from(self.is_missing));
        if let Bound::Learnt(cadence) = &self.bound {
            cadence.encode(out);
        }
    }

    /// Takes what [`Absence::encode`] wrote.
    pub(crate) fn restore(&mut self, fields: &mut FieldReader<'_>) -> Option<()> {
        self.due = decode_time(fields)?;
        self.onset = EventTime::new(fields.i64()?);
        self.is_missing = match fields.u8()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        if let Bound::Learnt(cadence) = &mut self.bound {
            **cadence = Cadence::decode(fields)?;
        }
        Some(())
    }

    /// Bytes that one takes, as they are counted.
    pub(crate) fn bytes(patience: Patience) -> usize {
        let cadence = size_of::<Cadence>() + ALLOCATION_BYTES;
        let learnt = if patience == Patience::Learnt { cadence } else { 0 };
        // The deadline's place is in a tree that is at least half full.
        size_of::<Self>() + ALLOCATION_BYTES + learnt + 2 * size_of::<Deadline>()
    }
}

fn later(time: UnixNanos, nanos: i64) -> UnixNanos {
    UnixNanos::new(time.nanos().saturating_add(nanos))
}

#[cfg(test)]
#[path = "absence_tests.rs"]
mod tests;
