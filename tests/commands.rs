//! The commands as scripts use them: standard output, exit codes, signals, stopped directories.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tidewatch_env::{Clock, RealClock};

use crate::server::{Home, json_of, program, run};

/// Nobody listens here.
const NOWHERE: &str = "http://127.83.19.8:9";

fn code(arguments: &[&str]) -> i32 {
    run(arguments).status.code().unwrap()
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let home = Home::new();
    let data = home.data();
    let data = data.to_str().unwrap();
    let server = home.serve();
    let url = server.url();
    let lines = home.file("lines.lp");
    let lines_name = lines.to_str().unwrap();
    fs::write(&lines, "good value=1 1\nbad\n").unwrap();
    assert_eq!(code(&["serve", "--data-dir", data, "--listen", "127.0.0.1:0"]), 6, "in use");
    assert_eq!(code(&["query", "--data-dir", data, "SELECT 1"]), 6, "in use");
    assert_eq!(code(&["replay", "--verify", data]), 6, "in use");
    assert_eq!(code(&["write", "--url", &url, lines_name]), 4, "a line was refused");
    assert_eq!(code(&["query", "--url", &url, "SELECT nothing FROM nowhere"]), 4);
    assert_eq!(code(&["query", "--url", &url, "SELECT value FROM good"]), 0);
    assert_eq!(code(&["query", "--url", NOWHERE, "SELECT 1"]), 3, "not reached");
    assert_eq!(code(&["write", "--url", NOWHERE, lines_name]), 3);
    assert_eq!(code(&["write", "--url", &url, "no-such-file.lp"]), 2);
    assert_eq!(code(&["serve", "--no-such-flag"]), 2);
    assert_eq!(code(&["query", "--data-dir", "no-such-directory", "SELECT 1"]), 2);
    assert_eq!(server.stop(), 0);
    assert_eq!(code(&["replay", "--verify", data]), 0);
}

#[test]
fn nobody_beyond_this_machine_is_served_unless_it_is_said() {
    let home = Home::new();
    let data = home.data();
    let arguments = ["serve", "--data-dir", data.to_str().unwrap(), "--listen", "0.0.0.0:0"];
    let refused = run(&arguments);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--insecure-listen"), "{refused:?}");
    assert!(refused.stdout.is_empty() && !data.exists(), "before anything was made");
}

#[test]
fn listen_json_is_there_while_the_server_runs_and_only_then() {
    let home = Home::new();
    let server = home.serve();
    let file = home.data().join("listen.json");
    let told: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!((&told["addr"], &told["pid"]), (&json!(server.address), &json!(server.pid)));
    // A statement waits until the log is replayed.
    assert_eq!(server.number("SELECT count(*) FROM tidewatch.samples"), 0);
    for (path, body) in [("/healthz", "OK"), ("/readyz", "READY")] {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.body.as_str()), (200, body));
    }
    assert_eq!(server.get("/health").json()["status"], "pass");
    let ping = server.get("/ping");
    assert_eq!((ping.status, ping.header("x-influxdb-build")), (204, "Tidewatch"));
    assert!(!ping.header("x-influxdb-version").is_empty());
    assert_eq!(server.get("/api/v1/version").json()["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(server.stop(), 0);
    assert!(!file.exists());
}

#[test]
fn sigterm_under_load_ends_in_order_within_ten_seconds_and_loses_nothing() {
    let home = Home::new();
    let server = home.serve();
    let clock = RealClock::new();
    let stopped = AtomicBool::new(false);
    let acknowledged: u64 = std::thread::scope(|scope| {
        let (server, stopped) = (&server, &stopped);
        let write = move |writer: u64| {
            let mut rows = 0;
            // ATOMICS: a flag on its own guards no other memory, hence relaxed.
            for request in 0.. {
                let lines = (0..100)
                    .map(|row| format!("load,w=w{writer} value=1 {}\n", request * 100 + row));
                let body: String = lines.collect();
                match server.try_send("POST", "/write", &[], body.as_bytes()) {
                    Ok(answer) if answer.status == 204 => rows += 100,
                    // Once it was told to end, it may refuse or be gone.
                    other if stopped.load(Ordering::Relaxed) => return drop_and(other, rows),
                    other => panic!("{other:?}"),
                }
            }
            rows
        };
        let writers: Vec<_> = (0..4).map(|writer| scope.spawn(move || write(writer))).collect();
        while server.counter("tidewatch_engine_samples_applied_total") < 5_000 {}
        stopped.store(true, Ordering::Relaxed);
        assert!(server.hit("TERM"));
        writers.into_iter().map(|writer| writer.join().unwrap()).sum()
    });
    let before = clock.monotonic();
    assert_eq!(server.ended(), 0);
    assert!(clock.monotonic().saturating_sub(before) < Duration::from_secs(10));
    assert!(!home.data().join("listen.json").exists());
    let data = home.data();
    let statement = "SELECT count(*) AS n FROM tidewatch.arrivals";
    let output =
        run(&["query", "--format", "json", "--data-dir", data.to_str().unwrap(), statement]);
    let stored = json_of(&output)[0]["n"].as_u64().unwrap();
    assert!(stored >= acknowledged, "{acknowledged} acknowledged, {stored} stored");
    assert_eq!(home.replay(&[])["severities_compared"], stored, "the stop logged the hash of all");
}

/// What a writer that was cut off gives.
fn drop_and<T>(last: T, rows: u64) -> u64 {
    drop(last);
    rows
}

#[test]
fn a_flipped_byte_in_the_log_is_corruption_and_not_an_end() {
    let home = Home::new();
    let server = home.serve();
    for row in 0..50 {
        let body = format!("kept value={row} {row}");
        assert_eq!(server.post("/write", body).status, 204);
    }
    assert_eq!(server.stop(), 0);
    let data = home.data();
    let data = data.to_str().unwrap();
    let verified = run(&["wal", "verify", "--json", data]);
    let report = json_of(&verified);
    assert_eq!((verified.status.code(), &report["ok"]), (Some(0), &json!(true)));
    assert!(report["records"].as_u64().unwrap() > 50, "{report}");
    let logs = fs::read_dir(home.data().join("wal")).unwrap().map(|entry| entry.unwrap().path());
    let log = logs.filter(|path| path.extension().is_some_and(|end| end == "log")).min().unwrap();
    let mut bytes = fs::read(&log).unwrap();
    // The first value that was written, long before the last synced record.
    let at = bytes.windows(4).position(|word| word == b"kept").unwrap();
    bytes[at] ^= 0x10;
    fs::write(&log, bytes).unwrap();
    let verified = run(&["wal", "verify", "--json", data]);
    assert_eq!(verified.status.code(), Some(5), "{verified:?}");
    let problems = json_of(&verified)["problems"].clone();
    let name = log.file_name().unwrap().to_str().unwrap();
    assert_eq!(problems[0]["file"], name, "{problems}");
    assert!(problems[0]["offset"].as_u64().unwrap() <= u64::try_from(at).unwrap(), "{problems}");
    assert_eq!(code(&["serve", "--data-dir", data, "--listen", "127.0.0.1:0"]), 5);
    assert_eq!(code(&["query", "--data-dir", data, "SELECT count(*) FROM kept"]), 5);
    assert_eq!(code(&["replay", "--verify", data]), 5);
}

#[test]
fn what_gen_puts_out_is_written_and_found_in_the_stopped_directory() {
    let home = Home::new();
    let server = home.serve();
    let generate =
        ["gen", "--series", "20", "--samples", "100", "--interval", "10s", "--seed", "3"];
    let mut gen_ = Command::new(program());
    let mut gen_ =
        gen_.args(generate).args(["--format", "lp"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut write = Command::new(program());
    write.args(["write", "--json", "--url", &server.url(), "-"]);
    let output = write.stdin(gen_.stdout.take().unwrap()).output().unwrap();
    assert!(gen_.wait().unwrap().success());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let summary = json_of(&output);
    assert_eq!((&summary["rows_sent"], &summary["rows_accepted"]), (&json!(2_000), &json!(2_000)));
    assert_eq!(server.stop(), 0);
    let data = home.data();
    let statement =
        "SELECT count(*) AS n, count(DISTINCT series_id) AS series FROM tidewatch.samples";
    let output =
        run(&["query", "--format", "json", "--data-dir", data.to_str().unwrap(), statement]);
    assert_eq!(json_of(&output), json!([{ "n": 2_000, "series": 20 }]));
    let listed = run(&["segments", "ls", "--json", data.to_str().unwrap()]);
    assert_eq!(listed.status.code(), Some(0), "{listed:?}");
}

#[test]
fn check_tells_every_problem_at_once() {
    let home = Home::new();
    let file = home.file("tidewatch.toml");
    let name = file.to_str().unwrap();
    fs::write(&file, "[wal]\nidle_mark_ms = 60000\n\n[flush]\nrow_max = 5\n").unwrap();
    let output = run(&["check", "--json", "--config", name]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let report = json_of(&output);
    assert_eq!(report["ok"], false);
    let problems: Vec<&str> =
        report["problems"].as_array().unwrap().iter().map(|p| p["key"].as_str().unwrap()).collect();
    assert_eq!(problems, ["wal.idle_mark_ms", "flush.row_max"], "{report}");
    let hint = report["problems"][1]["message"].as_str().unwrap();
    assert!(hint.contains("flush.rows_max"), "{hint}");
    assert_eq!(code(&["serve", "--config", name]), 2, "serve refuses it too");
    fs::write(&file, "[wal]\nidle_mark_ms = 200\n").unwrap();
    let output = run(&["check", "--json", "--config", name]);
    assert_eq!(json_of(&output), json!({ "ok": true, "problems": [] }));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn version_help_and_completions_are_results() {
    let version = run(&["version", "--json"]);
    assert_eq!(json_of(&version)["version"], env!("CARGO_PKG_VERSION"));
    let completions = run(&["completions", "bash"]);
    let script = String::from_utf8(completions.stdout).unwrap();
    assert!(script.contains("complete -F _tidewatch"), "{script}");
    let shell = Command::new("bash").args(["-n", "-c", &script]).status();
    assert!(shell.is_ok_and(|status| status.success()), "bash can read it");
    let commands = [
        "serve", "write", "query", "sql", "tail", "alerts", "series", "replay", "check", "gen",
        "wal", "segments", "score", "eval",
    ];
    for command in commands {
        let help = run(&[command, "--help"]);
        assert!(help.status.success() && help.stdout.len() > 200, "{command}: {help:?}");
    }
}
