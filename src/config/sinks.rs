//! `[[sink.kafka]]`, `[[sink.webhook]]`, `[[sink.file]]`, `[[sink.stdout]]`

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

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

/// Reads and checks all sinks; those with a problem are left out.
pub(crate) fn read_sinks(
    root: &mut Table,
    env: &BTreeMap<String, String>,
    findings: &mut Findings,
) -> Vec<SinkConfig> {
    let mut kinds = match root.remove("sink") {
        None => return Vec::new(),
        Some(Value::Table(kinds)) => kinds,
        Some(_) => {
            findings.problem(
                "sink",
                "must name its kind: [[sink.kafka]], [[sink.webhook]], [[sink.file]] or [[sink.stdout]]",
            );
            return Vec::new();
        }
    };
    let mut sinks = Vec::new();
    for (kind, list) in KINDS {
        let tables = entries(&mut kinds, kind, list, findings);
        for (index, table) in tables.into_iter().enumerate() {
            let label = label(list, table.get("name").and_then(Value::as_str), index);
            let mut section = Section::entry(label, list, table, findings);
            let sink = read_sink(kind, &mut section, env);
            for problem in sink.iter().flat_map(SinkConfig::problems) {
                section.problem(problem.field, problem.message);
            }
            section.finish();
            sinks.extend(sink);
        }
    }
    finish(&kinds, "sink.", findings);
    let mut names = BTreeSet::new();
    for sink in &sinks {
        if !names.insert(sink.name()) {
            findings.problem("sink", format!("has two entries with the name {:?}", sink.name()));
        }
    }
    sinks
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
