//! The key of a line: `measurement,tag=value,…`, as sent and as meant.
//!
//! A backslash takes the meaning from a following comma, space or backslash, and in tags and field keys
//! from `=`; before any other byte it stands for itself. `=` needs no escape in a measurement or a tag value.
#![deny(clippy::indexing_slicing)]

use std::borrow::Cow;

use tidewatch_metrics::limits::{
    DATABASE_BYTES_MAX, LABEL_KEY_BYTES_MAX, LABEL_VALUE_BYTES_MAX, METRIC_BYTES_MAX,
    SERIES_KEY_BYTES_MAX, SERIES_LABELS_MAX,
};
use tidewatch_metrics::series::VALUE_FIELD;

use crate::decode::line_errors::LineReason;
use crate::decode::scan::{load8, name_end};

/// What the canonical form adds to each label, and to the whole with the longest names.
const LABEL_FRAME_BYTES: usize = 4;
const SERIES_FRAME_BYTES: usize = 6 + DATABASE_BYTES_MAX + METRIC_BYTES_MAX;

/// A line's key with its escapes taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedKey {
    /// The measurement.
    pub measurement: String,
    /// The tags, sorted by key; keys are unique.
    pub labels: Vec<(String, String)>,
}

/// The names in a key of `LineBatch::keys`. Allocates: meant for once per series.
///
/// # Errors
/// The reason why the bytes are no key; never for a key of a batch. `MissingFields` where the key ends
/// before the bytes do.
pub fn series_labels(raw_key: &[u8]) -> Result<ParsedKey, LineReason> {
    let scanned = scan_key(raw_key, 0, &mut TagKeys::new()).map_err(|fault| fault.reason)?;
    if scanned.end != raw_key.len() {
        return Err(LineReason::MissingFields);
    }
    let text = |raw: &[u8], escapes: Escapes| {
        String::from_utf8(unescape(raw, escapes).into_owned()).or(Err(LineReason::NotUtf8))
    };
    let measurement = raw_key.get(..scanned.measurement_end).unwrap_or_default();
    let measurement = text(measurement, Escapes::Measurement)?;
    let mut labels = Tags::new(raw_key, scanned.measurement_end)
        .map(|tag| Ok((text(tag.key, Escapes::Name)?, text(tag.value, Escapes::Name)?)))
        .collect::<Result<Vec<_>, LineReason>>()?;
    labels.sort_unstable();
    Ok(ParsedKey { measurement, labels })
}

/// A field's key of `LineBatch::fields` with its escapes taken out; allocates only if there are any.
///
/// Bytes that are not UTF-8, which no batch has, are replaced.
#[must_use]
pub fn unescape_field(raw: &[u8]) -> Cow<'_, str> {
    match unescape(raw, Escapes::Name) {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// Why a line is refused, and where that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) reason: LineReason,
    pub(crate) at: usize,
}

/// Where a key's parts end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScannedKey {
    pub(crate) measurement_end: usize,
    /// The position of the space before the fields; the end of the line if there is none.
    pub(crate) end: usize,
}

/// The tag keys of the line being read: kept from line to line only to spare their clearing.
#[derive(Clone, Debug)]
pub(crate) struct TagKeys {
    /// Per tag: the first eight bytes of its key, the first one highest, short keys filled up with zeros.
    prefixes: [u64; SERIES_LABELS_MAX],
    starts: [usize; SERIES_LABELS_MAX],
    ends: [usize; SERIES_LABELS_MAX],
}

impl TagKeys {
    pub(crate) const fn new() -> Self {
        Self {
            prefixes: [0; SERIES_LABELS_MAX],
            starts: [0; SERIES_LABELS_MAX],
            ends: [0; SERIES_LABELS_MAX],
        }
    }

    /// Notes the `index`-th key; `None` if there is no room for it.
    #[inline]
    fn set(&mut self, index: usize, prefix: u64, start: usize, end: usize) -> Option<()> {
        *self.prefixes.get_mut(index)? = prefix;
        *self.starts.get_mut(index)? = start;
        *self.ends.get_mut(index)? = end;
        Some(())
    }

    fn key<'a>(&self, bytes: &'a [u8], index: usize) -> Option<&'a [u8]> {
        bytes.get(*self.starts.get(index)?..*self.ends.get(index)?)
    }

    /// Whether the `index`-th key is greater than the one before it.
    fn grows(&self, bytes: &[u8], index: usize) -> bool {
        index.checked_sub(1).is_none_or(|before| self.key(bytes, before) < self.key(bytes, index))
    }

    /// Where a key stands that was there before, among the first `count`. Eight bytes settle nearly all pairs.
    fn repeated(&self, bytes: &[u8], count: usize, escaped: bool) -> Option<usize> {
        let prefixes = self.prefixes.get(..count)?;
        for (index, prefix) in prefixes.iter().enumerate() {
            let before = prefixes.get(..index)?;
            if !escaped && !before.contains(prefix) {
                continue;
            }
            let key = self.key(bytes, index)?;
            let mut others = before.iter().enumerate();
            let same = |(other, other_prefix): (usize, &u64)| {
                let other = self.key(bytes, other).unwrap_or_default();
                (prefix == other_prefix && key == other) || (escaped && same_name(key, other))
            };
            if others.any(same) {
                return self.starts.get(index).copied();
            }
        }
        None
    }
}

/// Checks the key that begins at `start`, with all limits.
#[inline]
pub(crate) fn scan_key(
    bytes: &[u8],
    start: usize,
    keys: &mut TagKeys,
) -> Result<ScannedKey, Fault> {
    let measurement = scan_name::<false>(bytes, start)?;
    if measurement.end == start {
        return Err(Fault { reason: LineReason::EmptyMeasurement, at: start });
    }
    let mut pos = measurement.end;
    let mut tags = 0_usize;
    // Growing keys are sorted and unique, as most clients send them.
    let mut growing = true;
    let mut escaped = false;
    let mut last_prefix = 0;
    while bytes.get(pos) == Some(&b',') {
        let key_start = pos + 1;
        let key = scan_name::<true>(bytes, key_start)?;
        if key.end == key_start || bytes.get(key.end) != Some(&b'=') {
            return Err(tag_fault(bytes, key_start, key.end));
        }
        let value_start = key.end + 1;
        let value = scan_name::<false>(bytes, value_start)?;
        if value.end == value_start {
            return Err(Fault { reason: LineReason::EmptyTagValue, at: value_start });
        }
        if key.end - key_start > LABEL_KEY_BYTES_MAX
            || value.end - value_start > LABEL_VALUE_BYTES_MAX
        {
            check_tag_lengths(bytes, key_start, key.end, value.end)?;
        }
        let prefix = prefix(bytes, key_start, key.end);
        let noted = keys.set(tags, prefix, key_start, key.end);
        noted.ok_or(Fault { reason: LineReason::TooManyTags, at: key_start })?;
        growing &= prefix > last_prefix || (prefix == last_prefix && keys.grows(bytes, tags));
        escaped |= key.escaped;
        last_prefix = prefix;
        tags += 1;
        pos = value.end;
    }
    if pos - start + tags * LABEL_FRAME_BYTES + SERIES_FRAME_BYTES > SERIES_KEY_BYTES_MAX {
        return Err(Fault { reason: LineReason::SeriesTooLong, at: start });
    }
    if (!growing || escaped)
        && let Some(at) = keys.repeated(bytes, tags, escaped)
    {
        return Err(Fault { reason: LineReason::DuplicateTag, at });
    }
    Ok(ScannedKey { measurement_end: measurement.end, end: pos })
}

/// Whether the metric of this measurement and field has a name within the limit.
#[inline]
pub(crate) fn metric_name_fits(measurement: &[u8], field: &[u8]) -> bool {
    measurement.len() + 1 + field.len() <= METRIC_BYTES_MAX
        || unescaped_metric_name_fits(measurement, field)
}

#[cold]
fn unescaped_metric_name_fits(measurement: &[u8], field: &[u8]) -> bool {
    let measurement = unescape(measurement, Escapes::Measurement);
    let field = unescape(field, Escapes::Name);
    let suffix = if *field == *VALUE_FIELD.as_bytes() { 0 } else { 1 + field.len() };
    measurement.len() + suffix <= METRIC_BYTES_MAX
}

/// The end of one name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    pub(crate) end: usize,
    pub(crate) escaped: bool,
}

/// Passes over one name, which ends at a comma, a space, the line's end and, if `EQUALS`, at `=`.
#[inline]
pub(crate) fn scan_name<const EQUALS: bool>(bytes: &[u8], start: usize) -> Result<Name, Fault> {
    let end = name_end::<EQUALS>(bytes, start);
    match bytes.get(end) {
        Some(b' ' | b',' | b'=') | None => Ok(Name { end, escaped: false }),
        _ => scan_escaped_name::<EQUALS>(bytes, start, end),
    }
}

#[cold]
fn scan_escaped_name<const EQUALS: bool>(
    bytes: &[u8],
    start: usize,
    first_stop: usize,
) -> Result<Name, Fault> {
    let mut end = first_stop;
    let mut escaped = false;
    while bytes.get(end) == Some(&b'\\') {
        escaped = true;
        match bytes.get(end + 1) {
            Some(byte) if !byte.is_ascii_control() => end = name_end::<EQUALS>(bytes, end + 2),
            Some(_) if !is_line_end(bytes, end + 1) => {
                return Err(Fault { reason: LineReason::ControlByte, at: end + 1 });
            }
            _ => return Err(Fault { reason: LineReason::TrailingBackslash, at: end }),
        }
    }
    let last = end.checked_sub(1).filter(|last| *last >= start).and_then(|last| bytes.get(last));
    if last == Some(&b'\\') {
        return Err(Fault { reason: LineReason::TrailingBackslash, at: end - 1 });
    }
    let stop = bytes.get(end).copied().unwrap_or(b' ');
    if stop.is_ascii_control() && !is_line_end(bytes, end) {
        return Err(Fault { reason: LineReason::ControlByte, at: end });
    }
    Ok(Name { end, escaped })
}

/// Whether the line ends at `pos`: at LF, CR LF, or the end of the bytes, CR before it included.
#[inline]
pub(crate) fn is_line_end(bytes: &[u8], pos: usize) -> bool {
    match bytes.get(pos) {
        None | Some(b'\n') => true,
        Some(b'\r') => matches!(bytes.get(pos + 1), None | Some(b'\n')),
        Some(_) => false,
    }
}

#[cold]
fn tag_fault(bytes: &[u8], start: usize, end: usize) -> Fault {
    let empty = end == start && bytes.get(end) == Some(&b'=');
    let reason = if empty { LineReason::EmptyTagKey } else { LineReason::MissingTagValue };
    Fault { reason, at: start }
}

#[cold]
fn check_tag_lengths(
    bytes: &[u8],
    start: usize,
    key_end: usize,
    value_end: usize,
) -> Result<(), Fault> {
    let bytes_meant =
        |from, to| unescape(bytes.get(from..to).unwrap_or_default(), Escapes::Name).len();
    if bytes_meant(start, key_end) > LABEL_KEY_BYTES_MAX {
        return Err(Fault { reason: LineReason::TagKeyTooLong, at: start });
    }
    if bytes_meant(key_end + 1, value_end) > LABEL_VALUE_BYTES_MAX {
        return Err(Fault { reason: LineReason::TagValueTooLong, at: key_end + 1 });
    }
    Ok(())
}

/// The first eight bytes of a name as a number, see [`TagKeys`].
#[inline]
fn prefix(bytes: &[u8], start: usize, end: usize) -> u64 {
    let len = end - start;
    match load8(bytes, start) {
        Some(chunk) if len >= 8 => chunk.swap_bytes(),
        Some(chunk) => (chunk & ((1 << (8 * len)) - 1)).swap_bytes(),
        None => {
            let name = bytes.get(start..end).unwrap_or_default();
            let filled = name.iter().copied().chain(std::iter::repeat(0)).take(8);
            filled.fold(0, |prefix, byte| (prefix << 8) | u64::from(byte))
        }
    }
}

/// Whether two names mean the same, whatever their escapes.
fn same_name(one: &[u8], other: &[u8]) -> bool {
    unescape(one, Escapes::Name) == unescape(other, Escapes::Name)
}

/// One tag as sent.
#[derive(Clone, Copy, Debug)]
struct Tag<'a> {
    key: &'a [u8],
    value: &'a [u8],
}

/// The tags of a key that `scan_key` has accepted.
struct Tags<'a> {
    key: &'a [u8],
    pos: usize,
}

impl<'a> Tags<'a> {
    fn new(key: &'a [u8], measurement_end: usize) -> Self {
        Self { key, pos: measurement_end }
    }
}

impl<'a> Iterator for Tags<'a> {
    type Item = Tag<'a>;

    fn next(&mut self) -> Option<Tag<'a>> {
        let start = self.pos + 1;
        let key_end = scan_name::<true>(self.key, start).ok()?.end;
        let value_end = scan_name::<false>(self.key, key_end + 1).ok()?.end;
        self.pos = value_end;
        Some(Tag {
            key: self.key.get(start..key_end)?,
            value: self.key.get(key_end + 1..value_end)?,
        })
    }
}

/// Which bytes a backslash escapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escapes {
    /// Comma, space and backslash.
    Measurement,
    /// These and `=`: tag keys, tag values, field keys.
    Name,
}

fn unescape(raw: &[u8], escapes: Escapes) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', raw).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        // Either the escaped byte alone, or the backslash with the byte that it does not escape.
        if let Some((&next, tail)) = tail.split_first() {
            let special =
                matches!(next, b',' | b' ' | b'\\') || (next == b'=' && escapes == Escapes::Name);
            if !special {
                out.push(byte);
            }
            out.push(next);
            rest = tail;
        } else {
            out.push(byte);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
#[path = "line_key_tests.rs"]
mod tests;
