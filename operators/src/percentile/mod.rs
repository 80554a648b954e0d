//! Streaming percentiles: counts of each shard's rows, windows over all shards, and when they close.
//!
//! A shard counts its rows with a `Tally`. At every tick of the log all shards hand in what they counted, and the
//! [`WindowSet`] adds it up. Sums of counts have the same bits in any order, so neither the number of shards nor
//! how rows were cut into batches shows in a window.

mod closed;
mod group;
mod group_key;
mod group_watch;
mod group_watches;
mod rule;
mod site;
mod tally;
#[cfg(test)]
mod testing;
mod text;
mod window_set;
mod window_state;

pub use closed::{ClosedWindow, Outcome};
pub use rule::PercentilesRule;
pub use tally::Counts;
pub use window_set::WindowSet;
pub use window_state::WINDOWS_FORMAT;

pub(crate) use group_key::GroupKey;
pub(crate) use tally::{Tally, tally_bytes};
pub(crate) use text::{FIRST, parse};
