//! The windows of percentiles over all shards: what shards counted goes in, closed windows come out.
//!
//! Closed windows are not in the log. They follow from it: a start takes the windows that a checkpoint holds, as of a
//! tick, and comes to the same ones again with the ticks behind it. Those that a file holds already are passed over.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidewatch_metrics::fields::{FieldReader, FieldWriter};
use tidewatch_metrics::{Lsn, Transition, TransitionKind, UnixNanos};
use tidewatch_operators::percentile::Outcome;
use tidewatch_operators::{ClosedWindow, Counts, RuleSet, WindowSet};
use tidewatch_segments::WindowRow;
use tracing::warn;

use crate::dispatch::RulesInForce;
use crate::feeds::Feeds;
use crate::instruments::WindowInstruments;
use crate::limits::{WINDOWS_FILED_BYTES, WINDOWS_WAITING_BYTES_MAX};
use crate::progress::Progress;

/// Windows over all shards, and those that have closed and are in no file yet.
#[derive(Debug)]
pub struct Windows {
    shards: usize,
    progress: Arc<Progress>,
    state: Mutex<State>,
    feeds: Arc<Feeds>,
    instruments: WindowInstruments,
}

#[derive(Debug, Default)]
struct State {
    set: WindowSet,
    /// What some shards have come to, and others have not.
    awaited: BTreeMap<Lsn, (Turn, Vec<Counts>)>,
    /// The last record that all shards have come to.
    reached: Lsn,
    /// What came of records up to this one was in a checkpoint.
    counted: Lsn,
    /// Windows that closed at records up to this one are in files.
    filed: Lsn,
    /// In the order in which they closed.
    closed: VecDeque<Arc<WindowRow>>,
    /// Of those that are in no file.
    bytes: usize,
    /// Windows that closed up to this record are no longer here.
    forgotten: Lsn,
    /// Whether a checkpoint waits until all are in files.
    wanted: bool,
}

/// A record at which windows change.
#[derive(Clone, Debug)]
pub(crate) enum Turn {
    /// A tick at this log time.
    Tick(UnixNanos),
    /// Rules come into force.
    Rules(RulesInForce),
}

/// All windows as they were after a tick.
#[derive(Debug)]
pub(crate) struct EncodedWindows {
    pub(crate) lsn: Lsn,
    pub(crate) state: Vec<u8>,
    pub(crate) state_hash: u64,
    /// Windows held.
    pub(crate) windows: usize,
}

impl Windows {
    /// No windows, for `shards` shards; those that closed at records up to `filed` are in files.
    #[must_use]
    pub fn new(
        shards: usize,
        progress: Arc<Progress>,
        filed: Lsn,
        feeds: Arc<Feeds>,
        instruments: WindowInstruments,
    ) -> Self {
        let state = State { filed, forgotten: filed, ..State::default() };
        Self { shards, progress, state: Mutex::new(state), feeds, instruments }
    }

    /// A shard has come to the record `at`, with what it counted since the one before. The last shard gets what
    /// that does to alerts, and puts it out.
    #[must_use]
    pub(crate) fn add(&self, at: Lsn, turn: Turn, counts: Counts) -> Vec<Transition> {
        let mut state = self.lock();
        if at <= state.counted {
            return Vec::new();
        }
        let (_, awaited) = state.awaited.entry(at).or_insert_with(|| (turn, Vec::new()));
        awaited.push(counts);
        if awaited.len() < self.shards {
            return Vec::new();
        }
        // ORDER: every shard comes to the records in the log's order, so no earlier one is awaited.
        let Some((turn, counts)) = state.awaited.remove(&at) else { return Vec::new() };
        let outcome = state.turn(at, turn, counts);
        // ORDER: while the state is locked, so that a checkpoint of it has told of all its windows.
        self.feeds.push_windows(at, &outcome.closed);
        self.count(&state, &outcome);
        self.progress.set_closes_at(state.set.closes_at());
        self.progress.set_counting(state.set.has_rules());
        outcome.transitions
    }

    /// The rules in force, as of a record that all shards have passed.
    #[must_use]
    pub fn rules(&self) -> Arc<RuleSet> {
        Arc::clone(self.lock().set.rules())
    }

    /// Whether there is anything to count, so that checkpoints have to hold the windows.
    pub(crate) fn has_rules(&self) -> bool {
        self.lock().set.has_rules()
    }

    /// All windows as they are after the last tick.
    pub(crate) fn encode(&self) -> EncodedWindows {
        let state = self.lock();
        let mut out = FieldWriter::default();
        state.set.encode(&mut out);
        let state_hash = state.set.state_hash();
        let windows = state.set.held().1;
        EncodedWindows { lsn: state.reached, state: out.into_bytes(), state_hash, windows }
    }

    /// Takes the windows as they were after the record `at`; `false` where the bytes are none of the rules
    /// in force.
    pub(crate) fn restore(&self, at: Lsn, rules: &RulesInForce, bytes: &[u8]) -> bool {
        let Some(set) = decode_windows(rules, bytes) else { return false };
        let mut state = self.lock();
        self.progress.set_closes_at(set.closes_at());
        self.progress.set_counting(set.has_rules());
        (state.set, state.counted, state.reached) = (set, at, at);
        true
    }

    /// Forgets all that was restored.
    pub(crate) fn forget(&self) {
        let mut state = self.lock();
        let filed = state.filed;
        *state = State { filed, forgotten: filed, ..State::default() };
    }

    /// Windows that closed behind the record `after`, up to `upto`; `None` where some of them are no longer here,
    /// but in files.
    #[must_use]
    pub fn tail(&self, after: Lsn, upto: Lsn) -> Option<Vec<Arc<WindowRow>>> {
        let state = self.lock();
        if state.forgotten > after {
            return None;
        }
        let rows = state.closed.iter().filter(|row| after < row.lsn && row.lsn <= upto);
        Some(rows.cloned().collect())
    }

    /// Windows that closed up to the record `upto` are in files: nobody asks for them here.
    pub(crate) fn forget_up_to(&self, upto: Lsn) {
        let mut state = self.lock();
        while state.closed.pop_front_if(|row| row.lsn <= upto).is_some() {}
        state.forgotten = state.forgotten.max(upto);
    }

    /// The files have all windows that closed up to the record `filed`.
    pub(crate) fn filed(&self, filed: Lsn) {
        let mut state = self.lock();
        state.filed = state.filed.max(filed);
        let unfiled = state.closed.iter().filter(|row| row.lsn > state.filed);
        state.bytes = unfiled.map(|row| row.bytes()).sum();
        state.wanted &= state.bytes > 0;
    }

    /// Has the windows put into a file soon, also where no head is flushed.
    pub(crate) fn want_file(&self) {
        self.lock().wanted = true;
    }

    /// Whether windows should be put into a file without waiting for a head.
    pub(crate) fn wants_file(&self) -> bool {
        let state = self.lock();
        let unfiled = state.closed.back().is_some_and(|row| row.lsn > state.filed);
        unfiled && (state.wanted || state.bytes >= WINDOWS_FILED_BYTES)
    }

    /// Whether files have every window that closed up to the record `upto`.
    pub(crate) fn is_filed(&self, upto: Lsn) -> bool {
        let state = self.lock();
        let mut unfiled = state.closed.iter().filter(|row| row.lsn > state.filed);
        unfiled.all(|row| row.lsn > upto)
    }

    /// Whether so much waits for a file that no more samples should be taken.
    pub(crate) fn is_behind(&self) -> bool {
        self.lock().bytes > WINDOWS_WAITING_BYTES_MAX
    }

    fn count(&self, state: &State, outcome: &Outcome) {
        let instruments = &self.instruments;
        let (groups, windows, bytes) = state.set.held();
        for (gauge, held) in [
            (&instruments.groups, groups),
            (&instruments.windows, windows),
            (&instruments.bytes, bytes),
        ] {
            gauge.set(i64::try_from(held).unwrap_or(i64::MAX));
        }
        let closed = u64::try_from(outcome.closed.len()).unwrap_or(u64::MAX);
        let revisions = outcome.closed.iter().filter(|window| window.revision > 1).count();
        instruments.closed.inc_by(closed);
        instruments.revised.inc_by(u64::try_from(revisions).unwrap_or(u64::MAX));
        let amended = outcome.transitions.iter().filter(|t| t.kind == TransitionKind::Amended);
        instruments.amended.inc_by(u64::try_from(amended.count()).unwrap_or(u64::MAX));
        instruments.rows_late.inc_by(outcome.rows_late);
        let Outcome { rows_refused, windows_given_up, .. } = *outcome;
        if rows_refused > 0 {
            instruments.rows_refused.inc_by(rows_refused);
            warn!(
                rows = rows_refused,
                "rows are in no percentiles: a [[percentiles]] has too many groups; group by fewer labels"
            );
        }
        if windows_given_up > 0 {
            instruments.given_up.inc_by(windows_given_up);
            warn!(
                windows = windows_given_up,
                "windows of percentiles were given up early: their rules are gone, or they take too much memory"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn turn(&mut self, at: Lsn, turn: Turn, counts: Vec<Counts>) -> Outcome {
        let outcome = match turn {
            Turn::Tick(now) => self.set.tick(counts, at, now),
            Turn::Rules(rules) => {
                self.set.set_alerts_max_age(rules.alerts_max_age_nanos);
                self.set.set_rules(counts, rules.rules, at, rules.received)
            }
        };
        self.reached = at;
        if at > self.filed {
            for window in &outcome.closed {
                let row = Arc::new(window_row(at, window));
                self.bytes += row.bytes();
                self.closed.push_back(row);
            }
        }
        outcome
    }
}

/// Windows as a checkpoint holds them, under the rules in force; `None` where the bytes are none of these.
pub(crate) fn decode_windows(rules: &RulesInForce, bytes: &[u8]) -> Option<WindowSet> {
    let mut fields = FieldReader::new(bytes);
    let mut set = WindowSet::decode(Arc::clone(&rules.rules), &mut fields)?;
    fields.end()?;
    set.set_alerts_max_age(rules.alerts_max_age_nanos);
    Some(set)
}

/// A window as files and `tidewatch.percentiles` show it.
pub(crate) fn window_row(lsn: Lsn, window: &ClosedWindow) -> WindowRow {
    WindowRow {
        lsn,
        name: Arc::clone(window.rule.name()),
        db: window.db().into(),
        labels: window.labels(),
        start: window.start,
        end: window.end,
        revision: window.revision,
        quantiles: Arc::clone(window.rule.quantiles()),
        sketch: window.sketch.clone(),
    }
}

#[cfg(test)]
#[path = "windows_tests.rs"]
pub(crate) mod tests;
