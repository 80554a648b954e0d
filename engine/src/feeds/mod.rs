//! Feeds: copies of what tables have, row by row, for topics. Severities above a level, windows of percentiles, dead letters.
//!
//! Rows wait in memory, up to a limit, until a topic has acknowledged them; a checkpoint has those that still wait, and the
//! ones behind it come again with replay. How far a feed was acknowledged is noted in the log once a second. So every
//! row is delivered at least once, and in the order of the log, unless its topic was away for longer than the limit lasts: then the oldest
//! rows are left out and counted. Tables have all of them in any case.

mod body;
mod config;
mod courier;
mod entry;
mod feed;
mod instruments;
mod row;

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewatch_metrics::{Lsn, SampleBatch, SeriesCatalog, Severity, Slot};
use tidewatch_operators::{ClosedWindow, Emitted};
use tidewatch_segments::LetterRow;

pub use self::config::{FeedConfig, FeedContent};
pub(crate) use self::courier::FeedCourier;
pub(crate) use self::entry::FeedEntry;
pub use self::entry::FeedNote;
pub(crate) use self::feed::Feed;
pub(crate) use self::instruments::FeedInstruments;
use self::row::{FeedRow, ScoredRow};

/// All feeds.
#[derive(Debug, Default)]
pub struct Feeds {
    feeds: Vec<Arc<Feed>>,
    /// The least severity that any of them wants; none where none wants severities.
    severity_min: Option<Severity>,
}

impl Feeds {
    /// The configured feeds, for what `shards` shards put out.
    pub(crate) fn new(
        configs: &[FeedConfig],
        shards: usize,
        instruments: &FeedInstruments,
    ) -> Self {
        let open = |config: &FeedConfig| Arc::new(Feed::new(config.clone(), shards, instruments));
        let severities = configs.iter().filter_map(|config| config.content.severity_min());
        Self { feeds: configs.iter().map(open).collect(), severity_min: severities.min() }
    }

    /// Each of them.
    pub(crate) fn each(&self) -> &[Arc<Feed>] {
        &self.feeds
    }

    /// A shard: the rows of the record `lsn` as they were scored.
    pub(crate) fn push_scored(
        &self,
        shard: usize,
        lsn: Lsn,
        batch: &SampleBatch,
        emitted: &Emitted,
    ) {
        let Some(min) = self.severity_min else { return };
        // Most batches have none.
        if emitted.severities.iter().all(|severity| *severity < min) {
            return;
        }
        let keys = batch.series().iter().zip(batch.times()).zip(batch.values());
        let scores = emitted.severities.iter().zip(&emitted.flags);
        let mut rows = Vec::new();
        for (((series, time), value), (severity, flags)) in keys.zip(scores) {
            if *severity >= min {
                let (series, time, value) = (*series, *time, *value);
                rows.push(ScoredRow { series, time, value, severity: *severity, flags: *flags });
            }
        }
        for feed in &self.feeds {
            if let Some(min) = feed.content().severity_min() {
                let wanted = rows.iter().filter(|row| row.severity >= min);
                feed.push(shard, lsn, wanted.map(|row| FeedRow::Scored(*row)));
            }
        }
    }

    /// Windows that have closed at the record `lsn`.
    pub(crate) fn push_windows(&self, lsn: Lsn, windows: &[ClosedWindow]) {
        for feed in self.of(&FeedContent::Percentiles).filter(|_| !windows.is_empty()) {
            let row = |window: &ClosedWindow| FeedRow::Told(Arc::new(body::of_window(window)));
            feed.push(0, lsn, windows.iter().map(row));
        }
    }

    /// All letters of the record `lsn`, which is durable.
    pub(crate) fn push_letters(&self, lsn: Lsn, letters: &[Arc<LetterRow>]) {
        for feed in self.of(&FeedContent::DeadLetters).filter(|_| !letters.is_empty()) {
            let row = |letter: &Arc<LetterRow>| FeedRow::Told(Arc::new(body::of_letter(letter)));
            feed.push_letters(lsn, letters.iter().map(row));
        }
    }

    /// A start, before the log is read: what the checkpoint has of the feeds. A row counts where no replay brings it again:
    /// `covered` tells the last record of a slot whose rows are in the checkpoint's state, and `windows` that of the windows.
    pub(crate) fn restore(
        &self,
        entries: &[FeedEntry],
        catalog: &SeriesCatalog,
        covered: impl Fn(Slot) -> Lsn,
        windows: Option<Lsn>,
    ) {
        for feed in &self.feeds {
            let tag = feed.tag();
            let Some(entry) = entries.iter().find(|entry| entry.tag == tag) else { continue };
            let is_kept = |lsn: Lsn, row: &FeedRow| match (row, feed.content()) {
                (FeedRow::Scored(row), FeedContent::Severities { .. }) => {
                    let slot = catalog.get(row.series).map(|entry| entry.id.slot());
                    slot.is_some_and(|slot| lsn <= covered(slot))
                }
                (FeedRow::Told(_), FeedContent::Percentiles) => {
                    windows.is_none_or(|windows| lsn <= windows)
                }
                (FeedRow::Told(_), FeedContent::DeadLetters) => true,
                _ => false,
            };
            feed.restore(entry, is_kept);
        }
    }

    /// A start: the log says how far a feed was acknowledged.
    pub(crate) fn restore_acknowledged(&self, record: &FeedNote) {
        let known = self.feeds.iter().find(|feed| feed.tag() == record.tag);
        known.into_iter().for_each(|feed| feed.pass(record.upto));
    }

    /// A start, before replay: since which start each feed is configured without a break. Earlier rows are not for it.
    pub(crate) fn settle(&self, since: &BTreeMap<String, Lsn>, start: Lsn) {
        for feed in &self.feeds {
            feed.begin(since.get(&feed.tag()).copied().unwrap_or(start));
        }
    }

    /// What a checkpoint says of the feeds.
    pub(crate) fn checkpoint(&self) -> Vec<FeedEntry> {
        self.feeds.iter().map(|feed| feed.checkpoint()).collect()
    }

    fn of(&self, content: &FeedContent) -> impl Iterator<Item = &Arc<Feed>> {
        self.feeds.iter().filter(move |feed| feed.content() == content)
    }
}

#[cfg(test)]
#[path = "feeds_tests.rs"]
pub(crate) mod tests;
