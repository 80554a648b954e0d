//! Series that look like a fleet's, with labelled anomalies: for `gen`, `demo`, tests and benches.
//!
//! A [`Generator`] is a deterministic function of its [`GeneratorConfig`] and the injected
//! [`Anomaly`]s: the same seed gives the same bits on every machine, and a series' values do not
//! depend on how many other series there are.

mod anomaly;
mod command;
mod family;
mod generator;
mod labels;
mod output;

pub(crate) use anomaly::{Anomaly, KINDS};
pub(crate) use command::{GenArgs, run};
pub(crate) use generator::{GeneratedSeries, Generator, GeneratorConfig};
pub(crate) use labels::rfc3339;
pub(crate) use output::{Format, TextForm};
