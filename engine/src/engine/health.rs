//! How the engine fares, at a glance: numbers that its parts keep anyway.

use tidewatch_metrics::Lsn;

use super::Engine;

/// How the engine fares at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineHealth {
    /// The last durable record.
    pub durable: Lsn,
    /// The last record that all shards have applied.
    pub applied: Lsn,
    /// Whether the log takes no more records: the engine stops, or its log has failed.
    pub is_closed: bool,
    /// Whether there is no room for the log's next file.
    pub is_full: bool,
    /// Whether the log is replayed, so that queries see all of it.
    pub is_recovered: bool,
    /// Whether flushes are so far behind that no samples are taken.
    pub is_behind: bool,
    /// Bytes that the data directory takes, as measured within the last moments; 0 before the first time.
    pub disk_bytes: u64,
    /// Segments that are damaged, and whose rows are missing in answers.
    pub quarantined: usize,
    /// Messages that no sink has taken yet.
    pub undelivered: usize,
    /// Messages that were given up since the start.
    pub dead_letters: u64,
    /// Bytes of requests in hand.
    pub requests_bytes: u64,
    /// Counted bytes of all series.
    pub series_bytes: u64,
    /// Series whose new detector has not learnt from stored rows yet.
    pub series_to_prime: u64,
}

/// Why a sink does not deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkTrouble {
    /// The sink's name.
    pub sink: String,
    /// What the last attempt or the last look at it has told. Holds no secret.
    pub text: String,
}

impl Engine {
    /// The sinks that do not deliver, as far as is known.
    #[must_use]
    pub fn sink_troubles(&self) -> Vec<SinkTrouble> {
        let troubles = self.sinks.iter().filter_map(|watch| {
            Some(SinkTrouble { text: watch.trouble()?, sink: watch.name().to_owned() })
        });
        let feeds = self.feeds.iter().filter_map(|courier| courier.trouble());
        troubles.chain(feeds).collect()
    }

    /// How the engine fares. Takes no longer than a few locks that are held for moments.
    #[must_use]
    pub fn health(&self) -> EngineHealth {
        let disk_bytes = self.instruments.compaction.disk_bytes.get();
        let to_prime = self.instruments.shard.priming.to_prime.get();
        EngineHealth {
            durable: self.durable(),
            applied: self.applied(),
            is_closed: self.progress.is_closed(),
            is_full: self.progress.is_full(),
            is_recovered: self.is_recovered(),
            is_behind: self.is_behind(),
            disk_bytes: u64::try_from(disk_bytes).unwrap_or(0),
            quarantined: self.published.manifest().quarantined().len(),
            undelivered: self.outbox.undelivered(),
            dead_letters: self.instruments.outbox.dead_letters.get(),
            requests_bytes: self.ingest.admission().bytes(),
            series_bytes: self.catalog.bytes(),
            series_to_prime: u64::try_from(to_prime).unwrap_or(0),
        }
    }
}
