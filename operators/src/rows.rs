//! What goes into the pipeline and what comes out.

use tidewatch_metrics::{EventTime, Flags, Lsn, Severity, Transition, UnixNanos};

/// Rows in log order: row `i` is `(series[i], times[i], values[i])`.
///
/// Invariant: the columns have the same length; `runs` cover all rows, with ascending ends.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// The dense index of the series, as [`crate::Pipeline::add_series`] gave it.
    pub series: &'a [u32],
    /// Event times.
    pub times: &'a [EventTime],
    /// Values; NaN and infinities are allowed and not scored.
    pub values: &'a [f64],
    /// Which rows came in which record.
    pub runs: &'a [Run],
}

/// The rows of one record: from the end of the run before to `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// One more than the index of the record's last row.
    pub end: usize,
    /// The record.
    pub lsn: Lsn,
    /// When the record was received.
    pub received: UnixNanos,
}

/// What the pipeline puts out. Calls append; [`Emitted::clear`] keeps the capacity.
#[derive(Clone, Debug, Default)]
pub struct Emitted {
    /// One per row.
    pub severities: Vec<Severity>,
    /// One per row.
    pub flags: Vec<Flags>,
    /// What happened to alerts, in the order of the rows that caused it.
    pub transitions: Vec<Transition>,
}

impl Emitted {
    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.severities.clear();
        self.flags.clear();
        self.transitions.clear();
    }
}
