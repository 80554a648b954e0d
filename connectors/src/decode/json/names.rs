//! The names of a JSON sample, read once per series.
#![deny(clippy::indexing_slicing)]

use tidewatch_metrics::limits::SERIES_LABELS_MAX;

use crate::decode::item_errors::ItemReason;
use crate::decode::json::grammar::{Step, Syntax, Walk, escape, text};
use crate::decode::series_batch::SeriesNames;

/// Luminate's own limits, in bytes and numbers.
const STRICT_NAME_BYTES_MAX: usize = 256;
const STRICT_KEY_BYTES_MAX: usize = 128;
const STRICT_VALUE_BYTES_MAX: usize = 256;
const STRICT_LABELS_MAX: usize = 20;
const STRICT_RESERVED: [&str; 2] = ["_tenant_id", "_internal"];

/// The names that a raw name and a raw object of labels, which may be empty, stand for.
pub(crate) fn names(
    raw_name: &[u8],
    raw_labels: &[u8],
    strict: bool,
) -> Result<SeriesNames, ItemReason> {
    let broken = |_: Syntax| ItemReason::BadJson;
    let metric = unescape(raw_name).map_err(broken)?;
    let mut labels = Vec::new();
    let mut walk = Walk::new(0);
    while !raw_labels.is_empty() {
        match walk.member(raw_labels).map_err(broken)? {
            Step::End(_) => break,
            Step::Value((key, value)) => {
                let value = text(raw_labels, value).map_err(broken)?;
                walk.go_on(value.end + 1);
                let key = unescape(key.of(raw_labels)).map_err(broken)?;
                labels.push((key, unescape(value.of(raw_labels)).map_err(broken)?));
                // Empty ones do not count; far more than these nobody sends.
                if labels.len() > 2 * SERIES_LABELS_MAX {
                    return Err(ItemReason::TooManyLabels);
                }
            }
        }
    }
    let names = SeriesNames { metric, labels };
    names.check()?;
    if strict {
        check_strict(&names)?;
    }
    Ok(names)
}

/// A raw name as people read it, at most `chars_max` characters of it.
pub(crate) fn metric_of(raw_name: &[u8], chars_max: usize) -> String {
    unescape(raw_name).unwrap_or_default().chars().take(chars_max).collect()
}

/// The text that stands between quotes, with its escapes taken out.
pub(crate) fn unescape(raw: &[u8]) -> Result<String, Syntax> {
    let mut out = String::with_capacity(raw.len());
    let mut pos = 0;
    while let Some(rest) = raw.get(pos..).filter(|rest| !rest.is_empty()) {
        let plain = memchr::memchr(b'\\', rest).unwrap_or(rest.len());
        let (plain, escapes) = rest.split_at_checked(plain).unwrap_or((rest, &[]));
        out.push_str(
            std::str::from_utf8(plain).map_err(|error| Syntax { at: error.valid_up_to() })?,
        );
        pos += plain.len();
        if !escapes.is_empty() {
            let (character, end) = escape(raw, pos)?;
            out.push(character);
            pos = end;
        }
    }
    Ok(out)
}

impl SeriesNames {
    /// What all protocols ask of names, beside the limits of the data model.
    pub(crate) fn check(&self) -> Result<(), ItemReason> {
        if self.metric.is_empty() {
            return Err(ItemReason::MissingName);
        }
        let keys = self.labels.iter().map(|(key, _)| key);
        if std::iter::once(&self.metric).chain(keys).any(|name| name.chars().any(char::is_control))
        {
            return Err(ItemReason::ControlByte);
        }
        Ok(())
    }
}

fn check_strict(names: &SeriesNames) -> Result<(), ItemReason> {
    if !is_word(&names.metric, STRICT_NAME_BYTES_MAX) {
        return Err(ItemReason::StrictName);
    }
    if names.labels.len() > STRICT_LABELS_MAX {
        return Err(ItemReason::StrictLabels);
    }
    for (key, value) in &names.labels {
        if STRICT_RESERVED.contains(&key.as_str()) {
            return Err(ItemReason::StrictReservedKey);
        }
        if !is_word(key, STRICT_KEY_BYTES_MAX) {
            return Err(ItemReason::StrictKey);
        }
        let has_length = (1..=STRICT_VALUE_BYTES_MAX).contains(&value.len());
        if !has_length || value.bytes().any(|byte| byte < 0x20 && !b"\t\n\r".contains(&byte)) {
            return Err(ItemReason::StrictValue);
        }
    }
    Ok(())
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`
fn is_word(text: &str, bytes_max: usize) -> bool {
    let begins = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    let goes_on = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    begins && goes_on && text.len() <= bytes_max
}
