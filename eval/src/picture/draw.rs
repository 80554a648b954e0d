//! The picture.

use std::ops::Range;

use tidewatch_metrics::Severity;
use tidewatch_operators::Judgement;

use crate::picture::columns::{Column, Span, columns};
use crate::picture::marks::{Frame, Marks, Path, Words, escaped};
use crate::picture::ticks::{time_ticks, value_ticks};
use crate::series::Series;

const WIDTH: f64 = 1_200.0;
const HEIGHT: f64 = 580.0;
/// The base line of the legend.
const LEGEND: f64 = 78.0;
const COLUMNS: usize = 1_100;
/// Where the series is, and where its severities are.
const SERIES: Frame = Frame { left: 76.0, top: 98.0, width: 1_100.0, height: 290.0 };
const SEVERITIES: Frame = Frame { left: 76.0, top: 414.0, width: 1_100.0, height: 110.0 };
/// The range of values keeps this share of itself free above and below.
const VALUE_MARGIN: f64 = 0.05;
/// Severities that the axis tells, as far as they are reached.
const SEVERITY_TICKS: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 100.0];
/// Pixels between two lines of text.
const LINE_HEIGHT: f64 = 13.0;
/// Characters of a title.
const TITLE_CHARS_MAX: usize = 110;
/// The axis goes at least so far.
const SEVERITY_SHOWN_MIN: f64 = 8.0;

const STYLE: &str = "\
<style>
text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;font-size:12px;fill:#52606d}
.title{font-size:17px;font-weight:600;fill:#1f2933}
.grid{stroke:#e6eaef;stroke-width:1}
.axis{stroke:#b8c2cc;stroke-width:1}
.window{fill:#8b6fd6;fill-opacity:.16}
.band{fill:#f0a030;fill-opacity:.24}
.expected{fill:none;stroke:#d9822b;stroke-width:1.2;stroke-linejoin:round}
.value{fill:none;stroke:#1f6fb2;stroke-width:1.2;stroke-linejoin:round;stroke-linecap:round}
.anomaly{fill:none;stroke:#d6304a;stroke-width:7;stroke-linecap:round;stroke-opacity:.85}
.calm{fill:none;stroke:#9aa8b6;stroke-width:1.2}
.loud{fill:none;stroke:#d6304a;stroke-width:1.4}
.onset{fill:none;stroke:#8f1029;stroke-width:5;stroke-linecap:round}
.level{stroke:#d6304a;stroke-width:1;stroke-dasharray:5 4}
</style>
";

const TITLE: Words = Words { class: "title", anchor: "start" };
const START: Words = Words { class: "t", anchor: "start" };
const MIDDLE: Words = Words { class: "t", anchor: "middle" };
const END: Words = Words { class: "t", anchor: "end" };

/// One series with what a detector says of it: values, what was expected, the band, severities below, and labels.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    /// What stands above it.
    pub title: &'a str,
    /// The series.
    pub series: &'a Series,
    /// What the detector says of each of its rows.
    pub rows: &'a [Judgement],
    /// Ranges of rows that are labelled.
    pub windows: &'a [Range<usize>],
    /// Rows of this severity and more are marked.
    pub level: f64,
}

/// From the least to the greatest value, with some room.
#[derive(Clone, Copy, Debug)]
struct Scale {
    low: f64,
    high: f64,
}

impl Picture<'_> {
    /// The picture as an SVG document: light, without anything from elsewhere, at most some 300 kB however many rows there are.
    ///
    /// Each column of pixels shows the range of its rows, so that no spike is lost; its severity is that of its most
    /// severe row. The axis of severities is that of the score, `severity / (severity + 4)`.
    #[must_use]
    pub fn svg(&self) -> String {
        let span = Span::of(self.series.times());
        let columns = columns(self.series, self.rows, self.windows, (span, COLUMNS));
        let scale = Scale::of(&columns);
        let mut marks = Marks::default();
        self.begin(&mut marks, span);
        windows(&columns, &mut marks);
        grid(span, scale, &mut marks);
        marks.raw("<g clip-path=\"url(#series)\">\n");
        band(&columns, scale, &mut marks);
        marks.path("expected", line(&columns, scale, |column| column.expected).commands());
        marks.path("value", line(&columns, scale, |column| column.value).commands());
        marks.raw("</g>\n");
        self.anomalies(&columns, scale, &mut marks);
        self.severities(&columns, &mut marks);
        self.legend(&mut marks);
        marks.raw("</svg>\n");
        marks.into_text()
    }

    fn begin(&self, marks: &mut Marks, span: Span) {
        let (title, Frame { left, top, width, height }) = (escaped(self.title), SERIES);
        marks.raw(&format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
             height=\"{HEIGHT}\" role=\"img\">\n<title>{title}</title>\n{STYLE}\
             <clipPath id=\"series\"><rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\"/></clipPath>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
        ));
        let mut heading: String = self.title.chars().take(TITLE_CHARS_MAX).collect();
        if self.title.chars().nth(TITLE_CHARS_MAX).is_some() {
            heading.push('…');
        }
        marks.text((SERIES.left, 30.0), TITLE, &heading);
        let time = |nanos| chrono::DateTime::from_timestamp_nanos(nanos).format("%Y-%m-%d %H:%M");
        let loud = self.rows.iter().filter(|row| self.is_loud(row.severity)).count();
        let told = match self.series.is_empty() {
            true => "no rows".to_owned(),
            false => format!(
                "{} rows, {} to {} UTC; {} with a severity of {} or more",
                grouped(self.series.len()),
                time(span.from),
                time(span.to),
                grouped(loud),
                shown(self.level)
            ),
        };
        marks.text((SERIES.left, 52.0), START, &told);
    }

    fn is_loud(&self, severity: Severity) -> bool {
        severity > Severity::ZERO && f64::from(severity.to_f32()) >= self.level
    }

    fn anomalies(&self, columns: &[Column], scale: Scale, marks: &mut Marks) {
        let mut dots = Path::default();
        for (index, column) in
            columns.iter().enumerate().filter(|(_, it)| self.is_loud(it.severity))
        {
            let y = SERIES.y(scale.place(column.severe_value));
            dots.move_to(x(index), y);
            dots.line_to(x(index), y);
        }
        marks.path("anomaly", dots.commands());
    }

    fn severities(&self, columns: &[Column], marks: &mut Marks) {
        let most = columns.iter().map(|column| f64::from(column.severity.to_f32()));
        let most = most.fold(self.level.max(SEVERITY_SHOWN_MIN), f64::max);
        let y = |severity: f64| SEVERITIES.y(score(severity) / score(most) * 0.94);
        let mut last = f64::INFINITY;
        for tick in SEVERITY_TICKS.into_iter().filter(|tick| *tick <= most) {
            // What is written must not lie on what is written already.
            if (y(tick) - y(self.level)).abs() < LINE_HEIGHT || last - y(tick) < LINE_HEIGHT {
                continue;
            }
            last = y(tick);
            marks.line("grid", (SEVERITIES.left, y(tick)), (SEVERITIES.right(), y(tick)));
            marks.text((SEVERITIES.left - 8.0, y(tick) + 4.0), END, &shown(tick));
        }
        let (mut calm, mut loud, mut onsets) = (Path::default(), Path::default(), Path::default());
        for (index, column) in columns.iter().enumerate() {
            if column.severity == Severity::ZERO {
                continue;
            }
            let path = if self.is_loud(column.severity) { &mut loud } else { &mut calm };
            path.move_to(x(index), SEVERITIES.bottom());
            path.line_to(x(index), y(column.severity.to_f32().into()));
            if self.is_loud(column.onset) {
                let y = y(column.onset.to_f32().into());
                onsets.move_to(x(index), y);
                onsets.line_to(x(index), y);
            }
        }
        marks.path("calm", calm.commands());
        marks.path("loud", loud.commands());
        marks.path("onset", onsets.commands());
        let at = y(self.level);
        marks.line("level", (SEVERITIES.left, at), (SEVERITIES.right(), at));
        marks.text((SEVERITIES.left - 8.0, at + 4.0), END, &shown(self.level));
        marks.line(
            "axis",
            (SEVERITIES.left, SEVERITIES.bottom()),
            (SEVERITIES.right(), SEVERITIES.bottom()),
        );
        marks.text((SEVERITIES.left, SEVERITIES.top - 4.0), START, "severity");
    }

    /// What the colours mean.
    fn legend(&self, marks: &mut Marks) {
        let anomaly = format!("severity of {} or more", shown(self.level));
        let entries = [
            ("value", "value", true),
            ("expected", "expected", true),
            ("band of 98 %", "band", true),
            (anomaly.as_str(), "anomaly", true),
            ("onset", "onset", true),
            ("labelled", "window", !self.windows.is_empty()),
        ];
        let (mut left, middle) = (SERIES.left, LEGEND - 4.0);
        for (text, class, _) in entries.into_iter().filter(|(_, _, is_there)| *is_there) {
            match class {
                "window" | "band" => {
                    let frame = Frame { left, top: middle - 6.0, width: 18.0, height: 12.0 };
                    marks.rectangle(class, frame);
                }
                "anomaly" | "onset" => {
                    let x = left + 9.0;
                    marks.path(class, &format!("M{x:.1} {middle:.1}L{x:.1} {middle:.1}"));
                }
                _ => {
                    let right = left + 18.0;
                    marks.path(class, &format!("M{left:.1} {middle:.1}L{right:.1} {middle:.1}"));
                }
            }
            marks.text((left + 24.0, LEGEND), START, text);
            // A little more than letters of this size take on average.
            left += 24.0 + 6.6 * text.chars().count() as f64 + 22.0;
        }
    }
}

impl Scale {
    fn of(columns: &[Column]) -> Self {
        let values = || columns.iter().map(|column| column.value).filter(|value| value.is_some());
        let low = values().map(|value| value.least()).fold(f64::INFINITY, f64::min);
        let high = values().map(|value| value.greatest()).fold(f64::NEG_INFINITY, f64::max);
        if low > high {
            return Self { low: 0.0, high: 1.0 };
        }
        // Halves, because the difference of two finite values may be infinite.
        let room = match (high / 2.0 - low / 2.0) * (2.0 * VALUE_MARGIN) {
            room if room > 0.0 => room,
            _ if low.abs() > 0.0 => low.abs() * VALUE_MARGIN,
            _ => 1.0,
        };
        let held = |value: f64| value.clamp(f64::MIN, f64::MAX);
        Self { low: held(low - room), high: held(high + room) }
    }

    /// The height of a value, 0 to 1 within the range.
    fn place(self, value: f64) -> f64 {
        (value / 2.0 - self.low / 2.0) / (self.high / 2.0 - self.low / 2.0)
    }
}

/// The middle of a column.
fn x(column: usize) -> f64 {
    SERIES.left + (column as f64 + 0.5) * SERIES.width / COLUMNS as f64
}

fn score(severity: f64) -> f64 {
    severity / (severity + 4.0)
}

/// A level without zeros at its end.
fn shown(level: f64) -> String {
    format!("{level:.2}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A number with commas between thousands.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn windows(columns: &[Column], marks: &mut Marks) {
    let width = SERIES.width / COLUMNS as f64;
    let mut begin = None;
    for (index, column) in columns.iter().map(Some).chain([None]).enumerate() {
        match (begin, column.is_some_and(|column| column.labelled)) {
            (None, true) => begin = Some(index),
            (Some(from), false) => {
                let left = SERIES.left + from as f64 * width;
                // A window of one row is still seen.
                let width = ((index - from) as f64 * width).max(2.0);
                for Frame { top, height, .. } in [SERIES, SEVERITIES] {
                    marks.rectangle("window", Frame { left, top, width, height });
                }
                begin = None;
            }
            (None, false) | (Some(_), true) => {}
        }
    }
}

fn grid(span: Span, scale: Scale, marks: &mut Marks) {
    for (value, text) in value_ticks(scale.low, scale.high) {
        let y = SERIES.y(scale.place(value));
        marks.line("grid", (SERIES.left, y), (SERIES.right(), y));
        marks.text((SERIES.left - 8.0, y + 4.0), END, &text);
    }
    for tick in time_ticks(span) {
        let x = SERIES.left + span.place(tick.nanos) * SERIES.width;
        for frame in [SERIES, SEVERITIES] {
            marks.line("grid", (x, frame.top), (x, frame.bottom()));
        }
        marks.text((x, SEVERITIES.bottom() + 18.0), MIDDLE, &tick.text);
        marks.text((x, SEVERITIES.bottom() + 34.0), MIDDLE, &tick.below);
    }
    marks.line("axis", (SERIES.left, SERIES.bottom()), (SERIES.right(), SERIES.bottom()));
}

/// A line through what a column has, broken where the series is.
fn line(
    columns: &[Column],
    scale: Scale,
    part: impl Fn(&Column) -> crate::picture::columns::Extent,
) -> Path {
    let mut path = Path::default();
    let mut down = false;
    for (index, column) in columns.iter().enumerate() {
        let extent = part(column);
        down &= !column.breaks;
        for value in extent.line() {
            let y = SERIES.y(scale.place(value));
            if down {
                path.line_to(x(index), y);
            } else {
                path.move_to(x(index), y);
            }
            if !down {
                // A single row is a dot.
                path.line_to(x(index), y);
            }
            down = true;
        }
    }
    path
}

/// From the least lower end to the greatest upper end of each column.
fn band(columns: &[Column], scale: Scale, marks: &mut Marks) {
    let mut path = Path::default();
    let mut piece: Vec<(usize, f64, f64)> = Vec::new();
    for (index, column) in columns.iter().enumerate() {
        if column.breaks {
            outline(&mut path, &piece);
            piece.clear();
        }
        if column.lower.is_some() && column.upper.is_some() {
            let y = |value: f64| SERIES.y(scale.place(value));
            piece.push((index, y(column.lower.least()), y(column.upper.greatest())));
        }
    }
    outline(&mut path, &piece);
    marks.path("band", path.commands());
}

fn outline(path: &mut Path, piece: &[(usize, f64, f64)]) {
    let Some((first, _, upper)) = piece.first() else { return };
    path.move_to(x(*first), *upper);
    for (index, _, upper) in piece.iter().skip(1) {
        path.line_to(x(*index), *upper);
    }
    for (index, lower, _) in piece.iter().rev() {
        path.line_to(x(*index), *lower);
    }
    path.close();
}

#[cfg(test)]
#[path = "draw_tests.rs"]
mod tests;
