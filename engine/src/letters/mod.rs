//! Dead letters: messages of which something was refused are kept whole, until somebody mends and replays them, or
//! drops them.
//!
//! Letters are in the log record of their messages' offsets, so whoever finds the offsets after a crash finds the
//! letters: each is there once. What is done with one is a mark in the record of its samples. From the log both go
//! into files, as the samples go into segments; until then they are in memory, and a start takes them from the log.

mod claim;
mod fields;
mod kept;
mod replay;

pub use self::claim::LetterClaim;
pub(crate) use self::claim::LetterRefusal;
pub(crate) use self::fields::{put_letters, put_marks, take_letters, take_marks};
pub use self::kept::Letters;
pub(crate) use self::kept::{KeptLetters, Unfiled};
pub use self::replay::{LetterFate, LetterReading, LettersTold};

#[cfg(test)]
pub(crate) mod restart_tests;
