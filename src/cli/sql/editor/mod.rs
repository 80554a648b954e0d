//! The line that is typed: its text and cursor (`buffer`), what was typed before (`history`), what a
//! key does to both (`line`), how they look (`screen`), and the terminal (`terminal`).

mod buffer;
mod history;
mod line;
#[cfg(test)]
#[path = "line_tests.rs"]
mod line_tests;
mod screen;
mod terminal;

pub(crate) use self::history::History;
pub(crate) use self::line::{Assist, Completion};
pub(crate) use self::terminal::{Editor, Typed, size};

/// Bytes that can be typed: what the server takes as a statement.
pub(crate) const TEXT_BYTES_MAX: usize = 64 * 1_024;
