//! The figures of one model.

use serde::Serialize;

pub use crate::splits::Spread;

/// The figures of one model on one corpus; those of the other benchmark are none.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// The model's name.
    pub model: &'static str,
    /// NAB's score with its standard profile, 0 to 100 and below.
    pub standard: Option<f64>,
    /// NAB's score with the profile that minds false alarms.
    #[serde(rename = "reward_low_FP_rate")]
    pub reward_low_fp_rate: Option<f64>,
    /// NAB's score with the profile that minds missed windows.
    #[serde(rename = "reward_low_FN_rate")]
    pub reward_low_fn_rate: Option<f64>,
    /// The level that was judged at: the one given, or the best one of the standard profile or of the event F1.
    pub level: Option<f64>,
    /// NAB's score with its standard profile at the level 4.
    pub fixed_level_4: Option<f64>,
    /// F1 of windows and of buckets of 30 healthy rows, 0 to 1.
    pub event_f1: Option<f64>,
    /// F1 of rows, where a window counts if it is hit in its first 8 rows.
    pub delay7_f1: Option<f64>,
    /// F1 of windows hit in their first 8 rows and of buckets.
    pub delay7_event_f1: Option<f64>,
    /// The area below precision over recall, averaged over series.
    pub auc_pr: Option<f64>,
    /// Samples per second that one core took, the detector alone.
    pub samples_per_second_per_core: Option<f64>,
    /// Bytes of state at the end of a series, averaged over series.
    pub bytes_per_series: Option<f64>,
    /// `standard` on one half of the files at the best level of the other half.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_standard: Option<Spread>,
    /// `event_f1` on one half of the files at the best level of the other half.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_event_f1: Option<Spread>,
    /// `delay7_f1` on one half of the files at the best level of the other half.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_delay7_f1: Option<Spread>,
}
