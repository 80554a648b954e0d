//! Which message is due: order, retries and bounds, without clock, thread or I/O.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tidewatch_env::Rng;
use tidewatch_metrics::Subject;

use crate::limits::{QUEUE_BYTES_MAX, QUEUE_MESSAGES_MAX};
use crate::{Message, Outcome, RetryPolicy};

/// What a queue holds at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Messages, at least 1.
    pub messages_max: usize,
    /// Bytes of messages; a larger message is taken where the queue is empty.
    pub bytes_max: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { messages_max: QUEUE_MESSAGES_MAX, bytes_max: QUEUE_BYTES_MAX }
    }
}

/// The queue takes no more: the message stays with whoever wanted to push it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue of the sink is full")]
pub struct Full;

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Deliver this message, then call [`Schedule::settle`].
    Attempt {
        /// The message.
        message: Arc<Message>,
        /// The number of this attempt, from 1.
        attempt: u32,
        /// An earlier attempt may have arrived, although its answer did not.
        repeat: bool,
    },
    /// Nothing is due before this time.
    Wait {
        /// When the next message is due.
        until: Duration,
    },
    /// The queue is empty.
    Idle,
}

/// What an attempt's outcome means for its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done.
    Delivered,
    /// It will be tried again.
    Retry {
        /// When.
        at: Duration,
    },
    /// It will not be tried again.
    DeadLetter {
        /// Its time was over; otherwise the receiver refused it.
        gave_up: bool,
    },
}

/// The messages of one sink.
///
/// Per series, messages are attempted in the order in which they came, and none before the one
/// before it has been delivered or given up; a series that waits holds up no other. Among the
/// series, what has been due longest goes first.
///
/// All times are durations since one start, as [`tidewatch_env::Clock::monotonic`] gives them.
///
/// Invariant: `due` has an entry for each key of `queues` but the one in flight: that of the head
/// of its queue. No queue is empty.
#[derive(Debug)]
pub struct Schedule {
    limits: QueueLimits,
    policy: RetryPolicy,
    rng: Rng,
    queues: BTreeMap<Subject, VecDeque<Entry>>,
    due: BTreeMap<Due, Subject>,
    in_flight: Option<Subject>,
    messages: usize,
    bytes: usize,
    pushed: u64,
}

#[derive(Debug)]
struct Entry {
    message: Arc<Message>,
    bytes: usize,
    number: u64,
    accepted: Duration,
    attempts: u32,
    answer_lost: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: Duration,
    number: u64,
}

impl Schedule {
    /// An empty queue; `seed` is that of the jitter.
    #[must_use]
    pub fn new(limits: QueueLimits, policy: RetryPolicy, seed: u64) -> Self {
        Self {
            limits,
            policy,
            rng: Rng::from_seed(seed),
            queues: BTreeMap::new(),
            due: BTreeMap::new(),
            in_flight: None,
            messages: 0,
            bytes: 0,
            pushed: 0,
        }
    }

    /// Messages in the queue, with the one in flight.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages
    }

    /// Whether there is no message, not even in flight.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Takes a message, due at once unless others of its series are before it.
    ///
    /// # Errors
    /// Where a limit would be exceeded.
    pub fn push(&mut self, message: Arc<Message>, now: Duration) -> Result<(), Full> {
        let bytes = message.bytes();
        let fits = self.messages < self.limits.messages_max
            && self.bytes.saturating_add(bytes) <= self.limits.bytes_max;
        if !fits && !self.is_empty() {
            return Err(Full);
        }
        let series = message.transition.subject;
        let number = self.pushed;
        let queue = self.queues.entry(series).or_default();
        if queue.is_empty() {
            self.due.insert(Due { at: now, number }, series);
        }
        queue.push_back(Entry {
            message,
            bytes,
            number,
            accepted: now,
            attempts: 0,
            answer_lost: false,
        });
        self.pushed += 1;
        self.messages += 1;
        self.bytes += bytes;
        Ok(())
    }

    /// What to do at `now`. After [`Step::Attempt`] comes [`settle`](Self::settle).
    ///
    /// # Panics
    /// If the last attempt has not been settled.
    pub fn next(&mut self, now: Duration) -> Step {
        assert!(self.in_flight.is_none(), "one attempt is settled before the next");
        let Some((&due, &series)) = self.due.first_key_value() else {
            return Step::Idle;
        };
        if due.at > now {
            return Step::Wait { until: due.at };
        }
        self.due.remove(&due);
        self.in_flight = Some(series);
        let head = head(&mut self.queues, series);
        head.attempts = head.attempts.saturating_add(1);
        Step::Attempt {
            message: Arc::clone(&head.message),
            attempt: head.attempts,
            repeat: head.answer_lost,
        }
    }

    /// Records how the attempt in flight ended, at `now`; `answered` tells whether the receiver
    /// said anything.
    ///
    /// # Panics
    /// If no attempt is in flight.
    pub fn settle(&mut self, outcome: Outcome, answered: bool, now: Duration) -> Verdict {
        let series = self.in_flight.take().expect("an attempt is settled once, after it was given");
        let head = head(&mut self.queues, series);
        let deadline = head.accepted.saturating_add(self.policy.give_up_after);
        let verdict = match outcome {
            Outcome::Delivered => Verdict::Delivered,
            Outcome::Refused => Verdict::DeadLetter { gave_up: false },
            Outcome::Retry { .. } if now >= deadline => Verdict::DeadLetter { gave_up: true },
            Outcome::Retry { after } => {
                head.answer_lost |= !answered;
                let wait = self.policy.wait(head.attempts, after, &mut self.rng);
                // The last attempt is made when the time is over, not shortly before.
                let at = now.saturating_add(wait).min(deadline);
                self.due.insert(Due { at, number: head.number }, series);
                return Verdict::Retry { at };
            }
        };
        self.pop(series);
        verdict
    }

    fn pop(&mut self, series: Subject) {
        let queue = self.queues.get_mut(&series).expect("what was in flight has a queue");
        let done = queue.pop_front().expect("no queue is empty");
        self.messages -= 1;
        self.bytes -= done.bytes;
        match queue.front() {
            Some(head) => {
                self.due.insert(Due { at: head.accepted, number: head.number }, series);
            }
            None => {
                self.queues.remove(&series);
            }
        }
    }
}

fn head(queues: &mut BTreeMap<Subject, VecDeque<Entry>>, series: Subject) -> &mut Entry {
    let queue = queues.get_mut(&series).expect("what is due has a queue");
    queue.front_mut().expect("no queue is empty")
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
