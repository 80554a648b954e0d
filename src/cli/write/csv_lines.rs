//! CSV rows as lines of line protocol.

use std::io::Write as _;

use tidewatch_metrics::{EventTime, MetricsError, SeriesKey};

/// Bytes of a value, a time and the line end.
const NUMBERS_BYTES_MAX: usize = 64;

/// The series that all rows of a file belong to, as the begin of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinePrefix(String);

/// Why names cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrefixError {
    /// The data model does not take them.
    #[error(transparent)]
    Metrics(Box<MetricsError>),
    /// Line protocol has no way to write them.
    #[error(
        "line protocol cannot carry {name:?}: control characters and backslashes at an end are refused"
    )]
    NotCarried {
        /// The name.
        name: String,
    },
    /// Line protocol would read them as something else.
    #[error("metric {name:?} begins with \"#\", which begins a comment in line protocol")]
    Comment {
        /// The name.
        name: String,
    },
}

impl LinePrefix {
    /// The prefix of `metric` with `labels`.
    ///
    /// # Errors
    /// If the server could not take the names, or line protocol not carry them.
    pub(crate) fn new(
        db: &str,
        metric: &str,
        labels: &[(String, String)],
    ) -> Result<Self, PrefixError> {
        let key =
            SeriesKey::new(db, metric, tidewatch_metrics::series::VALUE_FIELD, labels.to_vec())
                .map_err(|error| PrefixError::Metrics(Box::new(error)))?;
        let pairs = key.labels().iter().flat_map(|(key, value)| [key.as_str(), value.as_str()]);
        let mut names = std::iter::once(metric).chain(pairs);
        if let Some(name) =
            names.find(|name| name.ends_with('\\') || name.chars().any(char::is_control))
        {
            return Err(PrefixError::NotCarried { name: name.to_owned() });
        }
        if metric.starts_with('#') {
            return Err(PrefixError::Comment { name: metric.to_owned() });
        }
        let mut text = String::new();
        escape(&mut text, metric, &[',', ' ', '\\']);
        for (key, value) in key.labels() {
            text.push(',');
            escape(&mut text, key, &[',', ' ', '=', '\\']);
            text.push('=');
            escape(&mut text, value, &[',', ' ', '=', '\\']);
        }
        text.push_str(" value=");
        Ok(Self(text))
    }

    /// Bytes that no line exceeds.
    pub(crate) fn line_bytes_max(&self) -> usize {
        self.0.len() + NUMBERS_BYTES_MAX
    }

    /// Appends the line of one sample, its time in nanoseconds.
    ///
    /// The value is written so that it is read back bit for bit.
    pub(crate) fn push_line(&self, out: &mut Vec<u8>, time: EventTime, value: f64) {
        out.extend_from_slice(self.0.as_bytes());
        writeln!(out, "{value:?} {}", time.nanos()).expect("memory takes everything");
    }
}

fn escape(out: &mut String, text: &str, special: &[char]) {
    for c in text.chars() {
        if special.contains(&c) {
            out.push('\\');
        }
        out.push(c);
    }
}

#[cfg(test)]
mod tests {
    use tidewatch_connectors::decode::{LineBatch, LineOptions, decode, series_labels};
    use tidewatch_env::Rng;

    use super::*;

    fn label(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn names_and_values_arrive_as_they_were() {
        let mut rng = Rng::from_seed(3);
        let alphabet: Vec<char> = "ab,= \\\"é.-/".chars().collect();
        let mut name = |length: u64| -> String {
            let mut pick = |_| alphabet[usize::try_from(rng.below(alphabet.len() as u64)).unwrap()];
            (0..length).map(&mut pick).collect()
        };
        for case in 0..2_000_u32 {
            let metric = format!("{}m", name(u64::from(case % 7)));
            let labels = vec![label(&format!("{}k", name(3)), &format!("{}v", name(4)))];
            let prefix = LinePrefix::new("default", &metric, &labels).unwrap();
            let value = f64::from(case) * 0.1e-6;
            let mut line = Vec::new();
            prefix.push_line(&mut line, EventTime::new(-5), value);
            let line = String::from_utf8(line).unwrap();
            let mut batch = LineBatch::default();
            decode(line.as_bytes(), &LineOptions::default(), &mut batch).unwrap();
            assert_eq!(batch.errors().total(), 0, "{line}");
            assert_eq!(batch.values()[0].to_bits(), value.to_bits());
            let raw = line.strip_suffix(&format!(" value={value:?} -5\n")).expect("its own form");
            let parsed = series_labels(raw.as_bytes()).expect("a good key");
            assert_eq!((parsed.measurement, parsed.labels), (metric, labels), "{line}");
        }
    }

    #[test]
    fn values_of_every_size_are_read_back_bit_for_bit() {
        let prefix = LinePrefix::new("default", "m", &[]).unwrap();
        let values =
            [0.1, -0.0, 1e300, f64::MAX, f64::MIN_POSITIVE, 5e-324, 18.324_918_539_200_002];
        let mut text = Vec::new();
        for value in values {
            let before = text.len();
            prefix.push_line(&mut text, EventTime::new(-9_000_000_000_000_000_000), value);
            assert!(text.len() - before <= prefix.line_bytes_max());
        }
        let mut batch = LineBatch::default();
        decode(&text, &LineOptions::default(), &mut batch).unwrap();
        let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(batch.values()), bits(&values));
    }

    #[test]
    fn names_that_cannot_be_sent_are_refused() {
        let refused = |metric: &str, labels: &[(String, String)]| {
            LinePrefix::new("default", metric, labels).unwrap_err().to_string()
        };
        assert!(refused("", &[]).contains("metric name"));
        assert!(refused("#m", &[]).contains("comment"));
        assert!(refused("a\nb", &[]).contains("cannot carry"));
        assert!(refused("m", &[label("path", "C:\\")]).contains("cannot carry"));
        let twice = [label("k", "1"), label("k", "2")];
        assert!(refused("m", &twice).contains("given twice"));
        assert!(LinePrefix::new("tidewatch", "m", &[]).is_err());
    }
}
