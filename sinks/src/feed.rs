//! Where rows go that are no alerts: many at a time, in their order.

use std::borrow::Cow;
use std::fmt;

/// A row on its way out: what it is found by, what it says, and what is said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedRecord {
    /// Rows of one key keep their order.
    pub key: Option<Box<[u8]>>,
    /// The row.
    pub value: Box<[u8]>,
    /// Names and texts, in this order.
    pub headers: Vec<(Cow<'static, str>, String)>,
}

/// A place that rows go to, before anything has been reached.
pub trait FeedTarget: Send + Sync + fmt::Debug {
    /// The place, ready for its first rows. Nothing is opened or reached before them.
    fn open(&self) -> Box<dyn FeedSink>;
}

/// A place that rows go to.
pub trait FeedSink: Send + fmt::Debug {
    /// Makes one attempt at delivering all of `records`, and blocks until it has an outcome.
    fn send(&mut self, records: &[FeedRecord]) -> FeedAttempt;

    /// Why an attempt would fail, as far as can be told without one; none where nothing is known. Blocks for
    /// seconds at most. Holds no secret.
    fn look(&mut self) -> Option<String>;
}

/// How an attempt at delivering rows ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedAttempt {
    /// The receiver has them, but for those at these places, which it wants neither now nor later. The text says why.
    Taken(Vec<(usize, String)>),
    /// Some may have arrived; all are to be sent again. The text says why, and holds no secret.
    Retry(String),
}
