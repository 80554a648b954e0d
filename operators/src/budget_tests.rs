use std::collections::BTreeMap;

use tidewatch_metrics::{EventTime, Slot};

use super::*;
use crate::fleet::{Fleets, Standing};
use crate::testing::{Rng, seconds};

fn budget(when: &str, per_week: f64) -> Budget {
    Budget::new(per_week, Condition::parse(when).as_ref()).unwrap()
}

/// A series as a rule sees it.
struct Member {
    slot: Slot,
    standing: Standing,
    severity: Severity,
    is_firing: bool,
}

/// Series that are spread over slots by chance, under one rule.
struct Crowd {
    budget: Budget,
    fleets: Fleets,
    members: Vec<Member>,
    rng: Rng,
}

impl Crowd {
    /// All have had a healthy sample.
    fn new(seed: u64, count: usize, budget: Budget) -> Self {
        let mut rng = Rng::new(seed);
        let mut fleets = Fleets::default();
        let member = |_| {
            let slot = Slot(u8::try_from(rng.below(256)).unwrap());
            let mut standing = Standing::NEW;
            fleets.enter((0, slot), &mut standing, None);
            Member { slot, standing, severity: Severity::ZERO, is_firing: false }
        };
        let members = (0..count).map(member).collect();
        let mut crowd = Self { budget, fleets, members, rng };
        (0..count).for_each(|at| assert!(!crowd.observe(at, Severity::ZERO, 0)));
        crowd
    }

    /// A member's sample; returns whether it begins an alert.
    fn observe(&mut self, at: usize, severity: Severity, stretch: i64) -> bool {
        let Self { budget, fleets, members, .. } = self;
        let offset = i64::try_from(at * 300 / members.len()).unwrap();
        let member = &mut members[at];
        let before = std::mem::replace(&mut member.severity, severity);
        let heat = budget.heat(severity);
        let time: EventTime = seconds(stretch * 300 + offset);
        fleets.turn(&mut member.standing, (budget.heat(before), heat), time);
        let was_firing = member.is_firing;
        member.is_firing = heat.is_some_and(|heat| {
            let company = || fleets.company(&member.standing, heat);
            was_firing || budget.passed(severity, &company()).is_some()
        });
        member.is_firing && !was_firing
    }

    /// False alerts of `weeks` of health with a sample in each stretch, whose chance is what its severity says.
    ///
    /// Samples for which the condition does not hold change nothing but what the one before has left, so only those are made.
    fn healthy_weeks(&mut self, weeks: u64) -> u64 {
        // Severities are rounded.
        let floor = (f64::from(self.budget.least) - 0.5) / STEPS;
        let per_sample = libm::log1p(-libm::exp10(-floor));
        let count = self.members.len() as u64;
        let all = weeks * 2_016 * count;
        let mut next = 0_u64;
        let mut due: BTreeMap<u64, Severity> = BTreeMap::new();
        let mut alerts = 0;
        loop {
            next += 1 + whole(libm::log(self.rng.uniform()) / per_sample);
            // What was hot is cold one stretch later, unless it is hot again.
            let first = |due: &BTreeMap<u64, Severity>| due.first_key_value().map(|(at, _)| *at);
            while let Some(at) = first(&due).filter(|at| *at < next.min(all)) {
                let severity = due.remove(&at).unwrap();
                alerts += u64::from(self.sample(at, severity));
            }
            if next >= all {
                return alerts;
            }
            let severity = floor - libm::log10(self.rng.uniform());
            #[expect(clippy::cast_possible_truncation, reason = "severities are small")]
            due.insert(next, Severity::from_f32(severity as f32));
            due.entry(next + count).or_insert(Severity::ZERO);
        }
    }

    fn sample(&mut self, at: u64, severity: Severity) -> bool {
        let count = self.members.len() as u64;
        let place = usize::try_from(at % count).unwrap();
        self.observe(place, severity, 1 + i64::try_from(at / count).unwrap())
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive number")]
fn whole(number: f64) -> u64 {
    number as u64
}

#[test]
fn false_alerts_of_healthy_fleets_stay_within_the_budget() {
    for (series, when, per_week, weeks) in [
        (10, "severity >= 4", 2.0, 2_000),
        (10, "severity >= 3", 100.0, 200),
        (1_000, "severity >= 4", 2.0, 200),
        (1_000, "score > 0.44", 200.0, 4),
        (100_000, "severity >= 4.5", 2.0, 40),
        (100_000, "severity > 4", 100.0, 8),
        (100_000, "severity >= 3", 2_000.0, 1),
    ] {
        let mut crowd = Crowd::new(series as u64, series, budget(when, per_week));
        let slots: std::collections::BTreeSet<Slot> =
            crowd.members.iter().map(|member| member.slot).collect();
        let alerts = crowd.healthy_weeks(weeks) as f64;
        let due = weeks as f64 * per_week;
        let most = 1.032 * due + 4.0 * due.sqrt();
        assert!(alerts <= most, "{alerts} of {due}: {series} series, {when}, {per_week} a week");
        // It is no stricter than it says.
        let used = due * slots.len() as f64 / 256.0;
        let least = used - 4.0 * used.sqrt();
        assert!(alerts >= least, "{alerts} of {used}: {series} series, {when}, {per_week} a week");
    }
}

#[test]
fn an_outage_of_many_is_told_of_nearly_all_within_two_rounds() {
    for (series, share, level) in [(100_000, 5, 5.0), (100_000, 50, 6.25), (5_000, 2, 4.75)] {
        let mut crowd = Crowd::new(7, series, budget("severity > 4", 2.0));
        let sick: Vec<usize> = (0..series).step_by(share).collect();
        let mut told = 0;
        let mut tell = |stretch: i64| {
            let begins =
                sick.iter().filter(|at| crowd.observe(**at, Severity::from_f32(level), stretch));
            told += begins.count();
            told as f64 / sick.len() as f64
        };
        let (first, second) = (tell(10), tell(11));
        assert!(first > 0.3, "{first}, {series} series, one of {share}");
        assert!(second > 0.99, "{second}, {series} series, one of {share}");
        // One alone is not told of at this level.
        let mut crowd = Crowd::new(7, series, budget("severity > 4", 2.0));
        assert!(!crowd.observe(0, Severity::from_f32(level), 10));
    }
}

#[test]
fn an_outage_that_is_over_lets_nobody_pass() {
    let mut crowd = Crowd::new(3, 20_000, budget("severity > 4", 2.0));
    let sick = Severity::from_f32(5.0);
    for stretch in 10..12 {
        (1..20_000).step_by(4).for_each(|at| _ = crowd.observe(at, sick, stretch));
    }
    // They have fallen silent: after two more rounds nobody counts them.
    let mut later = |stretch| {
        let begins = crowd.observe(0, sick, stretch);
        crowd.observe(0, Severity::ZERO, stretch);
        begins
    };
    assert!(later(12));
    assert!(!later(14));
    assert!(!later(8), "at another time");
}

#[test]
fn the_level_of_one_alone_is_that_of_its_slots_times_256() {
    let two = budget("severity >= 1", 2.0);
    let level = |budget: Budget, series: u32| {
        let company = Company { series, ..Company::default() };
        let first = (0..=u16::MAX).map(Severity::from_steps);
        let mut first = first.filter(|severity| budget.passed(*severity, &company).is_some());
        first.next().unwrap().to_f32()
    };
    // As documents say: to a hundredth or a step.
    for (series, told) in [(1, 5.42), (4, 6.02), (39, 7.01), (391, 8.01), (3_906, 9.01)] {
        let found = level(two, series);
        assert!((found - told).abs() < 0.02, "{series}: {found}");
    }
    assert!((level(budget("severity > 7", 2.0), 1) - 7.0).abs() < 0.02, "the rule's own bound");
    assert!((level(budget("severity > 1", 200.0), 391) - 6.01).abs() < 0.02);
    let passed =
        two.passed(Severity::from_f32(9.0), &Company { series: 391, ..Company::default() });
    assert_eq!(passed.unwrap().series, 100_096);
}

/// The chance of `count` or more where `mean` are due.
fn poisson_tail(count: u32, mean: f64) -> f64 {
    let mut term = libm::exp(-mean);
    let mut terms = Vec::new();
    for k in 0..count + 200 {
        terms.push(term);
        term *= mean / f64::from(k + 1);
    }
    // The least first, so that nothing is lost.
    terms.split_off(count as usize).into_iter().rev().sum()
}

#[test]
fn others_count_as_an_outage_where_chance_hardly_ever_brings_them() {
    let mut seen = [0, 0];
    for series in [1, 4, 40, 400, 4_000] {
        for tenths in 20..90 {
            let level = f64::from(tenths) / 10.0;
            for alone in [0.3, 1.0, 2.0, 3.0, 4.5].map(|above| level + above) {
                let least = libm::exp10(alone - level);
                let mean = 2.0 * f64::from(series) * libm::exp10(-level);
                // The margin by its definition.
                let is_rare = |count, share: f64| {
                    f64::from(count) > mean && least * poisson_tail(count, mean) <= CHANCE * share
                };
                for others in [0, 1, 2, 3, 5, 8, 13, 40, 130, 400] {
                    let found = is_outage(series, others, (alone, level));
                    let would = |share| {
                        let margin = (1..).find(|count| is_rare(*count, share)).unwrap() - 1;
                        let above = f64::from(others.saturating_sub(margin));
                        above >= 1.0 && 1.0 + 256.0 * above >= least
                    };
                    let case = format!("{series} series, {others} others, {level} of {alone}");
                    // The tail is bounded from above, by at most a half too much.
                    assert!(!found || would(1.0), "{case}");
                    assert!(found || !would(0.5), "{case}");
                    seen[usize::from(found)] += 1;
                }
            }
        }
    }
    assert!(seen.iter().all(|count| *count > 1_000), "{seen:?}");
}
