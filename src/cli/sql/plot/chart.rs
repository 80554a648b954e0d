//! Lines with their axes, as wide as the terminal.

use std::cmp::Ordering;

use chrono::{DateTime, Utc};
use unicode_width::UnicodeWidthStr;

use crate::cli::sql::plot::canvas::Canvas;
use crate::cli::sql::plot::curves::Curve;

/// Rows of characters of one line, of two, and of each of several.
const HEIGHTS: [usize; 3] = [12, 8, 5];
/// Columns of characters of a chart.
const WIDTH_MIN: usize = 24;
const WIDTH_MAX: usize = 160;
const NANOS: i64 = 1_000_000_000;
const DAY: i64 = 86_400 * NANOS;

/// The range of time of all lines.
#[derive(Clone, Copy, Debug)]
struct Span {
    from: i64,
    to: i64,
}

/// Draws lines, one above the other, over the same times; `width` is the terminal's.
pub(crate) fn draw(curves: &[Curve], width: usize) -> String {
    let times = || curves.iter().flat_map(|curve| curve.points.iter().map(|point| point.0));
    let (Some(from), Some(to)) = (times().min(), times().max()) else { return String::new() };
    let span = Span { from, to };
    let rows = HEIGHTS.get(curves.len().saturating_sub(1)).or(HEIGHTS.last()).copied();
    let rows = rows.unwrap_or(1);
    let scales: Vec<Scale> = curves.iter().map(Scale::of).collect();
    let margin = scales.iter().map(|scale| scale.width(rows)).max().unwrap_or(0) + 1;
    let columns = width.saturating_sub(margin + 3).clamp(WIDTH_MIN, WIDTH_MAX);
    let mut text = String::new();
    for (curve, scale) in curves.iter().zip(&scales) {
        text.push_str(&format!("{:margin$}  {}\n", "", curve.name));
        let canvas = plotted(curve, scale, span, Canvas::new(columns, rows));
        for (row, line) in canvas.lines().enumerate() {
            let label = match row {
                0 => scale.label(scale.high),
                row if row + 1 == rows => scale.label(scale.low),
                row if Scale::is_told(row, rows) => scale.label(scale.middle(row, rows)),
                _ => String::new(),
            };
            let mark = if label.is_empty() { '│' } else { '┤' };
            text.push_str(format!("{label:>margin$} {mark}{line}").trim_end());
            text.push('\n');
        }
    }
    text.push_str(&format!("{:margin$} └{}\n", "", "─".repeat(columns)));
    text.push_str(&format!("{:margin$}  {}\n", "", time_axis(span, columns)));
    text
}

/// Each column of dots shows the range of its values; lines lead from one to the next.
fn plotted(curve: &Curve, scale: &Scale, span: Span, mut canvas: Canvas) -> Canvas {
    let (across, down) = canvas.dots();
    let mut last: Option<(usize, usize)> = None;
    for (time, value) in &curve.points {
        let x = place(distance(span.from, *time), distance(span.from, span.to), across);
        let y = (down - 1) - place(value - scale.low, scale.high - scale.low, down);
        match last {
            Some((before, from)) if before == x => canvas.upright(x, from, y),
            Some((before, from)) => lead(&mut canvas, (before, from), (x, y)),
            None => canvas.set(x, y),
        }
        last = Some((x, y));
    }
    canvas
}

/// A straight line to the right.
fn lead(canvas: &mut Canvas, from: (usize, usize), to: (usize, usize)) {
    let steps = to.0 - from.0;
    let mut before = from.1;
    for step in 1..=steps {
        // Rows are fewer than columns of dots: the product stays small.
        let (low, high) = (from.1.min(to.1), from.1.max(to.1));
        let moved = (high - low) * step / steps;
        let y = if to.1 >= from.1 { from.1 + moved } else { from.1 - moved };
        let beside = match y.cmp(&before) {
            Ordering::Greater => before + 1,
            Ordering::Less => before - 1,
            Ordering::Equal => y,
        };
        canvas.upright(from.0 + step, beside, y);
        before = y;
    }
}

/// Where `part` of `whole` is among `places`; the first one where there is no whole.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and places")]
fn place(part: f64, whole: f64, places: usize) -> usize {
    let last = places.saturating_sub(1);
    let share = if whole > 0.0 { (part / whole).clamp(0.0, 1.0) } else { 0.0 };
    ((share * last as f64).round() as usize).min(last)
}

/// Nanoseconds between two times.
fn distance(from: i64, to: i64) -> f64 {
    (i128::from(to) - i128::from(from)) as f64
}

/// The range of the values, and the digits that tell its ends apart.
#[derive(Clone, Debug)]
struct Scale {
    low: f64,
    high: f64,
    digits: usize,
}

impl Scale {
    fn of(curve: &Curve) -> Self {
        let values = || curve.points.iter().map(|point| point.1);
        let (mut low, mut high) =
            (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
        if low >= high {
            // A line that never moves runs through the middle.
            let room = (low.abs() / 10.0).max(1.0);
            (low, high) = (low - room, high + room);
        }
        // Three figures of the range.
        let mut digits = 0;
        let mut range = high - low;
        while range < 100.0 && digits < 9 {
            range *= 10.0;
            digits += 1;
        }
        Self { low, high, digits }
    }

    fn middle(&self, row: usize, rows: usize) -> f64 {
        let share = row as f64 / rows.saturating_sub(1).max(1) as f64;
        self.high + (self.low - self.high) * share
    }

    fn label(&self, value: f64) -> String {
        if value.abs() >= 1e9 || (value.abs() < 1e-6 && value.abs() > 0.0) {
            return format!("{value:.3e}");
        }
        let label = format!("{value:.*}", self.digits);
        match label.contains('.') {
            true => label.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => label,
        }
    }

    /// Whether a row between the first and the last one has a label.
    fn is_told(row: usize, rows: usize) -> bool {
        rows > 6 && row == rows / 2
    }

    fn width(&self, rows: usize) -> usize {
        let middle = self.middle(rows / 2, rows);
        let labels = [self.low, self.high, middle].map(|value| self.label(value).width());
        labels.into_iter().max().unwrap_or(0)
    }
}

/// The first and the last time, and one between where there is room.
fn time_axis(span: Span, columns: usize) -> String {
    let form = match span.to.saturating_sub(span.from) {
        short if short < 10 * NANOS => "%H:%M:%S%.3f",
        day if day < DAY => "%H:%M:%S",
        year if year < 300 * DAY => "%m-%d %H:%M",
        _ => "%Y-%m-%d",
    };
    let label = |nanos: i64, form: &str| {
        DateTime::<Utc>::from_timestamp_nanos(nanos).format(form).to_string()
    };
    // The day is told once.
    let first = match form {
        "%Y-%m-%d" => label(span.from, form),
        _ => label(span.from, &format!("%Y-%m-%d {}", form.trim_start_matches("%m-%d "))),
    };
    let last = label(span.to, form);
    let middle = label(span.from.midpoint(span.to), form);
    let between = columns.saturating_sub(first.len() + last.len());
    // The middle label stands below the middle, if it touches neither of the others.
    let before = (columns / 2).saturating_sub(first.len() + middle.len() / 2);
    if before >= 2 && between >= before + middle.len() + 2 {
        let after = between - before - middle.len();
        return format!("{first}{:before$}{middle}{:after$}{last}", "", "");
    }
    format!("{first}{:between$}{last}", "", between = between.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(name: &str, points: impl IntoIterator<Item = (i64, f64)>) -> Curve {
        let points = points.into_iter().map(|(second, value)| (second * NANOS, value)).collect();
        Curve { name: name.to_owned(), points }
    }

    #[test]
    fn a_line_has_its_axes() {
        let start = 1_704_067_200;
        let triangle = (0..=60).map(|at| {
            let value = i32::try_from(if at < 30 { at } else { 60 - at }).unwrap();
            (start + at * 10, f64::from(value))
        });
        let text = draw(&[curve("value host=a", triangle)], 50);
        assert_eq!(format!("\n{text}"), TRIANGLE);
    }

    #[test]
    fn several_lines_share_the_times_and_a_level_one_is_in_the_middle() {
        let start = 1_704_067_200;
        let rising = (0..20).map(|at| (start + at, f64::from(i32::try_from(at).unwrap()) / 8.0));
        let level = [(start, 5.0), (start + 10, 5.0)];
        let text = draw(&[curve("a", rising), curve("b", level), curve("c", [(start, 1.0)])], 40);
        assert_eq!(format!("\n{text}"), SEVERAL);
    }

    #[test]
    fn no_value_is_too_large_and_no_terminal_too_narrow() {
        let wild = curve("wild", [(0, f64::MAX), (1, f64::MIN), (9_000_000_000, 1e-300)]);
        for width in [0, 1, 30, 10_000] {
            let text = draw(std::slice::from_ref(&wild), width);
            let widest = text.lines().map(|line| line.width()).max().unwrap();
            assert!((WIDTH_MIN..WIDTH_MAX + 20).contains(&widest), "{widest}");
        }
        assert_eq!(draw(&[], 80), "");
    }

    const TRIANGLE: &str = "
       value host=a
   30 ┤                   ⢀⠔⠱⡀
      │                  ⡔⠁  ⠈⠢⡀
      │                ⡰⠊      ⠉⢢
      │              ⢠⠊          ⠑⢄
      │            ⢀⠖⠁            ⠈⠑⡄
      │          ⢀⠔⠁                ⠈⠢⡀
 13.6 ┤         ⡰⠁                    ⠈⢢
      │       ⡠⠊                        ⠑⢄
      │     ⢠⠊                            ⠑⢄
      │   ⢀⠔⠁                              ⠈⠢⡀
      │  ⡤⠊                                  ⠘⠢⡀
    0 ┤⡰⠊                                      ⠉⢢
      └──────────────────────────────────────────
       2024-01-01 00:00:00               00:10:00
";
    const SEVERAL: &str = "
       a
 2.38 ┤                          ⢀⣀⠤⠤⠒⠊
      │                    ⣀⡠⠤⠒⠒⠉⠁
      │             ⢀⣀⠤⠔⠒⠉⠉
      │      ⢀⣀⡠⠤⠒⠊⠉⠁
    0 ┤⣀⡠⠤⠔⠒⠉⠁
       b
    6 ┤
      │
      │⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒
      │
    4 ┤
       c
    2 ┤
      │
      │⠂
      │
    0 ┤
      └────────────────────────────────
       2024-01-01 00:00:00     00:00:19
";
}
