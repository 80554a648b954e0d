//! The file of what was asked before, which only its owner reads.

use std::ffi::OsString;
use std::fs;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustyline::error::ReadlineError;
use rustyline::history::{FileHistory, History};

use crate::cli::error::{Cause, CliError};
use crate::cli::sql::editor::{TEXT_BYTES_MAX, cause};

/// Entries that are kept.
pub(crate) const ENTRIES_MAX: usize = 1_000;
/// Bytes of a file that is read: more than the entries that are kept take, each byte of them escaped.
const FILE_BYTES_MAX: u64 = 2 * (ENTRIES_MAX * TEXT_BYTES_MAX) as u64;

/// The file of what was asked before: at most [`ENTRIES_MAX`] entries, the oldest first.
#[derive(Clone, Debug)]
pub(crate) struct HistoryFile {
    path: PathBuf,
}

impl HistoryFile {
    /// A file, which need not be there yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The one in the directory that XDG names for such things; `None` where nobody is at home.
    pub(crate) fn of_user() -> Option<Self> {
        let absolute = |name: &str| {
            std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
        };
        let state =
            absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
        Some(Self::new(state?.join("tidewatch").join("sql_history")))
    }

    /// Reads what is there. A file that cannot be read is set aside with the ending `.damaged`, and
    /// its readable begin goes into the next one.
    ///
    /// # Errors
    /// Why it could not be read, and what became of it; `history` can be used all the same.
    pub(crate) fn load(&self, history: &mut FileHistory) -> Result<(), CliError> {
        let source = match read(history, &self.path) {
            Ok(()) => return Ok(()),
            Err(source) => source,
        };
        let mut aside = OsString::from(&self.path);
        aside.push(".damaged");
        Err(match fs::rename(&self.path, &aside) {
            Ok(()) => CliError::File {
                action: "read the history, which is set aside as",
                path: aside.into(),
                source,
            },
            Err(_) => {
                CliError::File { action: "read the history", path: self.path.clone(), source }
            }
        })
    }

    /// Whether anything is at its path.
    pub(crate) fn exists(&self) -> bool {
        self.path.symlink_metadata().is_ok()
    }

    /// Adds an entry, unless it is that of before or begins with a blank: such are not for others.
    ///
    /// # Errors
    /// If the file cannot be written; the entry is in `history` all the same.
    pub(crate) fn keep(&self, history: &mut FileHistory, entry: &str) -> Result<(), ReadlineError> {
        if history.add(entry)? {
            if let Some(dir) = self.path.parent() {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            }
            history.append(&self.path)?;
        }
        Ok(())
    }
}

fn read(history: &mut FileHistory, path: &Path) -> Result<(), Cause> {
    let file = match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    if !file.is_file() || file.len() > FILE_BYTES_MAX {
        let problem = format!("it is no file of at most {FILE_BYTES_MAX} bytes");
        return Err(Error::new(ErrorKind::InvalidData, problem).into());
    }
    history.load(path).map_err(cause)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rustyline::Config;

    use super::*;
    use crate::cli::sql::editor::config;

    fn entries(history: &FileHistory) -> Vec<String> {
        history.iter().cloned().collect()
    }

    fn empty() -> FileHistory {
        FileHistory::with_config(&config())
    }

    fn loaded(file: &HistoryFile) -> Vec<String> {
        let mut history = empty();
        file.load(&mut history).expect("a good file");
        entries(&history)
    }

    #[test]
    fn entries_are_found_again_and_are_for_the_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = HistoryFile::new(dir.path().join("state").join("history"));
        let mut history = empty();
        for entry in ["SELECT 1;", "SELECT 1;", "SELECT\n'\\n';", " secret", "  ", "", "\\d"] {
            file.keep(&mut history, entry).unwrap();
        }
        let expected = ["SELECT 1;", "SELECT\n'\\n';", "\\d"];
        assert_eq!(entries(&history), expected);
        assert_eq!(loaded(&file), expected);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file.path), mode(file.path.parent().unwrap())), (0o600, 0o700));
    }

    #[test]
    fn two_commands_keep_what_either_asks() {
        let dir = tempfile::tempdir().unwrap();
        let file = HistoryFile::new(dir.path().join("history"));
        let (mut one, mut other) = (empty(), empty());
        file.keep(&mut one, "SELECT 1;").unwrap();
        file.keep(&mut other, "SELECT\n2;").unwrap();
        file.keep(&mut one, "SELECT 3;").unwrap();
        assert_eq!(loaded(&file), ["SELECT 1;", "SELECT\n2;", "SELECT 3;"]);
    }

    #[test]
    fn old_entries_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let file = HistoryFile::new(dir.path().join("history"));
        let mut many = FileHistory::with_config(
            &Config::builder().max_history_size(2 * ENTRIES_MAX).unwrap().build(),
        );
        for number in 0..=ENTRIES_MAX {
            many.add(&format!("SELECT {number};")).unwrap();
        }
        file.keep(&mut many, "\\d").unwrap();
        assert_eq!(fs::read_to_string(&file.path).unwrap().lines().count(), 1 + ENTRIES_MAX + 2);
        let mut history = empty();
        file.load(&mut history).unwrap();
        file.keep(&mut history, "\\x").unwrap();
        for kept in [entries(&history), loaded(&file)] {
            assert_eq!((kept.len(), kept[0].as_str()), (ENTRIES_MAX, "SELECT 3;"));
            assert_eq!(kept[ENTRIES_MAX - 2..], ["\\d", "\\x"]);
        }
        assert_eq!(fs::read_to_string(&file.path).unwrap().lines().count(), 1 + ENTRIES_MAX);
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_a_new_one_begun() {
        let dir = tempfile::tempdir().unwrap();
        let file = HistoryFile::new(dir.path().join("history"));
        let aside = dir.path().join("history.damaged");
        let damaged = b"#V2\nSELECT 1;\n\xff\xfe\nSELECT 2;\n";
        fs::write(&file.path, damaged).unwrap();
        let mut history = empty();
        let error = file.load(&mut history).unwrap_err();
        assert!(
            error.report().unwrap().ends_with(".damaged\": stream did not contain valid UTF-8")
        );
        assert_eq!(fs::read(&aside).unwrap(), damaged);
        file.keep(&mut history, "SELECT 3;").unwrap();
        assert_eq!(loaded(&file), ["SELECT 1;", "SELECT 3;"]);
    }

    #[test]
    fn what_is_no_file_or_too_large_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = HistoryFile::new(dir.path().join("history"));
        let large = fs::File::create(&file.path).unwrap();
        large.set_len(FILE_BYTES_MAX + 1).unwrap();
        file.load(&mut empty()).unwrap_err();
        assert!(!file.exists(), "it is set aside");
        assert_eq!(loaded(&file), [""; 0], "no file is no problem");
        fs::create_dir(&file.path).unwrap();
        file.load(&mut empty()).unwrap_err();
        assert!(file.exists(), "a file is in the way of setting it aside");
    }
}
