//! The course of one series: points in the order of time, and what they come to.

/// A value at a time, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) time: i64,
    pub(crate) value: f64,
}

/// Points of one series, taken in any order.
///
/// Invariant: all values are finite. Of several points of one time the greatest value counts, so
/// that the order of arrival means nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Curve {
    points: Vec<Point>,
}

/// What the points of a curve come to.
///
/// ```text
/// points (t_1, v_1) … (t_n, v_n) with t_1 < … < t_n, times in seconds
/// increase = sum over i > 1 of (v_i - v_(i-1) if v_i >= v_(i-1), else v_i)
/// rate     = increase / (t_n - t_1)
/// integral = sum over i > 1 of (v_i + v_(i-1)) / 2 * (t_i - t_(i-1))
/// ```
///
/// Without a point there is none of them; a single point has no rate, and 0 of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Measure {
    /// How much a counter grew. A fall says that it began again at zero.
    Increase,
    /// The increase per second.
    Rate,
    /// The area below the curve, by the trapezoidal rule: value times seconds.
    Integral,
}

impl Curve {
    /// Takes a point; one whose value is NaN or infinite is left out.
    pub(crate) fn push(&mut self, point: Point) {
        if point.value.is_finite() {
            self.points.push(point);
        }
    }

    /// Bytes that the points take.
    pub(crate) fn bytes(&self) -> usize {
        self.points.capacity() * size_of::<Point>()
    }

    /// The points in the order of time, one of each.
    pub(crate) fn points(&mut self) -> &[Point] {
        self.points.sort_unstable_by(|one, other| {
            one.time.cmp(&other.time).then(one.value.total_cmp(&other.value))
        });
        self.points.dedup_by(|next, kept| {
            let is_same = next.time == kept.time;
            if is_same {
                kept.value = next.value;
            }
            is_same
        });
        &self.points
    }

    /// What the points come to.
    pub(crate) fn measure(&mut self, measure: Measure) -> Option<f64> {
        let points = self.points();
        match measure {
            Measure::Increase => increase(points),
            Measure::Rate => match points {
                [first, .., last] => Some(increase(points)? / seconds(first, last)),
                _ => None,
            },
            Measure::Integral => integral(points),
        }
    }
}

/// Between two falls the steps add up to last - first, which is rounded once.
fn increase(points: &[Point]) -> Option<f64> {
    let (first, rest) = points.split_first()?;
    let (mut sum, mut base, mut last) = (0.0, first.value, first.value);
    for point in rest {
        if point.value < last {
            sum += last - base;
            base = 0.0;
        }
        last = point.value;
    }
    Some(sum + (last - base))
}

fn integral(points: &[Point]) -> Option<f64> {
    let (first, rest) = points.split_first()?;
    let (mut sum, mut last) = (0.0, first);
    for point in rest {
        sum += (last.value / 2.0 + point.value / 2.0) * seconds(last, point);
        last = point;
    }
    Some(sum)
}

/// Seconds between two points, at least 1e-9; the greatest difference of times is no overflow.
fn seconds(from: &Point, to: &Point) -> f64 {
    to.time.abs_diff(from.time) as f64 / 1e9
}

#[cfg(test)]
#[path = "curve_tests.rs"]
mod tests;
