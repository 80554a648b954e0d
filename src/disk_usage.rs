//! How full the file system is that a directory lies on.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Bytes of a file system, as `df` counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DiskUsage {
    /// In use, by whomever.
    pub(crate) used: u64,
    /// Left for us: what is kept back for the system's administrator is in neither.
    pub(crate) available: u64,
}

impl DiskUsage {
    /// Of the file system below `path`. May block for as long as the file system does.
    ///
    /// # Errors
    /// What the file system reports.
    #[expect(unsafe_code, reason = "the standard library has no statvfs")]
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let mut answer = MaybeUninit::<libc::statvfs>::uninit();
        // SAFETY: the path ends with a NUL, and the answer has room for what the call writes.
        if unsafe { libc::statvfs(path.as_ptr(), answer.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call succeeded, so it filled the answer.
        let answer = unsafe { answer.assume_init() };
        let bytes = |blocks: u64| blocks.saturating_mul(answer.f_frsize);
        let used = bytes(answer.f_blocks.saturating_sub(answer.f_bfree));
        Ok(Self { used, available: bytes(answer.f_bavail) })
    }

    /// Whether more than so many hundredths of what can be used are in use.
    pub(crate) fn is_above(self, percent: u64) -> bool {
        let all = u128::from(self.used) + u128::from(self.available);
        u128::from(self.used) * 100 > all * u128::from(percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_is_as_full_as_df_says() {
        let dir = tempfile::tempdir().unwrap();
        let usage = DiskUsage::of(dir.path()).unwrap();
        let output = std::process::Command::new("df")
            .args(["-B1", "--output=used,avail"])
            .arg(dir.path())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let numbers: Vec<u64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        // Others write meanwhile.
        let near = |one: u64, other: u64| one.abs_diff(other) < 4 << 30;
        assert!(
            near(usage.used, numbers[0]) && near(usage.available, numbers[1]),
            "{usage:?} {text}"
        );
        assert!(DiskUsage::of(&dir.path().join("missing")).is_err());
    }

    #[test]
    fn the_mark_itself_is_not_above_it() {
        let of = |used, available| DiskUsage { used, available }.is_above(95);
        assert!(!of(95, 5) && of(951, 49) && !of(0, 0) && of(u64::MAX, 0));
    }
}
