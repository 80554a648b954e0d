//! Whole small files, replaced in one durable step.

use std::io;
use std::path::Path;

use crate::disk::{Disk, DiskFile, OpenMode};

/// Bytes that are copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// Puts `bytes` at `path` so that after any crash the file holds either all of its old bytes or
/// all of the new ones, and after the return the new ones.
///
/// The temporary file is `path` with `.tmp` appended; one that a crash left behind is replaced.
///
/// # Errors
/// What the file system reports; the file at `path` is then the old or the new one.
pub fn replace_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    put_file(disk, path, |file| file.write_all_at(bytes, 0))
}

/// Copies the file at `from` to `to`, durably; a file that is there is replaced.
///
/// # Errors
/// What the file system reports; the file at `to` is then the old one, none, or the whole copy.
pub fn copy_file(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    let source = disk.open(from, OpenMode::Read)?;
    put_file(disk, to, |copy| {
        let mut block = vec![0; COPY_BYTES];
        let mut offset = 0;
        loop {
            let read = match source.read_at(&mut block, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            if read == 0 {
                return Ok(());
            }
            copy.write_all_at(&block[..read], offset)?;
            offset += u64::try_from(read).map_err(io::Error::other)?;
        }
    })
}

/// Fills a file under a temporary name, which it changes for `path` once it is durable.
fn put_file(
    disk: &dyn Disk,
    path: &Path,
    fill: impl FnOnce(&dyn DiskFile) -> io::Result<()>,
) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = Path::new(&temporary);
    let dir = path.parent().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    match disk.remove(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let file = disk.open(temporary, OpenMode::CreateNew)?;
    fill(&*file)?;
    // DURABILITY: the bytes before the name, or a crash could leave the name on a torn file.
    file.sync_data()?;
    disk.rename(temporary, path)?;
    disk.sync_dir(dir)
}

/// Reads a whole file of at most `bytes_max` bytes.
///
/// # Errors
/// `FileTooLarge` beyond the limit, `NotFound`, and what the file system reports.
pub fn read_file(disk: &dyn Disk, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let file = disk.open(path, OpenMode::Read)?;
    let bytes = file.len()?;
    if bytes > bytes_max {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut content = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
    file.read_exact_at(&mut content, 0)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim_disk::SimDisk;

    #[test]
    fn a_replaced_file_is_old_or_new_at_every_crash_and_new_after_the_return() {
        let path = Path::new("/d/state");
        for crash_at in 1.. {
            let disk = SimDisk::new(crash_at);
            disk.create_dir_all(Path::new("/d")).unwrap();
            replace_file(&disk, path, b"old").unwrap();
            disk.crash_at(disk.ops() + crash_at);
            let replaced = replace_file(&disk, path, b"new, and longer");
            for seed in 0..20 {
                let content = read_file(&disk.reboot(seed), path, 100).unwrap();
                let is_new = content == b"new, and longer";
                assert!(is_new || content == b"old", "crash at {crash_at}: {content:?}");
                assert!(is_new || replaced.is_err(), "acknowledged and lost, crash at {crash_at}");
            }
            if replaced.is_ok() {
                assert!(crash_at > 4, "create, write, sync, rename and sync_dir were counted");
                return;
            }
        }
    }

    #[test]
    fn a_copy_is_whole_or_absent_at_every_crash_and_whole_after_the_return() {
        let (from, to) = (Path::new("/d/from"), Path::new("/d/to"));
        for crash_at in 1.. {
            let disk = SimDisk::new(crash_at);
            disk.create_dir_all(Path::new("/d")).unwrap();
            let content = vec![7; COPY_BYTES + 5];
            replace_file(&disk, from, &content).unwrap();
            disk.crash_at(disk.ops() + crash_at);
            let copied = copy_file(&disk, from, to);
            for seed in 0..20 {
                let disk = disk.reboot(seed);
                let there = disk.exists(to).unwrap();
                assert!(there || copied.is_err(), "acknowledged and lost, crash at {crash_at}");
                if there {
                    assert!(read_file(&disk, to, 1 << 21).unwrap() == content, "at {crash_at}");
                }
            }
            if copied.is_ok() {
                return;
            }
        }
    }

    #[test]
    fn a_file_beyond_the_limit_is_refused_before_it_is_read() {
        let disk = SimDisk::new(0);
        disk.create_dir_all(Path::new("/d")).unwrap();
        replace_file(&disk, Path::new("/d/f"), b"four").unwrap();
        let refused = read_file(&disk, Path::new("/d/f"), 3).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read_file(&disk, Path::new("/d/f"), 4).unwrap(), b"four");
    }
}
