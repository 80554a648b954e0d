//! Priming: full detectors that began although their series had rows before learn from what is stored.
//!
//! What they have learnt is a record of the log, so that a replay needs no stored rows, and no retention and no delete
//! changes the past. [`Priming`] has the steps, [`PrimingRun`] takes them in the background of a running engine.

mod history;
mod record;
mod run;
mod steps;

pub use record::{PrimedParts, PrimedRecord, PrimedState, ShardPrimed};
pub(crate) use run::PrimingRun;
pub(crate) use steps::Priming;
