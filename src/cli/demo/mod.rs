//! `tidewatch demo`: the product at work within a minute, for somebody who has never seen it.
//!
//! The real server runs in this process and is spoken to as any client would: samples go in over
//! HTTP, alerts come out of a file sink, answers come from SQL. [`Script`](script::Script) fixes
//! beforehand what goes wrong when; [`Judge`](judge::Judge) holds the alerts against it.

mod command;
mod feed;
mod judge;
mod machine;
mod player;
mod script;
mod server;
mod stage;
mod story;
mod tour;

pub(crate) use command::{DemoArgs, run};
