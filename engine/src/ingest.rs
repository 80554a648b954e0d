//! Conducts a request: admit, look series up, encode, append.

use std::net::IpAddr;
use std::sync::Arc;

use crossbeam::channel::{Sender, TrySendError};
use tidewatch_connectors::DecodeInstruments;
use tidewatch_connectors::decode::{LineBatch, LineOptions, Precision, decode};
use tidewatch_env::Clock;
use tidewatch_metrics::series::{SLOTS, check_database};
use tidewatch_metrics::{EventTime, Lsn, SampleBatch, SeriesCatalog, Slot, UnixNanos};

use crate::EngineError;
use crate::admission::{Admission, Permit};
use crate::cardinality::Cardinality;
use crate::committer::{Append, CommitterMessage, Origin};
use crate::dispatch::shard_of;
use crate::idempotency::{Claim, StoredAnswer};
use crate::lane::{Lane, Lanes};
use crate::line_cache::{Registrations, Source};
use crate::record::{SamplesHead, encode_samples};

/// When a write is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// In memory.
    Accepted,
    /// Survives the end of the process.
    Written,
    /// Survives the loss of power.
    #[default]
    Synced,
}

/// What a write got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The record that holds the samples.
    pub lsn: Lsn,
}

/// Called once, by the committer: the write has reached its durability, or never will.
pub type Done = Box<dyn FnOnce(Result<Ack, EngineError>) + Send>;

/// A body of line protocol.
#[derive(Debug)]
pub struct LineWrite<'a> {
    /// The database.
    pub db: &'a str,
    /// The decompressed body.
    pub body: &'a [u8],
    /// The unit of its times.
    pub precision: Precision,
    /// When the write is answered.
    pub durability: Durability,
    /// Covers the body.
    pub permit: Permit,
    /// Who sent it, to tell who registers series.
    pub client: Option<IpAddr>,
    /// The right to its idempotency key, if it has one.
    pub claim: Option<Claim>,
    /// Whether good lines are stored where others are refused; else nothing is.
    pub accept_partial: bool,
}

/// What a record is appended on: what its request asked for.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) durability: Durability,
    pub(crate) permit: Permit,
    pub(crate) claim: Option<Claim>,
}

/// What became of a body's lines, or of its samples where it has no lines.
#[derive(Debug, Default)]
pub struct LineReport {
    /// Lines taken.
    pub lines_accepted: u64,
    /// Lines refused.
    pub lines_rejected: u64,
    /// String fields of accepted lines, or exemplars of remote write: reported, not stored.
    pub dropped: u64,
    /// The first refused lines.
    pub refused: Vec<RefusedLine>,
    /// Whether a record was handed to the log; otherwise `done` is not called.
    pub appended: bool,
}

/// A refused line, or a refused item of another protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedLine {
    /// Its number in the body, from 1.
    pub line_number: u32,
    /// Why.
    pub message: String,
}

/// What ingest may be told.
#[derive(Clone, Debug)]
pub struct IngestConfig {
    /// Bytes of requests in hand.
    pub bytes_max: u64,
    /// Requests in hand.
    pub requests_max: u64,
    /// Requests that are decoded at a time.
    pub lanes_max: usize,
    /// Bytes of memory that all of them together remember lines by.
    pub lines_bytes_max: usize,
    /// Times further than this in the future are refused; `None` takes all.
    pub future_nanos_max: Option<i64>,
    /// Samples of one request.
    pub request_samples_max: usize,
    /// Bytes of one line.
    pub line_bytes_max: usize,
    /// Seeds the hashes of raw keys, so that a client cannot prepare collisions.
    pub key_seed: u64,
    /// Whether batches in Luminate's form must keep within its own, narrower limits.
    pub luminate_strict: bool,
}

/// Takes requests from any thread.
#[derive(Debug)]
pub struct Ingest {
    admission: Admission,
    pub(crate) lanes: Lanes,
    pub(crate) cardinality: Cardinality,
    committer: Sender<CommitterMessage>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) shards: usize,
    pub(crate) shard_of: [u16; SLOTS],
    pub(crate) config: IngestConfig,
    pub(crate) instruments: DecodeInstruments,
}

/// A request's rows by shard, and the series that they register.
#[derive(Debug)]
pub(crate) struct Routed {
    pub(crate) parts: Vec<SampleBatch>,
    pub(crate) fresh: Registrations,
    pub(crate) received: UnixNanos,
    pub(crate) origin: Option<Origin>,
}

impl Ingest {
    /// Hands records to `committer` for `shards` shards.
    ///
    /// # Panics
    /// With more shards than slots, which the configuration does not allow.
    #[must_use]
    pub fn new(
        catalog: Arc<SeriesCatalog>,
        committer: Sender<CommitterMessage>,
        clock: Arc<dyn Clock>,
        shards: usize,
        config: IngestConfig,
    ) -> Self {
        let mut shard_of_slot = [0; SLOTS];
        for (slot, shard) in (0..=255).map(Slot).zip(&mut shard_of_slot) {
            *shard = u16::try_from(shard_of(slot, shards)).expect("at most 256 shards");
        }
        Self {
            cardinality: Cardinality::new(Arc::clone(&clock), catalog.gauges()),
            admission: Admission::new(config.bytes_max, config.requests_max),
            lanes: Lanes::new(catalog, config.lanes_max, config.lines_bytes_max),
            committer,
            clock,
            shards,
            shard_of: shard_of_slot,
            config,
            instruments: DecodeInstruments::default(),
        }
    }

    /// Registers what ingest counts.
    pub fn register(&self, registry: &mut prometheus_client::registry::Registry) {
        self.instruments.register(registry);
        self.cardinality.instruments().register(registry);
    }

    /// The clients that registered the most series since the start, those first, and how many.
    ///
    /// Beyond a bounded number of clients, counts are upper bounds.
    #[must_use]
    pub fn clients(&self, limit: usize) -> Vec<(IpAddr, u64)> {
        self.cardinality.clients(limit)
    }

    /// What is in hand.
    #[must_use]
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// The right to hold a body of `bytes`, before it is read.
    ///
    /// # Errors
    /// [`EngineError::Overloaded`] when too much is in hand.
    pub fn admit(&self, bytes: u64) -> Result<Permit, EngineError> {
        self.admission.admit(bytes).ok_or(EngineError::Overloaded { retry_after_s: 1 })
    }

    /// Takes a body of line protocol. `done` is called when the good lines have the asked durability;
    /// with [`Durability::Accepted`] it is never called.
    ///
    /// # Errors
    /// What refuses the body as a whole; `done` is not called then.
    pub fn write_lines(&self, write: LineWrite<'_>, done: Done) -> Result<LineReport, EngineError> {
        check_database(write.db).map_err(|error| EngineError::Database(Box::new(error)))?;
        self.conduct(&mut self.lanes.take(), write, done)
    }

    fn conduct(
        &self,
        lane: &mut Lane,
        write: LineWrite<'_>,
        done: Done,
    ) -> Result<LineReport, EngineError> {
        let received = self.clock.now();
        lane.lines.clear();
        let options = self.line_options(write.db, write.precision, received);
        decode(write.body, &options, &mut lane.lines).map_err(EngineError::Body)?;
        let mut report = self.report_lines(&lane.lines);
        let mut fresh = Registrations::new();
        if report.lines_rejected > 0 && !write.accept_partial {
            return Ok(self.refuse_all(report));
        }
        let parts = self.route(lane, (write.body, write.db), &mut fresh, &mut report);
        if report.lines_rejected > 0 && !write.accept_partial {
            return Ok(self.refuse_all(report));
        }
        if report.lines_rejected > 0 {
            report.refused.sort_by_key(|line| line.line_number);
        }
        self.instruments.observe(&lane.lines);
        self.instruments
            .observe_series_refused(report.lines_rejected - lane.lines.errors().total());
        fresh.sort_by_key(|(series, _)| *series);
        fresh.dedup_by_key(|(series, _)| *series);
        self.cardinality.observe(write.client, fresh.len(), &lane.refusals);
        if parts.iter().all(SampleBatch::is_empty) {
            return Ok(report);
        }
        let LineWrite { durability, permit, claim, .. } = write;
        let terms = Terms { durability, permit, claim };
        self.append(Routed { parts, fresh, received, origin: None }, terms, &mut report, done)?;
        report.appended = true;
        Ok(report)
    }

    pub(crate) fn line_options(
        &self,
        db: &str,
        precision: Precision,
        received: UnixNanos,
    ) -> LineOptions {
        // The database is part of the identity, so equal lines of two databases must not meet.
        let seed = twox_hash::XxHash3_64::oneshot_with_seed(self.config.key_seed, db.as_bytes());
        LineOptions {
            precision,
            default_time: EventTime::new(received.nanos()),
            time_max: self
                .config
                .future_nanos_max
                .map(|ahead| EventTime::new(received.saturating_add(ahead).nanos())),
            key_seed: seed,
            samples_max: self.config.request_samples_max,
            line_bytes_max: self.config.line_bytes_max,
        }
    }

    /// Rows to shards, by series. A line with a series that is refused is refused as a whole.
    pub(crate) fn route(
        &self,
        lane: &mut Lane,
        (body, db): (&[u8], &str),
        fresh: &mut Registrations,
        report: &mut LineReport,
    ) -> Vec<SampleBatch> {
        let rows = lane.lines.samples() / self.shards;
        let mut parts: Vec<SampleBatch> =
            (0..self.shards).map(|_| SampleBatch::with_capacity(rows + rows / 8 + 16)).collect();
        let source = Source { batch: &lane.lines, body, db };
        lane.refused.clear();
        for line in 0..lane.lines.lines() {
            if let Err(error) = lane.cache.resolve(&source, line, &mut lane.targets, fresh) {
                report.lines_accepted -= 1;
                lane.refusals.note(&error);
                let line_number = lane.lines.line_numbers()[line];
                lane.refused.push(line_number);
                report.refuse(line_number, &error);
                continue;
            }
            let time = lane.lines.times()[line];
            let values = &lane.lines.values()[lane.lines.samples_of(line)];
            for (target, value) in lane.targets.iter().zip(values) {
                let shard = usize::from(self.shard_of[usize::from(target.slot.0)]);
                parts[shard].push(target.series, time, *value);
            }
        }
        parts
    }

    pub(crate) fn append(
        &self,
        routed: Routed,
        mut terms: Terms,
        report: &mut LineReport,
        done: Done,
    ) -> Result<(), EngineError> {
        let Routed { parts, fresh, received, origin } = routed;
        let key = terms.claim.as_mut().map(|claim| {
            StoredAnswer::fit(report);
            claim.seal(StoredAnswer::encode(report, terms.durability))
        });
        let registrations: Vec<_> = fresh
            .iter()
            .map(|(series, entry)| (*series, entry.measurement_bytes, &*entry.canonical))
            .collect();
        let columns: Vec<_> = parts.iter().filter(|part| !part.is_empty()).collect();
        let head = match (&key, &origin) {
            (Some(key), _) => SamplesHead::Key(key),
            (None, Some(origin)) => origin.head(),
            (None, None) => SamplesHead::Plain,
        };
        let kind = head.kind();
        let payload = encode_samples(head, received, &registrations, &columns);
        let held = parts.iter().map(SampleBatch::bytes).sum::<usize>() + payload.len();
        terms.permit.cover(u64::try_from(held).unwrap_or(u64::MAX));
        let append = Append {
            kind,
            payload_crc: Some(tidewatch_wal::payload_crc(&[&payload])),
            payload,
            registered: fresh.into_iter().map(|(_, entry)| entry).collect(),
            parts,
            received,
            delete: None,
            primed: None,
            permit: Some(Arc::new(terms.permit)),
            claim: terms.claim,
            turn: None,
            origin: origin.map(Box::new),
            durability: terms.durability,
            done: (terms.durability != Durability::Accepted).then_some(done),
        };
        self.committer.try_send(CommitterMessage::Append(append)).map_err(|error| match error {
            TrySendError::Full(_) => EngineError::Overloaded { retry_after_s: 1 },
            TrySendError::Disconnected(_) => EngineError::Closed,
        })
    }

    /// A body that is stored as a whole or not at all is not.
    fn refuse_all(&self, mut report: LineReport) -> LineReport {
        report.lines_rejected += std::mem::take(&mut report.lines_accepted);
        self.instruments.observe_body_refused(report.lines_rejected);
        report
    }

    pub(crate) fn report_lines(&self, lines: &LineBatch) -> LineReport {
        let refused = lines.errors().first().iter().map(|error| RefusedLine {
            line_number: error.line_number,
            message: error.to_string(),
        });
        LineReport {
            lines_accepted: lines.lines_accepted(),
            lines_rejected: lines.errors().total(),
            dropped: lines.strings_dropped(),
            refused: refused.collect(),
            appended: false,
        }
    }
}

impl LineReport {
    fn refuse(&mut self, line_number: u32, error: &tidewatch_metrics::MetricsError) {
        self.lines_rejected += 1;
        if self.refused.len() < tidewatch_connectors::decode::line_errors::LINE_ERRORS_KEPT_MAX {
            self.refused.push(RefusedLine { line_number, message: error.to_string() });
        }
    }
}
