//! What is counted at the door.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Why the lock refused a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It showed no key.
    NoKey,
    /// It showed something that is no key.
    WrongKey,
    /// Its key was revoked.
    Revoked,
    /// Its key is for something else.
    Scope,
    /// Its key was used too often.
    Rate,
    /// Its address was refused too often.
    TurnedAway,
}

impl Refused {
    /// All of them.
    pub(crate) const ALL: [Self; 6] =
        [Self::NoKey, Self::WrongKey, Self::Revoked, Self::Scope, Self::Rate, Self::TurnedAway];

    /// Its name in the audit trail.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::NoKey => "no_key",
            Self::WrongKey => "wrong_key",
            Self::Revoked => "revoked",
            Self::Scope => "scope",
            Self::Rate => "rate",
            Self::TurnedAway => "turned_away",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// What is counted at the door.
#[derive(Clone, Debug)]
pub(crate) struct DoorInstruments {
    /// `tidewatch_http_refusals_total`: requests that the lock refused.
    refusals: Family<ReasonLabel, Counter>,
    /// `tidewatch_http_tls_failures_total`: connections that ended before TLS was agreed on.
    pub(crate) tls_failures: Counter,
}

impl Default for DoorInstruments {
    fn default() -> Self {
        let refusals = Family::default();
        for reason in Refused::ALL {
            // Zero is a figure too.
            drop(refusals.get_or_create(&ReasonLabel { reason: reason.name() }));
        }
        Self { refusals, tls_failures: Counter::default() }
    }
}

impl DoorInstruments {
    /// Counts a refusal.
    pub(crate) fn refused(&self, reason: Refused) {
        self.refusals.get_or_create(&ReasonLabel { reason: reason.name() }).inc();
    }

    /// Shows them.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "tidewatch_http_refusals",
            "Requests that the lock refused",
            self.refusals.clone(),
        );
        registry.register(
            "tidewatch_http_tls_failures",
            "Connections that ended before TLS was agreed on",
            self.tls_failures.clone(),
        );
    }
}

/// What is counted of those who follow samples.
#[derive(Clone, Debug, Default)]
pub(crate) struct TailInstruments {
    /// `tidewatch_http_tails`: clients that follow.
    pub(crate) open: Gauge,
    /// `tidewatch_http_tail_rows_total`: rows that were sent to them.
    pub(crate) rows: Counter,
    /// `tidewatch_http_tail_rows_skipped_total`: rows that were not, because there were too many.
    pub(crate) rows_skipped: Counter,
}

impl TailInstruments {
    /// Shows them.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("tidewatch_http_tails", "Clients that follow samples", self.open.clone());
        registry.register(
            "tidewatch_http_tail_rows",
            "Rows that were sent to clients that follow",
            self.rows.clone(),
        );
        registry.register(
            "tidewatch_http_tail_rows_skipped",
            "Rows that were not sent to clients that follow, because there were too many",
            self.rows_skipped.clone(),
        );
    }
}
