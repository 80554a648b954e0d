//! The crash laboratory of the whole engine: one script, and a crash at every operation of its disk.
//!
//! A `script` says what clients send and what the process does; `process` is the engine without
//! threads on a simulated disk; `world` is what no crash touches: the clients' ledger of requests
//! and answers, and the receiver of alerts; so is `source`, a partition of messages. A `campaign` plays a script once undisturbed. Then
//! `crashes` play it again with a `tape` around the disk: around every operation, the disk as a
//! crash would leave it is started as another engine, and `moment` holds it against ledger, receiver
//! and the first run. `faults` let an operation fail, or the space run out, while the engine lives on.
//! The `tally` says what was tried: what the engine performs and no point has faulted is a failure.
//!
//! The same code runs as a test and as the program `tidewatch-lab`.

mod audit;
mod campaign;
mod crashes;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod damaged;
mod effort;
mod faults;
mod finding;
mod keys;
mod kinds;
mod moment;
mod outcome;
mod plant;
mod process;
mod proving;
mod replayed;
mod run;
mod runner;
mod script;
mod source;
pub(crate) mod stored;
mod tally;
mod tape;
mod world;

#[cfg(test)]
#[path = "lab_tests.rs"]
mod lab_tests;

pub use crate::lab::campaign::Failure;
pub use crate::lab::effort::Effort;
pub use crate::lab::finding::{Finding, Layer};
pub use crate::lab::outcome::Outcome;
pub use crate::lab::plant::Plant;
pub use crate::lab::runner::{LabConfig, LabReport, find, parse_point, repeat, run};
pub use crate::lab::tally::{FileOp, Tally};
