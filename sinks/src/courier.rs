//! A thread that brings the messages of one sink to it.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tidewatch_env::Clock;
use tracing::{info, warn};

use crate::instruments::OneSink;
use crate::{
    Attempt, DeliveryOutcome, DeliveryReport, Full, Message, QueueLimits, RetryPolicy, Schedule,
    Sink, SinkError, SinkInstruments, Step, Verdict, body,
};

/// How a courier works.
#[derive(Clone, Debug, Default)]
pub struct CourierConfig {
    /// Where people reach the server, for the link in the body.
    pub public_url: Option<String>,
    /// What the queue holds at most.
    pub limits: QueueLimits,
    /// When failed attempts are repeated.
    pub policy: RetryPolicy,
    /// Seed of the jitter.
    pub seed: u64,
}

/// A sink's queue and the thread that empties it.
///
/// Every attempt is reported, before the next one begins. A message that was taken is reported
/// until it is delivered or a dead letter, unless the courier is stopped before; then it is still
/// undelivered in the engine's log, and is pushed again by the next process.
///
/// Dropping a courier stops it without waiting.
#[derive(Debug)]
pub struct Courier {
    name: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// How a courier came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Stopped {
    /// The attempt in flight had its outcome, and the outcome was reported.
    Finished,
    /// The attempt in flight took too long. A report that was not begun by then is not made.
    Abandoned,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Told of pushes, of the wish to stop, and of the thread's end.
    changed: Condvar,
    clock: Arc<dyn Clock>,
    instruments: OneSink,
}

#[derive(Debug)]
struct State {
    schedule: Schedule,
    stopping: bool,
    abandoned: bool,
    ended: bool,
    trouble: Option<Trouble>,
}

/// Why the sink does not deliver.
#[derive(Clone, Debug)]
struct Trouble {
    text: String,
    /// A receiver has said so: that it can be reached does not mend it.
    is_answer: bool,
}

/// Tells how a courier fares, to whoever does not own it.
#[derive(Clone, Debug)]
pub struct CourierWatch {
    name: String,
    shared: Arc<Shared>,
}

impl CourierWatch {
    /// The sink's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Why the sink does not deliver, as the last attempt or the last look has told; none where it does, or where
    /// nothing is known. Holds no secret.
    ///
    /// # Panics
    /// Never: nothing panics while it holds the queue.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.shared.state().trouble.as_ref().map(|trouble| trouble.text.clone())
    }
}

type Report = Box<dyn Fn(DeliveryReport) + Send>;

impl Courier {
    /// Starts the thread of `sink`. `report` is called on it, once per attempt, and may block.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(
        sink: Box<dyn Sink>,
        config: CourierConfig,
        clock: Arc<dyn Clock>,
        instruments: &SinkInstruments,
        report: impl Fn(DeliveryReport) + Send + 'static,
    ) -> Result<Self, SinkError> {
        let name = sink.name().to_owned();
        let state = State {
            schedule: Schedule::new(config.limits, config.policy, config.seed),
            stopping: false,
            abandoned: false,
            ended: false,
            trouble: None,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            clock,
            instruments: instruments.of(&name),
        });
        let round = Round {
            sink,
            public_url: config.public_url,
            shared: Arc::clone(&shared),
            report: Box::new(report),
        };
        let visible: String = name.chars().filter(|c| !c.is_control()).collect();
        let thread = thread::Builder::new()
            .name(format!("sink {visible}"))
            .spawn(move || round.run())
            .map_err(|source| SinkError::Thread { sink: name.clone(), source })?;
        Ok(Self { name, shared, thread: Some(thread) })
    }

    /// The sink's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells how it fares, also while somebody else owns it.
    #[must_use]
    pub fn watch(&self) -> CourierWatch {
        CourierWatch { name: self.name.clone(), shared: Arc::clone(&self.shared) }
    }

    /// Messages that wait for delivery, with the one in flight.
    ///
    /// # Panics
    /// Never: nothing panics while it holds the queue.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.shared.state().schedule.len()
    }

    /// Takes a message for delivery; never blocks on the sink.
    ///
    /// Messages of one series must be pushed in their order. Only what sinks get may be pushed:
    /// firing and resolved transitions that are not historical.
    ///
    /// # Errors
    /// Where the queue is full, or the thread has ended: the message stays with the caller, who
    /// comes again when a report told of room.
    ///
    /// # Panics
    /// Never: nothing panics while it holds the queue.
    pub fn try_push(&self, message: impl Into<Arc<Message>>) -> Result<(), Full> {
        let now = self.shared.clock.monotonic();
        let mut state = self.shared.state();
        if state.ended {
            return Err(Full);
        }
        state.schedule.push(message.into(), now)?;
        self.shared.count_queue(&state);
        drop(state);
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Ends the thread after the attempt in flight, and waits for that no longer than `within`.
    ///
    /// # Panics
    /// Never: nothing panics while it holds the queue.
    pub fn stop(mut self, within: Duration) -> Stopped {
        self.shared.ask_to_stop();
        let (mut state, _) = self
            .shared
            .changed
            .wait_timeout_while(self.shared.state(), within, |state| !state.ended)
            .expect("nobody panics while holding the queue");
        if !state.ended {
            state.abandoned = true;
            return Stopped::Abandoned;
        }
        drop(state);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!(sink = self.name, "the sink's thread ended by a panic");
        }
        Stopped::Finished
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        self.shared.ask_to_stop();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding the queue")
    }

    fn ask_to_stop(&self) {
        self.state().stopping = true;
        self.changed.notify_all();
    }

    fn count_queue(&self, state: &State) {
        let messages = i64::try_from(state.schedule.len()).expect("the queue is bounded");
        self.instruments.queue_messages.set(messages);
    }

    /// Waits for the next message that is due, or until it is time for a look; none when the courier is to stop.
    fn next(&self, look: Option<Duration>) -> Option<Task> {
        let mut state = self.state();
        while !state.stopping {
            let now = self.clock.monotonic();
            let until = match state.schedule.next(now) {
                Step::Attempt { message, attempt, repeat } => {
                    return Some(Task::Attempt(Due { message, attempt, repeat }));
                }
                _ if look.is_some_and(|at| at <= now) => return Some(Task::Look),
                Step::Wait { until } => Some(look.map_or(until, |at| at.min(until))),
                Step::Idle => look,
            };
            state = match until {
                Some(until) => {
                    let waited = self.changed.wait_timeout(state, until.saturating_sub(now));
                    waited.expect("nobody panics while holding the queue").0
                }
                None => self.changed.wait(state).expect("nobody panics while holding the queue"),
            };
        }
        None
    }

    /// Records how the attempt in flight ended; none if nobody waits for it any more.
    fn settle(&self, attempt: &Attempt) -> Option<Verdict> {
        let now = self.clock.monotonic();
        let mut state = self.state();
        let is_answer = attempt.status.is_some();
        let verdict = state.schedule.settle(attempt.outcome, is_answer, now);
        self.count_queue(&state);
        (!state.abandoned).then_some(verdict)
    }

    /// Replaces the trouble; gives whether there was some before.
    fn replace_trouble(&self, trouble: Option<Trouble>) -> bool {
        std::mem::replace(&mut self.state().trouble, trouble).is_some()
    }
}

enum Task {
    Attempt(Due),
    Look,
}

struct Due {
    message: Arc<Message>,
    attempt: u32,
    repeat: bool,
}

/// What the thread owns.
struct Round {
    sink: Box<dyn Sink>,
    public_url: Option<String>,
    shared: Arc<Shared>,
    report: Report,
}

impl Round {
    fn run(mut self) {
        let _end = End(Arc::clone(&self.shared));
        let look_every = self.sink.look_every();
        let mut look = look_every.map(|_| Duration::ZERO);
        while let Some(task) = self.shared.next(look) {
            match task {
                Task::Look => self.look(),
                Task::Attempt(due) if self.bring(&due) => {}
                Task::Attempt(_) => return,
            }
            look = look_every.map(|every| self.shared.clock.monotonic().saturating_add(every));
        }
    }

    /// Makes an attempt and reports it; false if nobody waits for it any more.
    fn bring(&mut self, due: &Due) -> bool {
        let started = self.shared.clock.now();
        let attempt = self.attempt(&due.message);
        let finished = self.shared.clock.now();
        let Some(verdict) = self.shared.settle(&attempt) else { return false };
        self.count(due, verdict);
        self.tell(due, verdict, &attempt);
        let (outcome, error) = told(verdict, attempt.error);
        (self.report)(DeliveryReport {
            key: due.message.transition.key,
            kind: due.message.transition.kind,
            sink: self.sink.name().to_owned(),
            attempt: due.attempt,
            outcome,
            status: attempt.status,
            started,
            finished,
            error,
        });
        true
    }

    /// Looks whether attempts would succeed. What a receiver has answered is mended by a delivery alone.
    fn look(&mut self) {
        let sink = &mut self.sink;
        let looked = catch_unwind(AssertUnwindSafe(|| sink.look()));
        let found = looked.unwrap_or_else(|panic| Some(panicked(&*panic)));
        let (sink, trouble) = (self.sink.name(), self.shared.state().trouble.clone());
        match (trouble, found) {
            (Some(Trouble { is_answer: true, .. }), None) | (None, None) => {}
            (Some(_), None) => {
                self.shared.replace_trouble(None);
                info!(sink, "sink can be reached again");
            }
            (before, Some(text)) => {
                if before.is_none() {
                    warn!(sink, error = text, "sink cannot be reached, and is tried again");
                }
                self.shared.replace_trouble(Some(Trouble { text, is_answer: false }));
            }
        }
    }

    /// A bug in a sink must not silence it: the message is tried again like any other.
    fn attempt(&mut self, message: &Message) -> Attempt {
        let body = body(&message.transition, self.public_url.as_deref());
        let sink = &mut self.sink;
        let delivered = catch_unwind(AssertUnwindSafe(|| sink.deliver(message, &body)));
        delivered.unwrap_or_else(|panic| Attempt::unanswered(&panicked(&*panic)))
    }

    fn count(&self, due: &Due, verdict: Verdict) {
        let of = &self.shared.instruments;
        of.attempts.inc();
        if due.repeat {
            of.repeats.inc();
        }
        match verdict {
            Verdict::Delivered => of.delivered.inc(),
            Verdict::Retry { .. } => of.retries.inc(),
            Verdict::DeadLetter { .. } => of.dead_letters.inc(),
        };
    }

    /// Dead letters, and the edges between working and failing: a sink that is down for a day
    /// must not fill the log.
    fn tell(&self, due: &Due, verdict: Verdict, attempt: &Attempt) {
        let (sink, error) = (self.sink.name(), attempt.error.as_str());
        let key = due.message.transition.dedupe_key();
        let is_retry = matches!(verdict, Verdict::Retry { .. });
        let trouble = is_retry
            .then(|| Trouble { text: error.to_owned(), is_answer: attempt.status.is_some() });
        let was_failing = self.shared.replace_trouble(trouble);
        match verdict {
            Verdict::DeadLetter { gave_up } => {
                let attempts = due.attempt;
                warn!(sink, key, attempts, gave_up, error, "alert became a dead letter");
            }
            Verdict::Retry { .. } if !was_failing => {
                warn!(sink, key, error, "sink fails, alerts are tried again");
            }
            Verdict::Delivered if was_failing => info!(sink, "sink delivers again"),
            Verdict::Retry { .. } | Verdict::Delivered => {}
        }
    }
}

impl fmt::Debug for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Round").field("sink", &self.sink).finish_non_exhaustive()
    }
}

/// Tells of the thread's end, also where a report panics.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.state().ended = true;
        self.0.changed.notify_all();
    }
}

fn told(verdict: Verdict, error: String) -> (DeliveryOutcome, String) {
    match verdict {
        Verdict::Delivered => (DeliveryOutcome::Delivered, error),
        Verdict::Retry { .. } => (DeliveryOutcome::Retry, error),
        Verdict::DeadLetter { gave_up: false } => (DeliveryOutcome::DeadLetter, error),
        Verdict::DeadLetter { gave_up: true } => {
            (DeliveryOutcome::DeadLetter, format!("given up; the last attempt: {error}"))
        }
    }
}

fn panicked(panic: &(dyn Any + Send)) -> String {
    let words = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(words), _) => words,
        (None, Some(words)) => words.as_str(),
        (None, None) => "without words",
    };
    format!("the sink panicked: {words}")
}

#[cfg(test)]
#[path = "courier_tests.rs"]
mod tests;
