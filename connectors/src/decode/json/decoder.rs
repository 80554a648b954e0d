//! Walks a body's samples: one pass, no allocation per sample.
#![deny(clippy::indexing_slicing)]

use std::ops::Range;

use memchr::memchr;
use tidewatch_metrics::EventTime;
use twox_hash::XxHash3_128;

use crate::decode::item_errors::ItemReason;
use crate::decode::json::grammar::{
    Step, Syntax, Text, Walk, number_end, skip_space, skip_value, text,
};
use crate::decode::json::names::{metric_of, unescape};
use crate::decode::json::scalar::{time_of_number, time_of_text, value};
use crate::decode::json::shape::{Fitting, Shape};
use crate::decode::line_batch::Span;
use crate::decode::precision::Precision;
use crate::decode::series_batch::{ItemKey, SeriesBatch, SeriesError, SeriesForm, SeriesOptions};

/// Names and labels are hashed apart; this keeps one from standing for the other.
const LABELS_SALT: u64 = 0x9e37_79b9_7f4a_7c15;
/// Objects and arrays around a sample of a batch.
const BATCH_DEPTH: usize = 2;

/// The members of a sample that count, as their form names them.
#[derive(Debug)]
pub(super) struct Members {
    pub(super) name: &'static [u8],
    pub(super) time: &'static [u8],
    pub(super) value: &'static [u8],
    pub(super) labels: &'static [u8],
}

pub(super) const LUMINATE: Members =
    Members { name: b"name", time: b"timestamp", value: b"value", labels: b"dimensions" };
pub(super) const LINES: Members =
    Members { name: b"metric", time: b"time", value: b"value", labels: b"labels" };

/// A sample as it stands in the body.
pub(super) struct Sample {
    pub(super) name: Result<Span, ItemReason>,
    time: Result<EventTime, ItemReason>,
    value: Result<f64, ItemReason>,
    /// The object, or nothing.
    labels: Result<Span, ItemReason>,
}

/// A body of [`SeriesForm::Luminate`].
pub(crate) fn decode_luminate(
    body: &[u8],
    options: &SeriesOptions,
    out: &mut SeriesBatch,
) -> Result<(), SeriesError> {
    let mut received = 0;
    let mut shape = Shape::default();
    each_of_batch(body, &mut |pos| {
        if received >= options.samples_max {
            received += 1;
            return skip_value(body, pos, BATCH_DEPTH);
        }
        let (sample, end) = shaped_sample(body, pos, BATCH_DEPTH, &LUMINATE, &mut shape)?;
        let number = u32::try_from(received).expect("a sample takes bytes of the body");
        take(body, number, sample, options, out);
        received += 1;
        Ok(end)
    })?;
    check_count(received, options)
}

/// A body of [`SeriesForm::JsonLines`].
pub(crate) fn decode_lines(
    body: &[u8],
    options: &SeriesOptions,
    out: &mut SeriesBatch,
) -> Result<(), SeriesError> {
    let is_utf8 = std::str::from_utf8(body).is_ok();
    let mut received = 0;
    let mut shape = Shape::default();
    each_line(body, &mut |number, pos, line| {
        received += 1;
        if received > options.samples_max {
            return;
        }
        let rest = line.get(pos..).unwrap_or_default();
        let sample = if is_utf8 || std::str::from_utf8(rest).is_ok() {
            let sample = shaped_sample(line, pos, 0, &LINES, &mut shape);
            whole_line(line, sample).unwrap_or(Err(ItemReason::BadJson))
        } else {
            Err(ItemReason::NotUtf8)
        };
        take(body, number, sample, options, out);
    });
    check_count(received, options)
}

/// The names of samples by their numbers in the body, which grow; what has no readable name gives an empty one.
///
/// For answers that name refused samples. Names are cut to `chars_max` characters.
#[must_use]
pub fn metrics_of(form: SeriesForm, body: &[u8], numbers: &[u32], chars_max: usize) -> Vec<String> {
    let mut names = Vec::with_capacity(numbers.len());
    let mut wanted = numbers.iter().copied().peekable();
    let name = |sample: Result<Sample, ItemReason>| {
        let name = sample.and_then(|sample| sample.name);
        name.map(|name| metric_of(name.of(body), chars_max)).unwrap_or_default()
    };
    if form == SeriesForm::JsonLines {
        each_line(body, &mut |number, pos, line| {
            if wanted.next_if_eq(&number).is_some() {
                let sample = whole_line(line, sample(line, pos, 0, &LINES));
                names.push(name(sample.unwrap_or(Err(ItemReason::BadJson))));
            }
        });
    } else {
        let mut number = 0;
        let walked = each_of_batch(body, &mut |pos| {
            let is_wanted = wanted.next_if_eq(&number).is_some();
            number = number.saturating_add(1);
            if !is_wanted {
                return skip_value(body, pos, BATCH_DEPTH);
            }
            let (sample, end) = sample(body, pos, BATCH_DEPTH, &LUMINATE)?;
            names.push(name(sample));
            Ok(end)
        });
        // A body that was decoded before is good; of any other what was found is given.
        walked.ok();
    }
    names.resize(numbers.len(), String::new());
    names
}

/// Where the samples of a batch stand in `body`, whatever they hold.
///
/// # Errors
/// If the body is no batch.
pub fn samples_of(body: &[u8]) -> Result<Vec<Range<usize>>, SeriesError> {
    let mut samples = Vec::new();
    each_of_batch(body, &mut |pos| {
        let end = skip_value(body, pos, BATCH_DEPTH)?;
        samples.push(pos..end);
        Ok(end)
    })?;
    Ok(samples)
}

fn check_count(received: usize, options: &SeriesOptions) -> Result<(), SeriesError> {
    match received {
        0 => Err(SeriesError::Empty),
        _ if received > options.samples_max => {
            Err(SeriesError::TooManySamples { samples_max: options.samples_max, received })
        }
        _ => Ok(()),
    }
}

/// Walks `{"metrics":[…]}`; `each` is given the position of an element and gives the one behind it.
fn each_of_batch(
    body: &[u8],
    each: &mut dyn FnMut(usize) -> Result<usize, Syntax>,
) -> Result<(), SeriesError> {
    if let Err(error) = std::str::from_utf8(body) {
        return Err(SeriesError::Json { at: error.valid_up_to() });
    }
    each_of_batch_at(body, skip_space(body, 0), each)
}

/// The same for a batch that begins at `start` and ends with `body`, which is UTF-8.
pub(super) fn each_of_batch_at(
    body: &[u8],
    start: usize,
    each: &mut dyn FnMut(usize) -> Result<usize, Syntax>,
) -> Result<(), SeriesError> {
    let bad = |syntax: Syntax| SeriesError::Json { at: syntax.at };
    if body.get(start) != Some(&b'{') {
        let end = skip_value(body, start, 0).map_err(bad)?;
        at_end(body, end)?;
        return Err(SeriesError::NoMetrics);
    }
    let mut root = Walk::new(start);
    let (mut is_there, mut is_twice, mut is_other) = (false, false, false);
    loop {
        match root.member(body).map_err(bad)? {
            Step::End(end) => {
                at_end(body, end)?;
                return match (is_there && !is_other, is_twice) {
                    (_, true) => Err(SeriesError::MetricsTwice),
                    (true, false) => Ok(()),
                    (false, false) => Err(SeriesError::NoMetrics),
                };
            }
            Step::Value((name, value)) => {
                let is_metrics = is_named(name, body, b"metrics");
                is_twice |= is_metrics && is_there;
                is_there |= is_metrics;
                let is_array = body.get(value) == Some(&b'[');
                is_other |= is_metrics && !is_array;
                let end = if is_metrics && is_array && !is_twice {
                    elements(body, value, each)
                } else {
                    skip_value(body, value, 1)
                };
                root.go_on(end.map_err(bad)?);
            }
        }
    }
}

pub(super) fn elements(
    body: &[u8],
    bracket: usize,
    each: &mut dyn FnMut(usize) -> Result<usize, Syntax>,
) -> Result<usize, Syntax> {
    let mut walk = Walk::new(bracket);
    loop {
        match walk.element(body)? {
            Step::End(end) => return Ok(end),
            Step::Value(pos) => walk.go_on(each(pos)?),
        }
    }
}

fn at_end(body: &[u8], end: usize) -> Result<(), SeriesError> {
    let end = skip_space(body, end);
    if end == body.len() { Ok(()) } else { Err(SeriesError::Json { at: end }) }
}

/// Walks the lines that are not blank; `each` is given a line's number from 0, the position of its first byte
/// that is no white space, and the body up to the line's end.
fn each_line(body: &[u8], each: &mut dyn FnMut(u32, usize, &[u8])) {
    let (mut start, mut number) = (0, 0);
    while let Some(rest) = body.get(start..).filter(|rest| !rest.is_empty()) {
        let end = start + memchr(b'\n', rest).unwrap_or(rest.len());
        let line = body.get(..end).unwrap_or_default();
        let first = skip_space(line, start);
        if first < end {
            each(number, first, line);
        }
        number = number.saturating_add(1);
        start = end + 1;
    }
}

/// The sample with which `line` must end.
pub(super) fn whole_line(
    line: &[u8],
    sample: Found<Sample>,
) -> Result<Result<Sample, ItemReason>, Syntax> {
    let (sample, end) = sample?;
    let end = skip_space(line, end);
    if end == line.len() { Ok(sample) } else { Err(Syntax { at: end }) }
}

/// As [`sample`], and quicker where the sample looks as others of the body, or of the messages.
#[inline]
pub(super) fn shaped_sample(
    bytes: &[u8],
    pos: usize,
    depth: usize,
    members: &Members,
    shape: &mut Shape,
) -> Found<Sample> {
    if let Some(fitting) = shape.fit(bytes, pos, depth) {
        let Fitting { name, time, value, labels, end, is_whole } = fitting;
        if !is_whole {
            shape.miss(bytes, pos, members);
        }
        let sample =
            Sample { name: Ok(name), time: Ok(time), value: Ok(value), labels: Ok(labels) };
        return Ok((Ok(sample), end));
    }
    let (sample, end) = sample(bytes, pos, depth, members)?;
    if sample.is_ok() {
        shape.miss(bytes, pos, members);
    }
    Ok((sample, end))
}

/// The sample at `pos` and the position behind it.
#[inline]
fn sample(bytes: &[u8], pos: usize, depth: usize, members: &Members) -> Found<Sample> {
    if bytes.get(pos) != Some(&b'{') {
        return Ok((Err(ItemReason::NotAnObject), skip_value(bytes, pos, depth)?));
    }
    let mut found = Sample {
        name: Err(ItemReason::MissingName),
        time: Err(ItemReason::MissingTime),
        value: Err(ItemReason::MissingValue),
        labels: Ok(Span::default()),
    };
    let mut walk = Walk::new(pos);
    loop {
        let (member, at) = match walk.member(bytes)? {
            Step::End(end) => return Ok((Ok(found), end)),
            Step::Value(member) => member,
        };
        let end = if is_named(member, bytes, members.name) {
            let (name, end) = name(bytes, at, depth + 1)?;
            found.name = name;
            end
        } else if is_named(member, bytes, members.time) {
            let (time, end) = time(bytes, at, depth + 1, Precision::Auto)?;
            found.time = time;
            end
        } else if is_named(member, bytes, members.value) {
            let (number, end) = value(bytes, at, depth + 1)?;
            found.value = number;
            end
        } else if is_named(member, bytes, members.labels) {
            let (labels, end) = labels(bytes, at, depth + 1)?;
            found.labels = labels;
            end
        } else {
            skip_value(bytes, at, depth + 1)?
        };
        walk.go_on(end);
    }
}

#[inline]
pub(crate) fn is_named(member: Text, bytes: &[u8], name: &[u8]) -> bool {
    let raw = member.of(bytes);
    raw == name || (member.has_escapes && unescape(raw).is_ok_and(|text| text.as_bytes() == name))
}

/// What a member's value says, and the position behind it.
pub(super) type Found<T> = Result<(Result<T, ItemReason>, usize), Syntax>;

#[inline]
pub(super) fn name(bytes: &[u8], at: usize, depth: usize) -> Found<Span> {
    match bytes.get(at) {
        Some(b'"') => {
            let text = text(bytes, at)?;
            let is_empty = text.start == text.end;
            let found = if is_empty {
                Err(ItemReason::MissingName)
            } else {
                Ok(Span::between(text.start, text.end))
            };
            Ok((found, text.end + 1))
        }
        Some(b'n') => Ok((Err(ItemReason::MissingName), skip_value(bytes, at, depth)?)),
        _ => Ok((Err(ItemReason::NameNotText), skip_value(bytes, at, depth)?)),
    }
}

#[inline]
pub(super) fn time(bytes: &[u8], at: usize, depth: usize, unit: Precision) -> Found<EventTime> {
    match bytes.get(at) {
        Some(b'"') => {
            let text = text(bytes, at)?;
            let time = if text.has_escapes {
                unescape(text.of(bytes)).ok().map(|text| time_of_text(text.as_bytes()))
            } else {
                Some(time_of_text(text.of(bytes)))
            };
            Ok((time.unwrap_or(Err(ItemReason::InvalidTime)), text.end + 1))
        }
        Some(b'0'..=b'9' | b'-') => {
            let end = number_end(bytes, at)?;
            Ok((time_of_number(bytes, at, end, unit), end))
        }
        Some(b'n') => Ok((Err(ItemReason::MissingTime), skip_value(bytes, at, depth)?)),
        _ => Ok((Err(ItemReason::InvalidTime), skip_value(bytes, at, depth)?)),
    }
}

#[inline]
pub(super) fn labels(bytes: &[u8], at: usize, depth: usize) -> Found<Span> {
    match bytes.get(at) {
        Some(b'{') => {}
        Some(b'n') => return Ok((Ok(Span::default()), skip_value(bytes, at, depth)?)),
        _ => return Ok((Err(ItemReason::LabelsNotObject), skip_value(bytes, at, depth)?)),
    }
    let mut walk = Walk::new(at);
    let mut are_texts = true;
    loop {
        match walk.member(bytes)? {
            Step::End(end) if are_texts => return Ok((Ok(Span::between(at, end)), end)),
            Step::End(end) => return Ok((Err(ItemReason::LabelNotText), end)),
            Step::Value((_, value)) if bytes.get(value) == Some(&b'"') => {
                walk.go_on(text(bytes, value)?.end + 1);
            }
            Step::Value((_, value)) => {
                are_texts = false;
                walk.go_on(skip_value(bytes, value, depth + 1)?);
            }
        }
    }
}

/// Adds the sample to the batch, or notes why it is refused.
#[inline]
pub(super) fn take(
    body: &[u8],
    number: u32,
    sample: Result<Sample, ItemReason>,
    options: &SeriesOptions,
    out: &mut SeriesBatch,
) {
    let checked = sample.and_then(|sample| {
        let (name, time) = (sample.name?, sample.time?);
        options.check_time(time)?;
        Ok((ItemKey { name, labels: sample.labels?, ..ItemKey::default() }, time, sample.value?))
    });
    match checked {
        Ok((key, time, value)) => {
            let seed = options.key_seed;
            // A product with an odd number and a difference lose nothing of either hash.
            let name = XxHash3_128::oneshot_with_seed(seed, key.name.of(body));
            let labels = XxHash3_128::oneshot_with_seed(seed ^ LABELS_SALT, key.labels.of(body));
            let first_row = out.rows();
            out.push_row(time, value);
            out.push_item(
                number,
                key,
                name.wrapping_mul(u128::from(LABELS_SALT)) ^ labels,
                first_row,
            );
        }
        Err(reason) => out.errors_mut().push(number, reason, 1),
    }
}
