//! A damaged directory: refused, and with `serve --salvage` opened without what is damaged.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::server::{Home, Server, Start, json_of, run};

/// Rows of one series, each a request of its own; the first one registers the series.
const ROWS: u64 = 30;

fn written(home: &Home) -> Server {
    let server = home.serve();
    for row in 0..ROWS {
        assert_eq!(server.post("/write", format!("kept value={row} {row}")).status, 204);
    }
    server
}

fn flip(path: &Path, at: impl Fn(&[u8]) -> usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = at(&bytes);
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// The first file of the directory whose name begins and ends so.
fn first_file(dir: &Path, start: &str, end: &str) -> PathBuf {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let is_one = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with(start) && name.ends_with(end)
    };
    names.filter(is_one).min().unwrap()
}

/// The record that holds the series' name.
fn registration(bytes: &[u8]) -> usize {
    bytes.windows(4).position(|word| word == b"kept").unwrap()
}

fn refused(home: &Home) -> String {
    let data = home.data();
    let output = run(&["serve", "--data-dir", data.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("serve --salvage"), "{told}");
    told
}

/// Starts with a salvage; the server and what it says on standard error.
fn salvaged(home: &Home) -> (Server, Value, String) {
    let server = Start::on(&home.data()).with("--salvage").up();
    let told = fs::read_to_string(home.file("data.stderr")).unwrap();
    let line = told.lines().find(|line| line.starts_with("{\"number\":")).unwrap();
    let report = serde_json::from_str(line).unwrap();
    let file = home.data().join("salvage/1/report.json");
    assert_eq!(fs::read_to_string(file).unwrap(), format!("{line}\n"));
    (server, report, told)
}

#[test]
fn a_damaged_record_costs_its_rows_and_those_that_nobody_can_name_any_more() {
    let home = Home::new();
    written(&home).kill9();
    let log = first_file(&home.data().join("wal"), "wal-", ".log");
    flip(&log, registration);
    let name = log.file_name().unwrap().to_str().unwrap();
    assert!(refused(&home).contains(name));
    let (server, report, told) = salvaged(&home);
    assert_eq!(report["missing"].as_array().unwrap().len(), 1, "{report}");
    let gap = &report["missing"][0];
    assert_eq!((&gap["records"], &gap["file"]), (&json!(1), &json!(name)), "{report}");
    assert_eq!(report["left_out_rows"], ROWS - 1, "{report}");
    assert!(told.contains("are left out: the names of their series are lost"), "{told}");
    assert!(home.data().join("salvage/1/wal").join(name).exists(), "the damaged file is kept");
    // The series is a new one, and gets no row of the lost one.
    assert_eq!(server.post("/write", "kept value=7 100").status, 204);
    assert_eq!(server.number("SELECT count(*) FROM kept"), 1);
    server.kill9();
    let data = home.data();
    let data = data.to_str().unwrap();
    let replayed = run(&["replay", "--json", "--verify", data]);
    assert_eq!(replayed.status.code(), Some(8), "{replayed:?}");
    assert_eq!(json_of(&replayed)["result"], "not_comparable");
    let server = home.serve();
    assert_eq!(server.number("SELECT count(*) FROM kept"), 1);
    assert_eq!(server.stop(), 0);
    // From the checkpoint of the stop on.
    home.replay(&[]);
    let verified = run(&["wal", "verify", "--json", data]);
    let verified = (verified.status.code(), json_of(&verified));
    assert_eq!((verified.0, &verified.1["ok"]), (Some(0), &json!(true)));
    assert_eq!(verified.1["gaps"][0]["from_lsn"], gap["from_lsn"], "{verified:?}");
    assert_eq!(run(&["segments", "verify", data]).status.code(), Some(0));
}

#[test]
fn what_segments_hold_is_not_lost_with_the_log() {
    let home = Home::new();
    assert_eq!(written(&home).stop(), 0);
    flip(&first_file(&home.data().join("wal"), "wal-", ".log"), registration);
    refused(&home);
    let (server, report, _) = salvaged(&home);
    assert_eq!((&report["left_out_rows"], &report["segments"]), (&json!(0), &json!([])));
    assert_eq!(server.number("SELECT count(*) FROM kept"), ROWS);
    assert_eq!(server.stop(), 0);
    let data = home.data();
    let replayed = run(&["replay", "--json", "--verify", data.to_str().unwrap()]);
    assert_eq!(json_of(&replayed)["result"], "identical", "from the checkpoint behind the gap");
}

#[test]
fn rows_of_a_damaged_segment_come_back_from_the_log() {
    let home = Home::new();
    assert_eq!(written(&home).stop(), 0);
    flip(&first_file(&home.data().join("segments"), "samples-", ".parquet"), |_| 30);
    let (server, report, told) = salvaged(&home);
    let lost = report["segments"].as_array().unwrap();
    assert_eq!(lost.len(), 1, "{report}");
    assert_eq!((&lost[0]["from_log"], &lost[0]["kind"]), (&json!(true), &json!("samples")));
    assert!(told.contains("come back from the log"), "{told}");
    assert_eq!(server.number("SELECT count(*) FROM kept"), ROWS);
    assert_eq!(server.stop(), 0);
    home.replay(&[]);
    let data = home.data();
    assert_eq!(run(&["segments", "verify", data.to_str().unwrap()]).status.code(), Some(0));
}

#[test]
fn an_undamaged_directory_starts_as_ever() {
    let home = Home::new();
    assert_eq!(written(&home).stop(), 0);
    let server = Start::on(&home.data()).with("--salvage").up();
    assert_eq!(server.number("SELECT count(*) FROM kept"), ROWS);
    assert_eq!(server.stop(), 0);
    assert!(!home.data().join("salvage").exists());
}
