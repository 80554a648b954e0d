//! What was typed before, kept in a file that only its owner reads.
//!
//! A line per entry, the oldest first; line breaks within one are `\n`, a backslash is `\\`.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Entries that are kept.
const ENTRIES_MAX: usize = 1_000;
/// Bytes of the file that are read; a longer file is begun anew with the entries kept.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What was typed before, the oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    entries: Vec<String>,
    file: Option<PathBuf>,
}

impl History {
    /// That of a file, which need not be there yet; nothing where it cannot be read.
    pub(crate) fn open(file: &Path) -> Self {
        let mut text = Vec::new();
        let read =
            fs::File::open(file).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut text));
        let mut history = Self { entries: Vec::new(), file: Some(file.to_owned()) };
        if read.is_ok() {
            let text = String::from_utf8_lossy(&text);
            let entries = text.lines().filter(|line| !line.is_empty()).map(unescape);
            history.entries = entries.collect();
            if history.entries.len() > 2 * ENTRIES_MAX {
                history.forget();
                // What cannot be written is kept while the command runs.
                history.rewrite().ok();
            }
        }
        history.forget();
        history
    }

    /// The file of statements, in the directory that XDG names for such things.
    pub(crate) fn default_file() -> Option<PathBuf> {
        let absolute = |name: &str| {
            std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
        };
        let state =
            absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
        Some(state?.join("tidewatch").join("sql_history"))
    }

    /// The entries.
    pub(crate) fn entries(&self) -> &[String] {
        &self.entries
    }

    /// Adds an entry, unless it is that of before or begins with a blank: such are not for others.
    ///
    /// # Errors
    /// If the file cannot be written; the entry is there all the same.
    pub(crate) fn add(&mut self, entry: &str) -> io::Result<()> {
        let is_kept = !entry.trim().is_empty() && !entry.starts_with(' ');
        if !is_kept || self.entries.last().is_some_and(|last| last == entry) {
            return Ok(());
        }
        self.entries.push(entry.to_owned());
        self.forget();
        let Some(file) = &self.file else { return Ok(()) };
        let mut file = open_private(file, fs::OpenOptions::new().append(true))?;
        file.write_all(format!("{}\n", escape(entry)).as_bytes())
    }

    fn forget(&mut self) {
        let surplus = self.entries.len().saturating_sub(ENTRIES_MAX);
        self.entries.drain(..surplus);
    }

    fn rewrite(&self) -> io::Result<()> {
        let Some(path) = &self.file else { return Ok(()) };
        let text: String =
            self.entries.iter().map(|entry| format!("{}\n", escape(entry))).collect();
        // By a rename, so that a command beside this one reads all of it or the earlier one.
        let fresh = path.with_extension("new");
        let mut file = open_private(&fresh, fs::OpenOptions::new().write(true).truncate(true))?;
        file.write_all(text.as_bytes())?;
        fs::rename(fresh, path)
    }
}

/// Opens a file that only its owner reads, in a directory of the same kind.
fn open_private(path: &Path, options: &mut fs::OpenOptions) -> io::Result<fs::File> {
    if let Some(dir) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    options.create(true).mode(0o600).open(path)
}

fn escape(entry: &str) -> String {
    entry.replace('\\', "\\\\").replace('\r', " ").replace('\n', "\\n")
}

fn unescape(line: &str) -> String {
    let mut entry = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => entry.push('\n'),
                Some(other) => entry.push(other),
                None => {}
            },
            (c, false) => entry.push(c),
        }
    }
    entry
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn entries_are_found_again_and_are_for_the_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state").join("history");
        let mut history = History::open(&file);
        for entry in ["SELECT 1;", "SELECT 1;", "SELECT\n'\\n';", " secret", "  ", "\\d"] {
            history.add(entry).unwrap();
        }
        let expected = ["SELECT 1;", "SELECT\n'\\n';", "\\d"];
        assert_eq!(history.entries(), expected);
        assert_eq!(History::open(&file).entries(), expected);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    }

    #[test]
    fn old_entries_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("history");
        let text: String =
            (0..=2 * ENTRIES_MAX).map(|number| format!("SELECT {number};\n")).collect();
        fs::write(&file, text).unwrap();
        let history = History::open(&file);
        assert_eq!(history.entries().len(), ENTRIES_MAX);
        assert_eq!(history.entries().last().unwrap(), &format!("SELECT {};", 2 * ENTRIES_MAX));
        assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), ENTRIES_MAX);
    }
}
