//! Open files of the simulated disk.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::disk::DiskFile;
use crate::sim_disk::contents::Contents;
use crate::sim_disk::faults::{Verdict, dead};
use crate::sim_disk::{DiskOp, SimState};

/// A file without its name.
///
/// ORDER: its lock is taken after the disk's, never before.
#[derive(Debug)]
pub(crate) struct Inode(Mutex<Contents>);

impl Inode {
    pub(crate) fn empty() -> Arc<Self> {
        Self::with(Contents::default())
    }

    pub(crate) fn with(contents: Contents) -> Arc<Self> {
        Arc::new(Self(Mutex::new(contents)))
    }

    pub(crate) fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().expect("nobody panics while holding a simulated file")
    }
}

#[derive(Debug)]
pub(crate) struct SimFile {
    disk: Arc<Mutex<SimState>>,
    inode: Arc<Inode>,
    kind: &'static str,
    writable: bool,
}

impl SimFile {
    pub(crate) fn new(
        disk: Arc<Mutex<SimState>>,
        inode: Arc<Inode>,
        kind: &'static str,
        writable: bool,
    ) -> Self {
        Self { disk, inode, kind, writable }
    }

    fn state(&self) -> MutexGuard<'_, SimState> {
        self.disk.lock().expect("nobody panics while holding the simulated disk")
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }

    fn resize(&self, decide: impl FnOnce(u64) -> u64) -> io::Result<()> {
        self.check_writable()?;
        let mut state = self.state();
        state.begin(self.kind, DiskOp::SetLen).whole()?;
        let old = self.inode.contents().len();
        let new = decide(old);
        state.check_room(new.saturating_sub(old))?;
        self.inode.contents().set_len(position(new)?);
        Ok(())
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.state().plan.check_alive()?;
        Ok(self.inode.contents().read(buf, position(offset)?))
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.check_writable()?;
        let offset = position(offset)?;
        let mut state = self.state();
        let verdict = state.begin(self.kind, DiskOp::Write);
        let end = offset.saturating_add(bytes.len()) as u64;
        let growth = end.saturating_sub(self.inode.contents().len());
        match verdict {
            Verdict::Proceed => {
                state.check_room(growth)?;
                self.inode.contents().write(bytes, offset);
                Ok(())
            }
            Verdict::Partial(error) => {
                let done = state.rng.below(bytes.len() as u64 + 1);
                let done = bytes.get(..position(done)?).unwrap_or_default();
                if state.check_room(growth).is_ok() {
                    self.inode.contents().write(done, offset);
                }
                Err(error)
            }
            Verdict::Fail(error) => Err(error),
            Verdict::Dead => Err(dead()),
        }
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.resize(|_| bytes)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.resize(|old| old.max(bytes))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        match state.begin(self.kind, DiskOp::Sync) {
            Verdict::Proceed if state.ignore_syncs => Ok(()),
            Verdict::Proceed => {
                self.inode.contents().sync();
                Ok(())
            }
            Verdict::Fail(error) | Verdict::Partial(error) => {
                // A crash is no failure of the device: the sectors may still survive it.
                if !state.plan.crashed() {
                    self.inode.contents().fail_sync();
                }
                Err(error)
            }
            Verdict::Dead => Err(dead()),
        }
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn forget_cached(&self) -> io::Result<()> {
        self.state().plan.check_alive()?;
        self.inode.contents().forget_cached();
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.state().plan.check_alive()?;
        Ok(self.inode.contents().len())
    }
}

fn position(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}
