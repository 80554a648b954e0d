//! What processes are configured with.

use std::sync::Arc;

use tidewatch_operators::{PercentilesConfig, RuleConfig, RuleSet};
use tidewatch_sinks::SinkConfig;
use tidewatch_wal::{SEGMENT_BYTES_MIN, WalConfig};

use crate::config::EngineConfig;
use crate::lab::process::{DATA_DIR, SINK};
use crate::lab::script::Life;

/// The configuration of a life.
pub(in crate::lab) fn config(life: Life) -> EngineConfig {
    let rule = |name: &str, when: &str, for_nanos| RuleConfig {
        name: name.to_owned(),
        when: when.to_owned(),
        for_nanos,
        ..RuleConfig::default()
    };
    let high = if life.rules == 0 { "value > 100" } else { "value > 100.5" };
    let mut rules = vec![
        rule("high", high, 0),
        rule("held", "value > 100", 1_000_000_000),
        rule("odd", "severity >= 2", 0),
        RuleConfig { budget: Some(10_000.0), ..rule("odder", "severity >= 1", 0) },
        rule("climbing", "rate > 80", 0),
        rule("silent", "absent > 1", 500_000_000),
    ];
    let windows = |name: &str, by: &[&str], slides: i64| PercentilesConfig {
        name: name.to_owned(),
        matchers: vec![("metric".to_owned(), "cpu".to_owned())],
        by: by.iter().map(|label| (*label).to_owned()).collect(),
        window_nanos: slides * 1_000_000_000,
        slide_nanos: 1_000_000_000,
        quantiles: vec![0.5],
        lateness_nanos: 0,
        keep_nanos: 60_000_000_000,
    };
    let mut percentiles = Vec::new();
    if life.windows {
        percentiles.extend([windows("cpu", &["host"], 1), windows("hosts", &[], 2)]);
        rules.push(rule("peak", "percentile(\"cpu\", 1) > 100", 0));
        rules.push(rule("lasting", "percentile(\"hosts\", 0.5) > 50", 1_000_000_000));
    }
    let mut config = EngineConfig::new(DATA_DIR.into());
    config.shards = life.shards;
    // So small that every life fills some of its files.
    config.wal = WalConfig { segment_bytes_max: SEGMENT_BYTES_MIN, frame_bytes_max: 12 << 10 };
    // Clients and the engine may have different days.
    config.ingest.future_nanos_max = None;
    let rules = RuleSet::with_percentiles(&rules, &percentiles);
    config.rules = Arc::new(rules.expect("the rules are valid"));
    config.sinks = vec![SinkConfig::Stdout { name: SINK.to_owned() }];
    config
}
