//! `tidewatch bench long-run`: a month of a fleet in some minutes, on a small disk.

mod command;
mod figures;
mod load;
mod sums;
mod watch;

pub(crate) use command::{LongRunArgs, long_run};
