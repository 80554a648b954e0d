//! What must hold of a decoder on any bytes, most of it told by somebody else's parser.
//!
//! The tests here feed it good bodies, damaged ones and the kept corpora; the fuzz targets, which include these
//! files, feed it what libFuzzer makes up. Every check panics with what it was given.

pub(crate) mod csv;
pub(crate) mod json;
pub(crate) mod line_protocol;
pub(crate) mod otlp;
pub(crate) mod remote_write;
mod series;
mod snappy;

use crate::decode::SeriesForm;

/// One target: its name, which is that of its corpus, and what must hold of any bytes.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// All of them.
pub(crate) const TARGETS: [Target; 8] = [
    ("csv", csv::check),
    ("json_lines", |body| {
        json::check(SeriesForm::JsonLines, body);
        series::check(SeriesForm::JsonLines, body);
    }),
    ("line_protocol", line_protocol::check),
    ("luminate", |body| {
        json::check(SeriesForm::Luminate, body);
        series::check(SeriesForm::Luminate, body);
    }),
    ("otlp", otlp::check),
    ("remote_write_1", |body| {
        remote_write::check(SeriesForm::RemoteWrite1, body);
        series::check(SeriesForm::RemoteWrite1, body);
    }),
    ("remote_write_2", |body| {
        remote_write::check(SeriesForm::RemoteWrite2, body);
        series::check(SeriesForm::RemoteWrite2, body);
    }),
    ("snappy", snappy::check),
];

#[cfg(test)]
mod corpus_tests;
