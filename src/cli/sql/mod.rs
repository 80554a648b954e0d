//! `tidewatch sql`: one statement after the other.
//!
//! `shell` conducts: text is cut into statements and commands (`split`, `meta`), `backend` answers,
//! `grid` and `plot` show. In a terminal, `editor` reads the text, `schema` completes it and `history`
//! keeps it.

mod backend;
mod command;
mod editor;
mod grid;
mod history;
mod interrupts;
mod meta;
mod pager;
mod place;
mod plot;
mod schema;
mod shell;
mod split;
mod words;

pub(crate) use self::command::{SqlArgs, run};
pub(crate) use self::plot::{Curve, draw};
