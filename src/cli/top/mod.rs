//! `tidewatch top`: what happens now, as a view that renews itself.
//!
//! A thread asks the server ([`asker`]); what it answers twice makes a snapshot with rates ([`snapshot`]), and a
//! snapshot makes a frame ([`view`]), on a terminal ([`screen`]) or as text.

mod asker;
mod command;
mod instruments;
mod parts;
mod screen;
mod snapshot;
mod units;
mod view;

pub(crate) use command::{TopArgs, run};
