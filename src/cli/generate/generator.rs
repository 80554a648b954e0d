//! Steps of samples, one of every series each.

use tidewatch_env::Rng;
use tidewatch_metrics::time::NANOS_PER_SECOND;
use tidewatch_metrics::{EventTime, SeriesKey};

use crate::cli::generate::anomaly::{Anomaly, InjectedKind};
use crate::cli::generate::family::{FAMILIES, Family, Memory, Moment, Traits, most_visible_shift};

const SERVICES: [&str; 5] = ["checkout", "search", "cart", "login", "payments"];
const REGIONS: [&str; 3] = ["eu-west-1", "us-east-1", "ap-south-1"];
/// How many times the noise a changed variance is.
const NOISE_FACTOR: f64 = 8.0;

/// What a generator is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GeneratorConfig {
    /// Number of series.
    pub(crate) series: usize,
    /// The time of the first step.
    pub(crate) start: EventTime,
    /// Nanoseconds between two steps; more than 0.
    pub(crate) interval_nanos: i64,
    /// Where all random numbers come from.
    pub(crate) seed: u64,
}

/// The names of one series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GeneratedSeries {
    /// The metric.
    pub(crate) metric: &'static str,
    /// The labels, sorted by key: host, region, service.
    pub(crate) labels: [(&'static str, String); 3],
}

impl GeneratedSeries {
    /// The series `index`; four of them, one of each metric, share a host.
    fn new(index: usize) -> Self {
        let host = index / FAMILIES.len();
        let service = SERVICES[host % SERVICES.len()];
        let region = REGIONS[host / SERVICES.len() % REGIONS.len()];
        let labels = [
            ("host", format!("{service}-{host:04}")),
            ("region", region.to_owned()),
            ("service", service.to_owned()),
        ];
        Self { metric: FAMILIES[index % FAMILIES.len()].metric(), labels }
    }

    /// Its identity's parts in `db`.
    pub(crate) fn key(&self, db: &str) -> SeriesKey {
        let labels = self.owned_labels();
        SeriesKey::new(db, self.metric, tidewatch_metrics::series::VALUE_FIELD, labels)
            .expect("generated names are within every limit")
    }

    /// Its labels as the data model has them.
    pub(crate) fn owned_labels(&self) -> Vec<(String, String)> {
        self.labels.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
    }
}

/// Makes step after step: a sample of every series at the same time.
#[derive(Clone, Debug)]
pub(crate) struct Generator {
    config: GeneratorConfig,
    names: Vec<GeneratedSeries>,
    states: Vec<State>,
    injected: Vec<Anomaly>,
    next: EventTime,
}

#[derive(Clone, Debug)]
struct State {
    family: Family,
    traits: Traits,
    memory: Memory,
    rng: Rng,
    /// The value that a flatline holds.
    last: f64,
    anomalies: Vec<Anomaly>,
}

impl Generator {
    /// A generator that stands before its first step, with nothing injected.
    pub(crate) fn new(config: GeneratorConfig) -> Self {
        let states = (0..config.series).map(|index| State::new(config.seed, index)).collect();
        let names = (0..config.series).map(GeneratedSeries::new).collect();
        Self { config, names, states, injected: Vec::new(), next: config.start }
    }

    /// The series, in the order of the values of a step.
    pub(crate) fn series(&self) -> &[GeneratedSeries] {
        &self.names
    }

    /// What is injected, in the order in which it was.
    pub(crate) fn injected(&self) -> &[Anomaly] {
        &self.injected
    }

    /// Lets `anomaly` happen. Takes effect on the steps that come; a series that is not there has none.
    pub(crate) fn inject(&mut self, anomaly: Anomaly) {
        if let Some(state) = self.states.get_mut(anomaly.series) {
            state.anomalies.push(anomaly);
            self.injected.push(anomaly);
        }
    }

    /// Replaces `values` by those of the next step, one per series; gives its time.
    pub(crate) fn step(&mut self, values: &mut Vec<f64>) -> EventTime {
        let time = self.next;
        self.next = EventTime::new(time.nanos().saturating_add(self.config.interval_nanos));
        values.clear();
        values.extend(self.states.iter_mut().map(|state| state.step(time)));
        time
    }
}

impl State {
    fn new(seed: u64, index: usize) -> Self {
        let family = FAMILIES[index % FAMILIES.len()];
        let number = index as u64;
        let mut rng = Rng::from_seed(seed ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93));
        let traits = family.traits(&mut rng);
        Self { family, traits, memory: Memory::default(), rng, last: 0.0, anomalies: Vec::new() }
    }

    fn step(&mut self, time: EventTime) -> f64 {
        let active = self.anomalies.iter().rfind(|a| a.onset <= time && time < a.end);
        let broken = active.filter(|anomaly| anomaly.kind == InjectedKind::SeasonalBreak);
        let shift = broken.map(|anomaly| most_visible_shift(&self.traits, seconds(anomaly.onset)));
        let active = active.map(|anomaly| anomaly.kind);
        let noisy = active == Some(InjectedKind::VarianceChange);
        let moment = Moment {
            seconds: seconds(time),
            shift_seconds: shift.unwrap_or(0),
            noise_factor: if noisy { NOISE_FACTOR } else { 1.0 },
        };
        let Self { family, traits, memory, rng, .. } = self;
        let value = family.value(traits, memory, moment, rng);
        if active != Some(InjectedKind::Flatline) {
            let value = active.map_or(value, |kind| kind.disturbed(value, traits));
            self.last = self.family.shown(value);
        }
        self.last
    }
}

fn seconds(time: EventTime) -> i64 {
    time.nanos().div_euclid(NANOS_PER_SECOND)
}

#[cfg(test)]
#[path = "generator_tests.rs"]
mod tests;
