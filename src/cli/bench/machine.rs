//! The machine that the figures belong to.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The machine that the figures belong to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// Cores that this process may use.
    pub(crate) cores: usize,
    /// The processor as it names itself.
    pub(crate) cpu: String,
    /// Bytes of memory.
    pub(crate) memory_bytes: u64,
    /// The kernel's version.
    pub(crate) kernel: String,
    /// The file system under the data directories.
    pub(crate) file_system: String,
}

impl Machine {
    /// This machine, with the file system of `dir`.
    pub(crate) fn this(dir: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let dir = dir.canonicalize().unwrap_or_else(|_unreadable| dir.to_owned());
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: value_of(&read("/proc/cpuinfo"), "model name"),
            memory_bytes: memory_bytes(&read("/proc/meminfo")),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_system: file_system(&read("/proc/self/mountinfo"), &dir),
        }
    }

    /// Whether a sync costs nothing here, so that no figure means anything.
    pub(crate) fn is_memory_backed(&self) -> bool {
        matches!(self.file_system.as_str(), "tmpfs" | "ramfs")
    }
}

fn value_of(text: &str, key: &str) -> String {
    let value = text.lines().find_map(|line| line.split_once(':').filter(|(k, _)| k.trim() == key));
    value.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, value)| value.trim().to_owned())
}

fn memory_bytes(meminfo: &str) -> u64 {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1_024
}

/// The type of the mount with the longest path that `dir` lies in; of equal ones the last counts.
fn file_system(mountinfo: &str, dir: &Path) -> String {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (place, system) = line.split_once(" - ")?;
        let path = place.split(' ').nth(4)?;
        let inside = dir.starts_with(path);
        inside.then_some((path.len(), system.split(' ').next()?))
    });
    let found = mounts.max_by_key(|(length, _)| *length);
    found.map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:5 / /tmp rw,nosuid shared:2 - tmpfs tmpfs rw
24 23 254:1 / /tmp/data rw - xfs /dev/vdb rw
";

    #[test]
    fn the_innermost_mount_counts() {
        for (dir, expected) in
            [("/home/x", "ext4"), ("/tmp", "tmpfs"), ("/tmp/data/1", "xfs"), ("/tmpx", "ext4")]
        {
            assert_eq!(file_system(MOUNTS, Path::new(dir)), expected, "{dir}");
        }
    }

    #[test]
    fn the_processor_tells_its_name() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\nflags : a b\n";
        assert_eq!(value_of(text, "model name"), "Some CPU @ 3 GHz");
        assert_eq!(memory_bytes("MemTotal:       1024 kB\nMemFree: 1 kB\n"), 1 << 20);
    }
}
