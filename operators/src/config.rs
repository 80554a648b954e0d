//! Configuration of the pipeline and of one rule, as typed.

use tidewatch_metrics::time::NANOS_PER_SECOND;

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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleConfig {
    /// The name, unique within the set.
    pub name: String,
    /// Pairs of label key and pattern, all of which must hold; `metric` stands for the metric's name.
    ///
    /// A pattern is `x` or `= x` (equal), `!= x`, `~ re` or `!~ re` (anchored regular expression).
    /// A label that a series does not have is the empty text.
    pub matchers: Vec<(String, String)>,
    /// `value|severity|score OP number` with one of `> >= < <= == !=`.
    pub when: String,
    /// How long the condition must hold in event time before the alert fires; 0 = at once.
    pub for_nanos: i64,
    /// How long the condition must not hold before a firing alert resolves.
    pub keep_firing_nanos: i64,
    /// Free text, stored and delivered.
    pub priority: String,
}
