//! Messages in the wire format of schema registries: records of Avro and messages of Protobuf, read as their writers wrote
//! them, straight to columns.
//!
//! ```text
//! avro     = 0 u8, id u32 BE, value                      of the schema with this id
//! protobuf = 0 u8, id u32 BE, place, message             place: which of the schema's messages it is
//! place    = 0 u8 | n zigzag, n * index zigzag           the first one; or indices from the outside inwards
//! ```
//!
//! What counts is where a [`JsonMap`](crate::decode::json::JsonMap) says, as in JSON. Everything else is passed over: no value
//! of a record is built, and the memory that a message takes is that of the columns.

mod avro;
mod found;
mod message;
mod protobuf;
mod sample;
mod schema;
mod schemas;

pub use avro::{AvroField, AvroSchema, AvroType};
pub(crate) use found::Found;
pub(crate) use message::{RecordMessages, natural_map};
pub use protobuf::{
    FieldKind, FieldShape, MessageKind, ProtobufField, ProtobufMessage, ProtobufSchema,
};
pub use schema::RecordSchema;
pub use schemas::{FetchedSchema, SchemaRefusal, SchemaSource, SchemaTrouble, Schemas};
