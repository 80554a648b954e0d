//! A message of a partition: one sample, an array of samples, or Luminate's batch.
#![deny(clippy::indexing_slicing)]

use crate::decode::item_errors::ItemReason;
use crate::decode::json::decoder::{
    LINES, LUMINATE, Members, each_of_batch_at, elements, is_named, shaped_sample, take, whole_line,
};
use crate::decode::json::grammar::{Step, Syntax, Walk, skip_space, skip_value};
use crate::decode::json::shape::Shape;
use crate::decode::messages::One;
use crate::decode::series_batch::{SeriesBatch, SeriesError, SeriesOptions};

/// Arrays around a sample of an array.
const ARRAY_DEPTH: usize = 1;
/// Objects and arrays around a sample of a batch.
const BATCH_DEPTH: usize = 2;

/// Samples that have the same members, and how they are laid out.
#[derive(Debug)]
struct Alike {
    members: &'static Members,
    shape: Shape,
}

/// Decodes messages that stand in one buffer, one behind the other: a producer lays all of them out alike.
#[derive(Debug)]
pub(crate) struct JsonMessages {
    /// Samples that are messages, and those of arrays.
    lines: Alike,
    /// Samples of batches.
    batches: Alike,
}

impl JsonMessages {
    /// Before the first message of a buffer.
    pub(crate) fn new() -> Self {
        let alike = |members| Alike { members, shape: Shape::default() };
        Self { lines: alike(&LINES), batches: alike(&LUMINATE) }
    }

    /// Decodes a message, whose bytes are UTF-8.
    ///
    /// Bad samples are noted under the message's number, and the others of the message are taken.
    ///
    /// # Errors
    /// Why there is no sample in it; what was taken of it until then must be taken back.
    pub(crate) fn decode(
        &mut self,
        message: &One<'_>,
        options: &SeriesOptions,
        out: &mut SeriesBatch,
    ) -> Result<(), ItemReason> {
        let One { bytes, number, .. } = *message;
        let pos = skip_space(bytes, message.start);
        let broken = |_: Syntax| ItemReason::BadJson;
        let Self { lines, batches } = self;
        let mut samples = Samples { bytes, number, options, out, taken: 0 };
        match bytes.get(pos) {
            Some(b'[') => {
                let end = elements(bytes, pos, &mut |at| samples.take(at, ARRAY_DEPTH, lines));
                let end = skip_space(bytes, end.map_err(broken)?);
                if end < bytes.len() {
                    return Err(ItemReason::BadJson);
                }
                samples.check_count()
            }
            Some(b'{') if begins_batch(bytes, pos) => batch(pos, &mut samples, batches),
            _ => {
                let only = shaped_sample(bytes, pos, 0, lines.members, &mut lines.shape);
                let only = whole_line(bytes, only).map_err(broken)?;
                let is_nameless = only.as_ref().is_ok_and(|only| only.name.is_err());
                if is_nameless {
                    match batch(pos, &mut samples, batches) {
                        Err(ItemReason::MissingName) => {}
                        decided => return decided,
                    }
                }
                take(bytes, number, only, options, samples.out);
                Ok(())
            }
        }
    }
}

/// Whether the first member of the object at `pos` is that of a batch, as nearly all batches have it.
fn begins_batch(bytes: &[u8], pos: usize) -> bool {
    match Walk::new(pos).member(bytes) {
        Ok(Step::Value((name, _))) => is_named(name, bytes, b"metrics"),
        Ok(Step::End(_)) | Err(_) => false,
    }
}

/// The samples of a batch; [`ItemReason::MissingName`] where the object is none.
fn batch(pos: usize, samples: &mut Samples<'_>, alike: &mut Alike) -> Result<(), ItemReason> {
    let bytes = samples.bytes;
    let walked = each_of_batch_at(bytes, pos, &mut |at| samples.take(at, BATCH_DEPTH, alike));
    match walked {
        Ok(()) => samples.check_count(),
        Err(SeriesError::NoMetrics) => Err(ItemReason::MissingName),
        Err(_) => Err(ItemReason::BadJson),
    }
}

/// The samples of one message.
struct Samples<'a> {
    bytes: &'a [u8],
    number: u32,
    options: &'a SeriesOptions,
    out: &'a mut SeriesBatch,
    taken: usize,
}

impl Samples<'_> {
    /// Takes the sample at `pos`; gives the position behind it.
    fn take(&mut self, pos: usize, depth: usize, alike: &mut Alike) -> Result<usize, Syntax> {
        self.taken += 1;
        if self.taken > self.options.samples_max {
            return skip_value(self.bytes, pos, depth);
        }
        let Alike { members, shape } = alike;
        let (found, end) = shaped_sample(self.bytes, pos, depth, members, shape)?;
        take(self.bytes, self.number, found, self.options, self.out);
        Ok(end)
    }

    fn check_count(&self) -> Result<(), ItemReason> {
        let is_within = self.taken <= self.options.samples_max;
        if is_within { Ok(()) } else { Err(ItemReason::TooManySamples) }
    }
}
