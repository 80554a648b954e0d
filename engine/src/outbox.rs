//! Transitions on their way out: fired by a shard, logged, released to the sinks, reported.
//!
//! A transition is released only when its record, and so the record of the samples that caused it, is
//! durable. What a crash cuts off between those steps, replay fires again with the same key and body.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use tidewatch_metrics::{
    AlertKey, Lsn, Transition, TransitionId, TransitionKind, TransitionTimes, UnixNanos,
};
use tidewatch_segments::{AlertRow, DeliveryRow};
use tidewatch_sinks::Message;

use crate::admission::Permit;
use crate::checkpoint::{Base, OutboxEntry, SinkEntry};
use crate::instruments::OutboxInstruments;
use crate::limits::OUTBOX_MESSAGES_MAX;
use crate::progress::Progress;
use crate::record::TransitionRecord;
use crate::turn::{Turn, Turns};

/// The last word on a message: a sink took it.
pub(crate) const DELIVERED: &str = "delivered";
/// The last word on a message: it was given up.
pub(crate) const DEAD_LETTER: &str = "dead_letter";

/// A transition as a shard put it out.
#[derive(Debug)]
pub struct Fired {
    /// The transition.
    pub transition: Transition,
    /// The record that caused it.
    pub cause: Lsn,
    /// When the sample had its severity.
    pub scored: UnixNanos,
    /// When the rule put the transition out.
    pub fired: UnixNanos,
    /// Held until the transition is logged: bounds what waits here.
    pub permit: Option<Arc<Permit>>,
}

/// Transitions and attempts that may not be in files yet.
#[derive(Clone, Debug, Default)]
pub struct EventTail {
    /// Transitions.
    pub alerts: Vec<AlertRow>,
    /// Attempts to deliver them.
    pub deliveries: Vec<DeliveryRow>,
    /// The last record of either.
    pub last_lsn: Lsn,
}

/// One per transition that is delivered.
type DedupeKey = (AlertKey, TransitionKind);

/// Transitions on their way out, and what `tidewatch.alerts` and `tidewatch.deliveries` show of them.
#[derive(Debug)]
pub struct Outbox {
    state: Mutex<State>,
    turns: Turns,
    changed: Condvar,
    instruments: OutboxInstruments,
}

#[derive(Debug, Default)]
struct State {
    fired: VecDeque<Fired>,
    /// How many of the first of them the log had no room for when they were offered last.
    refused: usize,
    /// Causes of transitions on their way into the log.
    logging: VecDeque<Lsn>,
    /// The last record that this outbox was told of.
    told: Lsn,
    reports: VecDeque<DeliveryRow>,
    queues: Vec<SinkQueue>,
    alerts: Vec<AlertRow>,
    deliveries: Vec<(Lsn, DeliveryRow)>,
    recovery: Option<Recovery>,
    /// Something for the outbox's thread to do.
    woken: bool,
}

#[derive(Debug)]
struct SinkQueue {
    sink: String,
    /// The start since which the sink has been configured without a break.
    since: Lsn,
    messages: VecDeque<Arc<Message>>,
    /// What the log does not say to be delivered or given up, in the queue or with the courier.
    open: BTreeMap<DedupeKey, (Lsn, Arc<Message>)>,
}

/// What replay has fired and what the log holds of it, until both are matched.
#[derive(Debug, Default)]
struct Recovery {
    /// What the checkpoint told, from which replay begins.
    restored: OutboxEntry,
    /// What the checkpoint's state has seen: what that caused was logged before, and replay does not fire it again.
    base: Option<Base>,
    fired: BTreeMap<TransitionId, Refired>,
    /// How many transitions replay has fired.
    count: u64,
    logged: BTreeSet<TransitionId>,
    /// What the log holds for sinks, with its records. What tables show is no substitute: a flush during replay takes it from
    /// memory.
    messages: Vec<(Lsn, Arc<Message>)>,
    finished: BTreeMap<String, BTreeSet<DedupeKey>>,
}

/// A transition that replay has fired, with its place among them.
#[derive(Debug)]
struct Refired {
    place: u64,
    fired: Fired,
}

impl Outbox {
    /// An empty outbox, which takes what recovery finds until [`Outbox::finish_recovery`].
    #[must_use]
    pub fn new(instruments: OutboxInstruments) -> Self {
        let state = State { recovery: Some(Recovery::default()), ..State::default() };
        let (turns, changed) = (Turns::default(), Condvar::new());
        Self { state: Mutex::new(state), turns, changed, instruments }
    }

    /// A shard: transitions that the rules put out, in the order of their series.
    pub fn push_fired(&self, fired: impl Iterator<Item = Fired>) {
        let mut state = self.lock();
        for one in fired {
            match &mut state.recovery {
                None => state.fired.push_back(one),
                Some(recovery) => {
                    let key = one.transition.id();
                    if !recovery.logged.remove(&key) {
                        let place = recovery.count;
                        recovery.count += 1;
                        recovery.fired.insert(key, Refired { place, fired: one });
                    }
                }
            }
        }
        self.wake(state);
    }

    /// Recovery: begins at a checkpoint, with the state of `base`.
    pub(crate) fn restore_checkpoint(&self, entry: OutboxEntry, base: &Base) {
        let mut state = self.lock();
        state.told = entry.lsn;
        if let Some(recovery) = &mut state.recovery {
            recovery.restored = entry;
            recovery.base = Some(base.clone());
        }
    }

    /// Recovery: the log holds this transition.
    pub fn restore_transition(&self, lsn: Lsn, record: TransitionRecord) {
        let mut state = self.lock();
        state.told = lsn.max(state.told);
        if let Some(recovery) = &mut state.recovery {
            recovery.meet(&record);
            if is_for_sinks(&record.transition) {
                recovery.messages.push((lsn, message(&record.transition, record.times)));
            }
        }
        let TransitionRecord { transition, times, .. } = record;
        state.alerts.push(AlertRow { transition, times, lsn });
    }

    /// Recovery: the log holds this attempt.
    pub fn restore_delivery(&self, lsn: Lsn, row: DeliveryRow) {
        let mut state = self.lock();
        state.told = lsn.max(state.told);
        if let Some(recovery) = &mut state.recovery
            && is_last_word(&row.outcome)
        {
            let finished = recovery.finished.entry(row.sink.clone()).or_default();
            finished.insert((row.key, row.transition));
        }
        state.deliveries.push((lsn, row));
    }

    /// Replay is over: what it fired and the log does not hold is fired now, and what no sink has
    /// finished is queued again. `sinks` are the configured ones, each with the start since which it
    /// was configured without a break: older transitions are not for it.
    ///
    /// Returns the number of transitions that the log holds and replay did not fire: 0, unless the log
    /// was written by other operators.
    pub fn finish_recovery(&self, sinks: &[(String, Lsn)]) -> usize {
        let mut state = self.lock();
        let mut recovery = state.recovery.take().unwrap_or_default();
        let refired = std::mem::take(&mut recovery.fired);
        let mut fired: Vec<Refired> = refired.into_values().collect();
        // ORDER: as they were fired, so that no series' transitions change places.
        fired.sort_by_key(|one| (one.fired.cause, one.place));
        state.fired.extend(fired.into_iter().map(|one| one.fired));
        for (sink, since) in sinks {
            let queue = recovery.queue(sink, *since);
            state.queues.push(queue);
        }
        self.wake(state);
        recovery.logged.len()
    }

    /// Whether the log is still being replayed.
    #[must_use]
    pub(crate) fn is_recovering(&self) -> bool {
        self.lock().recovery.is_some()
    }

    /// The turn in which what is taken from now on is offered to the log.
    #[must_use]
    pub fn turn(&self) -> Turn {
        self.turns.current()
    }

    /// Takes the fired transitions whose cause is durable, with their times.
    #[must_use]
    pub fn take_releasable(&self, progress: &Progress) -> Vec<TransitionRecord> {
        let mut state = self.lock();
        if state.recovery.is_some() {
            return Vec::new();
        }
        let durable = progress.durable();
        state.refused = 0;
        let mut released = Vec::new();
        while let Some(one) = state.fired.pop_front_if(|one| one.cause <= durable) {
            let times = TransitionTimes {
                durable: progress.durable_time(one.cause).unwrap_or(one.fired),
                scored: one.scored,
                fired: one.fired,
            };
            state.logging.push_back(one.cause);
            released.push(TransitionRecord { cause: one.cause, times, transition: one.transition });
        }
        released
    }

    /// The cause that the next fired transition waits for.
    #[must_use]
    pub fn next_cause(&self) -> Option<Lsn> {
        self.lock().fired.front().map(|one| one.cause)
    }

    /// The committer: the transition's record is durable. It goes to the sinks.
    pub fn logged(&self, lsn: Lsn, record: TransitionRecord) {
        let mut state = self.lock();
        self.instruments.transitions.inc();
        state.logging.pop_front();
        state.told = lsn;
        if is_for_sinks(&record.transition) {
            let key = (record.transition.key, record.transition.kind);
            let message = message(&record.transition, record.times);
            for queue in &mut state.queues {
                queue.open.insert(key, (lsn, Arc::clone(&message)));
                queue.messages.push_back(Arc::clone(&message));
            }
        }
        let TransitionRecord { transition, times, .. } = record;
        state.alerts.push(AlertRow { transition, times, lsn });
        self.wake(state);
    }

    /// The committer: there was no room for the transition's record. It is offered again.
    pub(crate) fn refused(&self, record: TransitionRecord) {
        let mut state = self.lock();
        state.logging.pop_front();
        let TransitionRecord { cause, times, transition } = record;
        let TransitionTimes { scored, fired, .. } = times;
        let place = state.refused;
        state.refused += 1;
        state.fired.insert(place, Fired { transition, cause, scored, fired, permit: None });
    }

    /// Hands messages to the sinks as long as `push` takes them; what is beyond the limit becomes a
    /// dead letter, oldest first, so that a sink that is down never stops ingest.
    pub fn pump(&self, now: UnixNanos, mut push: impl FnMut(&str, &Arc<Message>) -> bool) {
        let mut state = self.lock();
        let State { queues, reports, .. } = &mut *state;
        for queue in queues {
            while queue.messages.front().is_some_and(|message| push(&queue.sink, message)) {
                queue.messages.pop_front();
            }
            while queue.messages.len() > OUTBOX_MESSAGES_MAX {
                let given_up =
                    queue.messages.pop_front().map(|m| dead_letter(&queue.sink, &m, now));
                reports.extend(given_up);
            }
        }
    }

    /// A sink: how an attempt ended.
    pub fn report(&self, row: DeliveryRow) {
        let mut state = self.lock();
        state.reports.push_back(row);
        self.wake(state);
    }

    /// The committer: there was no room for the report. It is offered again with the next ones.
    pub(crate) fn report_refused(&self, row: DeliveryRow) {
        self.lock().reports.push_back(row);
    }

    /// Takes the reports that wait to be logged.
    #[must_use]
    pub fn take_reports(&self) -> Vec<DeliveryRow> {
        self.lock().reports.drain(..).collect()
    }

    /// The committer: the report is in the log.
    pub fn reported(&self, lsn: Lsn, row: DeliveryRow) {
        if row.outcome == DEAD_LETTER {
            self.instruments.dead_letters.inc();
        }
        let mut state = self.lock();
        state.told = lsn;
        if is_last_word(&row.outcome)
            && let Some(queue) = state.queues.iter_mut().find(|queue| queue.sink == row.sink)
        {
            queue.open.remove(&(row.key, row.transition));
        }
        state.deliveries.push((lsn, row));
    }

    /// Whether every transition that records up to `cause` caused is in the log.
    #[must_use]
    pub(crate) fn is_logged(&self, cause: Lsn) -> bool {
        let state = self.lock();
        let fired = state.fired.iter().map(|one| one.cause);
        state.recovery.is_none()
            && fired.chain(state.logging.iter().copied()).all(|waiting| waiting > cause)
    }

    /// What a checkpoint says of this outbox.
    #[must_use]
    pub(crate) fn checkpoint(&self) -> OutboxEntry {
        let state = self.lock();
        let mut open: BTreeMap<Lsn, &Message> = BTreeMap::new();
        for (lsn, message) in state.queues.iter().flat_map(|queue| queue.open.values()) {
            open.insert(*lsn, message);
        }
        let places: BTreeMap<Lsn, u32> = open.keys().copied().zip(0..).collect();
        let sinks = state.queues.iter().map(|queue| {
            let open = queue.open.values().map(|(lsn, _)| *lsn).collect::<BTreeSet<_>>();
            let undelivered = open.iter().filter_map(|lsn| places.get(lsn).copied()).collect();
            SinkEntry { name: queue.sink.clone(), since: queue.since, undelivered }
        });
        OutboxEntry {
            lsn: state.told,
            sinks: sinks.collect(),
            undelivered: open.into_iter().map(|(lsn, message)| (lsn, message.clone())).collect(),
        }
    }

    /// The first record of the transitions and attempts that are shown from memory.
    #[must_use]
    pub(crate) fn first_event(&self, after: Lsn) -> Option<Lsn> {
        let state = self.lock();
        let alerts = state.alerts.iter().map(|alert| alert.lsn);
        let events = alerts.chain(state.deliveries.iter().map(|(lsn, _)| *lsn));
        events.filter(|lsn| *lsn > after).min()
    }

    /// Transitions and attempts of records later than `after`, in the log's order.
    #[must_use]
    pub fn tail(&self, after: Lsn) -> EventTail {
        let state = self.lock();
        let alerts = state.alerts.iter().filter(|alert| alert.lsn > after);
        let deliveries = state.deliveries.iter().filter(|(lsn, _)| *lsn > after);
        let last_alert = state.alerts.last().map(|alert| alert.lsn);
        let last_delivery = state.deliveries.last().map(|(lsn, _)| *lsn);
        EventTail {
            alerts: alerts.cloned().collect(),
            deliveries: deliveries.map(|(_, row)| row.clone()).collect(),
            last_lsn: last_alert.max(last_delivery).unwrap_or_default(),
        }
    }

    /// Transitions and attempts of records up to `upto` are in files: nobody asks for them here.
    pub fn forget(&self, upto: Lsn) {
        let mut state = self.lock();
        state.alerts.retain(|alert| alert.lsn > upto);
        state.deliveries.retain(|(lsn, _)| *lsn > upto);
    }

    /// Messages that no sink has taken yet.
    #[must_use]
    pub fn undelivered(&self) -> usize {
        self.lock().queues.iter().map(|queue| queue.messages.len()).sum()
    }

    /// Whether nothing fired or reported waits for the log.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let state = self.lock();
        state.fired.is_empty() && state.reports.is_empty()
    }

    /// Waits until there is something to do, at most for `timeout`.
    pub fn wait(&self, timeout: Duration) {
        let state = self.lock();
        let waited = self.changed.wait_timeout_while(state, timeout, |state| !state.woken);
        waited.unwrap_or_else(std::sync::PoisonError::into_inner).0.woken = false;
    }

    fn wake(&self, mut state: MutexGuard<'_, State>) {
        state.woken = true;
        drop(state);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Recovery {
    /// Matches a transition of the log with what replay fires.
    fn meet(&mut self, record: &TransitionRecord) {
        let (id, subject) = (record.transition.id(), record.transition.subject);
        let covers = |base: &Base| base.covers_alerts(subject, record.cause);
        if !self.base.as_ref().is_some_and(covers) && self.fired.remove(&id).is_none() {
            self.logged.insert(id);
        }
    }

    /// What a sink that has been configured since the start `since` has not finished.
    fn queue(&self, sink: &str, since: Lsn) -> SinkQueue {
        let told = self.restored.sinks.iter().find(|known| known.name == sink);
        let told = told.into_iter().flat_map(|known| &known.undelivered);
        let told = told.filter_map(|index| {
            let (lsn, message) = self.restored.undelivered.get(*index as usize)?;
            Some((*lsn, Arc::new(message.clone())))
        });
        let later = self.messages.iter().filter(|(lsn, _)| *lsn > self.restored.lsn).cloned();
        let finished = self.finished.get(sink);
        let mut messages = VecDeque::new();
        let mut open = BTreeMap::new();
        for (lsn, message) in told.chain(later).filter(|(lsn, _)| *lsn > since) {
            let key = (message.transition.key, message.transition.kind);
            if finished.is_none_or(|keys| !keys.contains(&key)) {
                messages.push_back(Arc::clone(&message));
                open.insert(key, (lsn, message));
            }
        }
        SinkQueue { sink: sink.to_owned(), since, messages, open }
    }
}

fn is_last_word(outcome: &str) -> bool {
    outcome == DELIVERED || outcome == DEAD_LETTER
}

fn is_for_sinks(transition: &Transition) -> bool {
    transition.kind.is_delivered() && !transition.historical
}

fn message(transition: &Transition, times: TransitionTimes) -> Arc<Message> {
    Arc::new(Message { transition: transition.clone(), times })
}

fn dead_letter(sink: &str, message: &Message, now: UnixNanos) -> DeliveryRow {
    DeliveryRow {
        key: message.transition.key,
        transition: message.transition.kind,
        sink: sink.to_owned(),
        attempt: 0,
        outcome: DEAD_LETTER.to_owned(),
        status: None,
        started: now,
        finished: now,
        error: format!("more than {OUTBOX_MESSAGES_MAX} messages wait for this sink"),
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
pub(crate) mod tests;
