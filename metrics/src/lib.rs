//! The data model: label, series, sample, batch, severity, transition, and their limits. No I/O.

pub mod anomaly_kind;
pub mod batch;
pub mod cardinality;
pub mod catalog;
pub mod channel;
mod distinct;
pub mod error;
pub mod fields;
pub mod limits;
pub mod lsn;
pub mod series;
pub mod severity;
pub mod sketch;
pub mod time;
pub mod transition;

pub use anomaly_kind::AnomalyKind;
pub use batch::SampleBatch;
pub use cardinality::{SeriesCosts, SeriesLimit, SeriesLimits, SeriesRefused};
pub use catalog::{MetricView, SeriesCatalog, SeriesEntry, SeriesGauges};
pub use channel::Channel;
pub use error::MetricsError;
pub use lsn::Lsn;
pub use series::{SeriesId, SeriesKey, SeriesRef, Slot};
pub use severity::{Flags, Severity};
pub use sketch::Sketch;
pub use time::{EventTime, UnixNanos};
pub use transition::{
    AlertKey, GroupId, Subject, Transition, TransitionId, TransitionKind, TransitionTimes,
};
