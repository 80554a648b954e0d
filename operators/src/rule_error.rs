//! Why rules are refused.

use tidewatch_metrics::time::NANOS_PER_SECOND;

use crate::limits::{
    ABSENCE_SECONDS_MAX, BUDGET_MAX, BY_MAX, DETECTS_MAX, MATCHER_BYTES_MAX, MATCHERS_MAX,
    MIN_SAMPLES_MAX, PERCENTILES_MAX, PRIORITY_BYTES_MAX, QUANTILES_MAX, REGEX_PROGRAM_BYTES_MAX,
    RULE_DURATION_NANOS_MAX, RULE_NAME_BYTES_MAX, RULES_MAX, SLIDES_MAX, WINDOW_NANOS_MAX,
    WINDOW_NANOS_MIN, WINDOW_RULES_MAX,
};
use crate::model::Model;

/// One problem of one rule, by the rule's name and the key of its configuration.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{list} {rule:?}: {key} {problem}")]
pub struct RuleError {
    /// The list of the configuration: `rule`, `percentiles` or `detect`.
    pub list: &'static str,
    /// The rule's name as given; of a `[[detect]]` its place, counted from 1.
    pub rule: String,
    /// The key, such as `name` or `match.LABEL`.
    pub key: String,
    /// What is wrong with it.
    pub problem: RuleProblem,
}

/// What can be wrong with a key of a rule. Reads on after the key.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RuleProblem {
    /// A name that is empty, too long or has control characters.
    #[error("must have 1 to {RULE_NAME_BYTES_MAX} bytes without control characters")]
    Name,
    /// The same name twice.
    #[error("is given to two rules")]
    DuplicateName,
    /// More rules than a set takes.
    #[error("makes {count} rules, at most {RULES_MAX} are taken")]
    TooManyRules {
        /// Rules given.
        count: usize,
    },
    /// More matchers than a rule takes.
    #[error("has {count} labels, at most {MATCHERS_MAX} are taken")]
    TooManyMatchers {
        /// Matchers given.
        count: usize,
    },
    /// A matcher without a label.
    #[error("has an empty label")]
    EmptyLabel,
    /// A matcher that is too long.
    #[error("has {bytes} bytes, at most {MATCHER_BYTES_MAX} are taken")]
    MatcherBytes {
        /// Bytes given.
        bytes: usize,
    },
    /// Something that looks like an operator, but has no space behind it.
    #[error(
        "is {text:?}: an operator (=, !=, ~, !~) needs a space behind it; write \"= {text}\" for \
         this very text"
    )]
    OperatorSpace {
        /// The pattern as given.
        text: String,
    },
    /// No regular expression, or one that would take too much memory.
    #[error(
        "is no regular expression that fits {REGEX_PROGRAM_BYTES_MAX} bytes when compiled: {error}"
    )]
    Regex {
        /// What the compiler of expressions says.
        error: regex::Error,
    },
    /// No condition.
    #[error(
        "is {text:?}, but must be \"value\", \"severity\", \"score\" or \"rate\", then one of > >= < \
         <= == != and a finite number, as in \"severity > 6\"; or \"absent\", alone or with > and whole seconds \
         from 1 to {ABSENCE_SECONDS_MAX}; or percentile(\"NAME\", Q) with the name of a [[percentiles]], then as \
         the first ones"
    )]
    When {
        /// The condition as given.
        text: String,
    },
    /// A quantile that is none.
    #[error("is {text:?}, but the quantile must be a number from 0 to 1")]
    Quantile {
        /// The condition as given.
        text: String,
    },
    /// Percentiles that are not configured.
    #[error("names percentiles that are not configured; {}", known_names(.known))]
    UnknownPercentiles {
        /// The names of those that there are.
        known: Box<[String]>,
    },
    /// A label by which the percentiles of the rule do not group.
    #[error(
        "is no label that the percentiles {percentiles:?} group by, so no group has it; add it to their \
         \"by\", or leave it out here"
    )]
    NotGroupedBy {
        /// The name of the percentiles.
        percentiles: Box<str>,
    },
    /// A label with a value that the percentiles of the rule leave out.
    #[error("excludes {fixed:?}, which is all that the percentiles of the rule count")]
    Contradiction {
        /// The only value that is counted.
        fixed: Box<str>,
    },
    /// More rules on percentiles than a set takes.
    #[error("makes {count} rules on percentiles, at most {WINDOW_RULES_MAX} are taken")]
    TooManyWindowRules {
        /// Rules given.
        count: usize,
    },
    /// A duration out of bounds.
    #[error(
        "is {nanos} ns, but must be between 0 and {} seconds",
        RULE_DURATION_NANOS_MAX / NANOS_PER_SECOND
    )]
    Duration {
        /// The duration as given.
        nanos: i64,
    },
    /// A budget out of bounds.
    #[error("must be a number above 0, at most {BUDGET_MAX}")]
    Budget,
    /// A budget of a rule that has no chance of a false alert to count with.
    #[error(
        "is only taken where \"when\" is \"severity\" or \"score\" with > or >=, as in \"severity > 6\": a \
         severity is a chance, and only of chances it is known how many of them are false"
    )]
    BudgetWithoutSeverity,
    /// More percentiles than a set takes.
    #[error("makes {count} percentiles, at most {PERCENTILES_MAX} are taken")]
    TooManyPercentiles {
        /// Percentiles given.
        count: usize,
    },
    /// Too many labels, the same one twice, or an empty one.
    #[error("must be at most {BY_MAX} labels, each of them once and none empty")]
    By,
    /// A window, lateness or keep out of bounds.
    #[error(
        "is {nanos} ns, but must be between {} and {} seconds",
        least / NANOS_PER_SECOND,
        WINDOW_NANOS_MAX / NANOS_PER_SECOND
    )]
    WindowBounds {
        /// The duration as given.
        nanos: i64,
        /// The least that is taken.
        least: i64,
    },
    /// A slide that does not divide its window.
    #[error(
        "is {nanos} ns, but must be at least {} s and go into the window 1 to {SLIDES_MAX} times",
        WINDOW_NANOS_MIN / NANOS_PER_SECOND
    )]
    Slide {
        /// The duration as given.
        nanos: i64,
    },
    /// No quantiles, too many, the same one twice, or one that is none.
    #[error("must be 1 to {QUANTILES_MAX} different numbers from 0 to 1")]
    Quantiles,
    /// A distance that is none.
    #[error("must be a number of at least 0")]
    Deviation,
    /// A range in which no value lies.
    #[error("must be two numbers, the lesser first; inf and -inf leave an end open")]
    DataRange,
    /// Too many samples.
    #[error("must be at most {MIN_SAMPLES_MAX}")]
    MinSamples,
    /// A kind for a model that does not tell kinds apart.
    #[error(
        "must be left out, or \"auto\": the model \"{model}\" looks at the values as they are; only \"novelty\", \"deviation\" \
         and \"auto\" look at the rate of a counter"
    )]
    Kind {
        /// The model.
        model: Model,
    },
    /// More detection than a set takes.
    #[error("makes {count} [[detect]], at most {DETECTS_MAX} are taken")]
    TooManyDetects {
        /// Entries given.
        count: usize,
    },
    /// A priority that is too long or has control characters.
    #[error("must have at most {PRIORITY_BYTES_MAX} bytes without control characters")]
    Priority,
}

/// Why a canonical text is none.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RuleTextError {
    /// A line that is not what must stand there.
    #[error("line {line} of the rules is not in canonical form")]
    Syntax {
        /// The line, from 1.
        line: usize,
    },
    /// Rules that are refused.
    #[error("the rules hold {} problems, the first: {}", .0.len(), first(.0))]
    Rules(Vec<RuleError>),
}

fn first(errors: &[RuleError]) -> String {
    errors.first().map(ToString::to_string).unwrap_or_default()
}

fn known_names(known: &[String]) -> String {
    match known {
        [] => "there is no [[percentiles]]".to_owned(),
        known => format!("there are {}", known.join(", ")),
    }
}
