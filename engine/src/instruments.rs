//! What the engine counts about itself.

use crate::feeds::FeedInstruments;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tidewatch_metrics::{Lsn, SeriesGauges, SeriesLimit};

/// What a shard counts. Shards share these.
#[derive(Clone, Debug, Default)]
pub struct ShardInstruments {
    /// `tidewatch_engine_samples_applied_total`: samples that went through the operators.
    pub samples_applied: Counter,
    /// `tidewatch_engine_samples_late_total`: samples not later than their series' last one: stored, not scored.
    pub samples_late: Counter,
    /// `tidewatch_engine_onsets_total`: samples whose severity was an onset.
    pub onsets: Counter,
    /// `tidewatch_engine_series_turned_away`: series with the light detector for want of room for theirs.
    pub turned_away: Gauge,
    /// What is counted about detectors that learn from stored rows.
    pub priming: PrimingInstruments,
    /// What the windows of percentiles count.
    pub windows: WindowInstruments,
    /// What goes to topics.
    pub feeds: FeedInstruments,
}

impl ShardInstruments {
    /// Puts the instruments into `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "tidewatch_engine_samples_applied",
            "Samples that went through the operators",
            self.samples_applied.clone(),
        );
        registry.register(
            "tidewatch_engine_samples_late",
            "Samples not later than their series' last one: stored, not scored",
            self.samples_late.clone(),
        );
        registry.register(
            "tidewatch_engine_onsets",
            "Samples whose severity was an onset",
            self.onsets.clone(),
        );
        registry.register(
            "tidewatch_engine_series_turned_away",
            "Series that the light detector scores because there was no memory left for the one that [[detect]] gives them",
            self.turned_away.clone(),
        );
        self.priming.register(registry);
        self.windows.register(registry);
        self.feeds.register(registry);
    }
}

/// What is counted about detectors that learn from stored rows.
#[derive(Clone, Debug, Default)]
pub struct PrimingInstruments {
    /// `tidewatch_engine_series_to_prime`: series whose detector began although there were rows before.
    pub to_prime: Gauge,
    /// `tidewatch_engine_series_primed_total`: series whose detector has learnt from stored rows.
    pub primed: Counter,
}

impl PrimingInstruments {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "tidewatch_engine_series_to_prime",
            "Series whose new detector has not learnt from stored rows yet",
            self.to_prime.clone(),
        );
        registry.register(
            "tidewatch_engine_series_primed",
            "Series whose new detector has learnt from stored rows",
            self.primed.clone(),
        );
    }
}

/// What the windows of percentiles count, over all shards.
#[derive(Clone, Debug, Default)]
pub struct WindowInstruments {
    /// `tidewatch_engine_percentiles_groups`: groups held.
    pub groups: Gauge,
    /// `tidewatch_engine_percentiles_windows`: windows held, open and closed.
    pub windows: Gauge,
    /// `tidewatch_engine_percentiles_bytes`: bytes that they take, as they are counted.
    pub bytes: Gauge,
    /// `tidewatch_engine_percentiles_closed_total`: windows that closed, again included.
    pub closed: Counter,
    /// `tidewatch_engine_percentiles_revised_total`: windows that closed again, with late rows.
    pub revised: Counter,
    /// `tidewatch_engine_percentiles_amended_total`: amendments of alerts by windows that late rows changed.
    pub amended: Counter,
    /// `tidewatch_engine_percentiles_rows_late_total`: rows whose windows were forgotten already: in no percentiles.
    pub rows_late: Counter,
    /// `tidewatch_engine_percentiles_rows_refused_total`: rows of groups beyond the limit: in no percentiles.
    pub rows_refused: Counter,
    /// `tidewatch_engine_percentiles_given_up_total`: windows that ended early, for want of memory or with their rule.
    pub given_up: Counter,
}

impl WindowInstruments {
    fn register(&self, registry: &mut Registry) {
        let name = |name: &str| format!("tidewatch_engine_percentiles_{name}");
        registry.register(name("groups"), "Groups of percentiles held", self.groups.clone());
        registry.register(name("windows"), "Windows held, open and closed", self.windows.clone());
        registry.register(name("bytes"), "Bytes that the windows held take", self.bytes.clone());
        registry.register(
            name("closed"),
            "Windows that closed, again included",
            self.closed.clone(),
        );
        registry.register(
            name("revised"),
            "Windows that closed again, with late rows",
            self.revised.clone(),
        );
        registry.register(
            name("amended"),
            "Amendments of alerts by windows that late rows changed",
            self.amended.clone(),
        );
        registry.register(
            name("rows_late"),
            "Rows whose windows were forgotten already: in no percentiles",
            self.rows_late.clone(),
        );
        registry.register(
            name("rows_refused"),
            "Rows of groups beyond the limit: in no percentiles",
            self.rows_refused.clone(),
        );
        registry.register(
            name("given_up"),
            "Windows that ended early, for want of memory or with their rule",
            self.given_up.clone(),
        );
    }
}

/// The limit that series were refused for, as a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WhyLabel {
    why: &'static str,
}

/// What is counted about series.
#[derive(Clone, Debug)]
pub(crate) struct SeriesInstruments {
    /// `tidewatch_engine_series`: series, `tidewatch_engine_series_bytes`: their counted bytes.
    gauges: SeriesGauges,
    /// `tidewatch_engine_series_refused_total`: lines that were refused for a new series, by the limit.
    refused: Family<WhyLabel, Counter>,
}

impl SeriesInstruments {
    pub(crate) fn new(gauges: &SeriesGauges) -> Self {
        let refused = Family::<WhyLabel, Counter>::default();
        for why in SeriesLimit::NAMES {
            drop(refused.get_or_create(&WhyLabel { why }));
        }
        Self { gauges: gauges.clone(), refused }
    }

    /// Counts lines that were refused for one limit.
    pub(crate) fn count_refused(&self, why: &'static str, lines: u64) {
        if lines > 0 {
            self.refused.get_or_create(&WhyLabel { why }).inc_by(lines);
        }
    }

    /// Puts the instruments into `registry`.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("tidewatch_engine_series", "Series", self.gauges.series.clone());
        registry.register(
            "tidewatch_engine_series_bytes",
            "Counted bytes of memory that the series take",
            self.gauges.bytes.clone(),
        );
        registry.register(
            "tidewatch_engine_series_refused",
            "Lines refused because of a new series",
            self.refused.clone(),
        );
    }
}

/// What the committer counts.
#[derive(Clone, Debug, Default)]
pub struct CommitterInstruments {
    /// `tidewatch_engine_groups_total`: groups of records that were synced together.
    pub groups: Counter,
    /// `tidewatch_engine_records_total`: records that were synced.
    pub records: Counter,
    /// `tidewatch_engine_records_refused_total`: records that the log had no room for.
    pub refused: Counter,
}

impl CommitterInstruments {
    /// Puts the instruments into `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "tidewatch_engine_groups",
            "Groups of records that were synced together",
            self.groups.clone(),
        );
        registry.register(
            "tidewatch_engine_records",
            "Records that were synced",
            self.records.clone(),
        );
        registry.register(
            "tidewatch_engine_records_refused",
            "Records that the log had no room for",
            self.refused.clone(),
        );
    }
}

/// What checkpoints count.
#[derive(Clone, Debug, Default)]
pub(crate) struct CheckpointInstruments {
    /// `tidewatch_engine_checkpoints_total`: checkpoints made.
    pub(crate) made: Counter,
    /// `tidewatch_engine_checkpoint_bytes_total`: bytes written for checkpoints that were made.
    pub(crate) bytes: Counter,
    /// `tidewatch_engine_checkpoints_failed_total`: checkpoints that came to nothing.
    pub(crate) failed: Counter,
    /// `tidewatch_engine_checkpoint_replay_from_lsn`: the first record that a start from the last checkpoint reads.
    pub(crate) replay_from: Gauge,
}

impl CheckpointInstruments {
    /// Counts a checkpoint of `bytes`.
    pub(crate) fn count(&self, replay_from: Lsn, bytes: u64) {
        self.made.inc();
        self.bytes.inc_by(bytes);
        self.replay_from.set(i64::try_from(replay_from.get()).unwrap_or(i64::MAX));
    }

    /// Puts the instruments into `registry`.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("tidewatch_engine_checkpoints", "Checkpoints made", self.made.clone());
        registry.register(
            "tidewatch_engine_checkpoint_bytes",
            "Bytes written for checkpoints that were made",
            self.bytes.clone(),
        );
        registry.register(
            "tidewatch_engine_checkpoints_failed",
            "Checkpoints that came to nothing",
            self.failed.clone(),
        );
        registry.register(
            "tidewatch_engine_checkpoint_replay_from_lsn",
            "The first record that a start from the last checkpoint reads",
            self.replay_from.clone(),
        );
    }
}

/// What the outbox counts.
#[derive(Clone, Debug, Default)]
pub struct OutboxInstruments {
    /// `tidewatch_engine_transitions_total`: transitions that were logged.
    pub transitions: Counter,
    /// `tidewatch_engine_dead_letters_total`: messages that were given up.
    pub dead_letters: Counter,
}

impl OutboxInstruments {
    /// Puts the instruments into `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "tidewatch_engine_transitions",
            "Transitions that were logged",
            self.transitions.clone(),
        );
        registry.register(
            "tidewatch_engine_dead_letters",
            "Messages that were given up",
            self.dead_letters.clone(),
        );
    }
}

/// What idempotency keys count.
#[derive(Clone, Debug, Default)]
pub(crate) struct IdempotencyInstruments {
    /// `tidewatch_engine_idempotency_keys`: keys held.
    pub(crate) keys: Gauge,
    /// `tidewatch_engine_idempotency_bytes`: bytes that they take.
    pub(crate) bytes: Gauge,
    /// `tidewatch_engine_idempotency_replayed_total`: requests that were answered as before, and not stored again.
    pub(crate) replayed: Counter,
    /// `tidewatch_engine_idempotency_conflicts_total`: requests under the key of another one.
    pub(crate) conflicts: Counter,
    /// `tidewatch_engine_idempotency_evicted_total`: keys that went before their time, because there were too many.
    pub(crate) evicted: Counter,
}

impl IdempotencyInstruments {
    /// Puts the instruments into `registry`.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("tidewatch_engine_idempotency_keys", "Keys held", self.keys.clone());
        registry.register(
            "tidewatch_engine_idempotency_bytes",
            "Bytes that the keys held take",
            self.bytes.clone(),
        );
        registry.register(
            "tidewatch_engine_idempotency_replayed",
            "Requests that were answered as before, and not stored again",
            self.replayed.clone(),
        );
        registry.register(
            "tidewatch_engine_idempotency_conflicts",
            "Requests under the key of another one",
            self.conflicts.clone(),
        );
        registry.register(
            "tidewatch_engine_idempotency_evicted",
            "Keys that went before their time, because there were too many",
            self.evicted.clone(),
        );
    }
}

/// What dead letters count.
#[derive(Clone, Debug, Default)]
pub(crate) struct LetterInstruments {
    /// `tidewatch_engine_letters_taken_total`: messages that became dead letters.
    pub(crate) taken: Counter,
    /// `tidewatch_engine_letters_cut_total`: letters of which only the first bytes were kept.
    pub(crate) cut: Counter,
    /// `tidewatch_engine_letters_replayed_total`: letters whose samples were stored.
    pub(crate) replayed: Counter,
    /// `tidewatch_engine_letters_dropped_total`: letters that somebody dropped.
    pub(crate) dropped: Counter,
    /// `tidewatch_engine_letters_expired_total`: letters that went because they were too old or too many.
    pub(crate) expired: Counter,
}

impl LetterInstruments {
    /// Puts the instruments into `registry`.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let counters = [
            ("taken", "Messages that became dead letters", &self.taken),
            ("cut", "Dead letters of which only the first bytes were kept", &self.cut),
            ("replayed", "Dead letters whose samples were stored", &self.replayed),
            ("dropped", "Dead letters that somebody dropped", &self.dropped),
            ("expired", "Dead letters that went: too old or too many", &self.expired),
        ];
        for (name, help, counter) in counters {
            registry.register(format!("tidewatch_engine_letters_{name}"), help, counter.clone());
        }
    }
}
