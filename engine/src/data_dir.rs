//! The right to work on a data directory.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewatch_env::{Disk, LockGuard};

use crate::EngineError;

/// The file that the process in the directory holds locked.
const LOCK_FILE: &str = "lock";

/// A data directory that this process alone works on, for as long as this is held.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: Box<dyn LockGuard>,
}

impl DataDir {
    /// Takes the directory, which is made if it is missing.
    ///
    /// # Errors
    /// [`EngineError::InUse`], and what the disk reports.
    pub fn lock(disk: &dyn Disk, path: &Path) -> Result<Self, EngineError> {
        let failed = |action: &'static str| {
            let path = path.to_owned();
            move |source: io::Error| EngineError::Io { action, path, source: Arc::new(source) }
        };
        disk.create_dir_all(path).map_err(failed("create"))?;
        let lock = disk.lock(&path.join(LOCK_FILE)).map_err(failed("lock"))?;
        let lock = lock.ok_or_else(|| EngineError::InUse { dir: path.to_owned() })?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}
