//! A frame of the view: a function of a snapshot and a size.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Widget};

use crate::cli::top::parts::{self, Shown};
use crate::cli::top::snapshot::Snapshot;
use crate::cli::top::units::{bytes, grouped, seconds};

/// Troubles that are shown, and lines of one.
const TROUBLES_MAX: usize = 4;
const TROUBLE_LINES_MAX: usize = 3;
/// Rows of partitions and of alerts that text has; a terminal shows what it has room for.
const TEXT_ROWS_MAX: usize = 20;

/// Titles of tables, and blank lines between the parts.
const BETWEEN: usize = 6;

/// What stands where a figure is not known.
pub(crate) const UNKNOWN: &str = "–";

/// Draws a frame.
pub(crate) fn render(snapshot: &Snapshot, area: Rect, buffer: &mut Buffer) {
    let (head, troubles) = (head(snapshot, area.width), troubles(snapshot, area.width));
    let sources = snapshot.sources.len();
    let fixed = head.len() + troubles.len() + sources + BETWEEN;
    let room = usize::from(area.height).saturating_sub(fixed);
    let (partitions, alerts) = shared(room, parts::rows_of(snapshot));
    let heights =
        [head.len() + 1, sources + 2, troubles.len(), partitions + 2, alerts + 1].map(height);
    let [at_head, at_sources, at_troubles, at_partitions, at_alerts] =
        Layout::vertical(heights.map(Constraint::Length)).areas(area);
    Paragraph::new(head).render(at_head, buffer);
    parts::sources(snapshot, at_sources, buffer);
    Paragraph::new(troubles).render(at_troubles, buffer);
    parts::partitions(snapshot, Shown { area: at_partitions, rows: partitions }, buffer);
    parts::alerts(snapshot, Shown { area: at_alerts, rows: alerts }, buffer);
}

/// A frame as text, as high as it needs to be.
pub(crate) fn as_text(snapshot: &Snapshot, width: usize) -> String {
    let width = height(width.max(40));
    let (partitions, alerts) = parts::rows_of(snapshot);
    let rows = partitions.min(TEXT_ROWS_MAX) + alerts.min(TEXT_ROWS_MAX);
    let fixed = head(snapshot, width).len() + troubles(snapshot, width).len();
    let fixed = fixed + snapshot.sources.len() + BETWEEN;
    let area = Rect::new(0, 0, width, height(fixed + rows));
    let mut buffer = Buffer::empty(area);
    render(snapshot, area, &mut buffer);
    let text: String = lines(&buffer).iter().map(|line| format!("{line}\n")).collect();
    format!("{}\n", text.trim_end())
}

/// The lines of a buffer, without blanks behind.
pub(crate) fn lines(buffer: &Buffer) -> Vec<String> {
    let area = buffer.area;
    let line = |y| {
        let cells = (area.left()..area.right()).filter_map(|x| buffer.cell((x, y)));
        let text: String = cells.map(ratatui::buffer::Cell::symbol).collect();
        text.trim_end().to_owned()
    };
    (area.top()..area.bottom()).map(line).collect()
}

fn height(rows: usize) -> u16 {
    u16::try_from(rows).unwrap_or(u16::MAX)
}

/// Divides `room`: each gets what it needs, or half, or what the other one leaves.
fn shared(room: usize, (one, other): (usize, usize)) -> (usize, usize) {
    let first = one.min((room - room / 2).max(room.saturating_sub(other)));
    (first, other.min(room - first))
}

/// What it is of, how it fares, and the figures of the machine.
fn head(snapshot: &Snapshot, width: u16) -> Vec<Line<'static>> {
    let mut lines = vec![title(snapshot)];
    if let Some(lost) = &snapshot.lost {
        let told =
            format!("no answer for {}, and goes on trying: {}", seconds(lost.seconds), lost.why);
        lines.push(Line::styled(clean(&told), Style::new().fg(Color::Red)));
    }
    let mut line: Vec<Span<'static>> = Vec::new();
    let mut used = 0;
    for (name, value) in figures(snapshot) {
        let size = name.chars().count() + value.chars().count() + 4;
        if used + size > usize::from(width) && !line.is_empty() {
            lines.push(Line::from(std::mem::take(&mut line)));
            used = 0;
        }
        used += size;
        line.push(Span::styled(format!("{name} "), Style::new().add_modifier(Modifier::DIM)));
        line.push(Span::raw(format!("{value}   ")));
    }
    lines.push(Line::from(line));
    lines
}

fn title(snapshot: &Snapshot) -> Line<'static> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut spans = vec![Span::styled(format!("tidewatch {}", clean(&snapshot.version)), bold)];
    spans.push(Span::raw(format!("  {}  ", clean(&snapshot.url))));
    if snapshot.status.is_empty() {
        return Line::from(spans);
    }
    spans.push(Span::styled(clean(&snapshot.status), status_style(&snapshot.status)));
    let caught_up = if snapshot.caught_up { "caught up" } else { "not caught up" };
    spans.push(Span::raw(format!("  {caught_up}  up {}", seconds(snapshot.uptime_seconds))));
    Line::from(spans)
}

/// The figures of the machine, by their names.
fn figures(snapshot: &Snapshot) -> Vec<(&'static str, String)> {
    let machine = &snapshot.machine;
    let count = |number: Option<f64>| number.map_or_else(|| UNKNOWN.to_owned(), grouped);
    let size = |number: Option<f64>| number.map_or_else(|| UNKNOWN.to_owned(), bytes);
    let of = |used: Option<f64>, max: Option<f64>| match max {
        Some(max) => format!("{} of {}", size(used), bytes(max)),
        None => size(used),
    };
    let queries = match machine.queries_max {
        Some(max) => format!("{} of {}", count(machine.queries_in_hand), grouped(max)),
        None => count(machine.queries_in_hand),
    };
    vec![
        ("samples/s", count(snapshot.samples_per_second)),
        ("records/s", count(machine.records_per_second)),
        ("durable LSN", count(machine.durable_lsn)),
        ("shards behind", count(machine.records_behind)),
        ("a start replays", count(machine.records_to_replay)),
        ("data", of(machine.data_bytes, machine.data_bytes_max)),
        ("disk free", size(machine.disk_available_bytes)),
        ("series", count(machine.series)),
        ("memory of series", of(machine.series_bytes, machine.series_bytes_max)),
        ("memory of requests", of(machine.requests_bytes, machine.requests_bytes_max)),
        ("queries", queries),
        ("undelivered", count(machine.undelivered)),
    ]
}

/// The parts that are not healthy, the worst first.
fn troubles(snapshot: &Snapshot, width: u16) -> Vec<Line<'static>> {
    let mut troubles: Vec<_> = snapshot.troubles.iter().collect();
    troubles.sort_by_key(|trouble| trouble.status != "unhealthy");
    let shown = troubles.iter().take(TROUBLES_MAX).flat_map(|trouble| {
        let text = format!("{}: {}", trouble.part, trouble.message);
        let lines = wrapped(&text, usize::from(width));
        lines.into_iter().map(|line| Line::styled(line, status_style(&trouble.status)))
    });
    let mut lines: Vec<_> = shown.collect();
    if !lines.is_empty() {
        lines.push(Line::default());
    }
    lines
}

/// A text in lines of this width, so many at most.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let is_last = lines.len() == TROUBLE_LINES_MAX;
        let line = lines.last_mut().expect("there is one from the beginning");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else if is_last {
            line.push_str(" …");
            break;
        } else {
            lines.push(format!("  {word}"));
        }
    }
    lines
}

/// How a status or a state stands out.
pub(crate) fn status_style(status: &str) -> Style {
    match status {
        "unhealthy" | "stopped" | "unreachable" | "ahead" => {
            Style::new().fg(Color::Red).add_modifier(Modifier::BOLD)
        }
        "degraded" | "waiting" | "missing" | "lost" | "catching_up" => {
            Style::new().fg(Color::Yellow)
        }
        _ => Style::new(),
    }
}

/// What comes from elsewhere must not steer the terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
