use std::sync::mpsc::{Receiver as Reports, SyncSender, sync_channel};

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tidewatch_env::RealClock;

use super::*;
use crate::receiver::{Answer, OK, Receiver};
use crate::{Outcome, WebhookSink, samples};

const PATIENCE: Duration = Duration::from_secs(20);
const OOPS: Answer = Answer::Bytes("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n");
const BAD: Answer = Answer::Bytes("HTTP/1.1 400 Bad\r\nContent-Length: 2\r\n\r\nno");

/// Waits a thousandth of the real ones.
fn hasty() -> CourierConfig {
    let policy = RetryPolicy {
        delay_min: Duration::from_millis(1),
        delay_max: Duration::from_millis(60),
        ..RetryPolicy::default()
    };
    CourierConfig { policy, ..CourierConfig::default() }
}

struct Scene {
    courier: Courier,
    reports: Reports<DeliveryReport>,
    instruments: SinkInstruments,
}

fn start(sink: Box<dyn Sink>, config: CourierConfig) -> Scene {
    let instruments = SinkInstruments::default();
    let (sender, reports) = sync_channel(1_000);
    let report = move |report| sender.send(report).unwrap_or_default();
    let clock = Arc::new(RealClock::new());
    let courier = Courier::start(sink, config, clock, &instruments, report).unwrap();
    Scene { courier, reports, instruments }
}

fn webhook(receiver: &Receiver) -> Box<dyn Sink> {
    let clock = Arc::new(RealClock::new());
    Box::new(WebhookSink::new("oncall", &receiver.url(), None, Duration::from_secs(10), clock))
}

impl Scene {
    fn push(&self, series: u128, key: u128) {
        self.courier.try_push(samples::message(series, key)).expect("there is room");
    }

    fn report(&self) -> DeliveryReport {
        self.reports.recv_timeout(PATIENCE).expect("every attempt is reported")
    }

    /// The next report's key, attempt, outcome and status.
    fn row(&self) -> (u128, u32, &'static str, Option<u16>) {
        let report = self.report();
        (report.key.0, report.attempt, report.outcome.name(), report.status)
    }

    fn metrics(&self) -> String {
        let mut registry = Registry::default();
        self.instruments.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }
}

#[test]
fn two_errors_and_then_an_answer_are_three_reports() {
    let receiver = Receiver::start(&[OOPS, OOPS, OK]);
    let scene = start(webhook(&receiver), hasty());
    scene.push(1, 10);
    assert_eq!(scene.row(), (10, 1, "retry", Some(500)));
    assert_eq!(scene.row(), (10, 2, "retry", Some(500)));
    let last = scene.report();
    assert_eq!((last.attempt, last.outcome), (3, DeliveryOutcome::Delivered));
    assert_eq!((last.sink.as_str(), last.error.as_str()), ("oncall", ""));
    assert!(last.started <= last.finished);
    let bodies: Vec<_> = (0..3).map(|_| receiver.request().body).collect();
    assert!(bodies.iter().all(|body| *body == bodies[0]), "repeats have equal bodies");
    assert!(receiver.is_idle());
    assert_eq!(scene.courier.queued(), 0);
}

#[test]
fn a_refused_message_is_a_dead_letter_and_the_next_one_goes_on() {
    let receiver = Receiver::start(&[BAD, OK]);
    let scene = start(webhook(&receiver), hasty());
    scene.push(1, 10);
    scene.push(1, 11);
    let dead = scene.report();
    assert_eq!((dead.key.0, dead.outcome), (10, DeliveryOutcome::DeadLetter));
    assert_eq!((dead.status, dead.outcome.is_final()), (Some(400), true));
    assert_eq!(dead.error, "the receiver answered 400: no");
    assert_eq!(scene.row(), (11, 1, "delivered", Some(204)));
}

#[test]
fn a_receiver_that_goes_by_key_sees_each_transition_once_and_in_the_order_of_its_series() {
    let trouble = [Answer::HangUp, OOPS, OK, Answer::HangUp, Answer::HangUp, OK, OOPS, OOPS];
    let answers: Vec<Answer> = trouble.iter().cycle().take(40).copied().chain([OK]).collect();
    let receiver = Receiver::start(&answers);
    let scene = start(webhook(&receiver), hasty());
    for key in 0..20 {
        scene.push(key % 4, key);
    }
    let mut attempts = 0;
    let mut delivered = 0;
    while delivered < 20 {
        let report = scene.report();
        assert_ne!(report.outcome, DeliveryOutcome::DeadLetter, "{report:?}");
        delivered += u32::from(report.outcome == DeliveryOutcome::Delivered);
        attempts += 1;
    }
    let mut seen: Vec<(u128, Vec<u8>)> = Vec::new();
    for _ in 0..attempts {
        let request = receiver.request();
        let (key, kind) = request.headers["idempotency-key"].split_once(':').unwrap();
        assert_eq!(kind, "firing");
        let key = u128::from_str_radix(key, 16).unwrap();
        match seen.iter().find(|(before, _)| *before == key) {
            Some((_, body)) => assert_eq!(*body, request.body, "a repeat has equal bytes"),
            None => seen.push((key, request.body)),
        }
    }
    assert!(attempts > 40 && receiver.is_idle());
    for series in 0..4 {
        let keys: Vec<u128> =
            seen.iter().map(|(key, _)| *key).filter(|key| key % 4 == series).collect();
        assert_eq!(keys, (0..20).filter(|key| key % 4 == series).collect::<Vec<u128>>());
    }
}

#[test]
fn a_message_whose_time_is_over_is_a_dead_letter() {
    let receiver = Receiver::start(&[OOPS]);
    let mut config = hasty();
    config.policy.give_up_after = Duration::from_millis(20);
    let scene = start(webhook(&receiver), config);
    scene.push(1, 10);
    let dead = loop {
        let report = scene.report();
        if report.outcome != DeliveryOutcome::Retry {
            break report;
        }
    };
    assert_eq!(dead.outcome, DeliveryOutcome::DeadLetter);
    assert_eq!(dead.error, "given up; the last attempt: the receiver answered 500");
}

#[test]
fn every_attempt_is_counted_under_its_sink() {
    let receiver = Receiver::start(&[Answer::HangUp, OOPS, OK, BAD, OK]);
    let scene = start(webhook(&receiver), hasty());
    scene.push(1, 10);
    scene.push(1, 11);
    scene.push(1, 12);
    while scene.report().key.0 != 12 {}
    let text = scene.metrics();
    for line in [
        "tidewatch_sinks_attempts_total{sink=\"oncall\"} 5",
        "tidewatch_sinks_delivered_total{sink=\"oncall\"} 2",
        "tidewatch_sinks_retries_total{sink=\"oncall\"} 2",
        "tidewatch_sinks_repeats_total{sink=\"oncall\"} 2",
        "tidewatch_sinks_dead_letters_total{sink=\"oncall\"} 1",
        "tidewatch_sinks_queue_messages{sink=\"oncall\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

/// Tells when an attempt begins, and ends it when told to.
#[derive(Debug)]
struct Gate {
    begun: SyncSender<u128>,
    open: Reports<Outcome>,
}

impl Sink for Gate {
    fn name(&self) -> &str {
        "gate"
    }

    fn deliver(&mut self, message: &Message, _body: &[u8]) -> Attempt {
        self.begun.send(message.transition.key.0).expect("the test listens");
        let outcome = self.open.recv().expect("the gate's keeper is gone");
        Attempt { outcome, status: Some(200), error: String::new() }
    }
}

fn gate() -> (Box<Gate>, Reports<u128>, SyncSender<Outcome>) {
    let (begun, begins) = sync_channel(100);
    let (opener, open) = sync_channel(100);
    (Box::new(Gate { begun, open }), begins, opener)
}

#[test]
fn a_full_queue_gives_the_message_back_until_there_is_room() {
    let (sink, begins, opener) = gate();
    let limits = QueueLimits { messages_max: 2, ..QueueLimits::default() };
    let scene = start(sink, CourierConfig { limits, ..hasty() });
    scene.push(1, 10);
    scene.push(2, 20);
    let third = Arc::new(samples::message(3, 30));
    assert_eq!(scene.courier.try_push(Arc::clone(&third)), Err(Full));
    assert_eq!(begins.recv_timeout(PATIENCE), Ok(10));
    opener.send(Outcome::Delivered).unwrap();
    assert_eq!(scene.report().key.0, 10);
    assert_eq!(scene.courier.try_push(third), Ok(()), "a report tells of room");
}

#[test]
fn stopping_finishes_and_reports_the_attempt_in_flight_and_begins_no_other() {
    let (sink, begins, opener) = gate();
    let scene = start(sink, hasty());
    scene.push(1, 10);
    scene.push(2, 20);
    assert_eq!(begins.recv_timeout(PATIENCE), Ok(10));
    let Scene { courier, reports, .. } = scene;
    let shared = Arc::clone(&courier.shared);
    let stopping = thread::spawn(move || courier.stop(PATIENCE));
    let waiting = shared.state();
    drop(shared.changed.wait_while(waiting, |state| !state.stopping).unwrap());
    opener.send(Outcome::Delivered).unwrap();
    assert_eq!(stopping.join().unwrap(), Stopped::Finished);
    let told: Vec<u128> = reports.iter().map(|report| report.key.0).collect();
    assert_eq!(told, [10]);
    assert_eq!(begins.iter().collect::<Vec<_>>(), [0_u128; 0], "20 was not begun");
}

#[test]
fn stopping_does_not_wait_longer_than_its_bound_and_nothing_is_told_afterwards() {
    let (sink, begins, opener) = gate();
    let scene = start(sink, hasty());
    scene.push(1, 10);
    assert_eq!(begins.recv_timeout(PATIENCE), Ok(10));
    assert_eq!(scene.courier.stop(Duration::from_millis(5)), Stopped::Abandoned);
    opener.send(Outcome::Delivered).unwrap();
    let told: Vec<DeliveryReport> = scene.reports.iter().collect();
    assert_eq!(told, [], "the thread has ended, and has said nothing");
}

#[test]
fn an_idle_or_waiting_courier_stops_at_once() {
    let (sink, begins, opener) = gate();
    let scene = start(sink, CourierConfig::default());
    scene.push(1, 10);
    assert_eq!(begins.recv_timeout(PATIENCE), Ok(10));
    opener.send(Outcome::Retry { after: Some(Duration::from_secs(1_000)) }).unwrap();
    assert_eq!(scene.report().outcome, DeliveryOutcome::Retry);
    assert_eq!(scene.courier.stop(PATIENCE), Stopped::Finished);
    let (sink, ..) = gate();
    assert_eq!(start(sink, hasty()).courier.stop(PATIENCE), Stopped::Finished);
}

#[test]
fn a_sink_that_panics_is_tried_again() {
    let (sink, begins, opener) = gate();
    drop(opener);
    let scene = start(sink, hasty());
    scene.push(1, 10);
    let report = scene.report();
    assert_eq!(report.outcome, DeliveryOutcome::Retry);
    assert!(report.error.contains("the gate's keeper is gone"), "{}", report.error);
    assert_eq!((begins.recv_timeout(PATIENCE), begins.recv_timeout(PATIENCE)), (Ok(10), Ok(10)));
}

#[test]
fn a_courier_whose_report_panics_takes_no_more() {
    let (sink, _begins, opener) = gate();
    let clock = Arc::new(RealClock::new());
    let instruments = SinkInstruments::default();
    let report = |_| panic!("nobody listens");
    let courier = Courier::start(sink, hasty(), clock, &instruments, report).unwrap();
    courier.try_push(samples::message(1, 10)).unwrap();
    opener.send(Outcome::Delivered).unwrap();
    let waiting = courier.shared.state();
    drop(courier.shared.changed.wait_while(waiting, |state| !state.ended).unwrap());
    assert_eq!(courier.try_push(samples::message(1, 11)), Err(Full));
    assert_eq!(courier.stop(PATIENCE), Stopped::Finished);
}

/// Cannot be reached, or answers with an error, or takes everything.
#[derive(Clone, Debug, Default)]
struct Moody(Arc<Mutex<Mood>>);

#[derive(Debug, Default)]
struct Mood {
    down: bool,
    status: Option<u16>,
    looks: u32,
}

impl Moody {
    fn mood(&self) -> MutexGuard<'_, Mood> {
        self.0.lock().unwrap()
    }
}

impl Sink for Moody {
    fn name(&self) -> &str {
        "moody"
    }

    fn deliver(&mut self, _message: &Message, _body: &[u8]) -> Attempt {
        let Mood { down, status, .. } = *self.mood();
        match (down, status) {
            (true, _) => Attempt::unanswered("down"),
            (false, None) => Attempt::delivered(None),
            (false, status) => Attempt { status, ..Attempt::unanswered("not for you") },
        }
    }

    fn look_every(&self) -> Option<Duration> {
        Some(Duration::from_millis(1))
    }

    fn look(&mut self) -> Option<String> {
        let mut mood = self.mood();
        mood.looks += 1;
        mood.down.then(|| "unreachable".to_owned())
    }
}

fn wait_for(what: impl Fn() -> bool) {
    let there = (0..10_000).any(|_| {
        thread::park_timeout(Duration::from_millis(2));
        what()
    });
    assert!(there);
}

#[test]
fn a_look_tells_that_a_sink_cannot_be_reached_before_anything_is_to_be_delivered() {
    let sink = Moody::default();
    sink.mood().down = true;
    let scene = start(Box::new(sink.clone()), hasty());
    let watch = scene.courier.watch();
    wait_for(|| watch.trouble().as_deref() == Some("unreachable"));
    sink.mood().down = false;
    wait_for(|| watch.trouble().is_none());
    scene.push(1, 10);
    assert_eq!(scene.row(), (10, 1, "delivered", None));
}

#[test]
fn what_a_receiver_has_answered_is_mended_by_a_delivery_and_not_by_a_look() {
    let sink = Moody::default();
    sink.mood().status = Some(29);
    let mut config = hasty();
    config.policy.delay_min = Duration::from_millis(200);
    config.policy.delay_max = Duration::from_millis(300);
    let scene = start(Box::new(sink.clone()), config);
    let watch = scene.courier.watch();
    scene.push(1, 10);
    assert_eq!(scene.row(), (10, 1, "retry", Some(29)));
    let before = sink.mood().looks;
    wait_for(|| sink.mood().looks > before + 3);
    assert_eq!(watch.trouble().as_deref(), Some("not for you"));
    sink.mood().status = None;
    while scene.row().2 != "delivered" {}
    assert_eq!(watch.trouble(), None);
}
