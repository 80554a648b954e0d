//! The server under test: this program as a process of its own, on a data directory of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidewatch_env::{Clock, RealClock};

use crate::cli::bench::process::Process;
use crate::cli::error::CliError;
use crate::cli::stop::Stop;

/// A stop in order takes less than this.
const STOP_MAX: Duration = Duration::from_secs(30);
/// Between two looks whether the server has ended.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// A running server; dropped, it is killed and its data removed.
#[derive(Debug)]
pub(crate) struct ServerChild {
    child: Child,
    address: SocketAddr,
    data_dir: PathBuf,
}

/// What a data directory takes on the disk, after a stop in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DiskUse {
    /// Bytes of the log's files, those readied for use and the empty rest of the last one included.
    pub(crate) wal_bytes: u64,
    /// Bytes of segments, series and manifest.
    pub(crate) segment_bytes: u64,
}

impl ServerChild {
    /// Starts a server on a fresh directory below `parent` and waits until it takes writes.
    ///
    /// # Errors
    /// If it does not start.
    pub(crate) fn start(parent: &Path, name: &str) -> Result<Self, CliError> {
        Self::start_with(parent, name, &[])
    }

    /// As [`ServerChild::start`], with settings `section.key=value`.
    ///
    /// # Errors
    /// If it does not start.
    pub(crate) fn start_with(
        parent: &Path,
        name: &str,
        settings: &[String],
    ) -> Result<Self, CliError> {
        let data_dir = parent.join(name);
        let program = std::env::current_exe().map_err(|source| failed("finding itself", source))?;
        let mut command = Command::new(program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&data_dir);
        command.args(settings.iter().flat_map(|setting| ["--set", setting]));
        command.env("TIDEWATCH_LOG", "warn").stdin(Stdio::null()).stdout(Stdio::piped());
        end_with_parent(&mut command);
        let mut child = command.spawn().map_err(|source| failed("starting the server", source))?;
        let stdout = child.stdout.take().expect("it was asked for");
        let mut line = String::new();
        let read = BufReader::new(stdout).read_line(&mut line);
        let mut server = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), data_dir };
        read.map_err(|source| failed("reading the server's address", source))?;
        let told: Option<Value> = serde_json::from_str(&line).ok();
        let address = told.as_ref().and_then(|told| told["addr"].as_str()?.parse().ok());
        server.address = address
            .ok_or_else(|| failed("starting the server", "it ended without telling its address"))?;
        Ok(server)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its data lie.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Bytes of its data.
    pub(crate) fn disk_bytes(&self) -> u64 {
        bytes_below(&self.data_dir)
    }

    /// Whether a merge is being written.
    pub(crate) fn is_merging(&self) -> bool {
        let files = fs::read_dir(self.data_dir.join("segments")).into_iter().flatten().flatten();
        files.into_iter().any(|file| file.path().extension().is_some_and(|end| end == "tmp"))
    }

    /// Its process.
    pub(crate) fn process(&self) -> Process {
        Process::new(self.child.id())
    }

    /// Stops it in order and tells what its data take.
    ///
    /// # Errors
    /// If it does not end, or not well.
    pub(crate) fn stop(mut self) -> Result<DiskUse, CliError> {
        terminate(self.child.id());
        let (clock, stop, process) = (RealClock::new(), Stop::default(), self.process());
        while !process.is_zombie() && clock.monotonic() < STOP_MAX {
            stop.wait(LOOK_PAUSE);
        }
        let status =
            self.child.try_wait().map_err(|source| failed("stopping the server", source))?;
        if !status.is_some_and(|status| status.success()) {
            let problem = format!("it did not end in order: {status:?}");
            return Err(failed("stopping the server", problem));
        }
        Ok(DiskUse {
            wal_bytes: bytes_below(&self.data_dir.join("wal")),
            segment_bytes: bytes_below(&self.data_dir.join("segments")),
        })
    }
}

impl Drop for ServerChild {
    fn drop(&mut self) {
        // It may have ended already, and then there is nothing to kill or to remove.
        drop(self.child.kill());
        drop(self.child.wait());
        drop(fs::remove_dir_all(&self.data_dir));
    }
}

/// The server must not outlive a benchmark that is killed.
#[expect(unsafe_code, reason = "the standard library has no word for the death of the parent")]
fn end_with_parent(command: &mut Command) {
    let set = || {
        // SAFETY: a plain system call on plain numbers, which is allowed between fork and exec.
        let set = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) };
        if set == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: the closure makes one system call and touches no memory that it does not own.
    unsafe { command.pre_exec(set) };
}

#[expect(unsafe_code, reason = "the standard library cannot send SIGTERM")]
fn terminate(pid: u32) {
    if let Ok(pid) = libc::pid_t::try_from(pid) {
        // SAFETY: plain numbers; the process is our child and not collected yet, so the number is its.
        unsafe { libc::kill(pid, libc::SIGTERM) };
    }
}

/// Bytes of all files below `dir`.
pub(crate) fn bytes_below(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => bytes_below(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

fn failed(action: &'static str, source: impl Into<crate::cli::error::Cause>) -> CliError {
    CliError::Internal { action, source: source.into() }
}
