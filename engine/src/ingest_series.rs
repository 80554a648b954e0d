//! Conducts a request of JSON or remote write: as `ingest.rs` does with lines, but every row has its own time.

use std::net::IpAddr;

use tidewatch_connectors::decode::item_errors::ITEM_ERRORS_KEPT_MAX;
use tidewatch_connectors::decode::{
    ItemReason, SeriesBatch, SeriesForm, SeriesOptions, decode_series,
};
use tidewatch_metrics::series::{VALUE_FIELD, check_database};
use tidewatch_metrics::time::NANOS_PER_SECOND;
use tidewatch_metrics::{EventTime, MetricsError, SampleBatch, SeriesKey, UnixNanos};
use twox_hash::XxHash3_64;

use crate::EngineError;
use crate::admission::Permit;
use crate::idempotency::Claim;
use crate::ingest::{Done, Durability, Ingest, LineReport, RefusedLine, Routed, Terms};
use crate::lane::Lane;
use crate::line_cache::Registrations;

/// Luminate takes no older times.
const STRICT_PAST_NANOS: i64 = 7 * 86_400 * NANOS_PER_SECOND;
/// Luminate takes no later ones.
const STRICT_FUTURE_NANOS: i64 = 3_600 * NANOS_PER_SECOND;

/// A body of JSON or remote write.
#[derive(Debug)]
pub struct SeriesWrite<'a> {
    /// The database.
    pub db: &'a str,
    /// The body, unpacked.
    pub body: &'a [u8],
    /// Its form.
    pub form: SeriesForm,
    /// More samples than this refuse it as a whole.
    pub samples_max: usize,
    /// When the write is answered.
    pub durability: Durability,
    /// Covers the body.
    pub permit: Permit,
    /// Who sent it, to tell who registers series.
    pub client: Option<IpAddr>,
    /// The right to its idempotency key, if it has one.
    pub claim: Option<Claim>,
}

/// Why an item's series is not taken.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    Names(ItemReason),
    #[error(transparent)]
    Series(#[from] MetricsError),
}

impl Ingest {
    /// Takes a body of JSON or remote write. `done` is called as with [`Ingest::write_lines`]; the report
    /// counts samples, and numbers what is refused by its place in the body, from 1.
    ///
    /// # Errors
    /// What refuses the body as a whole; `done` is not called then.
    pub fn write_series(
        &self,
        write: SeriesWrite<'_>,
        done: Done,
    ) -> Result<LineReport, EngineError> {
        check_database(write.db).map_err(|error| EngineError::Database(Box::new(error)))?;
        let received = self.clock.now();
        self.conduct_series(&mut self.lanes.take(), write, received, done)
    }

    fn conduct_series(
        &self,
        lane: &mut Lane,
        write: SeriesWrite<'_>,
        received: UnixNanos,
        done: Done,
    ) -> Result<LineReport, EngineError> {
        let mut options = self.series_options(write.db, write.form, received);
        options.samples_max = options.samples_max.min(write.samples_max);
        decode_series(write.form, write.body, &options, &mut lane.series)
            .map_err(EngineError::Series)?;
        let mut report = report_items(&lane.series);
        let mut fresh = Registrations::new();
        let parts = self.route_series(lane, (write.body, write.db), &mut fresh, &mut report);
        report.refused.sort_by_key(|item| item.line_number);
        let refused = report.lines_rejected - lane.series.errors().total();
        self.instruments.observe_series(&lane.series, refused);
        fresh.sort_by_key(|(series, _)| *series);
        fresh.dedup_by_key(|(series, _)| *series);
        self.cardinality.observe(write.client, fresh.len(), &lane.refusals);
        if parts.iter().all(SampleBatch::is_empty) {
            return Ok(report);
        }
        let SeriesWrite { durability, permit, claim, .. } = write;
        let terms = Terms { durability, permit, claim };
        self.append(Routed { parts, fresh, received, origin: None }, terms, &mut report, done)?;
        report.appended = true;
        Ok(report)
    }

    pub(crate) fn series_options(
        &self,
        db: &str,
        form: SeriesForm,
        received: UnixNanos,
    ) -> SeriesOptions {
        let strict = self.config.luminate_strict && form == SeriesForm::Luminate;
        let mut ahead = self.config.future_nanos_max;
        if strict {
            ahead = Some(ahead.map_or(STRICT_FUTURE_NANOS, |nanos| nanos.min(STRICT_FUTURE_NANOS)));
        }
        let after = |nanos| EventTime::new(received.saturating_add(nanos).nanos());
        // The form and the database are part of what a key's bytes mean.
        let seed = XxHash3_64::oneshot_with_seed(self.config.key_seed, form.name().as_bytes());
        SeriesOptions {
            time_min: strict.then(|| after(-STRICT_PAST_NANOS)),
            time_max: ahead.map(after),
            key_seed: XxHash3_64::oneshot_with_seed(seed, db.as_bytes()),
            samples_max: self.config.request_samples_max,
            strict,
        }
    }

    /// Rows to shards, by series. An item whose series is refused is refused as a whole.
    pub(crate) fn route_series(
        &self,
        lane: &mut Lane,
        (body, db): (&[u8], &str),
        fresh: &mut Registrations,
        report: &mut LineReport,
    ) -> Vec<SampleBatch> {
        let batch = &lane.series;
        lane.refused.clear();
        let rows = batch.rows() / self.shards;
        let mut parts: Vec<SampleBatch> =
            (0..self.shards).map(|_| SampleBatch::with_capacity(rows + rows / 8 + 16)).collect();
        for item in 0..batch.items() {
            let key = || {
                let names = batch.names(body, item).map_err(Refusal::Names)?;
                Ok(SeriesKey::new(db, &names.metric, VALUE_FIELD, names.labels)?)
            };
            let rows = batch.rows_of(item);
            match lane.cache.resolve_series(batch.key_hashes()[item], fresh, key) {
                Ok(target) => {
                    let shard = usize::from(self.shard_of[usize::from(target.slot.0)]);
                    let times = &batch.times()[rows.clone()];
                    for (time, value) in times.iter().zip(&batch.values()[rows]) {
                        parts[shard].push(target.series, *time, *value);
                    }
                }
                Err(refusal) => {
                    if let Refusal::Series(error) = &refusal {
                        lane.refusals.note(error);
                    }
                    lane.refused.push(batch.numbers()[item]);
                    report.refuse_item(batch.numbers()[item], &refusal, rows.len());
                }
            }
        }
        parts
    }
}

impl LineReport {
    fn refuse_item(&mut self, number: u32, refusal: &Refusal, samples: usize) {
        let samples = u64::try_from(samples).unwrap_or(u64::MAX);
        self.lines_accepted -= samples;
        self.lines_rejected += samples;
        if self.refused.len() < ITEM_ERRORS_KEPT_MAX {
            let message = refusal.to_string();
            self.refused.push(RefusedLine { line_number: number.saturating_add(1), message });
        }
    }
}

pub(crate) fn report_items(batch: &SeriesBatch) -> LineReport {
    let refused = batch.errors().first().iter().map(|error| RefusedLine {
        line_number: error.item.saturating_add(1),
        message: batch.explain(error),
    });
    LineReport {
        lines_accepted: u64::try_from(batch.rows()).unwrap_or(u64::MAX),
        lines_rejected: batch.errors().total(),
        dropped: batch.extras().exemplars,
        refused: refused.collect(),
        appended: false,
    }
}
