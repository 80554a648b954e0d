//! Which rows a tail is about.

use std::time::Duration;

use tidewatch_metrics::{SeriesKey, Severity};
use tidewatch_operators::Selector;

use crate::http::ApiError;

/// Rows a second, where nothing is asked, and at most.
const RATE_DEFAULT: u32 = 1_000;
const RATE_MAX: u32 = 10_000;
/// The longest time that a tail is asked to end after.
const SECONDS_MAX: u64 = 7 * 86_400;

/// Conditions of `where`, with the sign that a selector's pattern has; the longer ones first.
const SIGNS: [(&str, &str); 4] = [("!~", "!~ "), ("=~", "~ "), ("!=", "!= "), ("=", "= ")];

/// Which rows, how many of them, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    db: Option<String>,
    selector: Selector,
    severity_min: f32,
    /// Rows a second.
    pub(crate) rate_max: u32,
    /// The end, counted from the begin.
    pub(crate) ends_after: Option<Duration>,
}

impl Filter {
    /// The filter of the parameters of a query string.
    ///
    /// # Errors
    /// The first parameter that is not known, or whose value cannot be used.
    pub(crate) fn parse(parameters: &[(String, String)]) -> Result<Self, ApiError> {
        let mut patterns = Vec::new();
        let mut filter = Self {
            db: None,
            selector: Selector::default(),
            severity_min: 0.0,
            rate_max: RATE_DEFAULT,
            ends_after: None,
        };
        for (name, text) in parameters {
            match name.as_str() {
                "db" => filter.db = Some(text.clone()),
                "metric" => patterns.push((name.clone(), text.clone())),
                "where" => patterns.push(condition(text)?),
                "severity_min" => {
                    let least = text.parse().ok().filter(|least: &f32| *least >= 0.0);
                    filter.severity_min =
                        least.ok_or_else(|| unfit(name, text, "a number from 0 on"))?;
                }
                "rows_per_second" => {
                    let rate = text.parse().ok().filter(|rate| (1..=RATE_MAX).contains(rate));
                    filter.rate_max =
                        rate.ok_or_else(|| unfit(name, text, &format!("from 1 to {RATE_MAX}")))?;
                }
                "seconds" => {
                    let seconds = text.parse().ok().filter(|n| (1..=SECONDS_MAX).contains(n));
                    let seconds = seconds
                        .ok_or_else(|| unfit(name, text, &format!("from 1 to {SECONDS_MAX}")))?;
                    filter.ends_after = Some(Duration::from_secs(seconds));
                }
                _ => {
                    let known = "db, metric, where, severity_min, rows_per_second, seconds";
                    let message = format!("parameter {name:?} is not known; {known} are");
                    return Err(ApiError::invalid(message));
                }
            }
        }
        filter.selector = Selector::new(&patterns).map_err(|(label, problem)| {
            ApiError::invalid(format!("the condition on {label:?} cannot be used: {problem}"))
        })?;
        Ok(filter)
    }

    /// Whether rows of the series are meant.
    pub(crate) fn is_about(&self, key: &SeriesKey) -> bool {
        self.db.as_ref().is_none_or(|db| db == key.db()) && self.selector.matches(key)
    }

    /// Whether a row with this severity is meant.
    pub(crate) fn is_severe(&self, severity: Severity) -> bool {
        severity.to_f32() >= self.severity_min
    }
}

/// `label=x`, `label!=x`, `label=~expression` or `label!~expression`, as a label and a pattern.
fn condition(text: &str) -> Result<(String, String), ApiError> {
    let place = text.find(['=', '!']).unwrap_or(text.len());
    let (label, rest) = text.split_at(place);
    let pattern =
        SIGNS.iter().find_map(|(sign, spelt)| Some(format!("{spelt}{}", rest.strip_prefix(sign)?)));
    match pattern {
        Some(pattern) if !label.is_empty() => Ok((label.to_owned(), pattern)),
        _ => Err(unfit("where", text, "label=x, label!=x, label=~expression or label!~expression")),
    }
}

fn unfit(name: &str, text: &str, form: &str) -> ApiError {
    ApiError::invalid(format!("{name} is {text:?}, but must be {form}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(parameters: &[(&str, &str)]) -> Result<Filter, ApiError> {
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        Filter::parse(&parameters.iter().map(owned).collect::<Vec<_>>())
    }

    #[test]
    fn rows_are_chosen_by_database_metric_labels_and_severity() {
        let labels = vec![("host".to_owned(), "web-1".to_owned())];
        let key = SeriesKey::new("default", "cpu", "user", labels).unwrap();
        for (parameters, expected) in [
            (&[][..], true),
            (&[("metric", "cpu_user")], true),
            (&[("metric", "~ cpu.*"), ("db", "default")], true),
            (&[("db", "other")], false),
            (&[("where", "host=web-1"), ("where", "host=~web.*")], true),
            (&[("where", "host!=web-1")], false),
            (&[("where", "host!~web-[2-9]"), ("where", "region=")], true),
        ] {
            assert_eq!(filter(parameters).unwrap().is_about(&key), expected, "{parameters:?}");
        }
        let severe = filter(&[("severity_min", "6")]).unwrap();
        assert!(severe.is_severe(Severity::from_f32(6.0)));
        assert!(!severe.is_severe(Severity::from_f32(5.9)));
    }

    #[test]
    fn what_cannot_be_used_is_told() {
        for (name, text) in [
            ("where", "host"),
            ("where", "=x"),
            ("where", "host=~("),
            ("severity_min", "high"),
            ("severity_min", "-1"),
            ("rows_per_second", "0"),
            ("seconds", "0"),
            ("limit", "1"),
        ] {
            let error = filter(&[(name, text)]).unwrap_err();
            assert_eq!(error.status, 400, "{name}={text}");
        }
    }
}
