//! SQL over one moment of heads and segments, by DataFusion, within bounds.
//!
//! [`QueryEngine::execute`] conducts: a statement is measured and parsed (`guard`), planned over
//! the tables of one snapshot (`tables`), run as scans (`scan`) under DataFusion's operators, and
//! written (`output`). DataFusion alone does not protect the process: what goes beyond it stands in
//! `guard`, `functions`, `plan` and `memory`.

pub mod engine;
pub mod error;
pub mod instruments;
pub mod limits;
pub mod request;
pub mod source;

mod deadline;
mod functions;
mod guard;
mod memory;
mod output;
mod plan;
mod scan;
mod session;
mod tables;

pub use engine::{QueryEngine, QueryLoad};
pub use error::{QueryError, QueryErrorKind};
pub use guard::Refusal;
pub use instruments::QueryInstruments;
pub use limits::QueryLimits;
pub use request::{Format, QueryAnswer, QueryRequest, QueryStats};
pub use source::{OffsetRow, Source, SourceRow, WalSegmentRow};
pub use tables::label_columns;

#[cfg(test)]
mod anomalies_tests;
#[cfg(test)]
mod bounds_tests;
#[cfg(test)]
mod dedup_tests;
#[cfg(test)]
mod dlq_tests;
#[cfg(test)]
mod docs_tests;
#[cfg(test)]
mod engine_tests;
#[cfg(test)]
mod expected_tests;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod latest_tests;
#[cfg(test)]
mod rollup_tests;
#[cfg(test)]
mod slt_tests;
