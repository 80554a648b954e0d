//! The file, and what environment and flags lay over it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use toml::{Table, Value};

use crate::config::problem::Problem;

/// Bytes of a configuration file.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// How variables of the environment that are keys begin.
const PREFIX: &str = "TIDEWATCH__";
/// Sections that have several entries, which only a file can tell apart.
const LISTS: [&str; 4] = ["percentiles", "rule", "sink", "source"];
/// Sections within others.
const NESTED: [[&str; 2]; 1] = [["http", "tls"]];

/// All layers in one table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layers {
    /// The table.
    pub(crate) table: Table,
    /// Keys that a variable or a flag set, and which one.
    pub(crate) origins: BTreeMap<String, String>,
    /// What is wrong already.
    pub(crate) problems: Vec<Problem>,
}

impl Layers {
    /// Reads the file, if one is given, and lays `env` and then `sets` over it.
    pub(crate) fn read(
        file: Option<&Path>,
        env: &BTreeMap<String, String>,
        sets: &[String],
    ) -> Self {
        let mut layers = Self::default();
        if let Some(path) = file {
            match read_table(path) {
                Ok(table) => layers.table = table,
                Err(message) => layers.problem(path.display().to_string(), message),
            }
        }
        for (variable, text) in env {
            if let Some(name) = variable.strip_prefix(PREFIX) {
                let key = name.to_ascii_lowercase().replace("__", ".");
                layers.lay(&key, text, variable);
            }
        }
        for set in sets {
            match set.split_once('=') {
                Some((key, text)) => layers.lay(key.trim(), text.trim(), "--set"),
                None => layers.problem(
                    format!("--set {set}"),
                    "must be section.key=value, such as alerts.max_age=2h".to_owned(),
                ),
            }
        }
        layers
    }

    fn lay(&mut self, key: &str, text: &str, origin: &str) {
        let parts: Vec<&str> = key.split('.').collect();
        let (section, inner, name) = match parts.as_slice() {
            [section, name] => (section, None, name),
            [section, inner, name] if NESTED.contains(&[*section, *inner]) => {
                (section, Some(*inner), name)
            }
            _ => {
                let message = format!("is not section.key (set by {origin})");
                return self.problem(key.to_owned(), message);
            }
        };
        if LISTS.contains(section) {
            let message = format!("can only be given in the file (set by {origin})");
            return self.problem(key.to_owned(), message);
        }
        let fresh = || Value::Table(Table::new());
        let outer = self.table.entry(*section).or_insert_with(fresh);
        let table = match (inner, outer) {
            (Some(inner), Value::Table(outer)) => outer.entry(inner).or_insert_with(fresh),
            (_, outer) => outer,
        };
        // A section that is no table is told when it is read.
        if let Value::Table(table) = table {
            table.insert((*name).to_owned(), value(text));
            self.origins.insert(key.to_owned(), origin.to_owned());
        }
    }

    fn problem(&mut self, key: String, message: String) {
        self.problems.push(Problem { key, message });
    }
}

/// `text` as TOML if it is a number, a truth value or a quoted text; else as it stands.
fn value(text: &str) -> Value {
    let parsed = format!("value = {text}").parse::<Table>().ok();
    let parsed =
        parsed.filter(|table| table.len() == 1).and_then(|mut table| table.remove("value"));
    match parsed {
        Some(
            value @ (Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::String(_)),
        ) => value,
        _ => Value::String(text.to_owned()),
    }
}

/// The table in a file, or what to say about it.
fn read_table(path: &Path) -> Result<Table, String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    file.take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(format!("is longer than {FILE_BYTES_MAX} bytes"));
    }
    text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map_or(1, |before| before.matches('\n').count() + 1);
        format!("is not TOML in line {line}: {}", error.message().replace('\n', "; "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_number_is_one_and_everything_else_is_text() {
        assert_eq!(value("5"), Value::Integer(5));
        assert_eq!(value("\"5\""), Value::String("5".to_owned()));
        assert_eq!(value("true"), Value::Boolean(true));
        for text in ["1h", "64MiB", "", "a = 1", "1\nb = 2", "[1]", "{ a = 1 }", "2024-01-01"] {
            assert_eq!(value(text), Value::String(text.to_owned()), "{text}");
        }
    }
}
