//! A JSON line per transition at the end of a file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::{Attempt, Message, Sink};

/// Appends each body as one line and syncs it before it counts as delivered.
///
/// Another program may move or remove the file: the next line goes to a new one of the same name.
/// A line that was cut short, by a full disk or a crash, is ended before the next line begins, so
/// that it spoils no other.
#[derive(Debug)]
pub struct FileSink {
    name: String,
    path: PathBuf,
    open: Option<OpenFile>,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    /// The file's last byte ends no line.
    torn: bool,
}

impl FileSink {
    /// A sink that appends to `path`, which is opened by the first attempt.
    #[must_use]
    pub fn new(name: &str, path: &Path) -> Self {
        Self { name: name.to_owned(), path: path.to_owned(), open: None }
    }

    /// Appends one line. After a failure nothing is known of the file, so it is opened anew.
    fn append(&mut self, body: &[u8]) -> io::Result<()> {
        let OpenFile { mut file, torn } = match self.open.take() {
            Some(open) if self.is_in_place(&open.file)? => open,
            Some(_) | None => open(&self.path)?,
        };
        let start: &[u8] = if torn { b"\n" } else { b"" };
        file.write_all(&[start, body, b"\n"].concat())?;
        file.sync_data()?;
        self.open = Some(OpenFile { file, torn: false });
        Ok(())
    }

    /// Whether the path still leads to the open file.
    fn is_in_place(&self, open: &File) -> io::Result<bool> {
        let open = open.metadata()?;
        match fs::metadata(&self.path) {
            Ok(now) => Ok((now.dev(), now.ino()) == (open.dev(), open.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Sink for FileSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn deliver(&mut self, _message: &Message, body: &[u8]) -> Attempt {
        match self.append(body) {
            Ok(()) => Attempt::delivered(None),
            Err(error) => {
                let path = self.path.display();
                Attempt::unanswered(&format!("could not append to \"{path}\": {error}"))
            }
        }
    }
}

fn open(path: &Path) -> io::Result<OpenFile> {
    // To open a pipe that nobody reads would block for ever.
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    // DURABILITY: a new file is there after a power cut only if its directory is synced.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    let torn = match file.metadata()?.len().checked_sub(1) {
        Some(last) => {
            let mut byte = [0];
            file.read_exact_at(&mut byte, last)?;
            byte != *b"\n"
        }
        None => false,
    };
    Ok(OpenFile { file, torn })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Outcome, samples};

    fn deliver(sink: &mut FileSink, body: &str) -> Attempt {
        sink.deliver(&samples::message(1, 1), body.as_bytes())
    }

    #[test]
    fn lines_are_appended_to_what_is_there_across_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("alerts.jsonl");
        for body in ["{1}", "{2}"] {
            let mut sink = FileSink::new("f", &path);
            assert_eq!(deliver(&mut sink, body), Attempt::delivered(None));
            assert_eq!(deliver(&mut sink, body), Attempt::delivered(None));
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "{1}\n{1}\n{2}\n{2}\n");
    }

    #[test]
    fn after_a_rotation_the_next_line_goes_to_the_new_file() {
        let dir = tempfile::tempdir().unwrap();
        let (path, rotated) = (dir.path().join("a.jsonl"), dir.path().join("a.jsonl.1"));
        let mut sink = FileSink::new("f", &path);
        deliver(&mut sink, "{1}");
        fs::rename(&path, &rotated).unwrap();
        fs::write(&path, "{by the rotator}\n").unwrap();
        assert_eq!(deliver(&mut sink, "{2}"), Attempt::delivered(None));
        assert_eq!(fs::read_to_string(&path).unwrap(), "{by the rotator}\n{2}\n");
        fs::remove_file(&path).unwrap();
        assert_eq!(deliver(&mut sink, "{3}"), Attempt::delivered(None));
        assert_eq!(fs::read_to_string(&rotated).unwrap(), "{1}\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "{3}\n");
    }

    #[test]
    fn a_line_that_was_cut_short_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        fs::write(&path, "{1}\n{\"key\":\"00").unwrap();
        let mut sink = FileSink::new("f", &path);
        deliver(&mut sink, "{2}");
        deliver(&mut sink, "{3}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "{1}\n{\"key\":\"00\n{2}\n{3}\n");
    }

    #[test]
    fn a_missing_directory_is_tried_again_and_works_once_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let sub = dir.path().join("sub");
        let mut sink = FileSink::new("f", &sub.join("a.jsonl"));
        let attempt = deliver(&mut sink, "{1}");
        assert_eq!(attempt.outcome, Outcome::Retry { after: None });
        assert!(attempt.error.contains("a.jsonl"), "{}", attempt.error);
        fs::create_dir(&sub).unwrap();
        assert_eq!(deliver(&mut sink, "{1}"), Attempt::delivered(None));
    }

    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let attempt = deliver(&mut FileSink::new("f", dir.path()), "{1}");
        assert_eq!(attempt.outcome, Outcome::Retry { after: None });
        assert!(attempt.error.contains("not a regular file"), "{}", attempt.error);
    }
}
