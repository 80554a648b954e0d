//! Which columns of a result are the time, the values, and the names of several lines.

use std::collections::BTreeSet;

use chrono::DateTime;

use crate::cli::sql::grid::Grid;

/// Lines that are drawn.
pub(crate) const CURVES_MAX: usize = 6;
/// Lines that are not drawn, and that are counted.
const LEFT_OUT_MAX: usize = 1_000;

/// A line: values over time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Curve {
    /// What the values are, and of what.
    pub(crate) name: String,
    /// Nanoseconds since 1970 and values, in the order of time; all finite.
    pub(crate) points: Vec<(i64, f64)>,
}

/// The lines of a result: one per column of numbers and combination of texts, in the order in which
/// they come. `wanted` names the columns of numbers; all of them if it is empty. Beside at most
/// [`CURVES_MAX`] of them, how many more there are.
///
/// # Errors
/// In words, why the result has none.
pub(crate) fn curves(grid: &Grid, wanted: &[String]) -> Result<(Vec<Curve>, usize), String> {
    for name in wanted {
        match grid.column(name) {
            None => return Err(format!("the last result has no column {name:?}")),
            Some(column) if !grid.is_number(column) => {
                return Err(format!("the column {name:?} holds no numbers"));
            }
            Some(_) => {}
        }
    }
    let all = 0..grid.columns.len();
    let is_time = |column: &usize| {
        let mut cells = grid.cells(*column).filter(|cell| !cell.is_empty()).peekable();
        cells.peek().is_some() && cells.all(|cell| nanos(cell).is_some())
    };
    let time = all.clone().find(is_time);
    let time = time.ok_or("the last result has no column of times, such as `time`")?;
    let numbers: Vec<usize> = all
        .clone()
        .filter(|column| grid.is_number(*column))
        .filter(|column| wanted.is_empty() || wanted.contains(&grid.columns[*column]))
        .collect();
    if numbers.is_empty() {
        return Err("the last result has no column of numbers".to_owned());
    }
    let texts: Vec<usize> =
        all.filter(|column| !is_time(column) && !grid.is_number(*column)).collect();
    let mut lines: Vec<(Vec<&str>, usize, Curve)> = Vec::new();
    let mut left_out: BTreeSet<(Vec<&str>, usize)> = BTreeSet::new();
    for row in &grid.rows {
        let Some(at) = nanos(&row[time]) else { continue };
        let labels: Vec<&str> = texts.iter().map(|column| row[*column].as_str()).collect();
        for &column in &numbers {
            let value = row[column].parse::<f64>().ok().filter(|value| value.is_finite());
            let Some(value) = value else { continue };
            let known = lines.iter().position(|line| line.1 == column && line.0 == labels);
            if let Some((.., curve)) = known.and_then(|known| lines.get_mut(known)) {
                curve.points.push((at, value));
            } else if lines.len() < CURVES_MAX {
                let name = named(grid, column, &texts, &labels);
                let curve = Curve { name, points: vec![(at, value)] };
                lines.push((labels.clone(), column, curve));
            } else if left_out.len() < LEFT_OUT_MAX {
                left_out.insert((labels.clone(), column));
            }
        }
    }
    let mut curves: Vec<Curve> = lines.into_iter().map(|(.., curve)| curve).collect();
    for curve in &mut curves {
        curve.points.sort_by_key(|(time, _)| *time);
    }
    match curves.is_empty() {
        true => Err("the last result has no row with a time and a number".to_owned()),
        false => Ok((curves, left_out.len())),
    }
}

fn named(grid: &Grid, column: usize, texts: &[usize], labels: &[&str]) -> String {
    let mut name = grid.columns[column].clone();
    for (text, label) in texts.iter().zip(labels) {
        if !label.is_empty() {
            name.push_str(&format!(" {}={label}", grid.columns[*text]));
        }
    }
    name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn nanos(cell: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(cell).ok()?.timestamp_nanos_opt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(csv: &str, wanted: &[&str]) -> Result<(Vec<(String, usize)>, usize), String> {
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        let (curves, more) = curves(&Grid::from_csv(csv), &wanted)?;
        Ok((curves.into_iter().map(|curve| (curve.name, curve.points.len())).collect(), more))
    }

    #[test]
    fn a_line_per_number_and_label() {
        let csv = "host,time,value,severity\na,2024-01-01T00:00:10Z,1,0\nb,2024-01-01T00:00:10Z,3,\n\
                   a,2024-01-01T00:00:00Z,2,0\n";
        let named = |name: &str, points| (name.to_owned(), points);
        let expected =
            vec![named("value host=a", 2), named("severity host=a", 2), named("value host=b", 1)];
        assert_eq!(lines(csv, &[]), Ok((expected, 0)));
        let expected = vec![named("value host=a", 2), named("value host=b", 1)];
        assert_eq!(lines(csv, &["value"]), Ok((expected, 0)));
        let (curves, _) = curves(&Grid::from_csv(csv), &[]).unwrap();
        assert_eq!(curves[0].points.iter().map(|point| point.1).collect::<Vec<_>>(), [2.0, 1.0]);
    }

    #[test]
    fn many_lines_are_counted_and_not_drawn() {
        let rows: String =
            (0..10).map(|row| format!("2024-01-01T00:00:00Z,h{row},{row}\n")).collect();
        let (drawn, more) = lines(&format!("time,host,value\n{rows}{rows}"), &[]).unwrap();
        assert_eq!((drawn.len(), drawn[0].1, more), (CURVES_MAX, 2, 4));
    }

    #[test]
    fn what_cannot_be_drawn_is_told() {
        for (csv, wanted, part) in [
            ("a,b\n1,2\n", vec![], "no column of times"),
            ("time,b\n2024-01-01T00:00:00Z,x\n", vec![], "no column of numbers"),
            ("time,b\n2024-01-01T00:00:00Z,1\n", vec!["c"], "no column \"c\""),
            ("time,b\n2024-01-01T00:00:00Z,x\n", vec!["b"], "holds no numbers"),
            ("time,b\n", vec![], "no column of times"),
        ] {
            assert!(lines(csv, &wanted).unwrap_err().contains(part), "{csv}");
        }
    }
}
