//! The figures of `/metrics` that the view needs.

use std::collections::BTreeMap;

/// Figures by name, and those of sources by the source's name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Instruments {
    plain: BTreeMap<String, f64>,
    by_source: BTreeMap<String, BTreeMap<String, f64>>,
}

impl Instruments {
    /// Reads OpenMetrics text. Lines that are none are passed over.
    pub(crate) fn read(text: &str) -> Self {
        let mut read = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            match name.split_once('{') {
                None => {
                    read.plain.insert(name.to_owned(), value);
                }
                Some((name, labels)) => {
                    if let Some(source) = only_source(labels) {
                        let of = read.by_source.entry(name.to_owned()).or_default();
                        of.insert(source, value);
                    }
                }
            }
        }
        read
    }

    /// The figure without labels.
    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.plain.get(name).copied()
    }

    /// The figure of a source.
    pub(crate) fn of_source(&self, name: &str, source: &str) -> Option<f64> {
        self.by_source.get(name)?.get(source).copied()
    }

    /// The figure of all sources together.
    pub(crate) fn of_sources(&self, name: &str) -> f64 {
        self.by_source.get(name).map_or(0.0, |of| of.values().sum())
    }
}

/// The source's name, where it is the only label of `source="…"}`.
fn only_source(labels: &str) -> Option<String> {
    let text = labels.strip_prefix("source=\"")?.strip_suffix("\"}")?;
    let (mut name, mut characters) = (String::new(), text.chars());
    while let Some(character) = characters.next() {
        match character {
            '"' => return None,
            '\\' => name.push(match characters.next()? {
                'n' => '\n',
                other => other,
            }),
            other => name.push(other),
        }
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_and_those_of_sources_by_their_names() {
        let read = Instruments::read(
            "# TYPE a counter\na_total 5\nb 1.5\nrubbish\nk_total{source=\"one\"} 2\n\
             k_total{source=\"a \\\"b\\\" \\\\ c\"} 3\nk_total{source=\"one\",topic=\"t\"} 9\n# EOF\n",
        );
        assert_eq!(
            (read.get("a_total"), read.get("b"), read.get("c")),
            (Some(5.0), Some(1.5), None)
        );
        assert_eq!(read.of_source("k_total", "one"), Some(2.0));
        assert_eq!(read.of_source("k_total", "a \"b\" \\ c"), Some(3.0));
        assert_eq!(read.of_source("k_total", "two"), None);
        assert!((read.of_sources("k_total") - 5.0).abs() < 1e-9);
    }
}
