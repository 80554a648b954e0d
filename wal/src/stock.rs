//! Files between two uses, shared by the writer and the preallocator.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

/// Files that wait: ready for use, or released and not yet put away.
#[derive(Debug, Default)]
pub(crate) struct Stock {
    state: Mutex<StockState>,
}

#[derive(Debug, Default)]
struct StockState {
    ready: VecDeque<PathBuf>,
    released: VecDeque<Released>,
    next_number: u64,
}

/// A WAL segment that nobody needs any more.
#[derive(Clone, Debug)]
pub(crate) struct Released {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
}

impl Stock {
    pub(crate) fn new(ready: impl IntoIterator<Item = PathBuf>, next_number: u64) -> Self {
        let ready = ready.into_iter().collect();
        let state = StockState { ready, released: VecDeque::new(), next_number };
        Self { state: Mutex::new(state) }
    }

    pub(crate) fn take_ready(&self) -> Option<PathBuf> {
        self.state().ready.pop_front()
    }

    pub(crate) fn add_ready(&self, path: PathBuf) {
        self.state().ready.push_back(path);
    }

    pub(crate) fn ready(&self) -> usize {
        self.state().ready.len()
    }

    pub(crate) fn release(&self, released: Released) {
        self.state().released.push_back(released);
    }

    /// The oldest released file; it stays until [`put_away`](Self::put_away).
    pub(crate) fn oldest_released(&self) -> Option<Released> {
        self.state().released.front().cloned()
    }

    pub(crate) fn put_away(&self) {
        self.state().released.pop_front();
    }

    /// A number for a spare file that none has had since the log was opened.
    pub(crate) fn next_number(&self) -> u64 {
        let mut state = self.state();
        state.next_number += 1;
        state.next_number
    }

    fn state(&self) -> MutexGuard<'_, StockState> {
        self.state.lock().expect("nobody panics while holding the stock")
    }
}
