//! Influx line protocol, straight to columns.
//!
//! ```text
//! body    = { blank | comment | line } separated by LF or CR LF
//! comment = "#" to the end of the line
//! line    = key " "+ field { "," field } [ " "+ integer ] " "*
//! key     = measurement { "," name "=" name }
//! field   = name "=" ( float | [-]digits"i" | digits"u" | bool | string )
//! string  = '"' with \" and \\ and line ends within '"'
//! ```
//!
//! A line is taken whole or not at all, and one refused line does not touch the others. Where a refused
//! line ends is found with its quotes, so that nothing inside a string is ever taken for a line. String
//! values are checked, counted and dropped.
//!
//! Compared with the crate `influxdb-line-protocol` 2.0 (InfluxDB 3), this decoder deliberately
//!
//! - accepts CR LF, and spaces at the end of a line without a time;
//! - refuses control bytes outside strings, which includes a backslash before a line end;
//! - refuses an unescaped comma in a tag key or field key (`m,a,b=c f=1`), and one behind the only field
//!   (`m f=1, 5`; the crate refuses it behind a second field);
//! - refuses duplicate tags, names beyond the limits, integers beyond 2^53, floats too large for 64 bits,
//!   and times beyond the range;
//! - ends a comment at its line end, whatever quotes or backslashes it has.
//!
//! No allocation per line or sample: the columns of the batch grow once and are reused.
#![deny(clippy::indexing_slicing)]

use std::ops::Range;

use memchr::{memchr, memchr_iter, memchr2};
use tidewatch_metrics::EventTime;
use twox_hash::XxHash3_128;

use crate::decode::line_batch::{Line, LineBatch, Span};
use crate::decode::line_errors::{LineError, LineReason};
use crate::decode::line_key::{
    Fault, ScannedKey, TagKeys, is_line_end, metric_name_fits, scan_key, scan_name,
};
use crate::decode::number::{Parsed, field_number, signed};
use crate::decode::precision::Precision;

/// Samples of one body, unless the caller says otherwise.
const SAMPLES_MAX: usize = tidewatch_metrics::limits::BATCH_ROWS_MAX;
/// Bytes of one line, unless the caller says otherwise.
const LINE_BYTES_MAX: usize = 1 << 20;

/// How a body is to be read.
#[derive(Clone, Copy, Debug)]
pub struct LineOptions {
    /// The unit of times.
    pub precision: Precision,
    /// The time of lines that have none: when the body was received.
    pub default_time: EventTime,
    /// The latest time that is taken; `None` for no bound.
    pub time_max: Option<EventTime>,
    /// The seed of `LineBatch::key_hashes`: secret, so that no client can make keys collide.
    pub key_seed: u64,
    /// More samples than this refuse the whole body.
    pub samples_max: usize,
    /// Longer lines than this, without the line end, are refused.
    pub line_bytes_max: usize,
}

impl Default for LineOptions {
    fn default() -> Self {
        Self {
            precision: Precision::Nanoseconds,
            default_time: EventTime::new(0),
            time_max: None,
            key_seed: 0,
            samples_max: SAMPLES_MAX,
            line_bytes_max: LINE_BYTES_MAX,
        }
    }
}

/// Why a whole body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// More samples than `LineOptions::samples_max`.
    #[error("body has more than {samples_max} samples")]
    TooManySamples {
        /// The limit.
        samples_max: usize,
    },
    /// Positions in the body would not fit into 32 bits.
    #[error("body of {bytes} bytes is longer than {}", u32::MAX)]
    BodyTooLong {
        /// The body's length.
        bytes: usize,
    },
}

/// Decodes `body` into `out`, whose former content is dropped.
///
/// Refused lines are in `out.errors()`; the others are taken.
///
/// # Errors
/// If the whole body is refused; `out` is then empty.
pub fn decode(body: &[u8], options: &LineOptions, out: &mut LineBatch) -> Result<(), DecodeError> {
    out.clear();
    if u32::try_from(body.len()).is_err() {
        return Err(DecodeError::BodyTooLong { bytes: body.len() });
    }
    let utf8 = std::str::from_utf8(body).is_ok();
    let tag_keys = &mut TagKeys::new();
    let mut decoder = Decoder { body, options, out, utf8, line_number: 1, tag_keys };
    let decoded = decoder.lines(0);
    if decoded.is_err() {
        out.clear();
    }
    decoded
}

/// Decodes messages, each of which is a body of its own, behind what `out` holds.
pub(crate) struct MessageLines<'a> {
    bytes: &'a [u8],
    utf8: bool,
    tag_keys: TagKeys,
    out: &'a mut LineBatch,
}

impl<'a> MessageLines<'a> {
    /// Of messages that stand in `bytes`.
    pub(crate) fn new(bytes: &'a [u8], out: &'a mut LineBatch) -> Self {
        let utf8 = std::str::from_utf8(bytes).is_ok();
        Self { bytes, utf8, tag_keys: TagKeys::new(), out }
    }

    /// What was decoded.
    pub(crate) fn out(&self) -> &LineBatch {
        self.out
    }

    /// Decodes the message in `range`; its lines get its `number`. With more samples than
    /// [`LineOptions::samples_max`] it is refused as a whole.
    pub(crate) fn message(&mut self, range: Range<usize>, number: u32, options: &LineOptions) {
        let (mark, refused) = (self.out.mark(), self.out.errors().first().len());
        let samples_max = mark.samples.saturating_add(options.samples_max);
        let options = &LineOptions { samples_max, ..*options };
        let (body, tag_keys) =
            (self.bytes.get(..range.end).unwrap_or_default(), &mut self.tag_keys);
        let (utf8, out) = (self.utf8, &mut *self.out);
        let mut decoder = Decoder { body, options, out, utf8, line_number: number, tag_keys };
        if decoder.lines(range.start).is_err() {
            self.out.retract_to(mark);
            self.refuse(&range, number, LineReason::TooManySamples);
        }
        self.out.renumber(mark.lines, number);
        self.out.errors_mut().renumber(refused, number);
    }

    /// Refuses the message in `range` as a whole.
    pub(crate) fn refuse(&mut self, range: &Range<usize>, number: u32, reason: LineReason) {
        let line = position(range.start)..position(range.end);
        let error = LineError { line_number: number, reason, at: line.start, line };
        self.out.errors_mut().push(error);
    }
}

struct Decoder<'a> {
    body: &'a [u8],
    options: &'a LineOptions,
    out: &'a mut LineBatch,
    /// Whether the whole body is UTF-8, so that its lines need no check.
    utf8: bool,
    line_number: u32,
    tag_keys: &'a mut TagKeys,
}

/// The fields of a line: where they end, and what they held beside samples.
struct Fields {
    end: usize,
    strings: u32,
    line_ends: u32,
}

impl Decoder<'_> {
    /// The lines from `start` on.
    fn lines(&mut self, start: usize) -> Result<(), DecodeError> {
        let mut pos = start;
        while let Some(start) = self.next_line(pos) {
            let first_sample = self.out.samples();
            pos = match self.line(start, first_sample) {
                Ok(end) => end,
                Err(fault) => {
                    self.out.retract(first_sample);
                    self.reject(start, fault)
                }
            };
            if self.out.samples() > self.options.samples_max {
                return Err(DecodeError::TooManySamples { samples_max: self.options.samples_max });
            }
        }
        Ok(())
    }

    /// Passes over blank lines, leading blanks and comments to the first byte of a line.
    #[inline]
    fn next_line(&mut self, from: usize) -> Option<usize> {
        let mut pos = from;
        loop {
            match self.body.get(pos)? {
                b'\n' => self.line_number = self.line_number.saturating_add(1),
                b' ' | b'\t' => {}
                b'\r' if is_line_end(self.body, pos) => {}
                b'#' => {
                    pos += memchr(b'\n', self.body.get(pos..)?)?;
                    continue;
                }
                _ => return Some(pos),
            }
            pos += 1;
        }
    }

    /// Takes the line at `start`; gives the position of its line end.
    #[inline]
    fn line(&mut self, start: usize, first_sample: usize) -> Result<usize, Fault> {
        // Two bytes more than the limit: a CR, and a byte that shows that the line goes on.
        let limit = start.saturating_add(self.options.line_bytes_max).saturating_add(2);
        let bytes = self.body.get(..limit).unwrap_or(self.body);
        let key = scan_key(bytes, start, self.tag_keys)?;
        let fields = self.fields(bytes, start, key)?;
        let time_start = skip_spaces(bytes, fields.end);
        let (time, end) = self.time(bytes, time_start)?;
        let line = bytes.get(start..end).unwrap_or_default();
        if line.len() > self.options.line_bytes_max {
            return Err(Fault { reason: LineReason::LineTooLong, at: start });
        }
        if !self.utf8 {
            check_utf8(line, start)?;
        }
        let key_span = span(start, key.end);
        let line = Line {
            key: key_span,
            key_hash: XxHash3_128::oneshot_with_seed(self.options.key_seed, key_span.of(bytes)),
            time,
            line_number: self.line_number,
        };
        self.out.accept(line, first_sample, fields.strings);
        self.line_number = self.line_number.saturating_add(fields.line_ends);
        Ok(end)
    }

    #[inline]
    fn fields(&mut self, bytes: &[u8], start: usize, key: ScannedKey) -> Result<Fields, Fault> {
        let measurement = bytes.get(start..key.measurement_end).unwrap_or_default();
        let mut pos = skip_spaces(bytes, key.end);
        if is_line_end(bytes, pos) {
            return Err(Fault { reason: LineReason::MissingFields, at: pos });
        }
        let mut fields = Fields { end: pos, strings: 0, line_ends: 0 };
        loop {
            let name = scan_name::<true>(bytes, pos)?;
            if name.end == pos || bytes.get(name.end) != Some(&b'=') {
                return Err(field_fault(bytes, pos, name.end));
            }
            let field = span(pos, name.end);
            if !metric_name_fits(measurement, field.of(bytes)) {
                return Err(Fault { reason: LineReason::MetricTooLong, at: pos });
            }
            let value_start = name.end + 1;
            let end = match bytes.get(value_start) {
                Some(b'"') => {
                    let string = string_value(bytes, value_start)?;
                    fields.strings += 1;
                    fields.line_ends += string.value;
                    string.end
                }
                _ => {
                    let number = value(bytes, value_start)?;
                    self.out.push_sample(field, number.value);
                    number.end
                }
            };
            match bytes.get(end) {
                Some(b',') => pos = end + 1,
                Some(b' ') => {
                    fields.end = end;
                    return Ok(fields);
                }
                _ if is_line_end(bytes, end) => {
                    fields.end = end;
                    return Ok(fields);
                }
                _ => return Err(Fault { reason: LineReason::InvalidValue, at: end }),
            }
        }
    }

    /// The time that begins at `start`, or the default one, and the position of the line end.
    #[inline]
    fn time(&self, bytes: &[u8], start: usize) -> Result<(EventTime, usize), Fault> {
        if is_line_end(bytes, start) {
            return Ok((self.options.default_time, start));
        }
        let fault = |reason| Fault { reason, at: start };
        let number = signed(bytes, start).ok_or_else(|| fault(LineReason::InvalidTime))?;
        let end = skip_spaces(bytes, number.end);
        if !is_line_end(bytes, end) {
            return Err(fault(LineReason::InvalidTime));
        }
        let time = number.value.and_then(|number| self.options.precision.scale(number));
        let time = time.ok_or_else(|| fault(LineReason::TimeOutOfRange))?;
        match self.options.time_max {
            Some(latest) if time > latest => Err(fault(LineReason::TimeInFuture)),
            _ => Ok((time, end)),
        }
    }

    /// Notes the refused line at `start`; gives the position of its line end.
    #[cold]
    fn reject(&mut self, start: usize, fault: Fault) -> usize {
        let end = refused_line_end(self.body, start);
        let line = self.body.get(start..end).unwrap_or_default();
        let text = line.strip_suffix(b"\r").unwrap_or(line);
        let too_long = text.len() > self.options.line_bytes_max;
        self.out.errors_mut().push(LineError {
            line_number: self.line_number,
            reason: if too_long { LineReason::LineTooLong } else { fault.reason },
            at: position(if too_long { start } else { fault.at }),
            line: position(start)..position(start + text.len()),
        });
        let line_ends = u32::try_from(memchr_iter(b'\n', line).count()).unwrap_or(u32::MAX);
        self.line_number = self.line_number.saturating_add(line_ends);
        end
    }
}

/// A number or a boolean.
#[inline]
fn value(bytes: &[u8], start: usize) -> Result<Parsed<f64>, Fault> {
    match bytes.get(start) {
        Some(b'0'..=b'9' | b'-') => {}
        Some(b't' | b'T' | b'f' | b'F') => return boolean(bytes, start),
        Some(b',' | b' ' | b'\n' | b'\r') | None => {
            return Err(Fault { reason: LineReason::MissingFieldValue, at: start });
        }
        Some(_) => {}
    }
    field_number(bytes, start).map_err(|reason| Fault { reason, at: start })
}

fn boolean(bytes: &[u8], start: usize) -> Result<Parsed<f64>, Fault> {
    const TRUE: [&[u8]; 5] = [b"true", b"True", b"TRUE", b"t", b"T"];
    const FALSE: [&[u8]; 5] = [b"false", b"False", b"FALSE", b"f", b"F"];
    let rest = bytes.get(start..).unwrap_or_default();
    let word = |words: [&'static [u8]; 5]| words.into_iter().find(|word| rest.starts_with(word));
    let found = word(TRUE).map(|word| (word, 1.0)).or_else(|| word(FALSE).map(|word| (word, 0.0)));
    match found {
        Some((word, value)) => Ok(Parsed { value, end: start + word.len() }),
        None => Err(Fault { reason: LineReason::InvalidValue, at: start }),
    }
}

/// Passes over the string whose opening quote is at `start`; the value is the number of line ends in it.
fn string_value(bytes: &[u8], start: usize) -> Result<Parsed<u32>, Fault> {
    let mut pos = start + 1;
    loop {
        let rest = bytes.get(pos..).unwrap_or_default();
        match memchr2(b'"', b'\\', rest) {
            None => return Err(Fault { reason: LineReason::UnclosedString, at: start }),
            Some(offset) if rest.get(offset) == Some(&b'"') => {
                let end = pos + offset;
                let text = bytes.get(start..end).unwrap_or_default();
                let line_ends = memchr_iter(b'\n', text).count();
                let line_ends = u32::try_from(line_ends).unwrap_or(u32::MAX);
                return Ok(Parsed { value: line_ends, end: end + 1 });
            }
            Some(offset) => pos += offset + 2,
        }
    }
}

/// Where the refused line at `start` ends: at the first line end outside quotes.
///
/// A quote opens only after a field's `=`, told as InfluxDB does: after the first space, with more `=` than commas.
fn refused_line_end(body: &[u8], start: usize) -> usize {
    let rest = body.get(start..).unwrap_or_default();
    let mut in_fields = false;
    let mut in_string = false;
    let mut values_open = 0_i64;
    let mut bytes = rest.iter().copied().enumerate();
    while let Some((offset, byte)) = bytes.next() {
        match byte {
            b'\n' if !in_string => return start + offset,
            b'\\' if in_string || rest.get(offset + 1) != Some(&b'\n') => {
                bytes.next();
            }
            b' ' => in_fields = true,
            b'"' if in_fields && values_open > 0 => in_string = !in_string,
            b'=' if in_fields && !in_string => values_open += 1,
            b',' if in_fields && !in_string => values_open -= 1,
            _ => {}
        }
    }
    body.len()
}

#[cold]
fn field_fault(bytes: &[u8], start: usize, end: usize) -> Fault {
    let empty = end == start && bytes.get(end) == Some(&b'=');
    let reason = if empty { LineReason::EmptyFieldKey } else { LineReason::MissingFieldValue };
    Fault { reason, at: start }
}

#[cold]
fn check_utf8(line: &[u8], start: usize) -> Result<(), Fault> {
    match std::str::from_utf8(line) {
        Ok(_) => Ok(()),
        Err(error) => Err(Fault { reason: LineReason::NotUtf8, at: start + error.valid_up_to() }),
    }
}

#[inline]
fn skip_spaces(bytes: &[u8], start: usize) -> usize {
    let mut pos = start;
    while bytes.get(pos) == Some(&b' ') {
        pos += 1;
    }
    pos
}

#[inline]
fn span(start: usize, end: usize) -> Span {
    Span { start: position(start), len: position(end - start) }
}

#[inline]
fn position(position: usize) -> u32 {
    u32::try_from(position).expect("a body is checked to be shorter than 4 GiB")
}

#[cfg(test)]
#[path = "line_protocol_tests.rs"]
mod tests;
