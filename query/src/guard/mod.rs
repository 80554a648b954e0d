//! What a statement must pass before it is planned.
//!
//! DataFusion alone does not protect the process: long chains of operators and large unions overflow
//! its stack, and common table expressions multiply. So a statement is measured as text
//! ([`tokens`]), parsed, held against what only reads ([`read_only`]), and measured again as what
//! it grows to when it is planned ([`growth`]).

mod growth;
mod parse;
mod read_only;
mod refusal;
mod tokens;

pub(crate) use parse::parse;
pub use refusal::Refusal;
