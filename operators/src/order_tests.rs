use tidewatch_metrics::SeriesId;

use super::*;
use crate::testing::Rng;

/// One series with its order, fed by hand.
struct Fed {
    order: Order,
    state: SeriesState,
    now: Option<UnixNanos>,
}

impl Fed {
    fn new() -> Self {
        Self { order: Order::default(), state: SeriesState::new(SeriesId::new(1)), now: None }
    }

    fn tick(&mut self, second: i64) {
        self.now = Some(UnixNanos::new((1_000_000 + second) * NANOS_PER_SECOND));
    }

    fn row(&mut self, time: i64) -> Placed {
        self.order.observe(&mut self.state, 0, EventTime::new(time), self.now)
    }
}

const LATE: Placed = Placed { step: -1, late: true };

#[test]
fn a_row_that_is_not_later_than_the_last_one_is_late() {
    let mut fed = Fed::new();
    assert_eq!(fed.row(100), Placed::new(Place::First, false));
    assert_eq!(fed.row(100), LATE);
    assert_eq!(fed.row(99), LATE);
    assert_eq!(fed.row(107), Placed::new(Place::InOrder(7), false));
    assert!(!fed.state.is(TROUBLED), "nothing is kept once a series goes forward");
}

#[test]
fn refused_rows_in_their_own_order_over_two_minutes_become_the_new_time_base() {
    let mut fed = Fed::new();
    fed.tick(0);
    fed.row(1_000);
    for i in 0..32 {
        fed.tick(i * 4);
        assert_eq!(fed.row(i), LATE, "row {i}");
    }
    fed.tick(120);
    assert_eq!(fed.row(32), Placed::new(Place::First, true), "scored, flagged late");
    assert_eq!(fed.row(40), Placed::new(Place::InOrder(8), true));
    assert_eq!(fed.row(39), LATE, "the new base has its own order");
    assert_eq!(fed.row(1_000).place(), Place::InOrder(960));
    assert_eq!(fed.row(1_001), Placed::new(Place::InOrder(1), false));
    assert!(!fed.state.is(TROUBLED));
}

#[test]
fn a_batch_sent_twice_makes_no_new_time_base() {
    for first_tick_between in [false, true] {
        let mut fed = Fed::new();
        if !first_tick_between {
            fed.tick(0);
        }
        (0..500).for_each(|i| assert_ne!(fed.row(i), LATE));
        (0..40).for_each(|i| assert_eq!(fed.row(i), LATE));
        fed.tick(119);
        (40..500).for_each(|i| assert_eq!(fed.row(i), LATE));
    }
}

#[test]
fn the_streak_breaks_with_a_row_in_order_and_with_disorder() {
    for breaker in [5, 1_001] {
        let mut fed = Fed::new();
        fed.tick(0);
        fed.row(1_000);
        (0..32).for_each(|i| assert_eq!(fed.row(10 + i), LATE));
        fed.tick(500);
        fed.row(breaker);
        for i in 0..31 {
            fed.tick(1_000 + i * 10);
            assert_eq!(fed.row(100 + i), LATE, "{breaker}: the count began anew");
        }
    }
}

/// The rules as the documents state them, over the whole history.
#[derive(Default)]
struct Model {
    base: Option<i64>,
    greatest: Option<i64>,
    streak: Vec<(i64, Option<i64>)>,
}

impl Model {
    /// Whether the row is scored, and whether it is late.
    fn row(&mut self, time: i64, now: Option<i64>) -> (bool, bool) {
        let late = self.greatest.is_some_and(|greatest| time <= greatest);
        let mut scored = self.base.is_none_or(|base| time > base);
        if scored {
            self.streak.clear();
        } else {
            if self.streak.last().is_some_and(|(last, _)| time <= *last) {
                self.streak.clear();
            }
            self.streak.push((time, now));
            let since = self.streak.iter().find_map(|(_, now)| *now);
            let waited = now.unwrap_or(0) - since.unwrap_or(now.unwrap_or(0));
            if self.streak.len() > 32 && waited >= 120 {
                scored = true;
                self.streak.clear();
            }
        }
        if scored {
            self.base = Some(time);
        }
        self.greatest = self.greatest.max(Some(time));
        (scored, late)
    }
}

#[test]
fn order_agrees_with_the_rules_over_the_whole_history() {
    let mut adopted = 0;
    for seed in 0..300 {
        let mut rng = Rng::new(seed + 1);
        let (mut fed, mut model) = (Fed::new(), Model::default());
        let (mut now, mut time) = (None, 10_000);
        for step in 0..600 {
            if rng.below(3) == 0 {
                now = Some(now.unwrap_or(0) + i64::try_from(rng.below(20)).unwrap());
                fed.tick(now.unwrap());
            }
            if rng.below(90) == 0 {
                time -= i64::try_from(rng.below(5_000)).unwrap();
            }
            time += i64::try_from(rng.below(40)).unwrap() - i64::from(rng.below(60) == 0) * 30;
            let expected = model.row(time, now);
            let placed = fed.row(time);
            adopted += u32::from(placed.place() == Place::First);
            let found = (placed.place() != Place::Refused, placed.late);
            assert_eq!(found, expected, "SEED={seed} step {step} time {time}");
        }
    }
    assert!(adopted > 400, "only {adopted} time bases: the test is about nothing");
}
