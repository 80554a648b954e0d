//! What the system tells of a process.

use std::fs;

/// Ticks of a second in `/proc`: the kernel's interface has 100 on every machine.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pid: u32,
}

impl Process {
    /// The process of this number.
    pub(crate) fn new(pid: u32) -> Self {
        Self { pid }
    }

    /// This process.
    pub(crate) fn this() -> Self {
        Self { pid: std::process::id() }
    }

    /// CPU-seconds so far, of user and kernel, over all threads. `None` when the process is gone.
    pub(crate) fn cpu_seconds(self) -> Option<f64> {
        cpu_seconds(&self.read("stat")?)
    }

    /// Whether it has ended and waits to be collected.
    pub(crate) fn is_zombie(self) -> bool {
        self.read("stat")
            .and_then(|stat| Some(stat.rsplit_once(") ")?.1.starts_with('Z')))
            .unwrap_or(true)
    }

    /// Bytes of memory that it holds.
    pub(crate) fn resident_bytes(self) -> Option<u64> {
        self.status("VmRSS:")
    }

    /// Bytes of memory that it held at most.
    pub(crate) fn resident_bytes_peak(self) -> Option<u64> {
        self.status("VmHWM:")
    }

    fn status(self, key: &str) -> Option<u64> {
        let status = self.read("status")?;
        let rest = status.lines().find_map(|line| line.strip_prefix(key))?;
        let kib: u64 = rest.split_whitespace().next()?.parse().ok()?;
        Some(kib * 1_024)
    }

    fn read(self, file: &str) -> Option<String> {
        fs::read_to_string(format!("/proc/{}/{file}", self.pid)).ok()
    }
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    // The program's name may hold anything; what follows its last bracket begins with the state.
    let (_, after) = stat.rsplit_once(") ")?;
    let mut fields = after.split(' ').skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let kernel: u32 = fields.next()?.parse().ok()?;
    Some((f64::from(user) + f64::from(kernel)) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_found_whatever_the_name_of_the_program() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4 5 6 7 8 123 45 0 0 20 0 9 0 1";
        assert_eq!(cpu_seconds(stat), Some(1.68));
        assert_eq!(cpu_seconds("7 (x"), None);
    }

    #[test]
    fn this_process_is_known_and_no_process_is_not() {
        let this = Process::this();
        assert!(this.cpu_seconds().is_some());
        assert!(this.resident_bytes().unwrap() > 100_000);
        assert!(this.resident_bytes_peak() >= this.resident_bytes());
        assert!(!this.is_zombie());
        assert_eq!(Process::new(u32::MAX).cpu_seconds(), None);
    }
}
