//! The thread of a feed: sends what is durable, again until it is acknowledged, and notes how far.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::channel::Sender;
use tidewatch_env::Clock;
use tidewatch_metrics::SeriesCatalog;
use tidewatch_sinks::{FeedAttempt, FeedRecord, FeedSink};
use tracing::{info, warn};

use crate::SinkTrouble;
use crate::committer::{Append, CommitterMessage};
use crate::feeds::body;
use crate::feeds::feed::Feed;
use crate::feeds::row::FeedRow;
use crate::progress::Progress;
use crate::record::KIND_FEED;

/// Between two looks for rows.
const LOOK: Duration = Duration::from_millis(100);
/// Between two notes in the log, and between two questions to the brokers while nothing is to be sent.
const NOTE_EVERY: Duration = Duration::from_secs(1);
const ASK_EVERY: Duration = Duration::from_secs(10);
/// The first and the longest wait after an attempt that failed.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// What a feed's thread works with.
#[derive(Clone, Debug)]
pub(crate) struct FeedCourier {
    pub(crate) feed: Arc<Feed>,
    pub(crate) catalog: Arc<SeriesCatalog>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) queue: Sender<CommitterMessage>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Whether the log is replayed.
    pub(crate) recovered: Arc<AtomicBool>,
    pub(crate) stop: Arc<AtomicBool>,
}

impl FeedCourier {
    /// The thread's name.
    pub(crate) fn name(&self) -> String {
        format!("feed {}", self.feed.config().name)
    }

    /// Why nothing is delivered, if that is so.
    pub(crate) fn trouble(&self) -> Option<SinkTrouble> {
        let text = self.feed.trouble()?;
        Some(SinkTrouble { sink: self.feed.config().name.clone(), text })
    }

    /// Works until the engine stops.
    pub(crate) fn run(&self) {
        let mut sink = self.feed.config().target.open();
        let mut retry = RETRY_MIN;
        let (mut noted, mut asked) = (self.clock.monotonic(), None);
        while !self.stop.load(Ordering::Acquire) {
            let now = self.clock.monotonic();
            if now.saturating_sub(noted) >= NOTE_EVERY {
                noted = now;
                self.note();
            }
            match self.step(&mut *sink) {
                Step::Idle => {
                    if asked.is_none_or(|asked| now.saturating_sub(asked) >= ASK_EVERY) {
                        asked = Some(now);
                        self.tell(sink.look());
                    }
                    self.feed.wait(LOOK);
                }
                Step::Early => std::thread::park_timeout(LOOK),
                Step::Sent => retry = RETRY_MIN,
                Step::Failed => {
                    // An end of the engine wakes it.
                    std::thread::park_timeout(retry);
                    retry = (2 * retry).min(RETRY_MAX);
                }
            }
        }
    }

    /// Sends what comes next, if anything is durable.
    pub(crate) fn step(&self, sink: &mut dyn FeedSink) -> Step {
        if !self.recovered.load(Ordering::Acquire) {
            return Step::Early;
        }
        let Some(next) = self.feed.next() else { return Step::Idle };
        if !self.progress.wait_visible(next, LOOK) {
            return Step::Early;
        }
        // ORDER: what all shards have applied, so that none comes later with an earlier row.
        let fence = self.progress.durable().min(self.progress.applied());
        let rows = self.feed.take(fence);
        let records: Vec<_> = rows.iter().map(|(_, row)| self.record(row)).collect();
        match sink.send(&records) {
            FeedAttempt::Taken(refused) => {
                if let Some((_, why)) = refused.first() {
                    let (sink, rows) = (&self.feed.config().name, refused.len());
                    warn!(sink, rows, why, "the topic does not take rows; tables have them");
                }
                self.feed.acknowledged(refused.len());
                Step::Sent
            }
            FeedAttempt::Retry(why) => {
                self.feed.instruments().retries.inc();
                self.tell(Some(why));
                Step::Failed
            }
        }
    }

    fn record(&self, row: &FeedRow) -> FeedRecord {
        match row {
            FeedRow::Told(record) => FeedRecord::clone(record),
            FeedRow::Scored(row) => {
                let entry = self.catalog.get(row.series).expect("applied rows are registered");
                body::of_scored(&entry.key(), row)
            }
        }
    }

    fn tell(&self, trouble: Option<String>) {
        let told = trouble.clone().unwrap_or_default();
        if self.feed.tell(trouble) {
            warn!(sink = self.feed.config().name, error = told, "rows are not delivered");
        }
    }

    /// Tells the log how far the feed is acknowledged.
    pub(crate) fn note(&self) {
        let Some(record) = self.feed.due() else { return };
        let (feed, payload, upto) = (Arc::clone(&self.feed), record.encode(), record.upto);
        let done = Box::new(move |ack: Result<crate::Ack, crate::EngineError>| {
            // Without room it is told the next time.
            if ack.is_ok() {
                feed.noted(upto);
            }
        });
        let note = Append::note(KIND_FEED, payload, done);
        if self.queue.send(CommitterMessage::Append(note)).is_err() {
            info!(
                sink = self.feed.config().name,
                "the engine stops; the next start sends the last rows again"
            );
        }
    }
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing waits.
    Idle,
    /// What waits is not durable yet.
    Early,
    /// Rows are acknowledged.
    Sent,
    /// Nothing is known of what was sent.
    Failed,
}
