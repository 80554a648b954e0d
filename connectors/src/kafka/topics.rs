//! Which topics are read: names, or patterns of names.

use regex::Regex;
use tidewatch_kafka::is_topic;

/// A topic's name, or a pattern that begins with `^`.
#[derive(Clone, Debug)]
pub enum TopicChoice {
    /// The topic of this name.
    Name(String),
    /// All topics whose names match, those that come later included, and no internal ones.
    Pattern(Regex),
}

/// What is neither a name nor a pattern.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TopicChoiceError {
    /// A name that no topic can have.
    #[error(
        "{text:?} is no name of a topic: 1 to 249 letters, digits, dots, dashes and underscores"
    )]
    Name {
        /// What was given.
        text: String,
    },
    /// A pattern that cannot be read.
    #[error("{text:?} is no regular expression")]
    Pattern {
        /// What was given.
        text: String,
        /// Why not.
        #[source]
        source: regex::Error,
    },
}

impl TopicChoice {
    /// What `text` means.
    ///
    /// # Errors
    /// If it is neither.
    pub fn parse(text: &str) -> Result<Self, TopicChoiceError> {
        if text.starts_with('^') {
            return match Regex::new(text) {
                Ok(pattern) => Ok(Self::Pattern(pattern)),
                Err(source) => Err(TopicChoiceError::Pattern { text: text.to_owned(), source }),
            };
        }
        if is_topic(text) {
            Ok(Self::Name(text.to_owned()))
        } else {
            Err(TopicChoiceError::Name { text: text.to_owned() })
        }
    }

    /// How it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Pattern(pattern) => pattern.as_str(),
        }
    }

    /// Whether the topic of this name is meant.
    #[must_use]
    pub fn is_of(&self, topic: &str) -> bool {
        match self {
            Self::Name(name) => name == topic,
            // Names that begin so are those of Kafka and of tools around it.
            Self::Pattern(pattern) => !topic.starts_with("__") && pattern.is_match(topic),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names_and_patterns_begin_with_a_caret() {
        let metrics = TopicChoice::parse("metrics.cpu-1_a").unwrap();
        assert!(metrics.is_of("metrics.cpu-1_a") && !metrics.is_of("metrics.cpu-1_ab"));
        let all = TopicChoice::parse("^metrics\\.").unwrap();
        assert!(all.is_of("metrics.cpu") && !all.is_of("metricsxcpu"));
        let every = TopicChoice::parse("^.*").unwrap();
        assert!(every.is_of("a") && !every.is_of("__consumer_offsets"));
        for bad in ["a b", "^("] {
            assert!(TopicChoice::parse(bad).is_err(), "{bad}");
        }
    }
}
