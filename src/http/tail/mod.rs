//! Samples as they become durable: `GET /api/v1/tail`.
//!
//! `handler` reads what is asked, lets a bounded number in and looks for fresh rows some times a
//! second; `follower` takes them from the engine's heads and writes those that are meant as lines.

mod filter;
mod follower;
mod handler;

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

pub(crate) use self::handler::tail;
use crate::http::instruments::TailInstruments;

/// Clients that may follow at a time.
pub(crate) const TAILS_MAX: usize = 16;

/// What all tails share.
#[derive(Clone, Debug)]
pub(crate) struct Tails {
    /// Places for clients.
    room: Arc<Semaphore>,
    /// Turns when the server is told to stop.
    stopping: watch::Receiver<bool>,
    /// What is counted.
    pub(crate) instruments: TailInstruments,
}

impl Tails {
    /// Tails that end when `stopping` turns.
    pub(crate) fn new(stopping: watch::Receiver<bool>) -> Self {
        let room = Arc::new(Semaphore::new(TAILS_MAX));
        Self { room, stopping, instruments: TailInstruments::default() }
    }
}
