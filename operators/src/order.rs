//! The order of each series: in order, late, or a new time base.

use std::collections::BTreeMap;

use tidewatch_metrics::fields::{FieldReader, FieldWriter};
use tidewatch_metrics::time::NANOS_PER_SECOND;
use tidewatch_metrics::{EventTime, UnixNanos};

use crate::hash::Digest;
use crate::state::{SeriesState, TROUBLED};

/// Refused rows, each later than the one before, after which a series may take a new time base.
pub(crate) const REFUSED_MIN: u32 = 32;
/// Log time over which they must have come: a batch sent twice comes faster.
pub(crate) const REFUSED_NANOS_MIN: i64 = 120 * NANOS_PER_SECOND;

/// Bytes that a series with an entry here takes: its place in a tree that is at least half full.
pub(crate) const TROUBLE_BYTES: usize = 2 * size_of::<(u32, Trouble)>();

/// Where a row stands in its series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// Refused: not scored.
    #[default]
    Refused,
    /// Later than the series' last row by these many nanoseconds.
    InOrder(i64),
    /// The series' first row, or the first one in a new time base.
    First,
}

impl Place {
    /// Nanoseconds behind the row before; none where there is none, or the row is refused.
    pub(crate) fn step(self) -> Option<i64> {
        match self {
            Self::InOrder(step) => Some(step),
            Self::First | Self::Refused => None,
        }
    }
}

/// A row's place and whether it carries the flag `late`.
///
/// Late = not later than the greatest time that the series ever had. In a new time base that lies
/// before it, rows are late and scored. Two words, which fit in registers: by way of memory each row would wait
/// for the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Nanoseconds behind the row before; 0 for a first row, less for a refused one.
    step: i64,
    pub(crate) late: bool,
}

impl Placed {
    fn new(place: Place, late: bool) -> Self {
        let step = match place {
            Place::Refused => -1,
            Place::First => 0,
            Place::InOrder(step) => step,
        };
        Self { step, late }
    }

    pub(crate) fn place(self) -> Place {
        match self.step {
            0 => Place::First,
            step if step > 0 => Place::InOrder(step),
            _ => Place::Refused,
        }
    }
}

/// What the few series have that do not simply go forward.
#[derive(Debug, Default)]
pub(crate) struct Order {
    troubles: BTreeMap<u32, Trouble>,
}

/// Refused rows in a row, and the greatest time where it is not the last one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trouble {
    greatest: EventTime,
    refused: u32,
    refused_last: EventTime,
    /// Log time of the first refused row; none until the log has ticked.
    refused_since: Option<UnixNanos>,
}

impl Order {
    /// Places a row, in log order. `now` is the time of the log's last tick.
    pub(crate) fn observe(
        &mut self,
        state: &mut SeriesState,
        local: u32,
        time: EventTime,
        now: Option<UnixNanos>,
    ) -> Placed {
        let last = state.last_time;
        if time > last && !state.is(TROUBLED) {
            state.last_time = time;
            return Placed::new(step(last, time), false);
        }
        self.observe_troubled(state, local, time, now)
    }

    #[cold]
    fn observe_troubled(
        &mut self,
        state: &mut SeriesState,
        local: u32,
        time: EventTime,
        now: Option<UnixNanos>,
    ) -> Placed {
        let last = state.last_time;
        let trouble = self.troubles.entry(local).or_insert(Trouble {
            greatest: last,
            refused: 0,
            refused_last: EventTime::MIN,
            refused_since: None,
        });
        state.marks |= TROUBLED;
        let late = time <= trouble.greatest;
        let place = if time > last {
            trouble.refused = 0;
            step(last, time)
        } else if trouble.refuse(time, now) {
            trouble.refused = 0;
            Place::First
        } else {
            return Placed::new(Place::Refused, late);
        };
        state.last_time = time;
        if !late {
            // The last time is the greatest again.
            self.troubles.remove(&local);
            state.marks &= !TROUBLED;
        }
        Placed::new(place, late)
    }

    pub(crate) fn digest(&self, local: u32, out: &mut Digest) {
        let Some(trouble) = self.troubles.get(&local) else { return };
        out.i64(trouble.greatest.nanos());
        out.u64(u64::from(trouble.refused));
        if trouble.refused > 0 {
            out.i64(trouble.refused_last.nanos());
            out.i64(trouble.refused_since.map_or(i64::MIN, UnixNanos::nanos));
        }
    }

    /// The trouble of a series that is [`TROUBLED`].
    pub(crate) fn trouble(&self, local: u32) -> Option<&Trouble> {
        self.troubles.get(&local)
    }

    /// Takes back the trouble of a series that is [`TROUBLED`].
    pub(crate) fn restore(&mut self, local: u32, trouble: Trouble) {
        self.troubles.insert(local, trouble);
    }
}

impl Trouble {
    /// Counts a refused row; returns whether it completes the condition for a new time base.
    fn refuse(&mut self, time: EventTime, now: Option<UnixNanos>) -> bool {
        if self.refused == 0 || time <= self.refused_last {
            self.refused = 0;
            self.refused_since = None;
        }
        self.refused = self.refused.saturating_add(1);
        self.refused_last = time;
        self.refused_since = self.refused_since.or(now);
        let waited = match (self.refused_since, now) {
            (Some(since), Some(now)) => now.nanos().saturating_sub(since.nanos()),
            _ => 0,
        };
        self.refused > REFUSED_MIN && waited >= REFUSED_NANOS_MIN
    }

    /// Without refused rows their times mean nothing and are left out: equal state, equal bytes.
    pub(crate) fn encode(&self, out: &mut FieldWriter) {
        out.i64(self.greatest.nanos());
        out.u32(self.refused);
        if self.refused > 0 {
            out.i64(self.refused_last.nanos());
            encode_time(self.refused_since, out);
        }
    }

    /// What [`Trouble::encode`] wrote.
    pub(crate) fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        let greatest = EventTime::new(fields.i64()?);
        let refused = fields.u32()?;
        let (refused_last, refused_since) = if refused > 0 {
            (EventTime::new(fields.i64()?), decode_time(fields)?)
        } else {
            (EventTime::MIN, None)
        };
        Some(Self { greatest, refused, refused_last, refused_since })
    }
}

/// A log time; none before the log's first tick.
pub(crate) fn encode_time(time: Option<UnixNanos>, out: &mut FieldWriter) {
    out.u8(u8::from(time.is_some()));
    if let Some(time) = time {
        out.i64(time.nanos());
    }
}

/// What [`encode_time`] wrote.
pub(crate) fn decode_time(fields: &mut FieldReader<'_>) -> Option<Option<UnixNanos>> {
    match fields.u8()? {
        0 => Some(None),
        1 => Some(Some(UnixNanos::new(fields.i64()?))),
        _ => None,
    }
}

fn step(last: EventTime, time: EventTime) -> Place {
    if last == EventTime::MIN {
        Place::First
    } else {
        Place::InOrder(time.nanos().saturating_sub(last.nanos()))
    }
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
