//! The decoders, and their oracles in the midst of them.

pub(crate) use tidewatch_connectors::decode::*;

#[path = "../../connectors/src/decode/oracle/mod.rs"]
pub(crate) mod oracle;
