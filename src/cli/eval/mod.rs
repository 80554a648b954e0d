//! `tidewatch eval`: detectors on labelled series.

mod command;
mod corpus_run;
mod models;
mod scores;
mod table;

pub(crate) use self::command::{EvalCommand, parse_level, run};
pub(crate) use self::models::model_parser;
pub(crate) use self::scores::write_svg;
