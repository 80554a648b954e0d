use tidewatch_env::Rng;
use tidewatch_metrics::EventTime;
use tidewatch_operators::{Judgement, Model, SeriesDetector};

use super::*;
use crate::scored::score_series;

/// Noise of `rows` rows a minute apart, with one value of 900 at `spike`.
fn scored(rows: u32, spike: u32) -> (Series, Vec<Judgement>) {
    let (mut rng, mut series, mut scored) = (Rng::from_seed(5), Series::default(), Vec::new());
    for row in 0..rows {
        let value = if row == spike { 900.0 } else { 50.0 + rng.unit_f64() };
        series.push(EventTime::new(i64::from(row) * 60_000_000_000), value, "");
    }
    score_series(&mut SeriesDetector::new(Model::Light), &series, &mut scored);
    (series, scored)
}

fn drawn(series: &Series, rows: &[Judgement], windows: &[Range<usize>]) -> String {
    Picture { title: "a<b>&c", series, rows, windows, level: 4.0 }.svg()
}

/// What the path of a class says.
fn path<'a>(svg: &'a str, class: &str) -> &'a str {
    let begin = format!("<path class=\"{class}\" d=\"");
    let rest = svg.split_once(&begin).unwrap_or_else(|| panic!("no {class} in {svg}")).1;
    rest.split_once('"').unwrap().0
}

/// The heights that a path goes to.
fn heights(commands: &str) -> Vec<f64> {
    let points = commands.split(['M', 'L', 'Z']).filter(|point| !point.is_empty());
    points.map(|point| point.split_once(' ').unwrap().1.parse().unwrap()).collect()
}

#[test]
fn no_spike_is_lost_among_a_million_rows_and_the_picture_stays_small() {
    let (series, rows) = scored(1_000_000, 777_777);
    let svg = drawn(&series, &rows, &[700_000..750_000, 777_770..777_790]);
    assert!(svg.len() < 300_000, "{} bytes", svg.len());
    let highest = heights(path(&svg, "value")).into_iter().fold(f64::INFINITY, f64::min);
    let top = SERIES.top + SERIES.height * VALUE_MARGIN / (1.0 + 2.0 * VALUE_MARGIN);
    assert!((highest - top).abs() < 0.11, "{highest}: the spike touches the margin at {top}");
    assert!(heights(path(&svg, "anomaly")).contains(&((highest * 10.0).round() / 10.0)));
    assert!(heights(path(&svg, "onset")).len() >= 2, "the spike is an onset");
    assert_eq!(
        svg.matches("class=\"window\"").count(),
        2 * 2 + 1,
        "two windows twice, and the legend"
    );
}

#[test]
fn the_document_is_whole_and_its_text_is_text() {
    let (series, rows) = scored(400, 300);
    let svg = drawn(&series, &rows, &[]);
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert_eq!(svg.matches("<g ").count(), svg.matches("</g>").count());
    assert_eq!(svg.matches("a&lt;b&gt;&amp;c").count(), 2, "title and heading");
    assert!(!svg.contains("NaN") && !svg.contains("inf") && !svg.contains("labelled"), "{svg}");
    assert!(svg.contains("400 rows, 1970-01-01 00:00 to 1970-01-01 06:39 UTC"), "{svg}");
    for part in ["value", "expected", "band", "loud", "calm"] {
        assert!(path(&svg, part).len() > 5, "{part}");
    }
}

#[test]
fn numbers_of_rows_are_told_in_thousands() {
    let told = [0, 999, 1_000, 146_255, 10_000_000].map(grouped);
    assert_eq!(told, ["0", "999", "1,000", "146,255", "10,000,000"]);
}

#[test]
fn odd_series_have_pictures_as_well() {
    let odd: [&[f64]; 7] = [
        &[],
        &[1.0],
        &[f64::NAN, f64::NAN],
        &[7.0; 300],
        &[f64::MIN, f64::MAX, 0.0],
        &[0.0; 100],
        &[1e-300, 2e-300],
    ];
    for values in odd {
        let mut series = Series::default();
        for (row, value) in (0_i64..).zip(values) {
            // Also times that are not in order, and equal ones.
            series.push(EventTime::new(row / 2 % 40 * 1_000_000_000), *value, "");
        }
        let mut rows = Vec::new();
        score_series(&mut SeriesDetector::new(Model::Light), &series, &mut rows);
        let svg = drawn(&series, &rows, &[]);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{values:?}: {svg}");
    }
}
