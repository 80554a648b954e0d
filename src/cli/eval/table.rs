//! The figures for people.

use serde_json::{Value, json};
use tidewatch_eval::{CorpusKind, Report, Spread};

use crate::cli::wal;

/// What a table about NAB has, and about KPIs.
const NAB: [&str; 8] =
    ["model", "standard", "low FP", "low FN", "level", "at 4", "M samples/s", "bytes"];
const KPI: [&str; 8] = [
    "model",
    "event F1",
    "delay-7 F1",
    "delay-7 event F1",
    "level",
    "AUC-PR",
    "M samples/s",
    "bytes",
];
const NAB_SPLITS: [&str; 1] = ["standard, other half"];
const KPI_SPLITS: [&str; 2] = ["event F1, other half", "delay-7 F1, other half"];

/// A row per model; figures of halves only where they were asked for.
pub(super) fn table(kind: CorpusKind, reports: &[Report]) -> String {
    let (columns, splits) = match kind {
        CorpusKind::Nab => (&NAB[..], &NAB_SPLITS[..]),
        CorpusKind::Kpi => (&KPI[..], &KPI_SPLITS[..]),
    };
    let rows: Vec<Value> = reports.iter().map(row).collect();
    let told = splits.iter().filter(|column| rows.iter().any(|row| row[**column].is_string()));
    let columns: Vec<&str> = columns.iter().chain(told).copied().collect();
    wal::table(&columns, &rows)
}

fn row(report: &Report) -> Value {
    let figure = |figure: Option<f64>, digits: usize| figure.map(|it| format!("{it:.digits$}"));
    let spread = |spread: Option<Spread>, digits: usize| {
        spread.map(|Spread { mean, sd }| format!("{mean:.digits$} ± {sd:.digits$}"))
    };
    json!({
        "model": report.model,
        "standard": figure(report.standard, 2),
        "low FP": figure(report.reward_low_fp_rate, 2),
        "low FN": figure(report.reward_low_fn_rate, 2),
        "level": figure(report.level, 2),
        "at 4": figure(report.fixed_level_4, 2),
        "event F1": figure(report.event_f1, 3),
        "delay-7 F1": figure(report.delay7_f1, 3),
        "delay-7 event F1": figure(report.delay7_event_f1, 3),
        "AUC-PR": figure(report.auc_pr, 3),
        "M samples/s": figure(report.samples_per_second_per_core.map(|it| it / 1e6), 2),
        "bytes": figure(report.bytes_per_series, 0),
        "standard, other half": spread(report.split_standard, 2),
        "event F1, other half": spread(report.split_event_f1, 3),
        "delay-7 F1, other half": spread(report.split_delay7_f1, 3),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_corpus_has_its_columns_and_halves_only_where_they_were_asked_for() {
        let report = Report {
            model: "light",
            standard: Some(53.904),
            event_f1: Some(0.5),
            samples_per_second_per_core: Some(19_500_000.0),
            bytes_per_series: Some(248.0),
            ..Report::default()
        };
        let nab = table(CorpusKind::Nab, std::slice::from_ref(&report));
        for part in ["standard", "53.90", "19.50", " 248"] {
            assert!(nab.contains(part), "{part}: {nab}");
        }
        assert!(!nab.contains("half") && !nab.contains("F1"), "{nab}");
        let split = Some(Spread { mean: 0.48, sd: 0.031 });
        let kpi = table(CorpusKind::Kpi, &[Report { split_event_f1: split, ..report }]);
        assert!(kpi.contains("event F1, other half") && kpi.contains("0.480 ± 0.031"), "{kpi}");
        assert!(!kpi.contains("standard"), "{kpi}");
    }
}
