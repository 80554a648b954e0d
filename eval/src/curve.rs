//! Sums over everything that is at least so severe, for every level at once.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use tidewatch_metrics::Severity;

/// What a sample adds, by its severity; several files are added up.
///
/// A file is small here: severities have steps, and most samples have the severity 0.
#[derive(Clone, Debug)]
pub(crate) struct Gains<T> {
    by_level: BTreeMap<Severity, T>,
}

impl<T> Default for Gains<T> {
    fn default() -> Self {
        Self { by_level: BTreeMap::new() }
    }
}

impl<T: AddAssign + Copy + Default> Gains<T> {
    /// Counts `gain` from `severity` downwards.
    pub(crate) fn add(&mut self, severity: Severity, gain: T) {
        *self.by_level.entry(severity).or_default() += gain;
    }

    /// Adds another file's.
    pub(crate) fn add_all(&mut self, other: &Self) {
        for (severity, gain) in &other.by_level {
            self.add(*severity, *gain);
        }
    }

    /// For each level that something has, the highest first, the sum of all that is at least so severe.
    pub(crate) fn sums(&self) -> impl Iterator<Item = (Severity, T)> + '_ {
        let mut sum = T::default();
        self.by_level.iter().rev().map(move |(severity, gain)| {
            sum += *gain;
            (*severity, sum)
        })
    }

    /// The sum of all that is at least as severe as `level`.
    pub(crate) fn at(&self, level: f32) -> T {
        let reached = self.sums().take_while(|(severity, _)| severity.to_f32() >= level);
        reached.last().map_or_else(T::default, |(_, sum)| sum)
    }
}

/// The highest level with the greatest figure; none where there is no level.
pub(crate) fn best(figures: impl Iterator<Item = (Severity, f64)>) -> Option<(Severity, f64)> {
    figures.fold(None, |best, (level, figure)| match best {
        Some((_, before)) if figure <= before => best,
        Some(_) | None => Some((level, figure)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_go_down_from_the_most_severe() {
        let mut gains = Gains::default();
        for (steps, gain) in [(64, 1), (320, 2), (64, 4), (0, 8)] {
            gains.add(Severity::from_steps(steps), gain);
        }
        let mut other = Gains::default();
        other.add(Severity::from_steps(320), 16);
        gains.add_all(&other);
        let sums: Vec<_> = gains.sums().map(|(level, sum)| (level.steps(), sum)).collect();
        assert_eq!(sums, [(320, 18), (64, 23), (0, 31)]);
        assert_eq!([gains.at(6.0), gains.at(5.0), gains.at(4.9), gains.at(0.0)], [0, 18, 18, 31]);
    }

    #[test]
    fn of_equal_figures_the_highest_level_counts() {
        let figures = [(9, 1.0), (7, 3.0), (5, 3.0), (3, 2.0)];
        let figures = figures.into_iter().map(|(steps, f)| (Severity::from_steps(steps), f));
        assert_eq!(best(figures), Some((Severity::from_steps(7), 3.0)));
        assert_eq!(best(std::iter::empty()), None);
    }
}
