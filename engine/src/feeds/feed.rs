//! One feed: what waits for its topic.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidewatch_metrics::Lsn;
use tracing::warn;

use crate::feeds::config::{FeedConfig, FeedContent};
use crate::feeds::entry::{FeedEntry, FeedNote};
use crate::feeds::instruments::{FeedInstruments, OneFeed};
use crate::feeds::row::FeedRow;
use crate::limits::{FEED_BATCH_BYTES_MAX, FEED_BATCH_ROWS_MAX, FEED_BYTES_MAX};

/// What waits for one topic.
#[derive(Debug)]
pub(crate) struct Feed {
    config: FeedConfig,
    state: Mutex<State>,
    changed: Condvar,
    instruments: OneFeed,
}

#[derive(Debug, Default)]
struct State {
    /// What a checkpoint had, and then what each shard has put out, each in the order of the log.
    lanes: Vec<VecDeque<(Lsn, FeedRow)>>,
    /// What is with the topic, and not acknowledged.
    sending: Vec<(Lsn, FeedRow)>,
    /// Of all that waits.
    bytes: usize,
    /// The start since which the feed has been configured without a break.
    since: Lsn,
    /// Rows of records up to this one are acknowledged, or are not for it.
    floor: Lsn,
    /// How far the log has it noted.
    noted: Lsn,
    /// The last record whose letters it was told of.
    letters: Lsn,
    /// Rows were left out since the last one was acknowledged.
    is_short: bool,
    /// Why nothing is delivered.
    trouble: Option<String>,
}

impl Feed {
    pub(crate) fn new(config: FeedConfig, shards: usize, instruments: &FeedInstruments) -> Self {
        let instruments = instruments.of(&config.name);
        let state = State { lanes: vec![VecDeque::new(); shards + 1], ..State::default() };
        Self { config, state: Mutex::new(state), changed: Condvar::new(), instruments }
    }

    pub(crate) fn content(&self) -> &FeedContent {
        &self.config.content
    }

    pub(crate) fn config(&self) -> &FeedConfig {
        &self.config
    }

    pub(crate) fn tag(&self) -> String {
        self.config.tag()
    }

    pub(super) fn instruments(&self) -> &OneFeed {
        &self.instruments
    }

    /// Takes rows of the record `lsn` from a shard, which comes with its records in their order. Never blocks on the topic: beyond
    /// the limit the shard's oldest rows are left out.
    pub(crate) fn push(&self, shard: usize, lsn: Lsn, rows: impl Iterator<Item = FeedRow>) {
        self.push_to(self.lock(), shard, lsn, rows);
    }

    fn push_to(
        &self,
        mut state: MutexGuard<'_, State>,
        shard: usize,
        lsn: Lsn,
        rows: impl Iterator<Item = FeedRow>,
    ) {
        if lsn <= state.floor {
            return;
        }
        for row in rows {
            state.bytes += row.bytes();
            self.instruments.waiting_rows.inc();
            state.lanes[shard + 1].push_back((lsn, row));
        }
        let mut left_out = 0;
        while state.bytes > FEED_BYTES_MAX
            && let Some((_, row)) = state.lanes[shard + 1].pop_front()
        {
            state.bytes -= row.bytes();
            left_out += 1;
        }
        self.leave_out(&mut state, left_out);
        drop(state);
        self.changed.notify_all();
    }

    /// Takes all letters of the record `lsn`, which a start may tell of once more.
    pub(crate) fn push_letters(&self, lsn: Lsn, rows: impl Iterator<Item = FeedRow>) {
        let mut state = self.lock();
        if lsn > state.letters {
            state.letters = lsn;
            self.push_to(state, 0, lsn, rows);
        }
    }

    fn leave_out(&self, state: &mut State, rows: u64) {
        if rows == 0 {
            return;
        }
        self.instruments.left_out.inc_by(rows);
        self.instruments.waiting_rows.dec_by(i64::try_from(rows).unwrap_or(i64::MAX));
        if !std::mem::replace(&mut state.is_short, true) {
            warn!(
                sink = self.config.name,
                "rows are left out: more come than the topic takes, or it takes none; tables have all of them"
            );
        }
    }

    /// The first record of a row that waits.
    pub(crate) fn next(&self) -> Option<Lsn> {
        let state = self.lock();
        let sending = state.sending.first().map(|(lsn, _)| *lsn);
        sending.or_else(|| state.fronts().min())
    }

    /// What is to be sent next of records up to `fence`: what was not acknowledged the last time, or the next rows.
    pub(crate) fn take(&self, fence: Lsn) -> Vec<(Lsn, FeedRow)> {
        let mut state = self.lock();
        if state.sending.is_empty() {
            let mut bytes = 0;
            while bytes < FEED_BATCH_BYTES_MAX
                && state.sending.len() < FEED_BATCH_ROWS_MAX
                && let Some(next) = state.pop(fence)
            {
                bytes += next.1.bytes();
                state.sending.push(next);
            }
        }
        state.sending.clone()
    }

    /// What was taken is acknowledged, but for `refused` rows that the topic does not want.
    pub(crate) fn acknowledged(&self, refused: usize) {
        let mut state = self.lock();
        let sent = std::mem::take(&mut state.sending);
        let Some((last, _)) = sent.last() else { return };
        // Of the last record some rows may wait.
        let is_over = state.fronts().all(|lsn| lsn > *last);
        let upto = if is_over { *last } else { Lsn::new(last.get() - 1) };
        state.floor = state.floor.max(upto);
        state.bytes -= sent.iter().map(|(_, row)| row.bytes()).sum::<usize>();
        (state.is_short, state.trouble) = (false, None);
        let count = |rows: usize| u64::try_from(rows).unwrap_or(u64::MAX);
        self.instruments.delivered.inc_by(count(sent.len() - refused));
        self.instruments.refused.inc_by(count(refused));
        self.instruments.waiting_rows.dec_by(i64::try_from(sent.len()).unwrap_or(i64::MAX));
    }

    /// Nothing is delivered, or that was over; gives whether it is news.
    pub(crate) fn tell(&self, trouble: Option<String>) -> bool {
        let mut state = self.lock();
        let is_news = state.trouble.is_none() && trouble.is_some();
        state.trouble = trouble;
        is_news
    }

    /// Why nothing is delivered, if that is so.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.lock().trouble.clone()
    }

    /// What the log is to be told, where it has not been.
    pub(crate) fn due(&self) -> Option<FeedNote> {
        let state = self.lock();
        (state.noted < state.floor).then(|| FeedNote { tag: self.tag(), upto: state.floor })
    }

    /// The log has it.
    pub(crate) fn noted(&self, upto: Lsn) {
        let mut state = self.lock();
        state.noted = state.noted.max(upto);
    }

    /// A start: what the checkpoint has of it, of which the rows count that `is_kept` says.
    pub(crate) fn restore(&self, entry: &FeedEntry, is_kept: impl Fn(Lsn, &FeedRow) -> bool) {
        let mut state = self.lock();
        (state.since, state.floor, state.noted) = (entry.since, entry.upto, entry.upto);
        state.letters = entry.letters;
        let rows = entry.rows.iter().filter(|(lsn, row)| is_kept(*lsn, row));
        let rows: VecDeque<_> = rows.cloned().collect();
        state.bytes = rows.iter().map(|(_, row)| row.bytes()).sum();
        self.instruments.waiting_rows.set(i64::try_from(rows.len()).unwrap_or(i64::MAX));
        state.lanes[0] = rows;
    }

    /// A start: rows of records up to `upto` were acknowledged.
    pub(crate) fn pass(&self, upto: Lsn) {
        let mut state = self.lock();
        state.noted = state.noted.max(upto);
        self.raise(&mut state, upto);
    }

    /// A start: rows of records before `since` are not for it.
    pub(crate) fn begin(&self, since: Lsn) {
        let mut state = self.lock();
        state.since = since;
        self.raise(&mut state, since);
        state.noted = state.noted.max(since);
    }

    fn raise(&self, state: &mut State, floor: Lsn) {
        state.floor = state.floor.max(floor);
        let floor = state.floor;
        let mut gone = 0;
        for lane in &mut state.lanes {
            while let Some((_, row)) = lane.pop_front_if(|(lsn, _)| *lsn <= floor) {
                state.bytes -= row.bytes();
                gone += 1;
            }
        }
        self.instruments.waiting_rows.dec_by(gone);
    }

    /// What a checkpoint says of it.
    pub(crate) fn checkpoint(&self) -> FeedEntry {
        let state = self.lock();
        let mut rows: Vec<_> =
            state.sending.iter().chain(state.lanes.iter().flatten()).cloned().collect();
        rows.sort_by_key(|(lsn, _)| *lsn);
        let State { since, floor, letters, .. } = *state;
        FeedEntry { tag: self.tag(), since, upto: floor, letters, rows }
    }

    /// Waits until a row comes, at most for `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) {
        let state = self.lock();
        let waited = self
            .changed
            .wait_timeout_while(state, timeout, |state| state.fronts().next().is_none());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The first record of each lane.
    fn fronts(&self) -> impl Iterator<Item = Lsn> {
        self.lanes.iter().filter_map(|lane| lane.front()).map(|(lsn, _)| *lsn)
    }

    /// The next row in the order of the log, of records up to `fence`.
    fn pop(&mut self, fence: Lsn) -> Option<(Lsn, FeedRow)> {
        let next = self.fronts().filter(|lsn| *lsn <= fence).min()?;
        self.lanes.iter_mut().find_map(|lane| lane.pop_front_if(|(lsn, _)| *lsn == next))
    }
}
