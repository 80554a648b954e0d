//! `tidewatch score`: what a detector says of the rows of a file.

mod command;
mod output;

pub(crate) use self::command::{ScoreArgs, run};
