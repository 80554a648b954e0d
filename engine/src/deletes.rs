//! Deletes on their way from the log into the manifest.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidewatch_metrics::fields::{FieldReader, FieldWriter};
use tidewatch_metrics::{EventTime, Lsn, UnixNanos};
use tidewatch_segments::{Delete, MetricName};

/// Rows of earlier records are to be hidden and removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRecord {
    /// When it was asked for.
    pub received: UnixNanos,
    /// The metric whose rows go.
    pub metric: MetricName,
    /// The earliest event time.
    pub from: EventTime,
    /// The latest event time.
    pub to: EventTime,
}

impl DeleteRecord {
    /// The payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = FieldWriter::default();
        out.i64(self.received.nanos());
        out.text(&self.metric.db);
        out.text(&self.metric.metric);
        out.i64(self.from.nanos());
        out.i64(self.to.nanos());
        out.into_bytes()
    }

    pub(crate) fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        Some(Self {
            received: UnixNanos::new(fields.i64()?),
            metric: MetricName { db: fields.text()?, metric: fields.text()? },
            from: EventTime::new(fields.i64()?),
            to: EventTime::new(fields.i64()?),
        })
    }
}

/// Deletes that the log holds and the manifest does not name yet.
#[derive(Debug, Default)]
pub struct Deletes {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    pending: BTreeMap<Lsn, Delete>,
    /// The manifest names deletes of records up to this one.
    named: Lsn,
    closed: bool,
}

impl Deletes {
    /// The manifest names deletes of records up to `named`.
    pub(crate) fn new(named: Lsn) -> Self {
        let state = State { named, ..State::default() };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The record `lsn` asks for a delete. It is noted before any shard comes to a later record.
    pub(crate) fn note(&self, lsn: Lsn, record: &DeleteRecord) {
        let mut state = self.lock();
        if lsn > state.named {
            let metric = record.metric.clone();
            state.pending.insert(lsn, Delete { lsn, metric, from: record.from, to: record.to });
        }
    }

    /// Those that the manifest does not name, in the order of the log.
    pub(crate) fn pending(&self) -> Vec<Delete> {
        self.lock().pending.values().cloned().collect()
    }

    /// The first record among them.
    pub(crate) fn oldest(&self) -> Option<Lsn> {
        self.lock().pending.keys().next().copied()
    }

    /// The manifest names deletes of records up to `lsn` now.
    pub(crate) fn named(&self, lsn: Lsn) {
        let mut state = self.lock();
        state.named = lsn.max(state.named);
        let next = state.named.next();
        state.pending = state.pending.split_off(&next);
        drop(state);
        self.changed.notify_all();
    }

    /// Nothing more will be named: whoever waits is let go.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Waits until the manifest names the delete of record `lsn`; `false` when the time is over, or the
    /// engine has closed.
    pub(crate) fn wait(&self, lsn: Lsn, timeout: Duration) -> bool {
        let waits = |state: &mut State| state.named < lsn && !state.closed;
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, waits);
        waited.unwrap_or_else(PoisonError::into_inner).0.named >= lsn
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
