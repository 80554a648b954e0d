//! Generated samples as text.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat};
use clap::ValueEnum;
use serde_json::{Map, Value, json};
use tidewatch_metrics::EventTime;

use crate::cli::generate::generator::GeneratedSeries;

/// How samples are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Influx line protocol
    Lp,
    /// An object per line: metric, time, value, labels
    Json,
    /// With the columns timestamp, value, metric, host, region, service
    Csv,
}

/// Writes samples; what does not change from step to step is put together once.
#[derive(Clone, Debug)]
pub(crate) struct TextForm {
    format: Format,
    /// Per series: what stands before the sample and what behind it.
    frames: Vec<(String, String)>,
    /// Of this step: what stands before the value and what behind it.
    time: (String, String),
}

impl TextForm {
    /// The form of samples of these series.
    pub(crate) fn new(format: Format, series: &[GeneratedSeries]) -> Self {
        let frames = series.iter().map(|series| frame(format, series)).collect();
        Self { format, frames, time: (String::new(), String::new()) }
    }

    /// What stands before all samples.
    pub(crate) fn header(&self) -> &'static str {
        match self.format {
            Format::Lp | Format::Json => "",
            Format::Csv => "timestamp,value,metric,host,region,service\n",
        }
    }

    /// Appends one step to `out`.
    pub(crate) fn push_step(&mut self, time: EventTime, values: &[f64], out: &mut String) {
        let nanos = time.nanos();
        self.time = match self.format {
            Format::Lp => (String::new(), format!(" {nanos}\n")),
            Format::Json => (format!("{nanos},\"value\":"), String::new()),
            Format::Csv => {
                let time = DateTime::from_timestamp_nanos(nanos);
                (format!("{},", time.to_rfc3339_opts(SecondsFormat::AutoSi, true)), String::new())
            }
        };
        for ((before, behind), value) in self.frames.iter().zip(values) {
            out.push_str(before);
            out.push_str(&self.time.0);
            write!(out, "{value}").expect("memory takes everything");
            out.push_str(behind);
            out.push_str(&self.time.1);
        }
    }
}

fn frame(format: Format, series: &GeneratedSeries) -> (String, String) {
    let GeneratedSeries { metric, labels } = series;
    match format {
        Format::Lp => {
            // Generated names have nothing to escape.
            let labels: String =
                labels.iter().map(|(key, value)| format!(",{key}={value}")).collect();
            (format!("{metric}{labels} value="), String::new())
        }
        Format::Json => {
            let labels: Map<String, Value> =
                labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
            let labels = Value::Object(labels);
            (format!("{{\"metric\":\"{metric}\",\"time\":"), format!(",\"labels\":{labels}}}\n"))
        }
        Format::Csv => {
            let labels: String = labels.iter().map(|(_, value)| format!(",{value}")).collect();
            (String::new(), format!(",{metric}{labels}\n"))
        }
    }
}

#[cfg(test)]
mod tests {
    use tidewatch_connectors::decode::{LineBatch, LineOptions, decode, series_labels};

    use super::*;
    use crate::cli::generate::generator::{Generator, GeneratorConfig};

    const START: EventTime = EventTime::new(1_760_000_000_500_000_000);

    fn text(format: Format) -> (Generator, Vec<f64>, String) {
        let interval_nanos = 1_000_000_000;
        let mut generator =
            Generator::new(GeneratorConfig { series: 5, start: START, interval_nanos, seed: 1 });
        let mut form = TextForm::new(format, generator.series());
        let (mut values, mut out) = (Vec::new(), form.header().to_owned());
        let time = generator.step(&mut values);
        form.push_step(time, &values, &mut out);
        (generator, values, out)
    }

    #[test]
    fn line_protocol_decodes_to_the_same_samples() {
        let (generator, values, out) = text(Format::Lp);
        let mut batch = LineBatch::default();
        decode(out.as_bytes(), &LineOptions::default(), &mut batch).unwrap();
        assert_eq!(batch.errors().total(), 0, "{out}");
        assert_eq!(batch.values(), values);
        assert!(batch.times().iter().all(|time| *time == START));
        for (span, series) in batch.keys().iter().zip(generator.series()) {
            let key = series_labels(span.of(out.as_bytes())).unwrap();
            assert_eq!(
                (key.measurement.as_str(), key.labels),
                (series.metric, series.owned_labels())
            );
        }
    }

    #[test]
    fn json_lines_hold_the_same_samples() {
        let (generator, values, out) = text(Format::Json);
        for ((line, series), value) in out.lines().zip(generator.series()).zip(&values) {
            let labels: Map<String, Value> = series
                .labels
                .iter()
                .map(|(key, value)| ((*key).to_owned(), json!(value)))
                .collect();
            let sample: Value = serde_json::from_str(line).unwrap();
            assert_eq!(sample["value"].as_f64(), Some(*value));
            assert_eq!(sample["time"], START.nanos());
            assert_eq!(sample["metric"], series.metric);
            assert_eq!(sample["labels"], Value::Object(labels));
        }
        assert_eq!(out.lines().count(), 5);
    }

    #[test]
    fn csv_rows_have_the_columns_of_the_header() {
        let (_, values, out) = text(Format::Csv);
        let rows: Vec<Vec<&str>> = out.lines().map(|row| row.split(',').collect()).collect();
        assert!(rows.iter().all(|row| row.len() == 6), "{out}");
        assert_eq!(rows[1][0], "2025-10-09T08:53:20.500Z");
        assert_eq!(rows[1][1].parse(), Ok(values[0]));
        assert_eq!(rows[1][2..], ["active_sessions", "checkout-0000", "eu-west-1", "checkout"]);
    }
}
