//! The keys in force: the key file in memory.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tidewatch_env::{Clock, Disk};

use crate::keys::bucket::Bucket;
use crate::keys::digest::{Digest, KeyText};
use crate::keys::error::KeysError;
use crate::keys::file::{FILE_NAME, KIND, decode, encode};
use crate::keys::limits::KEYS_MAX;
use crate::keys::record::{KeyRecord, Scope, check_name, shown};
use crate::sealed_file::replace;

/// A key in force or revoked, and how often it was used lately.
#[derive(Debug)]
pub(crate) struct Key {
    /// What is stored of it.
    pub(crate) record: KeyRecord,
    /// The requests that it has left.
    pub(crate) bucket: Bucket,
}

/// All keys at one moment. It does not change: a change of keys is another table.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyTable {
    /// In the order in which they were made.
    keys: Vec<Arc<Key>>,
    /// The start of each key's digest and the key's place, sorted.
    places: Vec<(u64, usize)>,
}

impl KeyTable {
    fn new(keys: Vec<Arc<Key>>) -> Self {
        let starts = keys.iter().map(|key| key.record.digest.start());
        let mut places: Vec<(u64, usize)> = starts.zip(0..).collect();
        places.sort_unstable();
        Self { keys, places }
    }

    /// Whether there is no key, revoked ones included.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// All keys in the order in which they were made.
    pub(crate) fn keys(&self) -> &[Arc<Key>] {
        &self.keys
    }

    /// Whether some key in force may change keys.
    pub(crate) fn has_admin(&self) -> bool {
        let admin =
            |key: &Arc<Key>| key.record.scope == Scope::Admin && key.record.revoked.is_none();
        self.keys.iter().any(admin)
    }

    /// The key with this digest, whether revoked or not.
    pub(crate) fn find(&self, digest: &Digest) -> Option<&Arc<Key>> {
        let start = digest.start();
        let first = self.places.partition_point(|(other, _)| *other < start);
        let near = self.places.get(first..)?.iter().take_while(|(other, _)| *other == start);
        let mut candidates = near.filter_map(|(_, place)| self.keys.get(*place));
        candidates.find(|key| key.record.digest.is(digest))
    }

    fn by_name(&self, name: &str) -> Option<usize> {
        self.keys.iter().position(|key| key.record.name == name)
    }
}

/// The keys of a data directory. Who makes one has the directory's lock, or only reads.
#[derive(Debug)]
pub(crate) struct Keyring {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    path: PathBuf,
    table: RwLock<Arc<KeyTable>>,
    /// Held while the file is being changed.
    changing: Mutex<()>,
}

impl Keyring {
    /// Reads the keys of a data directory; without a key file there are none.
    ///
    /// # Errors
    /// If the file is damaged, of a later release, or cannot be read.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        data_dir: &Path,
    ) -> Result<Self, KeysError> {
        let path = data_dir.join(FILE_NAME);
        let records = KIND.read(&*disk, &path, decode)?;
        let key = |record| Arc::new(Key { record, bucket: Bucket::default() });
        let table = KeyTable::new(records.into_iter().map(key).collect());
        let table = RwLock::new(Arc::new(table));
        Ok(Self { disk, clock, path, table, changing: Mutex::default() })
    }

    /// The keys at this moment.
    pub(crate) fn table(&self) -> Arc<KeyTable> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes a key. It is durable, and in force, when this returns; its text is not kept.
    ///
    /// # Errors
    /// If the name is taken or none, or the file cannot be replaced: then nothing is in force.
    pub(crate) fn add(&self, name: &str, scope: Scope) -> Result<(KeyRecord, KeyText), KeysError> {
        check_name(name)?;
        let changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let table = self.table();
        if table.by_name(name).is_some() {
            return Err(KeysError::Taken { name: name.to_owned() });
        }
        if table.keys.len() >= KEYS_MAX {
            return Err(KeysError::TooMany);
        }
        let text = KeyText::generate()?;
        let digest = Digest::of(text.expose().as_bytes()).expect("a fresh key has its form");
        let created = self.clock.now();
        let record = KeyRecord { name: name.to_owned(), scope, digest, created, revoked: None };
        let mut keys = table.keys.clone();
        keys.push(Arc::new(Key { record: record.clone(), bucket: Bucket::default() }));
        self.replace(keys)?;
        drop(changing);
        Ok((record, text))
    }

    /// Revokes a key. It opens nothing when this returns; one that was revoked before stays as it is.
    ///
    /// # Errors
    /// If no key has the name, or the file cannot be replaced: then the key is still in force.
    pub(crate) fn revoke(&self, name: &str) -> Result<KeyRecord, KeysError> {
        let changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let table = self.table();
        let missing = || KeysError::Missing { name: shown(name) };
        let place = table.by_name(name).ok_or_else(missing)?;
        let mut keys = table.keys.clone();
        let key = keys.get_mut(place).ok_or_else(missing)?;
        let mut record = key.record.clone();
        if record.revoked.is_some() {
            return Ok(record);
        }
        record.revoked = Some(self.clock.now());
        *key = Arc::new(Key { record: record.clone(), bucket: Bucket::default() });
        self.replace(keys)?;
        drop(changing);
        Ok(record)
    }

    /// ORDER: the file first, or a crash could bring a revoked key back or lose one that was told.
    fn replace(&self, keys: Vec<Arc<Key>>) -> Result<(), KeysError> {
        let records: Vec<KeyRecord> = keys.iter().map(|key| key.record.clone()).collect();
        replace(&*self.disk, &self.path, &encode(&records))?;
        let table = Arc::new(KeyTable::new(keys));
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = table;
        Ok(())
    }
}

#[cfg(test)]
#[path = "keyring_tests.rs"]
mod tests;
