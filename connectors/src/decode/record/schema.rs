//! The schema of messages.
#![deny(clippy::indexing_slicing)]

use crate::decode::line_batch::Span;
use crate::decode::record::avro::AvroSchema;
use crate::decode::record::found::Found;
use crate::decode::record::protobuf::ProtobufSchema;

/// Bytes that are not of the schema that they name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Misfit;

/// What the messages of one schema look like.
#[derive(Clone, Debug, PartialEq)]
pub enum RecordSchema {
    /// A schema of Avro.
    Avro(AvroSchema),
    /// A file of Protobuf.
    Protobuf(ProtobufSchema),
}

impl RecordSchema {
    /// The symbol of an enumeration.
    pub(super) fn symbol(&self, of: u32, index: u32) -> &str {
        match self {
            Self::Avro(schema) => schema.symbol(of, index),
            Self::Protobuf(schema) => schema.symbol(of, index),
        }
    }

    /// Hands out the members of what was found, by their names.
    pub(super) fn members(
        &self,
        bytes: &[u8],
        found: Found,
        each: &mut dyn FnMut(&[u8], Found),
    ) -> Result<(), Misfit> {
        let (of, field, within): (u32, Option<u32>, Span) = match found {
            Found::Members { of, within } => (of, None, within),
            Found::Entries { of, field, within } => (of, Some(field), within),
            _ => return Ok(()),
        };
        match self {
            Self::Avro(schema) => schema.members(bytes, (of, within), each),
            Self::Protobuf(schema) => schema.members(bytes, (of, within), field, each),
        }
    }
}
