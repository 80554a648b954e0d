//! The truth about generated series: which anomalies were injected, where and when.

use chrono::{DateTime, SecondsFormat};
use serde_json::json;
use tidewatch_metrics::EventTime;

use crate::cli::generate::generator::{GeneratedSeries, Generator};

/// The database that the ids of labels are made for.
const DATABASE: &str = "default";

/// All injected anomalies as an array of objects.
pub(crate) fn to_json(generator: &Generator) -> String {
    let labels: Vec<_> = rows(generator)
        .map(|row| {
            json!({
                "series_id": row.series_id, "series": row.series, "kind": row.kind,
                "start": row.start, "end": row.end,
            })
        })
        .collect();
    format!("{}\n", json!(labels))
}

/// All injected anomalies as CSV with a header.
pub(crate) fn to_csv(generator: &Generator) -> String {
    let mut text = "series_id,series,kind,start,end\n".to_owned();
    for Row { series_id, series, kind, start, end } in rows(generator) {
        // Series have commas between their labels; nothing in them needs more than the quotes.
        text.push_str(&format!("{series_id},\"{series}\",{kind},{start},{end}\n"));
    }
    text
}

struct Row {
    series_id: String,
    series: String,
    kind: &'static str,
    start: String,
    end: String,
}

fn rows(generator: &Generator) -> impl Iterator<Item = Row> {
    generator.injected().iter().map(|anomaly| {
        let series = &generator.series()[anomaly.series];
        Row {
            series_id: series.key(DATABASE).id().to_string(),
            series: shown(series),
            kind: anomaly.kind.name(),
            start: rfc3339(anomaly.onset),
            end: rfc3339(anomaly.end),
        }
    })
}

/// The series as it begins its lines in line protocol.
fn shown(series: &GeneratedSeries) -> String {
    let labels = series.labels.iter().map(|(key, value)| format!(",{key}={value}"));
    std::iter::once(series.metric.to_owned()).chain(labels).collect()
}

/// `time` in UTC, with a fraction only if not zero.
pub(crate) fn rfc3339(time: EventTime) -> String {
    DateTime::from_timestamp_nanos(time.nanos()).to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::cli::generate::anomaly::{Anomaly, InjectedKind};
    use crate::cli::generate::generator::GeneratorConfig;

    #[test]
    fn both_forms_tell_series_kind_and_time() {
        let start = EventTime::new(0);
        let config = GeneratorConfig { series: 2, start, interval_nanos: 1_000_000_000, seed: 1 };
        let mut generator = Generator::new(config);
        let (onset, end) = (EventTime::new(60_000_000_000), EventTime::new(90_000_000_000));
        let kind = InjectedKind::LevelShift;
        generator.inject(Anomaly { kind, series: 1, onset, end });
        generator.inject(Anomaly { kind, series: 2, onset, end });
        let id = generator.series()[1].key("default").id();
        let series = "requests_per_second,host=checkout-0000,region=eu-west-1,service=checkout";
        let times = "1970-01-01T00:01:00Z,1970-01-01T00:01:30Z";
        assert_eq!(
            to_csv(&generator),
            format!("series_id,series,kind,start,end\n{id},\"{series}\",level_shift,{times}\n")
        );
        let labels: Value = serde_json::from_str(&to_json(&generator)).unwrap();
        assert_eq!(labels.as_array().map(Vec::len), Some(1), "a series that is not there has none");
        assert_eq!(labels[0]["series"], series);
        assert_eq!(labels[0]["end"], "1970-01-01T00:01:30Z");
        assert_eq!(labels[0]["kind"], "level_shift");
    }
}
