//! `tidewatch bench`: measures on this machine, beside peers if there are any.
//!
//! Every figure is taken over the door that clients use: the server is a process of its own, and the
//! load comes over HTTP from this process, on the same cores. What was acknowledged is counted and
//! summed, and held against what SQL finds afterwards. No figure makes a run fail; a missing sample does.

mod bodies;
mod case;
mod child;
mod command;
mod compare;
mod connection;
mod floor;
mod load;
mod long_run;
mod machine;
mod pace;
mod process;
mod questdb;
mod report;
mod requests;
mod rounds;
mod target;

pub(crate) use command::{BenchCommand, run};
