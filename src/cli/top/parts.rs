//! The tables of a frame: sources, partitions, alerts.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Row, Table, Widget};

use crate::cli::top::snapshot::{PartitionLine, Snapshot, SourceLine};
use crate::cli::top::units::{bytes, grouped, seconds};
use crate::cli::top::view::{UNKNOWN, status_style};

/// From this width on, there is room for all columns.
const WIDE: u16 = 110;

/// Where a table is drawn, and how many of its rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    pub(crate) area: Rect,
    pub(crate) rows: usize,
}

/// A column: its title, its width, whether it has numbers, and whether it is left out where room is scarce.
#[derive(Clone, Copy, Debug)]
struct Column {
    title: &'static str,
    width: Constraint,
    is_number: bool,
    is_extra: bool,
}

const fn text(title: &'static str, width: Constraint) -> Column {
    Column { title, width, is_number: false, is_extra: false }
}

const fn number(title: &'static str, width: u16) -> Column {
    Column { title, width: Constraint::Length(width), is_number: true, is_extra: false }
}

const fn extra(column: Column) -> Column {
    Column { is_extra: true, ..column }
}

const SOURCES: [Column; 11] = [
    text("SOURCE", Constraint::Fill(1)),
    text("STATE", Constraint::Length(11)),
    number("SAMPLES/S", 10),
    number("MESSAGES/S", 10),
    extra(number("BYTES/S", 10)),
    number("LAG", 10),
    number("AGE", 10),
    extra(number("LEFT", 10)),
    number("BAD", 6),
    extra(number("GAPS", 6)),
    extra(number("REBALANCES", 10)),
];

const PARTITIONS: [Column; 7] = [
    text("SOURCE", Constraint::Fill(1)),
    text("PARTITION", Constraint::Fill(2)),
    text("STATE", Constraint::Length(11)),
    number("LAG", 12),
    number("AGE", 12),
    number("BAD", 8),
    extra(text("TROUBLE", Constraint::Fill(4))),
];

const ALERTS: [Column; 5] = [
    text("FIRING SINCE", Constraint::Length(20)),
    number("SEVERITY", 8),
    text("RULE", Constraint::Fill(1)),
    extra(text("PRIORITY", Constraint::Length(10))),
    text("SERIES", Constraint::Fill(2)),
];

/// Rows that partitions and alerts have, one at least: it says that there are none.
pub(crate) fn rows_of(snapshot: &Snapshot) -> (usize, usize) {
    (snapshot.partitions.len().max(1), snapshot.alerts.len().max(1))
}

/// Draws the sources.
pub(crate) fn sources(snapshot: &Snapshot, area: Rect, buffer: &mut Buffer) {
    let rows = snapshot.sources.iter().map(|source| (source_cells(source), source.state.as_str()));
    table(&SOURCES, rows, area).render(area, buffer);
}

/// Draws the partitions, the worst first.
pub(crate) fn partitions(snapshot: &Snapshot, shown: Shown, buffer: &mut Buffer) {
    if snapshot.partitions.is_empty() {
        let none = "no partitions are read".to_owned();
        let why = snapshot.partitions_missing.as_ref();
        let told = why.map_or(none, |why| format!("partitions are not known: {why}"));
        return Line::from(told).render(shown.area, buffer);
    }
    let rows = snapshot.partitions.iter().take(shown.rows);
    let rows = rows.map(|one| (partition_cells(one), one.state.as_str()));
    table(&PARTITIONS, rows, shown.area).render(shown.area, buffer);
}

/// Draws the alerts that fire, the newest first.
pub(crate) fn alerts(snapshot: &Snapshot, shown: Shown, buffer: &mut Buffer) {
    if snapshot.alerts.is_empty() {
        let none = "no alert is firing".to_owned();
        let why = snapshot.alerts_missing.as_ref();
        let told = why.map_or(none, |why| format!("alerts are not known: {why}"));
        return Line::from(told).render(shown.area, buffer);
    }
    let rows = snapshot.alerts.iter().take(shown.rows).map(|alert| {
        // Whole seconds do for whoever looks on.
        let onset = alert.onset.split('.').next().unwrap_or_default().trim_end_matches('Z');
        let cells = vec![
            format!("{onset}Z"),
            format!("{:.1}", alert.severity),
            alert.rule.clone(),
            alert.priority.clone(),
            alert.series.clone(),
        ];
        (cells, "")
    });
    table(&ALERTS, rows, shown.area).render(shown.area, buffer);
}

fn table<'a>(
    columns: &[Column],
    rows: impl Iterator<Item = (Vec<String>, &'a str)>,
    area: Rect,
) -> Table<'static> {
    let is_shown = |column: &Column| !column.is_extra || area.width >= WIDE;
    let cell = |column: &Column, text: String| match column.is_number {
        true => Text::from(text).right_aligned(),
        false => Text::from(text),
    };
    let shown: Vec<Column> = columns.iter().copied().filter(is_shown).collect();
    let titles = shown.iter().map(|column| cell(column, column.title.to_owned()));
    let header = Row::new(titles).style(Style::new().add_modifier(Modifier::BOLD));
    let rows = rows.map(|(cells, state)| {
        let cells = columns.iter().zip(cells).filter(|(column, _)| is_shown(column));
        let cells = cells.map(|(column, text)| cell(column, text));
        Row::new(cells).style(status_style(state))
    });
    let widths: Vec<Constraint> = shown.iter().map(|column| column.width).collect();
    Table::new(rows, widths).header(header).column_spacing(1)
}

fn source_cells(source: &SourceLine) -> Vec<String> {
    let told = |number: Option<f64>, tell: fn(f64) -> String| {
        number.map_or_else(|| UNKNOWN.to_owned(), tell)
    };
    vec![
        source.name.clone(),
        source.state.clone(),
        told(source.samples_per_second, grouped),
        told(source.messages_per_second, grouped),
        told(source.bytes_per_second, bytes),
        told(source.lag_messages, grouped),
        told(source.lag_seconds, seconds),
        told(source.catch_up_seconds, seconds),
        told(source.bad_messages, grouped),
        told(source.gap_messages, grouped),
        told(source.rebalances, grouped),
    ]
}

fn partition_cells(partition: &PartitionLine) -> Vec<String> {
    vec![
        partition.source.clone(),
        format!("{}/{}", partition.topic, partition.partition),
        partition.state.clone(),
        grouped(partition.lag_messages),
        seconds(partition.lag_seconds),
        grouped(partition.bad_messages),
        partition.trouble.clone(),
    ]
}
