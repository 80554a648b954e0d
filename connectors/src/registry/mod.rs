//! Schema registries with Confluent's interface: schemas by their ids, over HTTP.
//!
//! ```text
//! GET {url}/schemas/ids/{id}                        {"schema", "schemaType", "references": [{"name", "subject", "version"}]}
//! GET {url}/subjects/{subject}/versions/{version}   the same, of what a schema refers to
//! ```
//!
//! An answer says what a schema is, or that there is none with this id (404 with `error_code` 40403). Everything else means that
//! nobody knows, and has whoever asks ask again.

mod avro;
mod config;
mod protobuf;
mod source;

pub use config::{Password, RegistryConfig, RegistryProblem};
pub use source::RegistrySource;

#[cfg(test)]
mod decode_tests;
