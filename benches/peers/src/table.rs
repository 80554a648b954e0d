//! Figures in Markdown, as they stand in the document.

use tidewatch_eval::{CorpusKind, Report};

const NAB: [&str; 5] = ["model", "standard", "at 4", "samples/s", "bytes"];
const KPI: [&str; 5] = ["model", "event F1", "delay-7 F1", "samples/s", "bytes"];

/// A row of a table.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) report: Report,
    /// Whether its severities are about chances, so that a level means something.
    pub(crate) has_levels: bool,
}

/// The table of a corpus.
pub(crate) fn of_corpus(kind: CorpusKind, rows: &[Row]) -> String {
    let cells = |Row { name, report, has_levels }: &Row| {
        let at_4 = report.fixed_level_4.filter(|_| *has_levels);
        let figures = match kind {
            CorpusKind::Nab => [figure(report.standard, 1), figure(at_4, 1)],
            CorpusKind::Kpi => [figure(report.event_f1, 3), figure(report.delay7_f1, 3)],
        };
        let [first, second] = figures;
        let speed = report.samples_per_second_per_core.map_or_else(String::new, scaled);
        let bytes = report.bytes_per_series.map_or_else(String::new, scaled);
        [name.clone(), first, second, speed, bytes]
    };
    let head = if kind == CorpusKind::Nab { NAB } else { KPI };
    markdown(&head, &rows.iter().map(|row| cells(row).to_vec()).collect::<Vec<_>>())
}

/// Two digits or more, in thousands or millions where it is large.
pub(crate) fn scaled(figure: f64) -> String {
    let (scaled, unit) = if figure < 1e3 {
        (figure, "")
    } else if figure < 1e6 {
        (figure / 1e3, " k")
    } else {
        (figure / 1e6, " M")
    };
    let digits = usize::from(scaled < 10.0);
    format!("{scaled:.digits$}{unit}")
}

/// A table in Markdown.
pub(crate) fn markdown(head: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &[&str]| format!("| {} |\n", cells.join(" | "));
    let mut table = line(head) + &format!("|{}\n", "---|".repeat(head.len()));
    for row in rows {
        table += &line(&row.iter().map(String::as_str).collect::<Vec<_>>());
    }
    table
}

fn figure(figure: Option<f64>, digits: usize) -> String {
    figure.map_or_else(String::new, |figure| format!("{figure:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_a_figure_at_4_only_where_levels_mean_something() {
        let report = Report {
            standard: Some(51.66),
            fixed_level_4: Some(12.0),
            samples_per_second_per_core: Some(12_345.0),
            ..Report::default()
        };
        let row = |has_levels| Row { name: "one".to_owned(), report: report.clone(), has_levels };
        let table = of_corpus(CorpusKind::Nab, &[row(false), row(true)]);
        assert!(table.contains("| one | 51.7 |  | 12 k |  |\n"), "{table}");
        assert!(table.contains("| one | 51.7 | 12.0 | 12 k |  |\n"), "{table}");
        assert_eq!([5.6e6, 9_900.0, 248.0].map(scaled), ["5.6 M", "9.9 k", "248"]);
    }
}
