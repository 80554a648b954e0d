//! What a body of line protocol says, in columns.

use std::ops::Range;

use tidewatch_metrics::EventTime;

use crate::decode::line_errors::LineErrors;

/// A piece of the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Position of the first byte.
    pub start: u32,
    /// Number of bytes.
    pub len: u32,
}

impl Span {
    /// The piece from `start` to `end`, of a body that was checked to be shorter than 4 GiB.
    #[inline]
    pub(crate) fn between(start: usize, end: usize) -> Self {
        let position =
            |position| u32::try_from(position).expect("a body is checked to be shorter than 4 GiB");
        Self { start: position(start), len: position(end - start) }
    }

    /// The bytes of this piece of `body`; empty where it is not a piece of it.
    #[inline]
    #[must_use]
    pub fn of(self, body: &[u8]) -> &[u8] {
        let range = self.start as usize..self.start as usize + self.len as usize;
        body.get(range).unwrap_or_default()
    }
}

/// The accepted lines of one body with their samples, and what was refused.
///
/// Line `i` is `(keys[i], key_hashes[i], times[i], first_samples[i], line_numbers[i])`; its samples are
/// rows `first_samples[i] .. first_samples[i + 1]` (the last line's: to the end) of `(fields, values)`.
///
/// Invariants: all columns of lines have one length, those of samples another one; `first_samples` grows strictly, so
/// that every line here has a sample (accepted lines that hold only strings are counted in `lines_accepted` and not
/// listed); all spans lie within the body; every key is one that `series_labels` accepts; values are finite.
/// Fields of one line may repeat. Kept and reused from body to body: no memory is given back.
#[derive(Clone, Debug, Default)]
pub struct LineBatch {
    keys: Vec<Span>,
    key_hashes: Vec<u128>,
    times: Vec<EventTime>,
    first_samples: Vec<u32>,
    line_numbers: Vec<u32>,
    fields: Vec<Span>,
    values: Vec<f64>,
    errors: LineErrors,
    lines_accepted: u64,
    strings_dropped: u64,
}

/// What the decoder adds when a line is accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) key: Span,
    pub(crate) key_hash: u128,
    pub(crate) time: EventTime,
    pub(crate) line_number: u32,
}

/// How much a batch held at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LineMark {
    pub(crate) lines: usize,
    pub(crate) samples: usize,
    lines_accepted: u64,
    strings_dropped: u64,
}

impl LineBatch {
    /// A batch without lines.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.key_hashes.clear();
        self.times.clear();
        self.first_samples.clear();
        self.line_numbers.clear();
        self.fields.clear();
        self.values.clear();
        self.errors.clear();
        self.lines_accepted = 0;
        self.strings_dropped = 0;
    }

    /// Lines with samples.
    #[must_use]
    pub fn lines(&self) -> usize {
        self.keys.len()
    }

    /// Samples.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.values.len()
    }

    /// Per line: measurement and tags as sent, with their escapes.
    #[must_use]
    pub fn keys(&self) -> &[Span] {
        &self.keys
    }

    /// Per line: xxh3-128 of the key as sent, with `LineOptions::key_seed`.
    #[must_use]
    pub fn key_hashes(&self) -> &[u128] {
        &self.key_hashes
    }

    /// Per line: its time, or `LineOptions::default_time`.
    #[must_use]
    pub fn times(&self) -> &[EventTime] {
        &self.times
    }

    /// Per line: the row of its first sample.
    #[must_use]
    pub fn first_samples(&self) -> &[u32] {
        &self.first_samples
    }

    /// Per line: its number in the body, from 1. Line ends within strings count.
    #[must_use]
    pub fn line_numbers(&self) -> &[u32] {
        &self.line_numbers
    }

    /// Per sample: the field's key as sent, with its escapes.
    #[must_use]
    pub fn fields(&self) -> &[Span] {
        &self.fields
    }

    /// Per sample: the value; booleans are 0 and 1.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The rows of one line's samples; empty for a line that is not there.
    #[inline]
    #[must_use]
    pub fn samples_of(&self, line: usize) -> Range<usize> {
        let row = |line: usize| self.first_samples.get(line).map(|row| *row as usize);
        match row(line) {
            Some(start) => start..row(line + 1).unwrap_or(self.values.len()),
            None => 0..0,
        }
    }

    /// The refused lines.
    #[must_use]
    pub fn errors(&self) -> &LineErrors {
        &self.errors
    }

    /// Accepted lines, those of strings alone included.
    #[must_use]
    pub fn lines_accepted(&self) -> u64 {
        self.lines_accepted
    }

    /// String fields of accepted lines: reported, not stored.
    #[must_use]
    pub fn strings_dropped(&self) -> u64 {
        self.strings_dropped
    }

    pub(crate) fn errors_mut(&mut self) -> &mut LineErrors {
        &mut self.errors
    }

    #[inline]
    pub(crate) fn push_sample(&mut self, field: Span, value: f64) {
        self.fields.push(field);
        self.values.push(value);
    }

    /// Ends the line whose samples are the rows from `first_sample` on.
    #[inline]
    pub(crate) fn accept(&mut self, line: Line, first_sample: usize, strings: u32) {
        self.lines_accepted += 1;
        self.strings_dropped += u64::from(strings);
        if first_sample == self.values.len() {
            return;
        }
        let first_sample = u32::try_from(first_sample).expect("a sample takes bytes of the body");
        self.keys.push(line.key);
        self.key_hashes.push(line.key_hash);
        self.times.push(line.time);
        self.first_samples.push(first_sample);
        self.line_numbers.push(line.line_number);
    }

    /// Gives the lines from the `first`-th one on another number.
    pub(crate) fn renumber(&mut self, first: usize, line_number: u32) {
        self.line_numbers.iter_mut().skip(first).for_each(|number| *number = line_number);
    }

    /// Takes back all lines that came after `mark` was made.
    pub(crate) fn retract_to(&mut self, mark: LineMark) {
        self.retract(mark.samples);
        self.keys.truncate(mark.lines);
        self.key_hashes.truncate(mark.lines);
        self.times.truncate(mark.lines);
        self.first_samples.truncate(mark.lines);
        self.line_numbers.truncate(mark.lines);
        self.lines_accepted = mark.lines_accepted;
        self.strings_dropped = mark.strings_dropped;
    }

    /// What there is so far.
    pub(crate) fn mark(&self) -> LineMark {
        LineMark {
            lines: self.lines(),
            samples: self.samples(),
            lines_accepted: self.lines_accepted,
            strings_dropped: self.strings_dropped,
        }
    }

    /// Takes back the samples of a line that is refused.
    pub(crate) fn retract(&mut self, first_sample: usize) {
        self.fields.truncate(first_sample);
        self.values.truncate(first_sample);
    }
}
