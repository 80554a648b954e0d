//! Real input: the 31 files of the Numenta Anomaly Benchmark through `tidewatch write`, at full speed,
//! with and without a kill -9 in the middle. The oracle reads the files on its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tidewatch_env::Rng;

use crate::server::{Home, Server, Start, json_of, program, run, tell};

/// All that a query can see of scored rows; `late` and the order of arrival may differ.
const ROWS: &str = "SELECT series_id, metric, time, value, severity, onset_severity, score, channel \
                    FROM tidewatch.samples ORDER BY metric, time";

/// The files, and the directory that holds them where they are made for this run.
struct Input {
    files: Vec<PathBuf>,
    real: bool,
    _made: Home,
}

/// What the files say of one series, after keeping the last of each time.
#[derive(Debug, Default, PartialEq)]
struct Expected {
    rows: BTreeMap<String, f64>,
    sent: u64,
}

impl Input {
    fn find() -> Self {
        let made = Home::new();
        let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/nab/data");
        let mut files = Vec::new();
        if real.is_dir() {
            for dir in fs::read_dir(&real).unwrap() {
                let entries = fs::read_dir(dir.unwrap().path()).unwrap();
                let entries = entries.map(|entry| entry.unwrap().path());
                files.extend(entries.filter(|path| path.extension().is_some_and(|e| e == "csv")));
            }
            files.sort();
            return Self { files, real: true, _made: made };
        }
        tell("the NAB files are not beside the checkout: skipped, series of their shape instead");
        for number in 0..31 {
            let file = made.file(&format!("made_{number}.csv"));
            fs::write(&file, walk(number)).unwrap();
            files.push(file);
        }
        Self { files, real: false, _made: made }
    }

    fn expected(&self) -> BTreeMap<String, Expected> {
        let series = self.files.iter().map(|file| {
            let mut expected = Expected::default();
            for row in fs::read_to_string(file).unwrap().lines().skip(1) {
                let (time, value) = row.split_once(',').unwrap();
                let time = format!("{}Z", time.replace(' ', "T"));
                expected.rows.insert(time, value.trim().parse().unwrap());
                expected.sent += 1;
            }
            (file.file_stem().unwrap().to_string_lossy().into_owned(), expected)
        });
        series.collect()
    }

    fn writer(&self, server: &Server) -> Command {
        let mut command = Command::new(program());
        command.args(["write", "--json", "--batch-rows", "1000", "--url", &server.url()]);
        command.args(&self.files);
        command
    }

    /// Sends every file; gives how many rows that were.
    fn send(&self, server: &Server) -> u64 {
        let output = self.writer(server).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let summary = json_of(&output);
        assert_eq!(summary["files"], 31);
        assert_eq!(summary["rows_sent"], summary["rows_accepted"]);
        summary["rows_sent"].as_u64().unwrap()
    }
}

/// A walk with repeated times, as the real files have them.
fn walk(number: u64) -> String {
    let mut rng = Rng::from_seed(number);
    let mut text = "timestamp,value\n".to_owned();
    let mut value = 100.0;
    for row in 0..1_500_u32 {
        value += rng.unit_f64() - 0.5;
        let minute = if row % 700 == 699 { row - 1 } else { row };
        let (day, hour, minute) = (1 + minute / 1_440, minute / 60 % 24, minute % 60);
        text.push_str(&format!("2014-04-{day:02} {hour:02}:{minute:02}:00,{value}\n"));
    }
    text
}

/// Small heads, so that rows are flushed while others arrive.
fn start(home: &Home) -> Start {
    Start::on(&home.data()).set("flush.rows_max=20000").set("wal.segment_bytes_max=1MiB")
}

/// Every row that is seen, as one text.
fn seen(server: &Server) -> String {
    let answer =
        server.ask(&serde_json::json!({ "q": ROWS, "format": "csv", "timeout_ms": 30_000 }));
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

/// Per series: count, first and last time exact, sum within 1e-9.
fn assert_stored(server: &Server, expected: &BTreeMap<String, Expected>) {
    let rows = server.sql(
        "SELECT metric, count(*) AS n, min(time) AS first, max(time) AS last, sum(value) AS sum \
         FROM tidewatch.samples GROUP BY metric",
    );
    assert_eq!(rows.len(), expected.len());
    for row in rows {
        let series = &expected[row["metric"].as_str().unwrap()];
        assert_eq!(row["n"], series.rows.len(), "{row}");
        assert_eq!(row["first"], **series.rows.keys().next().unwrap(), "{row}");
        assert_eq!(row["last"], **series.rows.keys().next_back().unwrap(), "{row}");
        let sum: f64 = series.rows.values().sum();
        let off = (row["sum"].as_f64().unwrap() - sum).abs();
        assert!(off <= 1e-9 * sum.abs(), "{row}: {sum}");
    }
}

fn assert_replays(home: &Home, samples: u64) {
    let more = [&[][..], &["--shards", "7"], &["--rechunk", "42"]];
    let reports: Vec<Value> = more.iter().map(|more| home.replay(more)).collect();
    for report in &reports {
        assert_eq!(report["samples"], samples);
        assert_eq!(report["severities_compared"], samples, "a clean stop logs the hash of all");
        assert_eq!(report["state_hash"], reports[0]["state_hash"]);
    }
}

#[test]
fn the_nab_files_are_stored_exactly_also_when_the_server_is_killed_in_the_middle() {
    let input = Input::find();
    let expected = input.expected();
    let sent: u64 = expected.values().map(|series| series.sent).sum();
    let stored: usize = expected.values().map(|series| series.rows.len()).sum();
    if input.real {
        assert_eq!((sent, stored), (179_391, 179_367));
    }

    let calm = Home::new();
    let server = start(&calm).up();
    assert_eq!(input.send(&server), sent);
    assert_stored(&server, &expected);
    assert_eq!(server.number("SELECT count(*) FROM tidewatch.arrivals"), sent);
    assert!(server.number("SELECT count(*) FROM tidewatch.segments") > 0, "rows were flushed");
    let undisturbed = seen(&server);
    assert_eq!(server.stop(), 0);
    assert_replays(&calm, sent);

    let home = Home::new();
    let server = start(&home).up();
    let mut writer = input.writer(&server);
    let writer = writer.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    while server.counter("tidewatch_engine_samples_applied_total") < sent / 3 {}
    server.kill9();
    let cut = writer.wait_with_output().unwrap();
    assert_eq!(cut.status.code(), Some(3), "the writer was cut off: {cut:?}");
    let acknowledged = json_of(&cut)["rows_accepted"].as_u64().unwrap();
    assert!(acknowledged < sent);

    let server = start(&home).up();
    let first = server.number("SELECT count(*) FROM tidewatch.arrivals");
    assert!(first >= acknowledged && first < sent, "{acknowledged} acknowledged, {first} there");
    assert_eq!(input.send(&server), sent);
    assert_stored(&server, &expected);
    assert_eq!(server.number("SELECT count(*) FROM tidewatch.arrivals"), first + sent);
    assert!(seen(&server) == undisturbed, "a scored row has lost its severity, or a value changed");
    assert_eq!(server.stop(), 0);
    assert_replays(&home, first + sent);

    let data = home.data();
    let verified = run(&["wal", "verify", "--json", data.to_str().unwrap()]);
    assert_eq!((verified.status.code(), &json_of(&verified)["ok"]), (Some(0), &Value::Bool(true)));
    let verified = run(&["segments", "verify", "--json", data.to_str().unwrap()]);
    assert_eq!((verified.status.code(), &json_of(&verified)["ok"]), (Some(0), &Value::Bool(true)));
}
