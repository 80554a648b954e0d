//! `[source.kafka.map]`

use std::collections::BTreeMap;

use tidewatch_connectors::decode::json::{
    JsonMap, LabelPlace, MapError, MapSpec, MetricPlace, ValuePlace,
};
use tidewatch_connectors::decode::{MessageForm, MessageFormat, Precision};
use tidewatch_engine::chain;

use crate::config::section::{Section, TextOrTexts};
use crate::config::source_registry::read_registry;

/// The keys.
const METRIC: &str = "metric";
const VALUE: &str = "value";

/// The format of a source, with the map and the registry that its section has; `None` where one has a problem.
pub(crate) fn read_format(
    source: &mut Section<'_>,
    env: &BTreeMap<String, String>,
) -> Option<MessageFormat> {
    let form = source.parsed(
        "format",
        MessageForm::Json.name(),
        "\"json\", \"line_protocol\", \"remote_write\", \"number\", \"otlp\", \"avro\" or \"protobuf\"",
        |text| MessageForm::ALL.into_iter().find(|form| form.name() == text),
    );
    let form = form.unwrap_or(MessageForm::Json);
    let schemas = read_registry(source, form, env);
    let is_there = source.has("map");
    if is_there && form != MessageForm::Json && !form.has_schemas() {
        let formats = "\"json\", \"avro\" or \"protobuf\"";
        source.problem("map", format!("is for format = {formats}, not for {:?}", form.name()));
    }
    let mut section = source.subsection("map", "source.kafka.map");
    let spec = read_spec(&mut section);
    let format = |map: Option<JsonMap>| match (schemas, map) {
        (Some(schemas), map) => MessageFormat::recorded(form, map, schemas),
        (None, Some(map)) if form == MessageForm::Json => MessageFormat::mapped(map),
        (None, _) => form.into(),
    };
    let format = match is_there.then(|| JsonMap::new(&spec)) {
        None => Some(format(None)),
        Some(Ok(map)) => Some(format(Some(map))),
        Some(Err(MapError::Missing { key })) => {
            let message = match key {
                METRIC => "is missing: a path, { constant = \"name\" }, or a table of values",
                _ => "is missing",
            };
            section.problem(key, message);
            None
        }
        Some(Err(error)) => {
            section.problem(error.key(), format!("cannot be used: {}", chain(&error)));
            None
        }
    };
    section.finish();
    format
}

fn read_spec(section: &mut Section<'_>) -> MapSpec {
    let time =
        section.parsed("time", "", "a path such as \"meta.at\"", |text| Some(text.to_owned()));
    let units = [Precision::Seconds, Precision::Milliseconds];
    let units = units.into_iter().chain([Precision::Microseconds, Precision::Nanoseconds]);
    let time_unit = section.parsed("time_unit", "", "\"s\", \"ms\", \"us\" or \"ns\"", |text| {
        units.into_iter().find(|unit| unit.name() == text)
    });
    let limits = "a path such as \"meta.sensor\", or { constant = \"name\" }";
    let metric = match section.text_or_texts(METRIC, limits) {
        None => None,
        Some(TextOrTexts::Text(path)) => Some(MetricPlace::Path(path)),
        Some(TextOrTexts::Texts(texts)) => match &texts[..] {
            [(key, name)] if key == "constant" => Some(MetricPlace::Constant(name.clone())),
            _ => {
                section.problem(METRIC, format!("must be {limits}"));
                None
            }
        },
    };
    let limits = "a path such as \"data.v\", or { name = \"path\", other = \"path\" }";
    let value = section.text_or_texts(VALUE, limits).map(|value| match value {
        TextOrTexts::Text(path) => ValuePlace::Path(path),
        TextOrTexts::Texts(named) => ValuePlace::Named(named),
    });
    let limits = "the path of an object such as \"tags\", or { key = \"path\", other = \"path\" }";
    let labels = section.text_or_texts("labels", limits).map(|labels| match labels {
        TextOrTexts::Text(path) => LabelPlace::Object(path),
        TextOrTexts::Texts(named) => LabelPlace::Paths(named),
    });
    MapSpec { time, time_unit, metric, value, labels }
}
