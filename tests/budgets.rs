//! Rules with a budget in the real process: who of a fleet is told of, through kills and on any number of shards; and replay agrees.

use std::fmt::Write as _;
use std::fs;

use serde_json::Value;
use tidewatch_env::Rng;

use crate::server::{Home, Server, Start};

/// 2024-01-01 00:00:00.
const START: u64 = 1_704_067_200;
const SERIES: u64 = 600;
const SAMPLES: u64 = 120;
/// Seconds between samples.
const STEP: u64 = 10;
/// Here half of the series are unusual; before it some are, each alone.
const OUTAGE: std::ops::Range<u64> = 110..113;
const CONFIG: &str = "[[detect]]\nmodel = \"light\"\n\
                      [[rule]]\nname = \"plain\"\nwhen = \"severity > 4\"\n\
                      [[rule]]\nname = \"frugal\"\nwhen = \"severity > 4\"\nbudget = 0.1\n";
/// log10(256 * 2016 / 0.1): that of a series without another one in its slot.
const LEVEL_MIN: f64 = 6.71;

/// A batch for each sample of all series.
fn batches() -> Vec<String> {
    let mut rng = Rng::from_seed(33);
    let batch = |sample: u64| {
        let mut body = String::new();
        for series in 0..SERIES {
            let noise = rng.unit_f64() + rng.unit_f64() + rng.unit_f64();
            let is_alone = (60..100).contains(&sample) && series == 13 * (sample - 60);
            let is_out = OUTAGE.contains(&sample) && series % 2 == 0;
            let height = if is_alone || is_out { 2.5 + 2.5 * rng.unit_f64() } else { 0.0 };
            let (value, time) = (noise + height, START + sample * STEP);
            writeln!(body, "load,host=h{series} value={value} {time}").unwrap();
        }
        body
    };
    (0..SAMPLES).map(batch).collect()
}

fn write(server: &Server, batches: &[String]) {
    for body in batches {
        assert_eq!(server.post("/write?precision=s", body).status, 204);
    }
}

/// What has begun, by all that does not depend on when it was received.
fn begun(server: &Server) -> Vec<Value> {
    server.sql(
        "SELECT key, rule, severity, reason, CAST(extract(epoch FROM event) AS BIGINT) AS second FROM tidewatch.alerts \
         WHERE transition = 'firing' ORDER BY event, key",
    )
}

#[test]
fn a_budget_tells_of_outages_and_of_few_alone_alike_on_any_shards_through_kills() {
    let batches = batches();
    let mut told = Vec::new();
    for shards in [&["1"][..], &["2", "7", "1"]] {
        let home = Home::new();
        let file = home.file("tidewatch.toml");
        fs::write(&file, CONFIG).unwrap();
        let start = |shards: &str| {
            let start = Start::on(&home.data()).config(&file).with("--shards").with(shards);
            // So often that some states come from checkpoints.
            start.set("checkpoint.rows_max=5000").up()
        };
        let each = batches.len() / shards.len();
        for (shards, batches) in shards.iter().zip(batches.chunks(each)) {
            let server = start(shards);
            write(&server, batches);
            server.kill9();
        }
        // What was not told before the kill is told by the start.
        assert_eq!(start("3").stop(), 0);
        let server = start("3");
        told.push(begun(&server));
        assert_eq!(server.stop(), 0);
        for more in [&["--shards", "2"][..], &["--shards", "5", "--rechunk", "7"]] {
            let report = home.replay(more);
            assert!(report["alerts_compared"].as_u64().unwrap() > 400, "{report}");
        }
    }
    assert_eq!(told[0], told[1]);
    let before = START + OUTAGE.start * STEP;
    let of = |rule: &str, is_outage: bool| {
        let is = |told: &&Value| {
            told["rule"] == rule && (told["second"].as_u64().unwrap() >= before) == is_outage
        };
        told[0].iter().filter(is).cloned().collect::<Vec<_>>()
    };
    let (plain, frugal) = (of("plain", false), of("frugal", false));
    let few = frugal.len() * 3 < plain.len() * 2;
    assert!(plain.len() > 20 && few, "{} of {}", frugal.len(), plain.len());
    assert!(frugal.iter().all(|told| told["severity"].as_f64().unwrap() >= LEVEL_MIN));
    let (plain, frugal) = (of("plain", true).len(), of("frugal", true));
    assert!(plain > 200 && frugal.len() * 5 > plain, "{} of {plain}", frugal.len());
    let is_less = |told: &&Value| told["severity"].as_f64().unwrap() < LEVEL_MIN;
    let less: Vec<_> = frugal.iter().filter(is_less).collect();
    let says = |told: &&&Value| told["reason"].as_str().unwrap().contains(" of them at once), ");
    assert!(less.len() > 10, "{}", less.len());
    assert_eq!(less.iter().filter(says).count(), less.len());
}
