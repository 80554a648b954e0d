//! Why an alert went on, in words with numbers.

use std::cmp::Ordering;
use std::fmt::Write;

use tidewatch_metrics::time::NANOS_PER_SECOND;
use tidewatch_metrics::{AnomalyKind, TransitionKind};

use crate::absence::Absence;
use crate::alert::Observation;
use crate::condition::{Bound, Condition, Subject};
use crate::gist::Gist;
use crate::light::Expectation;
use crate::percentile::ClosedWindow;
use crate::quantile::QuantileCondition;
use crate::rule::Rule;

/// The reason of a transition that a sample caused, by the number `found` that the rule looks at.
///
/// `spike: severity 7.2 > 6 for 5m, value 93.1 expected 41.0 (38.2 to 43.9)`
pub(crate) fn reason(
    (rule, condition): (&Rule, &Condition),
    kind: TransitionKind,
    (found, gist): (f64, Gist),
    seen: &Observation,
) -> String {
    let subject = match condition.subject {
        Subject::Value | Subject::Rate => number(found),
        Subject::Severity => format!("{found:.1}"),
        Subject::Score => format!("{found:.2}"),
    };
    let name = condition.subject.name();
    let mut out = looks(kind, gist, seen);
    out.push_str(&compared(rule, kind, &format!("{name} {subject}"), condition.bound));
    if condition.subject != Subject::Value {
        append(&mut out, format_args!(", value {}", number(seen.value)));
    }
    if seen.expectation.expected.is_finite() {
        let Expectation { expected, lower, upper } = seen.expectation;
        let comma = if condition.subject == Subject::Value { "," } else { "" };
        let (expected, lower, upper) = (number(expected), number(lower), number(upper));
        append(&mut out, format_args!("{comma} expected {expected} ({lower} to {upper})"));
    }
    if kind == TransitionKind::Resolved && is_new_normal(gist, seen) {
        append(&mut out, format_args!(": normal from here on, {} before", number(gist.usual)));
    }
    out
}

/// What the anomaly looks like, for the begin of a reason.
///
/// `spike: `, `level shift up: `; nothing where nothing is known.
fn looks(kind: TransitionKind, gist: Gist, seen: &Observation) -> String {
    let Some(name) = gist.kind.name() else { return String::new() };
    let has_side = matches!(gist.kind, AnomalyKind::LevelShift | AnomalyKind::SeasonalBreak);
    let expected = seen.expectation.expected;
    let side = match seen.value.partial_cmp(&expected) {
        // What a calm sample is beside says nothing of the anomaly.
        _ if !has_side || kind == TransitionKind::Resolved => "",
        Some(Ordering::Greater) => " up",
        Some(Ordering::Less) => " down",
        _ => "",
    };
    format!("{}{side}: ", name.replace('_', " "))
}

/// Whether a level has shifted that is expected now: the value is in the band, and what was usual before is not.
fn is_new_normal(gist: Gist, seen: &Observation) -> bool {
    let Expectation { lower, upper, .. } = seen.expectation;
    let band = lower..=upper;
    gist.kind == AnomalyKind::LevelShift
        && gist.usual.is_finite()
        && band.contains(&seen.value)
        && !band.contains(&gist.usual)
}

/// The reason of a transition that a window caused, in which the percentile was `found`.
///
/// `percentile("latency", 0.99) 251.3 > 250 for 5m, of 1234 values in 1m`
pub(crate) fn window_reason(
    (rule, condition): (&Rule, &QuantileCondition),
    kind: TransitionKind,
    found: f64,
    window: &ClosedWindow,
) -> String {
    let subject = format!("{} {}", condition.subject(), number(found));
    let mut out = compared(rule, kind, &subject, condition.bound);
    append(&mut out, format_args!(", {}", counted(window)));
    out
}

/// The reason of an amendment: what the percentile of the window was and is.
///
/// `percentile("latency", 0.99) 251.3 -> 240.2, no longer > 250 there, of 1234 values in 1m, revision 2`
pub(crate) fn amendment_reason(
    condition: &QuantileCondition,
    before: Option<f64>,
    found: f64,
    window: &ClosedWindow,
) -> String {
    let (subject, bound) = (condition.subject(), condition.bound);
    let mut out = match before {
        Some(before) => format!("{subject} {} -> {}", number(before), number(found)),
        None => format!("{subject} {} in a window that rows came to late", number(found)),
    };
    let told = match (before.map(|before| bound.holds(before)), bound.holds(found)) {
        (Some(true), true) => "still",
        (Some(false), true) => "now",
        (None, true) => "which is",
        (Some(true), false) => "no longer",
        (Some(false) | None, false) => "not",
    };
    let (counted, revision) = (counted(window), window.revision);
    append(&mut out, format_args!(", {told} {bound} there, {counted}, revision {revision}"));
    out
}

fn counted(window: &ClosedWindow) -> String {
    let ClosedWindow { start, end, sketch, .. } = window;
    let length = duration(end.nanos().saturating_sub(start.nanos()));
    format!("of {} values in {length}", sketch.count())
}

/// What is said of a number and its bound, whatever the number is of.
fn compared(rule: &Rule, kind: TransitionKind, subject: &str, bound: Bound) -> String {
    let (hold, keep) = (duration(rule.for_nanos), duration(rule.keep_firing_nanos));
    match kind {
        TransitionKind::Pending => format!("{subject} {bound}, fires after {hold}"),
        TransitionKind::Firing if rule.for_nanos == 0 => format!("{subject} {bound}"),
        TransitionKind::Firing => format!("{subject} {bound} for {hold}"),
        TransitionKind::Resolved if rule.keep_firing_nanos == 0 => {
            format!("{subject}, no longer {bound}")
        }
        TransitionKind::Resolved | TransitionKind::Amended => {
            format!("{subject}, not {bound} for {keep}")
        }
    }
}

/// The reason of a transition of a rule that waits for silence; `value` is that of the last sample.
///
/// `stopped reporting: no sample for 1m30s, one in 20s before, last value 93.1`
pub(crate) fn absence_reason(
    rule: &Rule,
    kind: TransitionKind,
    absence: &Absence,
    value: f64,
) -> String {
    let bound = absence.bound().unwrap_or(0);
    let mut out = match kind {
        TransitionKind::Resolved if rule.keep_firing_nanos == 0 => "samples again".to_owned(),
        TransitionKind::Resolved | TransitionKind::Amended => {
            format!("samples again for {}", duration(rule.keep_firing_nanos))
        }
        TransitionKind::Pending => {
            let (bound, further) = (duration(bound), duration(rule.for_nanos));
            format!("stopped reporting: no sample for {bound}, fires after {further} more")
        }
        TransitionKind::Firing => {
            let bound = duration(bound.saturating_add(rule.for_nanos));
            format!("stopped reporting: no sample for {bound}")
        }
    };
    if kind == TransitionKind::Resolved {
        append(&mut out, format_args!(", value {}", number(value)));
        return out;
    }
    if let Some(gap) = absence.learnt_gap() {
        let gap = duration(i64::from(gap) * NANOS_PER_SECOND);
        append(&mut out, format_args!(", one in {gap} before"));
    }
    append(&mut out, format_args!(", last value {}", number(value)));
    out
}

fn append(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to memory does not fail");
}

/// A number for people: at most five digits where that says enough.
fn number(value: f64) -> String {
    let size = value.abs();
    let decimals = if size >= 1_000.0 || size <= 0.0 {
        0
    } else if size >= 1.0 {
        1
    } else if size >= 0.01 {
        3
    } else {
        return format!("{value:.2e}");
    };
    if size >= 1e12 { format!("{value:.3e}") } else { format!("{value:.decimals$}") }
}

/// `1h30m`, `5m`, `90s` as `1m30s`; whole seconds unless shorter than one.
fn duration(nanos: i64) -> String {
    let seconds = nanos / NANOS_PER_SECOND;
    if seconds == 0 {
        return format!("{nanos}ns");
    }
    let mut out = String::new();
    for (unit, size) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
        let count = match unit {
            "d" => seconds / size,
            "h" => seconds % 86_400 / size,
            "m" => seconds % 3_600 / size,
            _ => seconds % 60,
        };
        if count > 0 {
            append(&mut out, format_args!("{count}{unit}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use tidewatch_metrics::{Channel, EventTime, Severity, UnixNanos};

    use super::*;
    use crate::RuleConfig;
    use crate::when::When;

    fn said(when: &str, for_nanos: i64, kind: TransitionKind, expected: f64) -> String {
        said_of(when, for_nanos, (kind, Gist::NONE), expected)
    }

    fn said_of(
        when: &str,
        for_nanos: i64,
        (kind, gist): (TransitionKind, Gist),
        expected: f64,
    ) -> String {
        let config = RuleConfig {
            when: when.to_owned(),
            for_nanos,
            keep_firing_nanos: for_nanos,
            ..named()
        };
        let rule = Rule::compile(&config, &mut Vec::new()).unwrap();
        let expectation = Expectation { expected, lower: 38.2, upper: 43.9 };
        let severity = Severity::from_f32(7.2);
        let seen = Observation { value: 93.1, severity, kind: gist.kind, expectation, ..calm() };
        let When::Number(condition) = &rule.when else { panic!("{when} is about a number") };
        let found = condition.subject.of(93.1, severity, 12.345);
        reason((&rule, condition), kind, (found, gist), &seen)
    }

    #[test]
    fn a_reason_is_a_sentence_with_numbers() {
        assert_eq!(
            said("severity > 6", 0, TransitionKind::Firing, 41.0),
            "severity 7.2 > 6, value 93.1 expected 41.0 (38.2 to 43.9)"
        );
        assert_eq!(
            said("value>=90", 300 * NANOS_PER_SECOND, TransitionKind::Firing, 41.0),
            "value 93.1 >= 90 for 5m, expected 41.0 (38.2 to 43.9)"
        );
        assert_eq!(
            said("score > 0.5", 5_400 * NANOS_PER_SECOND, TransitionKind::Pending, f64::NAN),
            "score 0.64 > 0.5, fires after 1h30m, value 93.1"
        );
        assert_eq!(
            said("severity > 8", 90 * NANOS_PER_SECOND, TransitionKind::Resolved, f64::NAN),
            "severity 7.2, not > 8 for 1m30s, value 93.1"
        );
        assert_eq!(
            said("severity > 8", 0, TransitionKind::Resolved, f64::NAN),
            "severity 7.2, no longer > 8, value 93.1"
        );
        assert_eq!(
            said("rate > 10", 60 * NANOS_PER_SECOND, TransitionKind::Firing, 41.0),
            "rate 12.3 > 10 for 1m, value 93.1 expected 41.0 (38.2 to 43.9)"
        );
    }

    #[test]
    fn a_reason_begins_with_what_the_anomaly_looks_like() {
        let of = |kind, transition, usual| {
            said_of("severity > 6", 0, (transition, Gist { kind, usual }), 41.0)
        };
        let firing = TransitionKind::Firing;
        for (kind, begin) in [
            (AnomalyKind::Spike, "spike: severity 7.2 > 6, value 93.1 expected 41.0"),
            (AnomalyKind::LevelShift, "level shift up: severity 7.2 > 6"),
            (AnomalyKind::SeasonalBreak, "seasonal break up: severity"),
            (AnomalyKind::VarianceChange, "variance change: severity"),
        ] {
            let said = of(kind, firing, 41.0);
            assert!(said.starts_with(begin), "{said}");
        }
    }

    #[test]
    fn a_level_that_is_normal_from_here_on_is_told_with_the_one_before() {
        let band = (38.2, 43.9);
        let told = |kind, value, usual| {
            let (lower, upper) = band;
            let expectation = Expectation { expected: 41.0, lower, upper };
            let seen = Observation { value, expectation, ..calm() };
            is_new_normal(Gist { kind, usual }, &seen)
        };
        let shift = AnomalyKind::LevelShift;
        assert!(told(shift, 42.0, 93.1));
        assert!(!told(AnomalyKind::Spike, 42.0, 93.1));
        assert!(!told(shift, 42.0, 41.0), "it came back");
        assert!(!told(shift, 93.1, 93.1) && !told(shift, 42.0, f64::NAN));
        let gist = Gist { kind: shift, usual: 12.3 };
        let config = RuleConfig { when: "severity > 6".to_owned(), ..named() };
        let rule = Rule::compile(&config, &mut Vec::new()).unwrap();
        let When::Number(condition) = &rule.when else { panic!("it is about a number") };
        let said = reason((&rule, condition), TransitionKind::Resolved, (0.0, gist), &calm());
        let expected = "level shift: severity 0.0, no longer > 6, value 42.0 expected 41.0 (38.2 to 43.9): \
                        normal from here on, 12.3 before";
        assert_eq!(said, expected);
    }

    fn named() -> RuleConfig {
        RuleConfig { name: "r".to_owned(), ..RuleConfig::default() }
    }

    fn calm() -> Observation {
        Observation {
            time: EventTime::new(0),
            value: 42.0,
            severity: Severity::ZERO,
            channel: Channel::default(),
            kind: AnomalyKind::None,
            expectation: Expectation { expected: 41.0, lower: 38.2, upper: 43.9 },
            received: UnixNanos::new(0),
            heard: UnixNanos::new(0),
        }
    }

    #[test]
    fn numbers_of_every_size_stay_short() {
        for (value, text) in [
            (0.0, "0"),
            (-0.001_234, "-1.23e-3"),
            (0.5, "0.500"),
            (12.34, "12.3"),
            (123_456.7, "123457"),
            (1.5e300, "1.500e300"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
