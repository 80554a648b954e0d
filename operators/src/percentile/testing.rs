//! What the tests of windows share: percentiles of one metric, and shards over which its hosts are spread.

use std::sync::Arc;

use tidewatch_metrics::fields::{FieldReader, FieldWriter};
use tidewatch_metrics::time::NANOS_PER_SECOND;
use tidewatch_metrics::{EventTime, Lsn, SeriesRef, UnixNanos};

use crate::percentile::{Counts, Outcome, WindowSet};
use crate::testing::{START_SECONDS, Table, entry, seconds};
use crate::{Emitted, PercentilesConfig, Pipeline, PipelineConfig, RuleSet};

pub(crate) const HOSTS: u32 = 9;

pub(crate) fn config(window: i64, slide: i64, lateness: i64, keep: i64) -> PercentilesConfig {
    PercentilesConfig {
        name: "latency".to_owned(),
        matchers: vec![("metric".to_owned(), "cpu".to_owned())],
        by: Vec::new(),
        window_nanos: window * NANOS_PER_SECOND,
        slide_nanos: slide * NANOS_PER_SECOND,
        quantiles: vec![0.99, 0.5],
        lateness_nanos: lateness * NANOS_PER_SECOND,
        keep_nanos: keep * NANOS_PER_SECOND,
    }
}

pub(crate) fn rules(configs: &[PercentilesConfig]) -> Arc<RuleSet> {
    Arc::new(RuleSet::with_percentiles(&[], configs).unwrap())
}

pub(crate) fn at(second: i64) -> UnixNanos {
    UnixNanos::new((START_SECONDS + second) * NANOS_PER_SECOND)
}

pub(crate) fn second_of(time: EventTime) -> i64 {
    time.nanos() / NANOS_PER_SECOND - START_SECONDS
}

/// Cut anywhere the bytes are refused; with any byte changed they are refused, or another state's.
pub(crate) fn assert_cut_or_changed(rules: &Arc<RuleSet>, bytes: &[u8], change: u8) {
    for cut in 0..bytes.len() {
        let mut fields = FieldReader::new(&bytes[..cut]);
        assert!(WindowSet::decode(Arc::clone(rules), &mut fields).is_none(), "cut at {cut}");
    }
    for place in 0..bytes.len() {
        let mut changed = bytes.to_vec();
        changed[place] ^= change;
        let mut fields = FieldReader::new(&changed);
        let set = WindowSet::decode(Arc::clone(rules), &mut fields);
        if let Some(set) = set.filter(|_| fields.end().is_some()) {
            let mut again = FieldWriter::default();
            set.encode(&mut again);
            assert_eq!(again.as_bytes(), changed, "byte {place}");
        }
    }
}

/// Several pipelines as shards, each with its hosts, and the windows over them.
pub(crate) struct Shards {
    pub(crate) pipelines: Vec<Pipeline>,
    /// Per host its shard and index there.
    places: Vec<(usize, u32)>,
    pub(crate) set: WindowSet,
    record: u64,
}

impl Shards {
    pub(crate) fn new(count: usize, rules: &Arc<RuleSet>) -> Self {
        let mut set = WindowSet::default();
        set.set_rules(Vec::new(), Arc::clone(rules), Lsn::new(1), at(0));
        let mut shards = Self { pipelines: Vec::new(), places: Vec::new(), set, record: 1 };
        for _ in 0..count {
            let mut pipeline = Pipeline::new(PipelineConfig::default());
            pipeline.set_rules(Arc::clone(rules), at(0), &mut Emitted::default());
            shards.pipelines.push(pipeline);
        }
        for host in 0..HOSTS {
            let shard = host as usize % count;
            let entry = entry(&host.to_string());
            let local = shards.pipelines[shard].add_series(SeriesRef(host), entry);
            shards.places.push((shard, local));
        }
        shards
    }

    pub(crate) fn write(&mut self, host: u32, second: i64, value: f64) {
        let (shard, local) = self.places[host as usize];
        let mut table = Table::default();
        table.push(local, seconds(second), value);
        table.apply(&mut self.pipelines[shard], 0..1, at(second), &mut Emitted::default());
    }

    pub(crate) fn tick(&mut self, second: i64) -> Outcome {
        let counts = self.take_counts();
        self.record += 1;
        self.set.tick(counts, Lsn::new(self.record), at(second))
    }

    /// Puts rules in force, received at this second.
    pub(crate) fn set_rules(&mut self, rules: &Arc<RuleSet>, second: i64) -> Outcome {
        let counts = self.take_counts();
        self.record += 1;
        let outcome =
            self.set.set_rules(counts, Arc::clone(rules), Lsn::new(self.record), at(second));
        for pipeline in &mut self.pipelines {
            pipeline.set_rules(Arc::clone(rules), at(second), &mut Emitted::default());
        }
        outcome
    }

    fn take_counts(&mut self) -> Vec<Counts> {
        self.pipelines.iter_mut().map(Pipeline::take_counts).collect()
    }
}
