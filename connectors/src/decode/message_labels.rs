//! Labels that a message has beside those of its samples: from its headers.
//!
//! ```text
//! labels = text text …          text = length in decimal digits, ':', bytes
//! ```
//!
//! Keys and values by turns. All but the values is ASCII or text, so that good values leave a batch UTF-8.
#![deny(clippy::indexing_slicing)]

use std::io::Write as _;

use crate::decode::item_errors::ItemReason;
use crate::decode::series_batch::SeriesNames;

/// Labels of one message, put together; reused from message to message.
#[derive(Clone, Debug, Default)]
pub struct MessageLabels {
    bytes: Vec<u8>,
}

impl MessageLabels {
    /// Adds a label. An empty value does not count.
    pub fn push(&mut self, key: &str, value: &[u8]) {
        if value.is_empty() {
            return;
        }
        for text in [key.as_bytes(), value] {
            write!(self.bytes, "{}:", text.len()).expect("a vector takes all bytes");
            self.bytes.extend_from_slice(text);
        }
    }

    /// Removes all of them.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Adds the labels that are put together in `bytes` to those of a sample, which win.
pub(crate) fn add_labels(mut bytes: &[u8], names: &mut SeriesNames) -> Result<(), ItemReason> {
    let own = names.labels.len();
    while let Some((key, rest)) = split_text(bytes) {
        let Some((value, rest)) = split_text(rest) else { break };
        bytes = rest;
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_error| ItemReason::HeaderNotUtf8);
        names.push_weaker(own, (text(key)?.to_owned(), text(value)?.to_owned()));
    }
    Ok(())
}

/// The first text, and what is behind it.
fn split_text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', bytes)?;
    let (length, rest) = bytes.split_at_checked(colon)?;
    let length = std::str::from_utf8(length).ok()?.parse().ok()?;
    rest.get(1..)?.split_at_checked(length)
}
