//! Who registers series, and what is told of those that are refused.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidewatch_env::Clock;
use tidewatch_metrics::{MetricsError, SeriesGauges, SeriesLimit, SeriesRefused};
use tracing::warn;

use crate::instruments::SeriesInstruments;
use crate::limits::CLIENTS_COUNTED_MAX;

/// Refusals are told no more often.
const TOLD_EVERY: Duration = Duration::from_mins(1);
/// Clients that are told, those with the most series first.
const CLIENTS_TOLD: usize = 3;

/// Counts what all requests together registered and what was refused of them.
#[derive(Debug)]
pub(crate) struct Cardinality {
    clock: Arc<dyn Clock>,
    instruments: SeriesInstruments,
    known: Mutex<Known>,
}

/// What one request's lines were refused for.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    /// In the order of [`SeriesLimit::NAMES`].
    counts: [u64; SeriesLimit::NAMES.len()],
    first: Option<Box<SeriesRefused>>,
}

#[derive(Debug, Default)]
struct Known {
    clients: Clients,
    /// Refused since they were told last.
    refused: u64,
    told: Option<Duration>,
}

/// Series that each client registered.
///
/// Bounded: beyond the limit, the client with the fewest gives its place to another one, which takes
/// over its count, so that one with many is never lost (Metwally, Agrawal, El Abbadi, "Efficient
/// computation of frequent and top-k elements in data streams", 2005, the algorithm Space-Saving).
#[derive(Debug, Default)]
struct Clients {
    series: BTreeMap<IpAddr, u64>,
}

impl Refusals {
    /// Takes a refused line's error; what is no limit of series does not count.
    pub(crate) fn note(&mut self, error: &MetricsError) {
        let MetricsError::SeriesRefused(refused) = error else { return };
        let place = SeriesLimit::NAMES.iter().position(|name| *name == refused.limit.name());
        if let Some(count) = place.and_then(|place| self.counts.get_mut(place)) {
            *count += 1;
        }
        if self.first.is_none() {
            self.first = Some(refused.clone());
        }
    }
}

impl Cardinality {
    pub(crate) fn new(clock: Arc<dyn Clock>, gauges: &SeriesGauges) -> Self {
        let instruments = SeriesInstruments::new(gauges);
        Self { clock, instruments, known: Mutex::default() }
    }

    pub(crate) fn instruments(&self) -> &SeriesInstruments {
        &self.instruments
    }

    /// Takes what one request registered and what was refused of it; tells of refusals once a minute.
    pub(crate) fn observe(&self, client: Option<IpAddr>, registered: usize, refusals: &Refusals) {
        let Some(first) = &refusals.first else {
            if let Some(client) = client.filter(|_| registered > 0) {
                self.lock().clients.count(client, registered);
            }
            return;
        };
        for (name, count) in SeriesLimit::NAMES.iter().zip(refusals.counts) {
            self.instruments.count_refused(name, count);
        }
        let now = self.clock.monotonic();
        let mut known = self.lock();
        if let Some(client) = client.filter(|_| registered > 0) {
            known.clients.count(client, registered);
        }
        known.refused += refusals.counts.iter().sum::<u64>();
        if known.told.is_none_or(|told| now.saturating_sub(told) >= TOLD_EVERY) {
            known.told = Some(now);
            let refused = std::mem::take(&mut known.refused);
            let clients = known.clients.most();
            drop(known);
            tell(first, refused, client, &clients);
        }
    }

    /// The clients that registered the most series since the start, and how many.
    pub(crate) fn clients(&self, limit: usize) -> Vec<(IpAddr, u64)> {
        self.lock().clients.ranked(limit)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clients {
    fn count(&mut self, client: IpAddr, series: usize) {
        let series = u64::try_from(series).unwrap_or(u64::MAX);
        if !self.series.contains_key(&client) && self.series.len() >= CLIENTS_COUNTED_MAX {
            let fewest = self.series.iter().min_by_key(|(_, count)| **count);
            let (fewest, count) = fewest.map(|(client, count)| (*client, *count)).unzip();
            if let Some(fewest) = fewest {
                self.series.remove(&fewest);
            }
            self.series.insert(client, count.unwrap_or(0));
        }
        *self.series.entry(client).or_default() += series;
    }

    /// The clients with the most series, those first.
    fn ranked(&self, limit: usize) -> Vec<(IpAddr, u64)> {
        let mut clients: Vec<_> =
            self.series.iter().map(|(client, count)| (*client, *count)).collect();
        clients.sort_by_key(|(client, count)| (std::cmp::Reverse(*count), *client));
        clients.truncate(limit);
        clients
    }

    /// The clients with the most series, in one line.
    fn most(&self) -> String {
        let ranked = self.ranked(CLIENTS_TOLD);
        let told = ranked.iter().map(|(client, count)| format!("{client} {count}"));
        told.collect::<Vec<_>>().join(", ")
    }
}

fn tell(refused: &SeriesRefused, count: u64, client: Option<IpAddr>, clients: &str) {
    let (limit, db) = (refused.limit.name(), &refused.db);
    let size = refused.size.as_ref();
    let metric = size.map_or("", |size| &*size.metric);
    let series = size.map_or(0, |size| size.series);
    let label = size.and_then(|size| size.label.as_ref());
    let (label, values) = label.map_or(("", 0), |label| (&*label.key, label.values));
    let client = client.map(|client| client.to_string()).unwrap_or_default();
    warn!(
        refused = count,
        limit, db, metric, series, label, values, client, clients, "new series are refused"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn a_client_with_many_series_stays_known_among_many_with_few() {
        let mut clients = Clients::default();
        for round in 0..1_000 {
            clients.count(client(7), 10);
            for few in 0..10 {
                clients.count(client(1_000 + round * 10 + few), 1);
            }
        }
        assert_eq!(clients.series.len(), CLIENTS_COUNTED_MAX);
        assert_eq!(clients.ranked(1), [(client(7), 10_000)]);
        assert!(clients.most().starts_with("0.0.0.7 10000, "), "{}", clients.most());
    }

    #[test]
    fn refusals_are_counted_by_their_limits_and_other_errors_are_not() {
        let of = |limit| {
            let (db, size) = ("d".to_owned(), None);
            let refused = SeriesRefused { limit, db, size, is_new_metric: false };
            MetricsError::SeriesRefused(Box::new(refused))
        };
        let mut refusals = Refusals::default();
        refusals.note(&of(SeriesLimit::Metric(4)));
        refusals.note(&of(SeriesLimit::Memory));
        refusals.note(&of(SeriesLimit::Metric(4)));
        refusals.note(&MetricsError::Labels { count: 65 });
        assert_eq!(refusals.counts, [1, 0, 0, 2]);
        assert_eq!(refusals.first.unwrap().limit, SeriesLimit::Metric(4));
    }
}
