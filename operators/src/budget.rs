//! How many false alerts a week people accept of a rule, over all series that it watches.

use tidewatch_metrics::Severity;
use tidewatch_metrics::series::SLOTS;

use crate::condition::Condition;
use crate::limits::BUDGET_MAX;
use crate::rule_error::RuleProblem;

/// Steps of 1/64 from one level at which others are counted to the next: half a unit.
const STEPS_PER_HEAT: u32 = 32;
/// Steps of 1/64 in a unit of severity.
const STEPS: f64 = 64.0;
/// Levels at which others are counted: from the least severity of the rule to 7.5 beyond it.
pub(crate) const HEATS: usize = 16;
const HEAT_MAX: u8 = 15;
/// Stretches of five minutes in a week: from 6 on severities are chances per such a stretch.
const STRETCHES_PER_WEEK: f64 = 2_016.0;
/// What chance may take of the budget at each of [`HEATS`] levels by looking like an outage.
const CHANCE: f64 = 0.002;

const _: () = assert!(HEATS == HEAT_MAX as usize + 1);

/// The budget of a rule, asked when a sample would begin an alert.
///
/// With severity `s`, budget `b` a week, and `n` series of the same slot that the rule watches, the one asked about
/// included, an alert may begin where
///
/// ```text
/// s >= log10(m * 2016 / b)           m = 256 n series, 2016 stretches of five minutes in a week
/// ```
///
/// or where, at a level `e <= s` of the rule's least severity and half units beyond it, `c` other series of the slot are at
/// least that unusual at the same time, and they are many:
///
/// ```text
/// e >= log10(m * 2016 / (b * k))     k = 1 + 256 (c - margin)
/// ```
///
/// *One alone.* A severity of `s` has a chance of 10^-s in each stretch, so a slot of `n` series passes by chance `b / 256` times
/// a week, whatever `n` is. There are at most 256 slots with series, hence at most `b` false alerts a week over all of
/// them. Of `M` series that are spread by their hash, (1 - e^-x) 256 slots have any, x = M/256: a small fleet uses less of its
/// budget than it may, because its level is that of 256 series.
///
/// *Many at once.* With `k` discoveries at the same time each may have the `k`-fold of the chance, and still no larger part
/// of them is false: Benjamini and Hochberg, "Controlling the false discovery rate" (1995). They count all, a slot only its own, and takes
/// them for a 256th. That is right on average, and so is the number of false alerts, which is proportional to `k`; but a slot in which
/// chance makes two of one would take it for 256. So a `margin` of what chance may bring is taken off. By chance `c` is Poisson with
/// a mean of at most `v = 2 n 10^-e`, because others are seen by the last sample of up to two of their stretches. All slots together ask
/// at `e` some `a b` times a week, with
///
/// ```text
/// a = m * 2016 * 10^-e / b
/// ```
///
/// which is also the least `k` that would do. `margin + 1` is the least count that chance brings so seldom that `a P(c >= margin + 1) <= 0.002`,
/// where `P <= p / (1 - v / (margin + 2))` with `p = e^-v v^(margin + 1) / (margin + 1)!`, the tail as a geometric series. Over 16 levels this adds at most 3.2 % of
/// the budget. Of 100,000 series at `e = 5` and two a week, `a` is 1,009: four would do, the margin is two, and six others are needed in a slot of 390.
///
/// Deviation: theirs is a test of all hypotheses at one moment. Here each sample asks when it comes, and others are those whose last sample was in the
/// same five minutes, the ones before or after ([`Fleets`](crate::fleet::Fleets)), so the first few of an outage wait for their next sample.
/// Weak where healthy series are unusual together: that is taken for an outage. Below 6 severities are not held against the series,
/// and pass more often than they say. An alert that ends and begins within a stretch counts twice.
/// Time: a logarithm; one more for each level at which there are enough others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Budget {
    per_week: f64,
    /// The least severity for which the condition holds, in steps; beyond all severities where it never does.
    least: u32,
}

/// What a sample finds when it would begin an alert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Company {
    /// Series of the slot that the rule watches, itself included.
    pub(crate) series: u32,
    /// Others that are as unusual at the same time, by the level that they have come to.
    pub(crate) others: [u32; HEATS],
}

/// The level that was passed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Level {
    pub(crate) severity: f64,
    /// Of how many series the slot speaks.
    pub(crate) series: u64,
    /// How many of them are that unusual at the same time; 1 where the series passes by itself.
    pub(crate) at_once: u64,
}

impl Budget {
    /// The budget of a rule with this condition.
    pub(crate) fn new(per_week: f64, condition: Option<&Condition>) -> Result<Self, RuleProblem> {
        if !(per_week > 0.0 && per_week <= BUDGET_MAX) {
            return Err(RuleProblem::Budget);
        }
        let least = condition.and_then(Condition::least_severity);
        Ok(Self { per_week, least: least.ok_or(RuleProblem::BudgetWithoutSeverity)? })
    }

    /// False alerts a week that are accepted.
    pub(crate) fn per_week(&self) -> f64 {
        self.per_week
    }

    /// Whether the rule's own bound is at least this level.
    pub(crate) fn is_above(&self, level: &Level) -> bool {
        f64::from(self.least) / STEPS >= level.severity
    }

    /// At how many levels, less one, a series of this severity is counted; none where the condition does not hold.
    #[inline]
    pub(crate) fn heat(&self, severity: Severity) -> Option<u8> {
        let beyond = u32::from(severity.steps()).checked_sub(self.least)?;
        Some(u8::try_from(beyond / STEPS_PER_HEAT).map_or(HEAT_MAX, |heat| heat.min(HEAT_MAX)))
    }

    /// The level that a sample passes; none where the budget lets no alert begin.
    pub(crate) fn passed(&self, severity: Severity, company: &Company) -> Option<Level> {
        let heat = self.heat(severity)?;
        let series = u64::from(company.series) * SLOTS as u64;
        let alone = libm::log10(series as f64 * STRETCHES_PER_WEEK) - libm::log10(self.per_week);
        if f64::from(severity.steps()) / STEPS >= alone {
            return Some(Level { severity: alone, series, at_once: 1 });
        }
        let mut others = 0_u32;
        for (level, count) in (0..=HEAT_MAX).zip(company.others).rev() {
            others += count;
            if level > heat {
                continue;
            }
            let level = u32::from(level);
            let severity = f64::from(self.least + STEPS_PER_HEAT * level) / STEPS;
            if is_outage(company.series, others, (alone, severity)) {
                let at_once = 1 + u64::from(others) * SLOTS as u64;
                return Some(Level { severity, series, at_once });
            }
        }
        None
    }
}

/// Whether `others` of a slot's series at a level are enough, and more than chance brings; `alone` is the level without them.
fn is_outage(series: u32, others: u32, (alone, level): (f64, f64)) -> bool {
    if others == 0 {
        return false;
    }
    let (least, others) = (libm::exp10(alone - level), f64::from(others));
    // From k = 1 + 256 (c - margin) >= least: that many above the margin.
    let above = ((least - 1.0) / SLOTS as f64).ceil();
    let above = if above > 1.0 { above } else { 1.0 };
    // What is left of them must be beyond the margin, that is, at least one more than it.
    let count = others - above + 1.0;
    let mean = 2.0 * f64::from(series) * libm::exp10(-level);
    if count < 1.0 || count <= mean {
        return false;
    }
    let tail = count * libm::log(mean) - mean - libm::lgamma(count + 1.0);
    let further = libm::log(1.0 - mean / (count + 1.0));
    tail - further + libm::log(least) <= libm::log(CHANCE)
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
