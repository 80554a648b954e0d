//! Who may write under a key: the first one; whoever comes later waits for what became of it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tidewatch_env::Disk;
use tidewatch_metrics::{Lsn, UnixNanos};
use tidewatch_segments::{FileKind, KeyRow, Manifest, RequestKey, read_keys};

use crate::EngineError;
use crate::idempotency::answer::StoredAnswer;
use crate::idempotency::key::IdempotencyKey;
use crate::idempotency::table::{KeyLimits, KeyTable};
use crate::instruments::IdempotencyInstruments;
use crate::record::KIND_KEYED_SAMPLES;

/// Requests that wait for one with the same key.
const WAITERS_MAX: usize = 256;
/// Keys go into files no more often than this, lest every shard's flush makes one.
const FILE_INTERVAL: Duration = Duration::from_secs(5);
/// Bytes of keys that go into one file.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Called once when the request that holds a key has come to its end.
pub type Wake = Box<dyn FnOnce() + Send>;

/// The idempotency keys of an engine.
#[derive(Debug)]
pub struct Idempotency {
    state: Mutex<State>,
    instruments: IdempotencyInstruments,
}

#[derive(Default)]
struct State {
    table: KeyTable,
    /// Who waits for a request in hand, by its key and database.
    pending: BTreeMap<String, Vec<Wake>>,
    /// When keys were last written to a file.
    filed: Option<Duration>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("keys", &self.table.keys())
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}

/// What a request under a key is to do.
#[derive(Debug)]
pub enum Claimed {
    /// Nobody has used the key: write with this claim.
    Free(Claim),
    /// The request was stored before: answer it as then.
    Replay {
        /// What it was answered.
        answer: StoredAnswer,
        /// The record that holds its samples.
        lsn: Lsn,
    },
    /// A request with this key is in hand: ask again when woken.
    Waits,
}

/// The right to write under a key. Dropped before its record is durable, it leaves the key free.
#[derive(Debug)]
pub struct Claim {
    keys: Arc<Idempotency>,
    db: Arc<str>,
    key: IdempotencyKey,
    request: u128,
    /// What the record holds, once it is made.
    sealed: Option<Arc<RequestKey>>,
}

impl Idempotency {
    /// Without any key.
    #[must_use]
    pub fn new(limits: KeyLimits) -> Arc<Self> {
        let state = State { table: KeyTable::new(limits), ..State::default() };
        Arc::new(Self { state: Mutex::new(state), instruments: IdempotencyInstruments::default() })
    }

    /// Asks for the right to write the request `request` ([`request_hash`](crate::request_hash)) to `db`.
    ///
    /// `wake` is called only after [`Claimed::Waits`].
    ///
    /// # Errors
    /// [`EngineError::KeyReused`] where the key stands for another request, [`EngineError::KeyInHand`]
    /// when too many wait for it.
    pub fn claim(
        self: &Arc<Self>,
        db: &str,
        key: &IdempotencyKey,
        request: u128,
        wake: Wake,
    ) -> Result<Claimed, EngineError> {
        let mut state = self.lock();
        if let Some((lsn, held)) = state.table.find(db, key.as_str()) {
            if held.request != request {
                self.instruments.conflicts.inc();
                return Err(EngineError::KeyReused);
            }
            let bad = EngineError::BadRecord { lsn, kind: KIND_KEYED_SAMPLES };
            let answer = StoredAnswer::decode(&held.answer).ok_or(bad)?;
            self.instruments.replayed.inc();
            return Ok(Claimed::Replay { answer, lsn });
        }
        let pending = pending_name(db, key);
        if let Some(waiters) = state.pending.get_mut(&pending) {
            if waiters.len() >= WAITERS_MAX {
                return Err(EngineError::KeyInHand);
            }
            waiters.push(wake);
            return Ok(Claimed::Waits);
        }
        state.pending.insert(pending, Vec::new());
        let db = state.table.database(db);
        drop(state);
        let keys = Arc::clone(self);
        Ok(Claimed::Free(Claim { keys, db, key: key.clone(), request, sealed: None }))
    }

    /// Puts the instruments into `registry`.
    pub(crate) fn register(&self, registry: &mut prometheus_client::registry::Registry) {
        self.instruments.register(registry);
    }

    /// A start: holds the keys in files. Returns the last record whose key is in one of them.
    ///
    /// # Errors
    /// Damage, and what the disk reports.
    pub(crate) fn load(
        &self,
        disk: &dyn Disk,
        dir: &Path,
        manifest: &Manifest,
    ) -> Result<Lsn, EngineError> {
        let mut state = self.lock();
        let now = manifest.files_of(FileKind::Keys).map(|file| file.time_max.nanos()).max();
        state.table.tick(UnixNanos::new(now.unwrap_or_default()));
        let mut bad = None;
        for file in manifest.files_of(FileKind::Keys) {
            if state.table.has_run_out(UnixNanos::new(file.time_max.nanos())) {
                continue;
            }
            read_keys(disk, dir, file, |KeyRow { lsn, time, key }| {
                if StoredAnswer::decode(&key.answer).is_none() {
                    bad.get_or_insert(lsn);
                }
                if !state.table.has_run_out(time) {
                    state.table.insert(lsn, Some(time), key);
                }
            })?;
        }
        self.show(&state);
        match bad {
            Some(lsn) => Err(EngineError::BadRecord { lsn, kind: KIND_KEYED_SAMPLES }),
            None => Ok(manifest.keys_lsn()),
        }
    }

    /// A start: the log holds this key, which is in no file.
    pub(crate) fn restore(&self, lsn: Lsn, key: Arc<RequestKey>) {
        let mut state = self.lock();
        self.hold(&mut state, lsn, key);
    }

    /// The committer, and a start: a tick is in the log, after the keys that were told of before.
    pub(crate) fn tick(&self, time: UnixNanos) {
        let mut state = self.lock();
        state.table.tick(time);
        self.show(&state);
    }

    /// The keys of records after `after` that are to go into a file, in the order of the log: none if
    /// there was a file moments ago. `now` is the process's time.
    pub(crate) fn tail(&self, after: Lsn, now: Duration) -> Vec<KeyRow> {
        let state = self.lock();
        let is_due = state.filed.is_none_or(|at| now.saturating_sub(at) >= FILE_INTERVAL);
        if is_due { state.table.tail(after, FILE_BYTES_MAX) } else { Vec::new() }
    }

    /// Keys went into a file.
    pub(crate) fn filed(&self, now: Duration) {
        self.lock().filed = Some(now);
    }

    /// The first record after `after` whose key is held.
    pub(crate) fn first_after(&self, after: Lsn) -> Option<Lsn> {
        self.lock().table.first_after(after)
    }

    fn hold(&self, state: &mut State, lsn: Lsn, key: Arc<RequestKey>) {
        let evicted = state.table.insert(lsn, None, key);
        self.instruments.evicted.inc_by(evicted);
        self.show(state);
    }

    fn show(&self, state: &State) {
        let shown = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.instruments.keys.set(shown(u64::try_from(state.table.keys()).unwrap_or(u64::MAX)));
        self.instruments.bytes.set(shown(state.table.bytes()));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Claim {
    /// What the record of the request holds, with what it will be answered.
    pub(crate) fn seal(&mut self, answer: Vec<u8>) -> Arc<RequestKey> {
        let key = Arc::new(RequestKey {
            db: Arc::clone(&self.db),
            key: self.key.as_str().into(),
            request: self.request,
            answer: answer.into(),
        });
        self.sealed = Some(Arc::clone(&key));
        key
    }

    /// The record is durable: from here on the key stands for it.
    pub(crate) fn hold(mut self, lsn: Lsn) {
        let key = self.sealed.take().expect("a record is made before it is appended");
        let mut state = self.keys.lock();
        self.keys.hold(&mut state, lsn, key);
        drop(state);
        // The end of the claim wakes those who wait, and they find the key.
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let waiters = self.keys.lock().pending.remove(&pending_name(&self.db, &self.key));
        for wake in waiters.into_iter().flatten() {
            wake();
        }
    }
}

/// A key has no spaces, so this names one key of one database.
fn pending_name(db: &str, key: &IdempotencyKey) -> String {
    format!("{} {db}", key.as_str())
}

#[cfg(test)]
#[path = "door_tests.rs"]
mod tests;
