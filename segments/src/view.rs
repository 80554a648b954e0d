//! What readers see of a head: the rows of records up to a position of the log.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidewatch_metrics::Lsn;

use crate::chunk::{Chunk, ChunkView};
use crate::late_hours::LateHours;
use crate::limits::{CHUNK_ROWS, MARKS_KEPT};

/// The readers' side of a head: its chunks, and which rows belong to which records.
#[derive(Debug, Default)]
pub struct HeadShared {
    state: Mutex<State>,
}

/// Rows that a head gave away: they never change, and stay until they are dropped.
#[derive(Debug)]
pub struct FrozenHead {
    shared: Arc<HeadShared>,
    /// Number of rows, at least 1.
    pub rows: usize,
    /// The record of the first row.
    pub first_lsn: Lsn,
    /// The last record that was applied before the freeze; it need not have rows here.
    pub last_lsn: Lsn,
}

/// The rows of a head that belong to records up to a position of the log.
#[derive(Clone, Debug)]
pub struct HeadView {
    shard: usize,
    frozen_at: Option<Lsn>,
    rows: usize,
    chunks: Vec<ChunkView>,
    late_hours: LateHours,
}

/// Rows before `rows` belong to records up to `lsn`.
#[derive(Clone, Copy, Debug)]
struct Mark {
    lsn: Lsn,
    rows: usize,
}

#[derive(Debug, Default)]
struct State {
    chunks: Vec<Arc<Chunk>>,
    /// In ascending order of both; the earliest still answers for positions from its own on.
    marks: VecDeque<Mark>,
    /// Whether marks earlier than the first one have been dropped.
    is_cut: bool,
    late_hours: LateHours,
    first_lsn: Lsn,
    published: Lsn,
}

impl HeadShared {
    /// The rows of records up to `fence`; `None` where `fence` is older than the marks kept.
    ///
    /// `shard` is only noted in the view.
    #[must_use]
    pub fn view_of(&self, shard: usize, fence: Lsn) -> Option<HeadView> {
        let state = self.lock();
        let rows = state.rows_at(fence)?;
        let needed = state.chunks.iter().take(rows.div_ceil(CHUNK_ROWS));
        let chunks = needed.enumerate().map(|(index, chunk)| {
            ChunkView::new(Arc::clone(chunk), (rows - index * CHUNK_ROWS).min(CHUNK_ROWS))
        });
        let chunks = chunks.collect();
        let late_hours = state.late_hours.clone();
        Some(HeadView { shard, frozen_at: None, rows, chunks, late_hours })
    }

    /// As [`view_of`](Self::view_of) of shard 0.
    #[must_use]
    pub fn view(&self, fence: Lsn) -> Option<HeadView> {
        self.view_of(0, fence)
    }

    /// The earliest position that [`view`](Self::view) still answers for.
    #[must_use]
    pub fn least_fence(&self) -> Lsn {
        let state = self.lock();
        match state.marks.front() {
            Some(mark) if state.is_cut => mark.lsn,
            _ => Lsn::ZERO,
        }
    }

    /// The record of the first row; `None` without rows.
    #[must_use]
    pub fn first_lsn(&self) -> Option<Lsn> {
        let state = self.lock();
        state.marks.back().map(|_| state.first_lsn)
    }

    pub(crate) fn add_chunk(&self) -> Arc<Chunk> {
        let chunk = Arc::new(Chunk::new());
        self.lock().chunks.push(Arc::clone(&chunk));
        chunk
    }

    pub(crate) fn publish(&self, lsn: Lsn, rows: usize, late: &LateHours) {
        let mut state = self.lock();
        assert!(lsn >= state.published, "records are applied in the order of the log");
        state.published = lsn;
        if !late.is_empty() {
            state.late_hours.extend(late);
        }
        match state.marks.back_mut() {
            Some(last) if last.lsn == lsn => last.rows = rows,
            Some(last) if last.rows == rows => {}
            None if rows == 0 => {}
            Some(_) => state.marks.push_back(Mark { lsn, rows }),
            None => {
                state.first_lsn = lsn;
                state.marks.push_back(Mark { lsn, rows });
            }
        }
    }

    pub(crate) fn forget_marks_below(&self, lsn: Lsn) {
        let mut state = self.lock();
        // The mark at or before `lsn` answers for `lsn` itself, so the second one decides.
        while state.marks.len() > MARKS_KEPT && state.marks.get(1).is_some_and(|m| m.lsn <= lsn) {
            state.marks.pop_front();
            state.is_cut = true;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn rows_at(&self, fence: Lsn) -> Option<usize> {
        let after = self.marks.partition_point(|mark| mark.lsn <= fence);
        match after.checked_sub(1) {
            Some(last) => self.marks.get(last).map(|mark| mark.rows),
            None if self.is_cut => None,
            None => Some(0),
        }
    }
}

impl FrozenHead {
    pub(crate) fn new(shared: Arc<HeadShared>) -> Self {
        let (rows, first_lsn, last_lsn) = {
            let state = shared.lock();
            let rows = state.marks.back().map_or(0, |mark| mark.rows);
            (rows, state.first_lsn, state.published)
        };
        Self { shared, rows, first_lsn, last_lsn }
    }

    /// The rows of records up to `fence`; `None` where `fence` is older than the marks kept.
    #[must_use]
    pub fn view_of(&self, shard: usize, fence: Lsn) -> Option<HeadView> {
        let view = self.shared.view_of(shard, fence)?;
        Some(HeadView { frozen_at: Some(self.last_lsn), ..view })
    }

    /// The earliest position that [`view_of`](Self::view_of) still answers for.
    #[must_use]
    pub fn least_fence(&self) -> Lsn {
        self.shared.least_fence()
    }

    /// What readers of its rows used before the freeze.
    pub(crate) fn shared(&self) -> Arc<HeadShared> {
        Arc::clone(&self.shared)
    }

    /// All rows.
    pub(crate) fn view(&self) -> HeadView {
        self.shared.view(self.last_lsn).expect("the last mark is always kept")
    }
}

impl HeadView {
    /// The shard whose rows these are.
    #[must_use]
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// The record at which the head was frozen; `None` while it grows.
    #[must_use]
    pub fn frozen_at(&self) -> Option<Lsn> {
        self.frozen_at
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The rows, in the order of their arrival.
    #[must_use]
    pub fn chunks(&self) -> &[ChunkView] {
        &self.chunks
    }

    /// Hours that may hold late rows.
    #[must_use]
    pub fn late_hours(&self) -> &LateHours {
        &self.late_hours
    }

    /// Whether late rows may be among the rows.
    #[must_use]
    pub fn has_late(&self) -> bool {
        !self.late_hours.is_empty()
    }
}
