use proptest::prelude::*;
use tidewatch_env::{Clock as _, SimClock};
use tidewatch_metrics::UnixNanos;

use super::*;
use crate::limits::GIVE_UP_AFTER;
use crate::samples;

const RETRY: Outcome = Outcome::Retry { after: None };

fn schedule() -> Schedule {
    Schedule::new(QueueLimits::default(), RetryPolicy::default(), 11)
}

fn push(schedule: &mut Schedule, series: u128, key: u128, now: Duration) {
    schedule.push(Arc::new(samples::message(series, key)), now).expect("there is room");
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The key and the attempt's number of what is due.
fn due(schedule: &mut Schedule, now: Duration) -> Option<(u128, u32)> {
    match schedule.next(now) {
        Step::Attempt { message, attempt, .. } => Some((message.transition.key.0, attempt)),
        Step::Wait { .. } | Step::Idle => None,
    }
}

#[test]
fn a_waiting_message_blocks_its_series_and_no_other() {
    let clock = SimClock::new(UnixNanos::new(0));
    let mut schedule = schedule();
    push(&mut schedule, 1, 10, clock.monotonic());
    push(&mut schedule, 1, 11, clock.monotonic());
    push(&mut schedule, 2, 20, clock.monotonic());
    assert_eq!(due(&mut schedule, clock.monotonic()), Some((10, 1)));
    let Verdict::Retry { at } = schedule.settle(RETRY, true, clock.monotonic()) else {
        panic!("the first failure is tried again")
    };
    assert_eq!(due(&mut schedule, clock.monotonic()), Some((20, 1)), "series 2 goes on");
    assert_eq!(schedule.settle(Outcome::Delivered, true, clock.monotonic()), Verdict::Delivered);
    assert_eq!(schedule.next(clock.monotonic()), Step::Wait { until: at }, "11 waits for 10");
    clock.advance(at);
    assert_eq!(due(&mut schedule, clock.monotonic()), Some((10, 2)));
    schedule.settle(Outcome::Delivered, true, clock.monotonic());
    assert_eq!(due(&mut schedule, clock.monotonic()), Some((11, 1)));
    schedule.settle(Outcome::Delivered, true, clock.monotonic());
    assert_eq!(schedule.next(clock.monotonic()), Step::Idle);
    assert!(schedule.is_empty());
}

#[test]
fn the_receiver_s_wish_is_kept_to() {
    let mut schedule = schedule();
    push(&mut schedule, 1, 10, seconds(5));
    assert_eq!(due(&mut schedule, seconds(5)), Some((10, 1)));
    let wish = Outcome::Retry { after: Some(seconds(30)) };
    assert_eq!(schedule.settle(wish, true, seconds(6)), Verdict::Retry { at: seconds(36) });
    assert_eq!(due(&mut schedule, seconds(36) - Duration::from_nanos(1)), None);
    assert_eq!(due(&mut schedule, seconds(36)), Some((10, 2)));
}

#[test]
fn a_message_is_given_up_after_a_day_and_lets_the_next_one_pass() {
    let clock = SimClock::new(UnixNanos::new(0));
    let mut schedule = schedule();
    push(&mut schedule, 1, 10, clock.monotonic());
    push(&mut schedule, 1, 11, clock.monotonic());
    let mut attempts = 0_u32;
    loop {
        match schedule.next(clock.monotonic()) {
            Step::Attempt { message, attempt, .. } => {
                assert_eq!((message.transition.key.0, attempt), (10, attempts + 1));
                attempts += 1;
                match schedule.settle(RETRY, true, clock.monotonic()) {
                    Verdict::Retry { at } => assert!(at <= GIVE_UP_AFTER),
                    Verdict::DeadLetter { gave_up } => {
                        assert!(gave_up);
                        break;
                    }
                    Verdict::Delivered => panic!("nothing was delivered"),
                }
            }
            Step::Wait { until } => clock.advance(until - clock.monotonic()),
            Step::Idle => panic!("two messages are queued"),
        }
    }
    assert_eq!(clock.monotonic(), GIVE_UP_AFTER, "the last attempt is made at the very end");
    // A day of waits of 40 to 60 s, after a few shorter ones.
    assert!((1_440..=2_170).contains(&attempts), "{attempts} attempts");
    assert_eq!(due(&mut schedule, clock.monotonic()), Some((11, 1)), "the next one has its chance");
    schedule.settle(Outcome::Delivered, true, clock.monotonic());
    assert!(schedule.is_empty());
}

#[test]
fn a_refused_message_is_not_tried_again() {
    let mut schedule = schedule();
    push(&mut schedule, 1, 10, Duration::ZERO);
    assert_eq!(due(&mut schedule, Duration::ZERO), Some((10, 1)));
    let verdict = schedule.settle(Outcome::Refused, true, Duration::ZERO);
    assert_eq!(verdict, Verdict::DeadLetter { gave_up: false });
    assert_eq!(schedule.next(GIVE_UP_AFTER), Step::Idle);
}

#[test]
fn only_an_attempt_after_a_lost_answer_is_a_repeat() {
    let mut schedule = schedule();
    push(&mut schedule, 1, 10, Duration::ZERO);
    let mut now = Duration::ZERO;
    let mut repeats = Vec::new();
    for answered in [true, false, true, true] {
        let Step::Attempt { repeat, .. } = schedule.next(now) else { panic!("it is due") };
        repeats.push(repeat);
        let Verdict::Retry { at } = schedule.settle(RETRY, answered, now) else {
            panic!("it is tried again")
        };
        now = at;
    }
    assert_eq!(repeats, [false, false, true, true]);
}

#[test]
fn the_queue_is_bounded_in_messages_and_bytes_and_room_comes_back() {
    let message = Arc::new(samples::message(1, 1));
    let push = |schedule: &mut Schedule| schedule.push(Arc::clone(&message), Duration::ZERO);
    for limits in [
        QueueLimits { messages_max: 2, bytes_max: usize::MAX },
        QueueLimits { messages_max: usize::MAX, bytes_max: 2 * message.bytes() },
    ] {
        let mut schedule = Schedule::new(limits, RetryPolicy::default(), 1);
        assert_eq!([push(&mut schedule), push(&mut schedule)], [Ok(()), Ok(())]);
        assert_eq!(push(&mut schedule), Err(Full), "{limits:?}");
        assert_eq!(due(&mut schedule, Duration::ZERO), Some((1, 1)));
        assert_eq!(push(&mut schedule), Err(Full), "what is in flight counts: {limits:?}");
        schedule.settle(Outcome::Delivered, true, Duration::ZERO);
        assert_eq!(push(&mut schedule), Ok(()), "{limits:?}");
        assert_eq!(schedule.len(), 2);
    }
}

#[test]
fn a_message_beyond_the_bound_passes_alone() {
    let limits = QueueLimits { messages_max: 9, bytes_max: 1 };
    let mut schedule = Schedule::new(limits, RetryPolicy::default(), 1);
    push(&mut schedule, 1, 1, Duration::ZERO);
    assert_eq!(schedule.push(Arc::new(samples::message(2, 2)), Duration::ZERO), Err(Full));
}

#[derive(Clone, Debug)]
enum Event {
    Push { series: u8 },
    Pass { ms: u64 },
    Attempt { outcome: Outcome, answered: bool },
}

fn event() -> impl Strategy<Value = Event> {
    let outcome = prop_oneof![
        3 => Just(Outcome::Delivered),
        4 => Just(RETRY),
        1 => (0_u64..200).prop_map(|s| Outcome::Retry { after: Some(seconds(s)) }),
        1 => Just(Outcome::Refused),
    ];
    prop_oneof![
        3 => (0_u8..5).prop_map(|series| Event::Push { series }),
        2 => prop_oneof![Just(1), Just(700), Just(30_000), Just(20_000_000)]
            .prop_map(|ms| Event::Pass { ms }),
        4 => (outcome, any::<bool>())
            .prop_map(|(outcome, answered)| Event::Attempt { outcome, answered }),
    ]
}

/// What the schedule has to do, told naively: a list per series, and when its head may be tried.
#[derive(Default)]
struct Oracle {
    series: BTreeMap<u128, VecDeque<Expected>>,
}

struct Expected {
    key: u128,
    accepted: Duration,
    attempts: u32,
    not_before: Duration,
}

impl Oracle {
    /// The heads that may be tried now.
    fn ready(&self, now: Duration) -> Vec<u128> {
        let heads = self.series.values().filter_map(VecDeque::front);
        heads.filter(|head| head.not_before <= now).map(|head| head.key).collect()
    }

    /// Checks one verdict, and moves the series on.
    fn settle(&mut self, series: u128, outcome: Outcome, verdict: Verdict, now: Duration) {
        let queue = self.series.get_mut(&series).expect("the series was pushed");
        let head = queue.front_mut().expect("its head was attempted");
        let over = now >= head.accepted + GIVE_UP_AFTER;
        match (outcome, verdict) {
            (Outcome::Delivered, Verdict::Delivered)
            | (Outcome::Refused, Verdict::DeadLetter { gave_up: false }) => {
                queue.pop_front();
            }
            (Outcome::Retry { .. }, Verdict::DeadLetter { gave_up: true }) => {
                assert!(over, "given up at {now:?}");
                queue.pop_front();
            }
            (Outcome::Retry { after }, Verdict::Retry { at }) => {
                assert!(!over, "not given up at {now:?}");
                let deadline = head.accepted + GIVE_UP_AFTER;
                let least = now + seconds(1).max(after.unwrap_or_default());
                let most = now + seconds(60).max(after.unwrap_or_default());
                assert!(at >= least.min(deadline) && at <= most, "{now:?} -> {at:?}");
                head.not_before = at;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// One attempt, if one is due: it must be one that the oracle allows, and due if any is.
fn attempt(
    schedule: &mut Schedule,
    oracle: &mut Oracle,
    (outcome, answered): (Outcome, bool),
    now: Duration,
) -> bool {
    let ready = oracle.ready(now);
    let Step::Attempt { message, attempt, .. } = schedule.next(now) else {
        assert_eq!(ready, [0_u128; 0], "a series is held up at {now:?}");
        return false;
    };
    let key = message.transition.key.0;
    assert!(ready.contains(&key), "{key} is not the head of its series, or early");
    let series = message.transition.subject.series().expect("it is of a series").get();
    let head = oracle.series.get_mut(&series).and_then(VecDeque::front_mut).expect("it is ready");
    head.attempts += 1;
    assert_eq!(attempt, head.attempts);
    let verdict = schedule.settle(outcome, answered, now);
    oracle.settle(series, outcome, verdict, now);
    true
}

proptest! {
    #[test]
    fn order_per_series_holds_under_any_retries_and_nothing_is_lost(
        events in proptest::collection::vec(event(), 1..200),
        seed in any::<u64>(),
    ) {
        let clock = SimClock::new(UnixNanos::new(0));
        let mut schedule = Schedule::new(QueueLimits::default(), RetryPolicy::default(), seed);
        let mut oracle = Oracle::default();
        let mut key = 0;
        for event in events {
            let now = clock.monotonic();
            match event {
                Event::Push { series } => {
                    key += 1;
                    let series = u128::from(series);
                    push(&mut schedule, series, key, now);
                    let new = Expected { key, accepted: now, attempts: 0, not_before: now };
                    oracle.series.entry(series).or_default().push_back(new);
                }
                Event::Pass { ms } => clock.advance(Duration::from_millis(ms)),
                Event::Attempt { outcome, answered } => {
                    attempt(&mut schedule, &mut oracle, (outcome, answered), now);
                }
            }
            let expected: usize = oracle.series.values().map(VecDeque::len).sum();
            prop_assert_eq!(schedule.len(), expected);
        }
        clock.advance(seconds(3_600));
        while attempt(&mut schedule, &mut oracle, (Outcome::Delivered, true), clock.monotonic()) {}
        prop_assert!(schedule.is_empty());
        prop_assert!(oracle.series.values().all(VecDeque::is_empty));
        prop_assert_eq!((schedule.bytes, schedule.due.len(), schedule.queues.len()), (0, 0, 0));
    }
}
