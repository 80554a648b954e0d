//! `[[sink.kafka]]`, `[[sink.webhook]]`, `[[sink.file]]`, `[[sink.stdout]]`

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use tidewatch_connectors::kafka::KafkaConfig;
use tidewatch_engine::{FeedConfig, FeedContent};
use tidewatch_metrics::Severity;
use tidewatch_sinks::{KafkaSinkConfig, Secret, SinkConfig};
use toml::{Table, Value};

use crate::config::kafka_options::read_options;
use crate::config::rules::label;
use crate::config::section::{Findings, Section, entries, finish};

/// The kinds, and what their lists are called.
const KINDS: [(&str, &str); 4] = [
    ("kafka", "sink.kafka"),
    ("webhook", "sink.webhook"),
    ("file", "sink.file"),
    ("stdout", "sink.stdout"),
];

const NAME: &str = "a text that no other sink has";

/// What a topic is for, but for alerts.
const CONTENTS: &str = "\"alerts\", \"severities\", \"percentiles\" or \"dead_letters\"";
/// The least severity in a topic where none is given: an anomaly on a single dashboard.
const SEVERITY_MIN: f64 = 4.0;
/// Severities below are 0.
const SEVERITY_LEAST: f64 = 0.5;

/// Everything that goes out.
#[derive(Debug, Default)]
pub(crate) struct Sinks {
    /// Where alerts go.
    pub(crate) alerts: Vec<SinkConfig>,
    /// Where other rows go.
    pub(crate) feeds: Vec<FeedConfig>,
    /// The topics among these.
    pub(crate) topics: Vec<SinkTopic>,
}

/// A topic that is written to.
#[derive(Debug)]
pub(crate) struct SinkTopic {
    /// What problems call its sink.
    label: String,
    brokers: String,
    topic: String,
}

impl SinkTopic {
    /// Finds topics that are read as well: what is written there would come back, and for ever where it cannot be read.
    pub(crate) fn check(topics: &[Self], sources: &[KafkaConfig], findings: &mut Findings) {
        for Self { label, brokers, topic } in topics {
            let is_read = |source: &&KafkaConfig| {
                source.brokers == *brokers && source.topics.iter().any(|choice| choice.is_of(topic))
            };
            if let Some(source) = sources.iter().find(is_read) {
                let message = format!(
                    "is {topic:?}, which [[source.kafka]] {:?} reads: what is written there would come back",
                    source.name
                );
                findings.problem(&format!("{label}.topic"), message);
            }
        }
    }
}

/// Reads and checks all sinks; those with a problem are left out.
pub(crate) fn read_sinks(
    root: &mut Table,
    env: &BTreeMap<String, String>,
    findings: &mut Findings,
) -> Sinks {
    let mut sinks = Sinks::default();
    let mut kinds = match root.remove("sink") {
        None => return sinks,
        Some(Value::Table(kinds)) => kinds,
        Some(_) => {
            findings.problem(
                "sink",
                "must name its kind: [[sink.kafka]], [[sink.webhook]], [[sink.file]] or [[sink.stdout]]",
            );
            return sinks;
        }
    };
    let mut names = BTreeSet::new();
    for (kind, list) in KINDS {
        let tables = entries(&mut kinds, kind, list, findings);
        for (index, table) in tables.into_iter().enumerate() {
            let label = label(list, table.get("name").and_then(Value::as_str), index);
            let mut section = Section::entry(label.clone(), list, table, findings);
            let content = (kind == "kafka").then(|| read_content(&mut section)).flatten();
            let sink = read_sink(kind, &mut section, env);
            for problem in sink.iter().flat_map(SinkConfig::problems) {
                section.problem(problem.field, problem.message);
            }
            section.finish();
            let Some(sink) = sink else { continue };
            if !names.insert(sink.name().to_owned()) {
                let message = format!("has two entries with the name {:?}", sink.name());
                findings.problem("sink", message);
            }
            sinks.add(label, sink, content);
        }
    }
    finish(&kinds, "sink.", findings);
    sinks
}

impl Sinks {
    fn add(&mut self, label: String, sink: SinkConfig, content: Option<FeedContent>) {
        let SinkConfig::Kafka(config) = &sink else { return self.alerts.push(sink) };
        let (brokers, topic) = (config.brokers.clone(), config.topic.clone());
        self.topics.push(SinkTopic { label, brokers, topic });
        match content {
            None => self.alerts.push(sink),
            Some(content) => {
                let (name, target) = (config.name.clone(), Arc::new(config.clone()));
                self.feeds.push(FeedConfig { name, content, target });
            }
        }
    }
}

/// What goes to a topic, but for alerts.
fn read_content(section: &mut Section<'_>) -> Option<FeedContent> {
    let is_given = section.has("severity_min");
    let mut least = SEVERITY_MIN;
    section.fraction("severity_min", &mut least, SEVERITY_LEAST..=100.0);
    #[expect(clippy::cast_possible_truncation, reason = "at most 100, and kept in steps of 1/64")]
    let severity_min = Severity::from_f32(least as f32);
    let content = section.parsed("content", "alerts", CONTENTS, |text| match text {
        "alerts" => Some(None),
        "severities" => Some(Some(FeedContent::Severities { severity_min })),
        "percentiles" => Some(Some(FeedContent::Percentiles)),
        "dead_letters" => Some(Some(FeedContent::DeadLetters)),
        _ => None,
    });
    let content = content.flatten();
    if is_given && !matches!(content, Some(FeedContent::Severities { .. })) {
        section.problem("severity_min", "has no meaning without content = \"severities\"");
    }
    content
}

fn read_sink(
    kind: &str,
    section: &mut Section<'_>,
    env: &BTreeMap<String, String>,
) -> Option<SinkConfig> {
    let name = section.required("name", NAME);
    match kind {
        "kafka" => {
            let brokers = section.required("brokers", "hosts and ports with commas between");
            let topic = section.required("topic", "the name of a topic");
            let options = read_options(section, env);
            let (name, brokers, topic) = (name?, brokers?, topic?);
            Some(SinkConfig::Kafka(KafkaSinkConfig { name, brokers, topic, options }))
        }
        "stdout" => Some(SinkConfig::Stdout { name: name? }),
        "file" => {
            let path = section.required("path", "a file, whose directory exists");
            Some(SinkConfig::File { name: name?, path: PathBuf::from(path?) })
        }
        _ => {
            let limits = "an address that begins with http:// or https://";
            let url = section.required_secret("url", limits);
            let secret = secret(section, env);
            Some(SinkConfig::Webhook { name: name?, url: url?, secret })
        }
    }
}

/// The secret that the named variable holds. Neither it nor what may be one is ever shown.
fn secret(section: &mut Section<'_>, env: &BTreeMap<String, String>) -> Option<Secret> {
    let limits = "the name of a variable of the environment";
    let variable = section.secret("secret_env", limits)?;
    let named = |c: char| c == '_' || c.is_ascii_uppercase() || c.is_ascii_digit();
    match env.get(&variable) {
        Some(secret) => return Some(Secret::new(secret)),
        None if variable.chars().all(named) => {
            section.problem("secret_env", format!("names {variable}, which is not set"));
        }
        None => {
            section.problem("secret_env", "names a variable of the environment that is not set");
        }
    }
    None
}
