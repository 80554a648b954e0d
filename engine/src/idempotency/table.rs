//! The keys that are held: in the order of the log, by database, within limits of time, number and bytes.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use tidewatch_metrics::{Lsn, UnixNanos};
use tidewatch_segments::{KeyRow, RequestKey};

/// What a held key takes beside its texts: the shared key, its entry and its place in the map.
const ENTRY_BYTES: u64 = 192;

/// How long and how many keys are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyLimits {
    /// Log time after which a key is forgotten, in nanoseconds.
    pub keep_nanos: i64,
    /// Keys of one database; beyond, its oldest go.
    pub database_keys_max: usize,
    /// Bytes of all keys in memory; beyond, the oldest go.
    pub bytes_max: u64,
}

impl Default for KeyLimits {
    fn default() -> Self {
        Self {
            keep_nanos: tidewatch_segments::limits::KEYS_KEPT_NANOS,
            database_keys_max: 1_000_000,
            bytes_max: 256 << 20,
        }
    }
}

/// The keys that are held. What it holds depends on the log alone.
///
/// Invariant: a database's keys are in the order of the log, those that no tick has followed last.
#[derive(Debug, Default)]
pub(crate) struct KeyTable {
    limits: KeyLimits,
    databases: BTreeMap<Arc<str>, Database>,
    /// Each database's oldest key.
    fronts: BTreeMap<Lsn, Arc<str>>,
    /// Databases with keys that no tick has followed.
    fresh: BTreeSet<Arc<str>>,
    /// The log's time.
    now: UnixNanos,
    keys: usize,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Database {
    order: VecDeque<Entry>,
    by_key: HashMap<ByKey, Lsn>,
}

#[derive(Debug)]
struct Entry {
    lsn: Lsn,
    /// That of the first tick after the record, once there is one.
    time: Option<UnixNanos>,
    key: Arc<RequestKey>,
}

/// A key that is looked up by its text alone.
#[derive(Debug)]
struct ByKey(Arc<RequestKey>);

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for ByKey {}

impl Hash for ByKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key.hash(state);
    }
}

impl Borrow<str> for ByKey {
    fn borrow(&self) -> &str {
        &self.0.key
    }
}

impl KeyTable {
    pub(crate) fn new(limits: KeyLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Keys held.
    pub(crate) fn keys(&self) -> usize {
        self.keys
    }

    /// Bytes that they take.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The name of a database, shared where it is known.
    pub(crate) fn database(&self, db: &str) -> Arc<str> {
        self.databases.get_key_value(db).map_or_else(|| db.into(), |(db, _)| Arc::clone(db))
    }

    /// A held key and its record.
    pub(crate) fn find(&self, db: &str, key: &str) -> Option<(Lsn, &RequestKey)> {
        let (key, lsn) = self.databases.get(db)?.by_key.get_key_value(key)?;
        Some((*lsn, &key.0))
    }

    /// Holds the key of the record `lsn`, later than all before; `time` where a tick has followed it.
    ///
    /// Returns how many keys went because there were too many.
    pub(crate) fn insert(
        &mut self,
        lsn: Lsn,
        time: Option<UnixNanos>,
        mut key: Arc<RequestKey>,
    ) -> u64 {
        let db = self.database(&key.db);
        if let Some(own) = Arc::get_mut(&mut key) {
            // Of a key that was just decoded: all keys share their database's name.
            own.db = Arc::clone(&db);
        }
        let database = self.databases.entry(Arc::clone(&db)).or_default();
        if database.order.back().is_some_and(|last| last.lsn >= lsn) {
            return 0;
        }
        if database.order.is_empty() {
            self.fronts.insert(lsn, Arc::clone(&db));
        }
        if time.is_none() {
            self.fresh.insert(Arc::clone(&db));
        }
        self.bytes += bytes_of(&key);
        self.keys += 1;
        // A key is there already where it had run out and the tick that tells was not read: the later one counts.
        database.by_key.remove(&*key.key);
        database.by_key.insert(ByKey(Arc::clone(&key)), lsn);
        database.order.push_back(Entry { lsn, time, key });
        let mut evicted = 0;
        if database.order.len() > self.limits.database_keys_max {
            self.pop(&db);
            evicted += 1;
        }
        while self.bytes > self.limits.bytes_max {
            let Some(db) = self.fronts.values().next().cloned() else { break };
            self.pop(&db);
            evicted += 1;
        }
        evicted
    }

    /// Whether a key of this time is forgotten already.
    pub(crate) fn has_run_out(&self, time: UnixNanos) -> bool {
        time.nanos() <= self.now.nanos().saturating_sub(self.limits.keep_nanos)
    }

    /// The log's time moves on: the keys of records before it get it, and those that ran out go.
    pub(crate) fn tick(&mut self, time: UnixNanos) {
        for db in std::mem::take(&mut self.fresh) {
            let fresh = self.databases.get_mut(&db).into_iter();
            let fresh = fresh.flat_map(|database| database.order.iter_mut().rev());
            for entry in fresh.take_while(|entry| entry.time.is_none()) {
                entry.time = Some(time);
            }
        }
        self.now = self.now.max(time);
        // Times grow with the records, so the oldest record's key runs out first.
        while let Some(db) = self.fronts.values().next().cloned() {
            let front = self.databases.get(&db).and_then(|database| database.order.front());
            if !front.and_then(|entry| entry.time).is_some_and(|time| self.has_run_out(time)) {
                return;
            }
            self.pop(&db);
        }
    }

    /// The first keys of records after `after` whose time is known, in the order of the log; so many
    /// that they take `bytes_max`.
    pub(crate) fn tail(&self, after: Lsn, bytes_max: u64) -> Vec<KeyRow> {
        let mut rows = Vec::new();
        for database in self.databases.values() {
            let from = database.order.partition_point(|entry| entry.lsn <= after);
            rows.extend(database.order.range(from..).map_while(|entry| {
                Some(KeyRow { lsn: entry.lsn, time: entry.time?, key: Arc::clone(&entry.key) })
            }));
        }
        rows.sort_by_key(|row| row.lsn);
        let mut bytes = 0;
        let fitting = rows.iter().take_while(|row| {
            bytes += bytes_of(&row.key);
            bytes <= bytes_max
        });
        rows.truncate(fitting.count());
        rows
    }

    /// The first record after `after` whose key is held.
    pub(crate) fn first_after(&self, after: Lsn) -> Option<Lsn> {
        let firsts = self.databases.values().filter_map(|database| {
            let from = database.order.partition_point(|entry| entry.lsn <= after);
            Some(database.order.get(from)?.lsn)
        });
        firsts.min()
    }

    /// Forgets a database's oldest key.
    fn pop(&mut self, db: &Arc<str>) {
        let database = self.databases.get_mut(db).expect("a front's database is there");
        let oldest = database.order.pop_front().expect("a database that is there has keys");
        if database.by_key.get(&*oldest.key.key) == Some(&oldest.lsn) {
            database.by_key.remove(&*oldest.key.key);
        }
        self.fronts.remove(&oldest.lsn);
        self.keys -= 1;
        self.bytes -= bytes_of(&oldest.key);
        match database.order.front() {
            Some(next) => drop(self.fronts.insert(next.lsn, Arc::clone(db))),
            None => drop(self.databases.remove(db)),
        }
    }
}

fn bytes_of(key: &RequestKey) -> u64 {
    let texts = key.key.len() + key.answer.len();
    ENTRY_BYTES + u64::try_from(texts).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
