//! What a source of messages may be told.

use rdkafka::ClientConfig;
use tidewatch_kafka::{KafkaOption, OptionRules, are_brokers};
use tidewatch_metrics::UnixNanos;
use tidewatch_metrics::limits::SERIES_LABELS_MAX;

use crate::decode::MessageFormat;
use crate::kafka::headers::HeaderLabel;
use crate::kafka::topics::TopicChoice;

/// What options say of a source: offsets are kept here, and what is missing is said aloud.
const RULES: OptionRules = OptionRules {
    defaults: &[
        // The default stops a partition for a whole second when the local queue is full.
        ("fetch.queue.backoff.ms", "20"),
        ("fetch.error.backoff.ms", "100"),
        ("queued.max.messages.kbytes", "16384"),
        ("check.crcs", "true"),
        ("isolation.level", "read_committed"),
    ],
    fixed: &[
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("auto.offset.reset", "error"),
        ("enable.partition.eof", "false"),
    ],
    why_fixed: "is not for others to set: offsets are kept in the log",
    refused: &[
        ("group.id", NO_GROUP),
        ("group.instance.id", NO_GROUP),
        ("group.protocol", NO_GROUP),
        ("partition.assignment.strategy", NO_GROUP),
    ],
};

/// What options say of a member of a group.
const MEMBER_RULES: OptionRules = OptionRules {
    defaults: RULES.defaults,
    fixed: &[
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("auto.offset.reset", "error"),
        ("enable.partition.eof", "false"),
        ("group.protocol", "classic"),
        ("partition.assignment.strategy", "cooperative-sticky"),
    ],
    why_fixed: "is not for others to set: partitions change hands one by one, and offsets are \
                committed once they are durable",
    refused: &[("group.id", "is set by group")],
};

const NO_GROUP: &str = "has no meaning without mode = \"group\": partitions are not shared";

/// Where a partition begins that was never read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With its first message.
    #[default]
    Earliest,
    /// Behind its last message.
    Latest,
    /// With the first message that was sent at this time or later.
    At(UnixNanos),
}

/// What is done with a message of which something is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBadMessage {
    /// It is kept whole as a dead letter, what is good of it is stored, and the stream goes on.
    #[default]
    Keep,
    /// What is refused is counted, the rest is stored, and the stream goes on.
    Skip,
    /// The partition stops before the message.
    Stop,
}

/// A source: which topics of which brokers, and how their messages are read.
#[derive(Clone, Debug)]
pub struct KafkaConfig {
    /// Its name, which offsets are kept under.
    pub name: String,
    /// Hosts and ports, with commas between.
    pub brokers: String,
    /// The topics.
    pub topics: Vec<TopicChoice>,
    /// The group whose members share the partitions; `None` where they are all read here.
    pub group: Option<String>,
    /// The database.
    pub db: String,
    /// What messages hold.
    pub format: MessageFormat,
    /// Headers whose values become labels of all samples of their message.
    pub header_labels: Vec<HeaderLabel>,
    /// Where partitions begin that were never read.
    pub start: Start,
    /// What is done with bad messages.
    pub on_bad_message: OnBadMessage,
    /// Options of librdkafka.
    pub options: Vec<KafkaOption>,
}

/// Something wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaProblem {
    /// The field, as it is called in configurations.
    pub field: &'static str,
    /// What is wrong with it, as the rest of a sentence that begins with the field.
    pub message: String,
}

impl KafkaConfig {
    /// All that is wrong, found without touching the network; empty if nothing is.
    #[must_use]
    pub fn problems(&self) -> Vec<KafkaProblem> {
        let mut problems = Vec::new();
        let mut note = |field, message: &str| {
            problems.push(KafkaProblem { field, message: message.to_owned() });
        };
        let is_word = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if !(1..=128).contains(&self.name.len()) || !self.name.chars().all(is_word) {
            note("name", "must have 1 to 128 letters, digits, dots, dashes and underscores");
        }
        if !are_brokers(&self.brokers) {
            note("brokers", "must be hosts and ports with commas between");
        }
        if self.topics.is_empty() {
            note("topics", "must name at least one topic");
        }
        if let Err(error) = tidewatch_metrics::series::check_database(&self.db) {
            note("db", &format!("cannot be used: {error}"));
        }
        if self.format.series_form().is_none() && !self.header_labels.is_empty() {
            let form = self.format.form().name();
            note("labels_from_headers", &format!("cannot be used with format = {form:?}"));
        }
        if self.header_labels.len() > SERIES_LABELS_MAX {
            let message = format!("must have at most {SERIES_LABELS_MAX} entries");
            note("labels_from_headers", &message);
        }
        if self.group.as_ref().is_some_and(|group| !(1..=249).contains(&group.len())) {
            note("group", "must have 1 to 249 bytes");
        }
        for option in &self.options {
            if let Err(error) = self.rules().check(option) {
                note("options", &format!("cannot be used: {error}"));
            }
        }
        problems
    }

    /// What librdkafka is told.
    pub(crate) fn native(&self) -> ClientConfig {
        let mut native = self.rules().native(&self.brokers, &self.options);
        if let Some(group) = &self.group {
            native.set("group.id", group);
        }
        native
    }

    fn rules(&self) -> OptionRules {
        if self.group.is_some() { MEMBER_RULES } else { RULES }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::MessageForm;

    fn config(options: &[(&str, &str)]) -> KafkaConfig {
        let option = |(name, value): &(&str, &str)| KafkaOption {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
        };
        KafkaConfig {
            name: "main".to_owned(),
            brokers: "127.0.0.1:9092".to_owned(),
            topics: vec![TopicChoice::parse("metrics").unwrap()],
            group: None,
            db: "default".to_owned(),
            format: MessageForm::Json.into(),
            header_labels: Vec::new(),
            start: Start::Earliest,
            on_bad_message: OnBadMessage::Skip,
            options: options.iter().map(option).collect(),
        }
    }

    #[test]
    fn good_options_are_passed_on_and_win_over_defaults() {
        let config = config(&[("fetch.queue.backoff.ms", "35"), ("sasl.password", "hunter2")]);
        assert_eq!(config.problems(), []);
        let native = config.native();
        assert_eq!(native.get("fetch.queue.backoff.ms"), Some("35"));
        assert_eq!(native.get("auto.offset.reset"), Some("error"));
        native.create_native_config().unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn options_that_would_break_a_promise_or_that_nobody_knows_are_refused() {
        for (name, value, told) in [
            ("group.id", "g", "not shared"),
            ("auto.offset.reset", "earliest", "kept in the log"),
            ("bootstrap.servers", "x:1", "set by brokers"),
            ("fetch.min.byte", "1", "No such configuration property"),
        ] {
            let problems = config(&[(name, value)]).problems();
            let [KafkaProblem { field: "options", message }] = &problems[..] else {
                panic!("{name}: {problems:?}")
            };
            assert!(message.contains(told), "{message}");
        }
    }

    #[test]
    fn a_member_of_a_group_may_be_a_static_one_and_commits_nothing_by_itself() {
        let mut config = config(&[("group.instance.id", "one"), ("session.timeout.ms", "6000")]);
        assert_eq!(config.problems().len(), 1, "a static member of nothing");
        config.group = Some("g".to_owned());
        assert_eq!(config.problems(), []);
        let native = config.native();
        assert_eq!(native.get("group.id"), Some("g"));
        assert_eq!(native.get("group.instance.id"), Some("one"));
        assert_eq!(native.get("enable.auto.commit"), Some("false"));
        native.create_native_config().unwrap();
        for option in ["group.id", "partition.assignment.strategy", "group.protocol"] {
            config.options = vec![KafkaOption { name: option.to_owned(), value: "x".to_owned() }];
            assert_eq!(config.problems().len(), 1, "{option}");
        }
        config.group = Some(String::new());
        assert_eq!(config.problems()[0].field, "group");
    }

    #[test]
    fn every_problem_is_found_at_once() {
        let mut config = config(&[]);
        config.name = "a b".to_owned();
        config.brokers = "one:1,,two:2".to_owned();
        config.topics.clear();
        config.db = String::new();
        let fields: Vec<_> = config.problems().iter().map(|problem| problem.field).collect();
        assert_eq!(fields, ["name", "brokers", "topics", "db"]);
    }
}
