//! Where batches come from: pure functions from the bytes of a protocol to columns.
//!
//! Knows no engine, no HTTP and no clock. What a decoder needs of the world (the time of reception,
//! limits, a hash seed) comes in with its options.

pub mod decode;
pub mod instruments;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "kafka")]
pub mod registry;

pub use instruments::DecodeInstruments;
