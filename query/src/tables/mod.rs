//! The tables that statements can name.
//!
//! A metric is a table of its own, in the schema of its database ([`metric`]); the schema
//! `tidewatch` holds the product's own tables. Tables are made when a statement names them
//! ([`catalog`]), so that a metric that nobody asks for costs nothing.

mod anomalies;
mod catalog;
mod columns;
mod context;
mod detections;
mod dlq;
mod events;
mod filed;
mod files;
mod labels;
mod leaf;
mod metric;
mod offsets;
mod partials;
mod percentiles;
mod predicate;
mod run;
mod samples;
mod series;
mod series_names;
mod sources;
mod stretch;
mod time_buckets;

pub(crate) use catalog::{Catalog, TIDEWATCH};
pub(crate) use context::QueryContext;
pub(crate) use labels::LabelCache;
pub use labels::label_columns;
pub(crate) use metric::MetricTable;
pub(crate) use partials::{Partial, PartialsTable};
pub(crate) use time_buckets::TimeBuckets;
