//! What the generator made, summed exactly, and what SQL finds of it.

use std::collections::BTreeMap;

use tidewatch_metrics::EventTime;
use tidewatch_metrics::time::NANOS_PER_SECOND;

/// Values have two decimals at most, so these are whole numbers.
const PER_UNIT: f64 = 1_000.0;
const HOUR_SECONDS: i64 = 3_600;

/// Number of samples and the sum of their values in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) count: u64,
    pub(crate) thousandths: i64,
}

/// Sums by metric and hour since 1970.
#[derive(Clone, Debug, Default)]
pub(crate) struct HourSums {
    sums: BTreeMap<(&'static str, i64), Sum>,
}

/// How the hours of one metric stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Compared {
    /// As the generator made them.
    pub(crate) exact: u64,
    /// Dropped in part, which retention does with whole segments.
    pub(crate) partial: u64,
    /// Dropped.
    pub(crate) gone: u64,
    /// Behind the first exact one, and not exact.
    pub(crate) wrong: u64,
}

impl Sum {
    fn add(&mut self, value: f64) {
        self.count += 1;
        #[expect(clippy::cast_possible_truncation, reason = "small decimals, rounded")]
        let thousandths = (value * PER_UNIT).round() as i64;
        self.thousandths += thousandths;
    }
}

impl HourSums {
    /// Adds a step: values of the metrics, series by series.
    pub(crate) fn add(&mut self, time: EventTime, metrics: &[&'static str], values: &[f64]) {
        let hour = time.nanos().div_euclid(NANOS_PER_SECOND * HOUR_SECONDS);
        let mut step: Vec<(&'static str, Sum)> = Vec::new();
        for (metric, value) in metrics.iter().zip(values) {
            match step.iter_mut().find(|(known, _)| known == metric) {
                Some((_, sum)) => sum.add(*value),
                None => {
                    let mut sum = Sum::default();
                    sum.add(*value);
                    step.push((metric, sum));
                }
            }
        }
        for (metric, sum) in step {
            let known = self.sums.entry((metric, hour)).or_default();
            known.count += sum.count;
            known.thousandths += sum.thousandths;
        }
    }

    /// The statement whose answer, as CSV, [`HourSums::compare`] takes.
    pub(crate) fn statement(metric: &str) -> String {
        format!(
            "SELECT CAST(floor(extract(epoch FROM time) / {HOUR_SECONDS}) AS BIGINT) AS hour, \
             count(*) AS n, CAST(sum(round(value * {PER_UNIT})) AS BIGINT) AS s \
             FROM {metric} GROUP BY 1 ORDER BY 1"
        )
    }

    /// All metrics.
    pub(crate) fn metrics(&self) -> Vec<&'static str> {
        let mut metrics: Vec<_> = self.sums.keys().map(|(metric, _)| *metric).collect();
        metrics.dedup();
        metrics
    }

    /// Holds the answer for a metric against what was made before hour `upto`.
    pub(crate) fn compare(&self, metric: &str, csv: &str, upto: i64) -> Compared {
        let found: BTreeMap<i64, Sum> = csv.lines().skip(1).filter_map(row).collect();
        let mut compared = Compared::default();
        for ((_, hour), made) in self.sums.iter().filter(|((m, _), _)| *m == metric) {
            if *hour >= upto {
                continue;
            }
            match found.get(hour) {
                Some(sum) if sum == made => compared.exact += 1,
                _ if compared.exact > 0 => compared.wrong += 1,
                Some(_) => compared.partial += 1,
                None => compared.gone += 1,
            }
        }
        compared
    }

    /// The hour of a time.
    pub(crate) fn hour_of(time: EventTime) -> i64 {
        time.nanos().div_euclid(NANOS_PER_SECOND * HOUR_SECONDS)
    }
}

fn row(line: &str) -> Option<(i64, Sum)> {
    let mut cells = line.split(',');
    let hour = cells.next()?.parse().ok()?;
    let (count, thousandths) = (cells.next()?.parse().ok()?, cells.next()?.parse().ok()?);
    Some((hour, Sum { count, thousandths }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_exact_or_dropped_from_the_front_or_wrong() {
        let mut sums = HourSums::default();
        for hour in 0..5 {
            let time = EventTime::new(hour * HOUR_SECONDS * NANOS_PER_SECOND + 7);
            sums.add(time, &["a", "b"], &[1.25, 2.0]);
            sums.add(time, &["a", "b"], &[0.01, 2.0]);
        }
        assert_eq!(sums.metrics(), ["a", "b"]);
        let csv = "hour,n,s\n1,1,1250\n2,2,1260\n3,2,1260\n4,9,9\n";
        let expected = Compared { exact: 2, partial: 1, gone: 1, wrong: 1 };
        assert_eq!(sums.compare("a", csv, 5), expected);
        assert_eq!(sums.compare("a", csv, 4).wrong, 0, "the last hour is not over");
    }
}
