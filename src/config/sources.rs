//! `[[source.kafka]]`

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;

use chrono::DateTime;
use tidewatch_connectors::decode::MessageForm;
use tidewatch_connectors::kafka::{HeaderLabel, KafkaConfig, OnBadMessage, Start, TopicChoice};
use tidewatch_engine::chain;
use tidewatch_metrics::UnixNanos;
use toml::{Table, Value};

use crate::config::kafka_options::read_options;
use crate::config::rules::label;
use crate::config::section::{Findings, Section, entries, finish};
use crate::config::source_map::read_format;

/// What the list is called.
const LIST: &str = "source.kafka";

/// Reads and checks all sources; those with a problem are left out.
pub(crate) fn read_sources(
    root: &mut Table,
    env: &BTreeMap<String, String>,
    findings: &mut Findings,
) -> Vec<KafkaConfig> {
    let mut kinds = match root.remove("source") {
        None => return Vec::new(),
        Some(Value::Table(kinds)) => kinds,
        Some(_) => {
            findings.problem("source", "must name its kind: [[source.kafka]]");
            return Vec::new();
        }
    };
    let mut sources: Vec<KafkaConfig> = Vec::new();
    let tables = entries(&mut kinds, "kafka", LIST, findings);
    for (index, table) in tables.into_iter().enumerate() {
        let label = label(LIST, table.get("name").and_then(Value::as_str), index);
        let mut section = Section::entry(label, LIST, table, findings);
        let source = read_source(&mut section, env);
        for problem in source.iter().flat_map(KafkaConfig::problems) {
            section.problem(problem.field, problem.message);
        }
        section.finish();
        sources.extend(source);
    }
    finish(&kinds, "source.", findings);
    let mut names = BTreeSet::new();
    for source in &sources {
        if !names.insert(&source.name) {
            let message = format!("has two entries with the name {:?}", source.name);
            findings.problem(LIST, message);
        }
    }
    sources
}

fn read_source(section: &mut Section<'_>, env: &BTreeMap<String, String>) -> Option<KafkaConfig> {
    let problems = section.problem_count();
    let name = section.required("name", "a text that no other source has");
    let brokers = section.required("brokers", "hosts and ports with commas between");
    let topics = read_topics(section);
    let db = section.parsed("db", "default", "a database", |text| Some(text.to_owned()));
    let format = read_format(section, env);
    let header_labels = read_header_labels(section);
    let group = read_group(section);
    let limits = "\"earliest\", \"latest\" or a time such as \"2026-11-20T12:00:00Z\"";
    let start = section.parsed("start", "earliest", limits, start);
    let limits = "\"dlq\", \"skip\" or \"stop\"";
    let on_bad_message = section.parsed("on_bad_record", "dlq", limits, |text| match text {
        "dlq" => Some(OnBadMessage::Keep),
        "skip" => Some(OnBadMessage::Skip),
        "stop" => Some(OnBadMessage::Stop),
        _ => None,
    });
    let options = read_options(section, env);
    let config = KafkaConfig {
        name: name?,
        brokers: brokers?,
        topics,
        group,
        db: db.unwrap_or_else(|| "default".to_owned()),
        format: format.unwrap_or_else(|| MessageForm::Json.into()),
        header_labels,
        start: start.unwrap_or_default(),
        on_bad_message: on_bad_message.unwrap_or_default(),
        options,
    };
    (section.problem_count() == problems).then_some(config)
}

fn read_group(section: &mut Section<'_>) -> Option<String> {
    let limits = "\"exclusive\" (one reader, all partitions) or \"group\"";
    let is_member = section.parsed("mode", "exclusive", limits, |text| match text {
        "exclusive" => Some(false),
        "group" => Some(true),
        _ => None,
    });
    let group = section
        .parsed("group", "", "the name of a group of consumers", |text| Some(text.to_owned()));
    match (is_member.unwrap_or(false), &group) {
        (true, None) => section.problem("group", "must be given with mode = \"group\""),
        (false, Some(_)) => section.problem("group", "has no meaning without mode = \"group\""),
        _ => {}
    }
    group
}

fn read_topics(section: &mut Section<'_>) -> Vec<TopicChoice> {
    let limits = "a list of names, or of patterns that begin with ^";
    let texts = section.list("topics", limits, |value| value.as_str().map(str::to_owned));
    let mut topics = Vec::with_capacity(texts.len());
    for text in texts {
        match TopicChoice::parse(&text) {
            Ok(choice) => topics.push(choice),
            Err(error) => section.problem("topics", format!("cannot be used: {}", chain(&error))),
        }
    }
    topics
}

fn read_header_labels(section: &mut Section<'_>) -> Vec<HeaderLabel> {
    let key = "labels_from_headers";
    let limits = "a list of headers, or { header = \"label\" }";
    let mut labels = Vec::new();
    for (header, label) in section.texts_or_list(key, limits) {
        let is_fine = !header.is_empty() && !label.is_empty();
        match CString::new(header) {
            Ok(header) if is_fine => labels.push(HeaderLabel { header, label }),
            _ => section.problem(key, format!("must be {limits}")),
        }
    }
    labels
}

fn start(text: &str) -> Option<Start> {
    match text {
        "earliest" => Some(Start::Earliest),
        "latest" => Some(Start::Latest),
        time => {
            let nanos = DateTime::parse_from_rfc3339(time).ok()?.timestamp_nanos_opt()?;
            Some(Start::At(UnixNanos::new(nanos)))
        }
    }
}
