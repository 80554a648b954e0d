//! Reads keys out of a table: each is taken, checked and remembered, and what is left over is unknown.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::{Table, Value};

use crate::config::hint::nearest;
use crate::config::problem::Problem;
use crate::config::units::{parse_bytes, parse_duration, show_duration};

/// A key that was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownKey {
    /// The key, such as `wal.idle_mark_ms` or `rule.when`.
    pub(crate) key: String,
    /// Its default as users write it; empty for none.
    pub(crate) default: String,
    /// What it must be.
    pub(crate) limits: String,
}

/// What reading came upon.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Problems, but for unknown keys.
    pub(crate) problems: Vec<Problem>,
    /// All keys that were looked for.
    pub(crate) known: Vec<KnownKey>,
    /// Keys that nobody looked for.
    unknown: Vec<String>,
    /// Keys that did not come from the file.
    origins: BTreeMap<String, String>,
}

impl Findings {
    /// Nothing yet, but where keys come from.
    pub(crate) fn new(origins: BTreeMap<String, String>) -> Self {
        Self { origins, ..Self::default() }
    }

    /// Notes a problem with `key`.
    pub(crate) fn problem(&mut self, key: &str, message: impl Into<String>) {
        let mut message = message.into();
        if let Some(origin) = self.origins.get(key) {
            message.push_str(&format!(" (set by {origin})"));
        }
        self.problems.push(Problem { key: key.to_owned(), message });
    }

    /// All problems, now that every known key is known.
    pub(crate) fn into_problems(mut self) -> Vec<Problem> {
        let known: Vec<String> = self.known.iter().map(|known| known.key.clone()).collect();
        for key in std::mem::take(&mut self.unknown) {
            let message = match nearest(&key, &known) {
                Some(meant) => format!("is not a key; did you mean {meant}?"),
                None => "is not a key; docs/configuration.md lists them".to_owned(),
            };
            self.problem(&key, message);
        }
        self.problems
    }
}

/// A table whose keys are being read.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    /// What stands before the keys in problems, such as `wal` or `rule."slow"`.
    label: String,
    /// What stands before the keys in documents, such as `wal` or `rule`.
    name: &'static str,
    table: Table,
    findings: &'a mut Findings,
}

impl<'a> Section<'a> {
    /// The section `name` of `root`, empty if it is not there.
    pub(crate) fn of(root: &mut Table, name: &'static str, findings: &'a mut Findings) -> Self {
        let table = match root.remove(name) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(other) => {
                let message = format!("is {}, but must be a section: [{name}]", shown(&other));
                findings.problem(name, message);
                Table::new()
            }
        };
        Self { label: name.to_owned(), name, table, findings }
    }

    /// An entry of a list, which problems call by `label`.
    pub(crate) fn entry(
        label: String,
        name: &'static str,
        table: Table,
        findings: &'a mut Findings,
    ) -> Self {
        Self { label, name, table, findings }
    }

    /// The section `key` within this one, empty if it is not there; `name` is what it is called.
    pub(crate) fn subsection(&mut self, key: &str, name: &'static str) -> Section<'_> {
        let table = match self.table.remove(key) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(other) => {
                let message = format!("is {}, but must be a section: [{name}]", shown(&other));
                self.problem(key, message);
                Table::new()
            }
        };
        let label = format!("{}.{key}", self.label);
        Section { label, name, table, findings: &mut *self.findings }
    }

    /// Whether `key` is there and was not read yet.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A whole number between the bounds, ends included; `0` only if `zero` says what it means.
    pub(crate) fn number(&mut self, key: &str, slot: &mut u64, bounds: &Bounds) {
        self.know(key, slot.to_string(), bounds.to_string());
        self.size(key, slot, bounds, &Form { parse: |_| None, name: "a whole number" });
    }

    /// A number of bytes between the bounds, alone or with its unit.
    pub(crate) fn bytes(&mut self, key: &str, slot: &mut u64, bounds: &Bounds) {
        self.know(key, slot.to_string(), bounds.to_string());
        let name = "a number of bytes such as 268435456 or \"256MiB\"";
        self.size(key, slot, bounds, &Form { parse: parse_bytes, name });
    }

    fn size(&mut self, key: &str, slot: &mut u64, bounds: &Bounds, form: &Form) {
        let Some(value) = self.table.remove(key) else { return };
        let number = match &value {
            Value::Integer(number) => Some(u64::try_from(*number).unwrap_or(0)),
            Value::String(text) => (form.parse)(text),
            _ => None,
        };
        let negative = matches!(value, Value::Integer(number) if number < 0);
        match number {
            None => self.problem(key, format!("is {}, but must be {}", shown(&value), form.name)),
            Some(number) if !negative && bounds.contains(number) => *slot = number,
            Some(_) => self.problem(key, format!("is {}, but must be {bounds}", shown(&value))),
        }
    }

    /// A time between the bounds, ends included.
    pub(crate) fn duration(
        &mut self,
        key: &str,
        slot: &mut Duration,
        bounds: &RangeInclusive<Duration>,
    ) {
        let (start, end) = (show_duration(*bounds.start()), show_duration(*bounds.end()));
        let limits = format!("between {start} and {end}");
        self.know(key, show_duration(*slot), limits.clone());
        let Some(value) = self.table.remove(key) else { return };
        match value.as_str().and_then(parse_duration) {
            Some(time) if bounds.contains(&time) => *slot = time,
            Some(_) => self.problem(key, format!("is {}, but must be {limits}", shown(&value))),
            None => {
                let form = "a time with its unit such as \"90s\" or \"1h30m\"";
                self.problem(key, format!("is {}, but must be {form}", shown(&value)));
            }
        }
    }

    /// Yes or no.
    pub(crate) fn flag(&mut self, key: &str, slot: &mut bool) {
        let limits = "true or false";
        self.know(key, slot.to_string(), limits.to_owned());
        let Some(value) = self.table.remove(key) else { return };
        let flag = match &value {
            Value::Boolean(flag) => Some(*flag),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        match flag {
            Some(flag) => *slot = flag,
            None => self.problem(key, format!("is {}, but must be {limits}", shown(&value))),
        }
    }

    /// A number between the bounds, ends included.
    pub(crate) fn fraction(&mut self, key: &str, slot: &mut f64, bounds: RangeInclusive<f64>) {
        let limits = format!("between {} and {}", bounds.start(), bounds.end());
        self.know(key, slot.to_string(), limits.clone());
        let Some(value) = self.table.remove(key) else { return };
        let number = match &value {
            Value::Float(number) => Some(*number),
            Value::Integer(number) => i32::try_from(*number).ok().map(f64::from),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        match number {
            Some(number) if bounds.contains(&number) => *slot = number,
            _ => self.problem(key, format!("is {}, but must be {limits}", shown(&value))),
        }
    }

    /// A finite number of at least 0.
    pub(crate) fn distance(&mut self, key: &str, slot: &mut f64) {
        let limits = "a number of at least 0";
        self.know(key, slot.to_string(), limits.to_owned());
        let Some(value) = self.table.remove(key) else { return };
        let number = match &value {
            Value::Float(number) => Some(*number),
            Value::Integer(number) => number.to_string().parse().ok(),
            _ => None,
        };
        match number.filter(|number| *number >= 0.0 && number.is_finite()) {
            Some(number) => *slot = number,
            None => self.problem(key, format!("is {}, but must be {limits}", shown(&value))),
        }
    }

    /// A number above 0, at most `max`, that may be there.
    pub(crate) fn positive(&mut self, key: &str, max: f64) -> Option<f64> {
        let limits = format!("a number above 0, at most {max}");
        self.know(key, String::new(), limits.clone());
        let value = self.table.remove(key)?;
        let number = match &value {
            Value::Float(number) => Some(*number),
            Value::Integer(number) => i32::try_from(*number).ok().map(f64::from),
            _ => None,
        };
        let number = number.filter(|number| *number > 0.0 && *number <= max);
        if number.is_none() {
            self.problem(key, format!("is {}, but must be {limits}", shown(&value)));
        }
        number
    }

    /// A text that `parse` understands; `limits` says what that is.
    pub(crate) fn parsed<T>(
        &mut self,
        key: &str,
        default: &str,
        limits: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.know(key, default.to_owned(), limits.to_owned());
        let value = self.table.remove(key)?;
        let parsed = value.as_str().and_then(parse);
        if parsed.is_none() {
            self.problem(key, format!("is {}, but must be {limits}", shown(&value)));
        }
        parsed
    }

    /// A text that must be there and is not shown in problems: it may hold a secret.
    pub(crate) fn required_secret(&mut self, key: &str, limits: &str) -> Option<String> {
        self.know(key, String::new(), limits.to_owned());
        match self.table.remove(key) {
            Some(Value::String(text)) => return Some(text),
            Some(_) => self.problem(key, format!("must be {limits}")),
            None => self.problem(key, "is missing"),
        }
        None
    }

    /// A text that may be there and is not shown in problems.
    pub(crate) fn secret(&mut self, key: &str, limits: &str) -> Option<String> {
        if self.table.contains_key(key) {
            return self.required_secret(key, limits);
        }
        self.know(key, String::new(), limits.to_owned());
        None
    }

    /// A text that must be there.
    pub(crate) fn required(&mut self, key: &str, limits: &str) -> Option<String> {
        if self.table.contains_key(key) {
            return self.parsed(key, "", limits, |text| Some(text.to_owned()));
        }
        self.know(key, String::new(), limits.to_owned());
        self.problem(key, "is missing");
        None
    }

    /// A table of texts, in the order of its keys.
    pub(crate) fn texts(&mut self, key: &str, limits: &str) -> Vec<(String, String)> {
        self.know(key, "{}".to_owned(), limits.to_owned());
        let table = match self.table.remove(key) {
            None => return Vec::new(),
            Some(Value::Table(table)) => table,
            Some(other) => {
                self.problem(key, format!("is {}, but must be {limits}", shown(&other)));
                return Vec::new();
            }
        };
        let mut texts = Vec::with_capacity(table.len());
        for (name, value) in table {
            match value {
                Value::String(text) => texts.push((name, text)),
                other => {
                    let message = format!("is {}, but must be a text in quotes", shown(&other));
                    self.problem(&format!("{key}.{name}"), message);
                }
            }
        }
        texts
    }

    /// A text, or a table of texts in the order of its keys.
    pub(crate) fn text_or_texts(&mut self, key: &str, limits: &str) -> Option<TextOrTexts> {
        match self.table.get(key) {
            Some(Value::Table(_)) => Some(TextOrTexts::Texts(self.texts(key, limits))),
            _ => self.parsed(key, "", limits, |text| Some(text.to_owned())).map(TextOrTexts::Text),
        }
    }

    /// A table of texts, or a list of texts each of which is its own name.
    pub(crate) fn texts_or_list(&mut self, key: &str, limits: &str) -> Vec<(String, String)> {
        if matches!(self.table.get(key), Some(Value::Table(_))) {
            return self.texts(key, limits);
        }
        let texts = self.list(key, limits, |value| value.as_str().map(str::to_owned));
        texts.into_iter().map(|text| (text.clone(), text)).collect()
    }

    /// A list whose entries `read` understands; `limits` says what they are.
    pub(crate) fn list<T>(
        &mut self,
        key: &str,
        limits: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Vec<T> {
        self.know(key, "[]".to_owned(), limits.to_owned());
        let Some(value) = self.table.remove(key) else { return Vec::new() };
        let entries = value.as_array().map(|entries| entries.iter().map(&read).collect());
        let read: Option<Option<Vec<T>>> = entries;
        if read.as_ref().is_none_or(Option::is_none) {
            self.problem(key, format!("is {}, but must be {limits}", shown(&value)));
        }
        read.flatten().unwrap_or_default()
    }

    /// Problems noted so far, in all sections.
    pub(crate) fn problem_count(&self) -> usize {
        self.findings.problems.len() + self.findings.unknown.len()
    }

    /// Notes a problem with a key of this section.
    pub(crate) fn problem(&mut self, key: &str, message: impl Into<String>) {
        self.findings.problem(&format!("{}.{key}", self.label), message);
    }

    /// What is left over is unknown.
    pub(crate) fn finish(self) {
        let unknown = self.table.keys().map(|key| format!("{}.{key}", self.label));
        self.findings.unknown.extend(unknown);
    }

    fn know(&mut self, key: &str, default: String, limits: String) {
        let key = format!("{}.{key}", self.name);
        if !self.findings.known.iter().any(|known| known.key == key) {
            self.findings.known.push(KnownKey { key, default, limits });
        }
    }
}

/// What may be one text or several with names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TextOrTexts {
    /// One.
    Text(String),
    /// Several, each behind its name.
    Texts(Vec<(String, String)>),
}

/// How a number may be written as a text.
struct Form {
    parse: fn(&str) -> Option<u64>,
    name: &'static str,
}

/// The entries of the list `name`: `[[name]]`.
pub(crate) fn entries(
    root: &mut Table,
    name: &str,
    key: &str,
    findings: &mut Findings,
) -> Vec<Table> {
    let Some(value) = root.remove(name) else { return Vec::new() };
    let mut tables = Vec::new();
    let tables_only = match value {
        Value::Array(entries) => entries.into_iter().all(|entry| match entry {
            Value::Table(table) => {
                tables.push(table);
                true
            }
            _ => false,
        }),
        _ => false,
    };
    if !tables_only {
        findings.problem(key, format!("must be a list of sections: [[{key}]]"));
    }
    tables
}

/// Sections and lists that nobody read.
pub(crate) fn finish(root: &Table, prefix: &str, findings: &mut Findings) {
    for (name, value) in root {
        match value {
            // Its keys are what a hint can be given for.
            Value::Table(table) if !table.is_empty() => {
                finish(table, &format!("{prefix}{name}."), findings);
            }
            _ => findings.unknown.push(format!("{prefix}{name}")),
        }
    }
}

/// Between which ends a number must lie, and what 0 means beside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The least number.
    pub(crate) min: u64,
    /// The greatest number.
    pub(crate) max: u64,
    /// What 0 means, if it is allowed although it is below `min`.
    pub(crate) zero: Option<&'static str>,
}

impl Bounds {
    fn contains(&self, number: u64) -> bool {
        (self.min..=self.max).contains(&number) || (number == 0 && self.zero.is_some())
    }
}

impl Display for Bounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "between {} and {}", self.min, self.max)?;
        match self.zero {
            Some(meaning) => write!(f, ", or 0 for {meaning}"),
            None => Ok(()),
        }
    }
}

/// A value in a problem: short, and in one line.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::Table(_) => return "a section".to_owned(),
        Value::Array(_) => return "a list".to_owned(),
        other => other.to_string(),
    };
    let short: String = text.chars().take(80).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
}
