//! Deterministic functions of state and samples: the order of each series, the detector, the rules,
//! streaming percentiles.
//!
//! Nothing here knows a clock, a disk, a lock or a thread, and nothing depends on how rows were cut
//! into batches: the same records in the same order give the same bits on every machine. Floats
//! meet only + - * /, comparisons, casts and the pinned `libm`.
//!
//! [`Pipeline`] conducts, and [`WindowSet`] for what goes over several pipelines; everything else computes and returns.

mod absence;
mod alert;
mod baseline;
mod budget;
mod cadence;
mod calibration;
mod canonical;
mod condition;
pub mod config;
mod counter;
mod deadlines;
pub mod detect;
mod deviation;
mod episode;
mod extremes;
mod fleet;
pub mod full;
#[cfg(test)]
mod full_oracle;
mod gist;
mod hash;
mod light;
pub mod limits;
mod matcher;
pub mod model;
mod novelty;
mod numeric;
mod onset;
mod order;
mod pace;
mod patience;
pub mod percentile;
pub mod pipeline;
pub mod primed;
mod profile;
mod published;
mod quantile;
mod rate;
mod reason;
pub mod rows;
mod rule;
pub mod rule_error;
pub mod rule_set;
pub mod selector;
pub mod series_bytes;
pub mod series_detector;
pub mod series_kind;
mod shape;
mod slot_outputs;
pub mod slot_state;
mod sparkline;
mod state;
mod still_run;
mod tail;
pub mod time_zone;
mod watch;
mod watched;
mod when;

#[cfg(test)]
mod testing;

pub use config::{DetectConfig, PercentilesConfig, PipelineConfig, RuleConfig};
pub use detect::{DetectRule, Detection, Direction, DirectionError, Knobs};
pub use full::FullDetector;
pub use hash::OutputHash;
pub use light::Explanation;
pub use model::{Model, ModelError};
pub use percentile::{ClosedWindow, Counts, WindowSet};
pub use pipeline::Pipeline;
pub use primed::{Lacking, Primer};
pub use rows::{Emitted, Rows, Run};
pub use rule_error::{RuleError, RuleProblem, RuleTextError};
pub use rule_set::RuleSet;
pub use selector::Selector;
pub use series_bytes::series_bytes;
pub use series_detector::{Judgement, SeriesDetector};
pub use series_kind::{SeriesKind, SeriesKindError};
pub use slot_state::SlotSummary;
pub use time_zone::{TimeZone, TimeZoneError, time_zone_names};
