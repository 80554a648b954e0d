//! Commands that are no SQL: `\d`, `\x` and the like.

use crate::cli::query::Format;

/// What `\?` tells.
pub(crate) const HELP: &str = r"A statement ends with ; and may have several lines.

  \d              tables            \d TABLE        columns of a table
  \x [on|off]     a line per column \timing [on|off]  how long statements take
  \format [NAME]  pretty, csv, json or jsonl
  \plot [COLUMN]...  the last result as lines over its column of times
  \pager [on|off] long results go through $PAGER, or less
  \?              this              \q              the end, as Ctrl-D

Tab completes keywords, tables and columns. Up and Down go through what was asked, Ctrl-R searches it.
Ctrl-C cancels the statement that runs.
";

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meta {
    /// All tables.
    Tables,
    /// The columns of a table, as it was named.
    Describe(String),
    /// Whether to tell how long statements take; turned where nothing is said.
    Timing(Option<bool>),
    /// Whether each column has a line.
    Expanded(Option<bool>),
    /// Whether long results are paged.
    Pager(Option<bool>),
    /// How results are written; told where nothing is said.
    Format(Option<Format>),
    /// The last result as lines, of these columns.
    Plot(Vec<String>),
    /// What commands there are.
    Help,
    /// The end.
    Quit,
}

impl Meta {
    /// Reads a command as it was typed, without its backslash.
    ///
    /// # Errors
    /// In words, what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim().trim_end_matches(';');
        let mut words = text.split_whitespace();
        let name = words.next().unwrap_or_default();
        let arguments: Vec<&str> = words.collect();
        let argument = arguments.first().copied();
        if arguments.len() > 1 && name != "plot" {
            return Err(format!("\\{name} takes one argument, not {}", arguments.len()));
        }
        Ok(match name {
            "d" | "dt" => match argument {
                None => Self::Tables,
                Some(table) => Self::Describe(table.to_owned()),
            },
            "timing" => Self::Timing(switch(name, argument)?),
            "x" => Self::Expanded(switch(name, argument)?),
            "pager" => Self::Pager(switch(name, argument)?),
            "format" => Self::Format(argument.map(format).transpose()?),
            "plot" => Self::Plot(arguments.iter().map(|word| (*word).to_owned()).collect()),
            "?" | "h" | "help" => Self::Help,
            "q" | "quit" => Self::Quit,
            _ => return Err(format!("\\{name} is not known; \\? tells what is")),
        })
    }
}

fn switch(name: &str, argument: Option<&str>) -> Result<Option<bool>, String> {
    match argument {
        None => Ok(None),
        Some("on") => Ok(Some(true)),
        Some("off") => Ok(Some(false)),
        Some(other) => Err(format!("\\{name} takes on or off, not {other:?}")),
    }
}

fn format(name: &str) -> Result<Format, String> {
    <Format as clap::ValueEnum>::from_str(name, false)
        .ok()
        .filter(|format| !format.is_binary())
        .ok_or_else(|| format!("\\format takes pretty, csv, json or jsonl, not {name:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_with_what_they_take() {
        for (text, expected) in [
            ("d", Meta::Tables),
            ("d \"http.requests\";", Meta::Describe("\"http.requests\"".to_owned())),
            ("timing", Meta::Timing(None)),
            ("x on", Meta::Expanded(Some(true))),
            ("pager off", Meta::Pager(Some(false))),
            ("format", Meta::Format(None)),
            ("format jsonl", Meta::Format(Some(Format::Jsonl))),
            ("plot", Meta::Plot(vec![])),
            ("plot value severity", Meta::Plot(vec!["value".to_owned(), "severity".to_owned()])),
            ("?", Meta::Help),
            ("q", Meta::Quit),
        ] {
            assert_eq!(Meta::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_command_is_told_in_words() {
        for (text, part) in [
            ("", "is not known"),
            ("drop", "\\drop is not known; \\? tells"),
            ("x maybe", "on or off"),
            ("format xml", "\"xml\""),
            ("format parquet", "pretty, csv, json or jsonl"),
            ("d a b", "one argument"),
        ] {
            assert!(Meta::parse(text).unwrap_err().contains(part), "{text}");
        }
    }
}
