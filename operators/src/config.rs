//! Configuration of the pipeline, of one rule, one kind of percentiles and one kind of detection, as typed.

use tidewatch_metrics::time::NANOS_PER_SECOND;

use crate::detect::Direction;
use crate::model::Model;
use crate::series_kind::SeriesKind;
use crate::time_zone::TimeZone;

/// What the pipeline does beside its rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PipelineConfig {
    /// An alert whose event is older than this at its reception is `historical`: stored, never
    /// delivered. Nanoseconds, at least 0.
    pub alerts_max_age_nanos: i64,
}

impl Default for PipelineConfig {
    fn default() -> Self {
        Self { alerts_max_age_nanos: 3_600 * NANOS_PER_SECOND }
    }
}

/// One `[[rule]]` as its user wrote it, durations in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleConfig {
    /// The name, unique within the set.
    pub name: String,
    /// Pairs of label key and pattern, all of which must hold; `metric` stands for the metric's name.
    ///
    /// A pattern is `x` or `= x` (equal), `!= x`, `~ re` or `!~ re` (anchored regular expression).
    /// A label that a series does not have is the empty text.
    pub matchers: Vec<(String, String)>,
    /// `value|severity|score|rate OP number` with one of `> >= < <= == !=`, `absent`, or `absent > SECONDS`.
    pub when: String,
    /// How long the condition must hold in event time before the alert fires; 0 = at once.
    pub for_nanos: i64,
    /// How long the condition must not hold before a firing alert resolves.
    pub keep_firing_nanos: i64,
    /// False alerts a week that are accepted of the rule, over all series that it matches; above 0, finite, and only where
    /// `when` is about `severity` or `score` with `>` or `>=`.
    pub budget: Option<f64>,
    /// Free text, stored and delivered.
    pub priority: String,
}

/// One `[[detect]]` as its user wrote it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DetectConfig {
    /// As [`RuleConfig::matchers`].
    pub matchers: Vec<(String, String)>,
    /// The detector.
    pub model: Model,
    /// Which side of the expectation is unusual.
    pub direction: Direction,
    /// Nearer to the expectation nothing is unusual. In the unit of the values, at least 0 and finite.
    pub min_deviation: f64,
    /// The least and the greatest value that data can have; either may be infinite.
    pub range: Option<[f64; 2]>,
    /// Samples that only teach.
    pub min_samples: u32,
    /// What the values are; only said of novelty, deviation and auto.
    pub kind: SeriesKind,
    /// By whose clocks the hours of the day and of the week are told.
    pub time_zone: TimeZone,
}

/// One `[[percentiles]]` as its user wrote it, durations in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PercentilesConfig {
    /// The name, unique within the set.
    pub name: String,
    /// As [`RuleConfig::matchers`].
    pub matchers: Vec<(String, String)>,
    /// Labels whose values tell groups apart; `metric` stands for the metric's name. Databases are
    /// always apart.
    pub by: Vec<String>,
    /// How long a window is.
    pub window_nanos: i64,
    /// How far apart windows begin; the same as the window where they tumble.
    pub slide_nanos: i64,
    /// What is told of each window, from 0 to 1.
    pub quantiles: Vec<f64>,
    /// How long after its end a window waits for rows, by the group's event time or by ticks.
    pub lateness_nanos: i64,
    /// How long after its last rows a closed window can still be amended, by ticks.
    pub keep_nanos: i64,
}
