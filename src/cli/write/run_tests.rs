use std::fs;

use clap::Parser;
use serde_json::Value;

use super::*;
use crate::cli::fake_server::{Answer, FakeServer};

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    args: WriteArgs,
}

fn parse(words: &[&str]) -> WriteArgs {
    let words = std::iter::once("write").chain(words.iter().copied());
    Command::try_parse_from(words).expect("good arguments").args
}

fn write(url: &str, words: &[&str]) -> (Result<(), CliError>, Value) {
    let args = parse(&[&["--url", url, "--json"], words].concat());
    let mut out = Vec::new();
    let result = run(&args, &mut out);
    (result, serde_json::from_slice(&out).expect("one JSON document"))
}

fn stored(lsn: &str) -> Answer {
    Answer::new(204, "").header("Tidewatch-Lsn", lsn).header("Tidewatch-Rejected", "0")
}

#[test]
fn the_rows_of_a_file_arrive_in_order_and_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("art daily.csv");
    let rows: String = (0..7).map(|i| format!("2014-04-01 00:0{i}:00,{i}.5\n")).collect();
    fs::write(&file, format!("timestamp,value\n{rows}")).unwrap();
    let server = FakeServer::start(vec![stored("4"), stored("5"), stored("9")]);
    let file = file.to_str().unwrap();
    let words = ["--batch-rows", "3", "--label", "site=nab", "--durability", "written", file];
    let (result, summary) = write(server.url(), &words);
    result.expect("all is stored");
    let seen = server.requests();
    let bodies: String =
        seen.iter().map(|request| String::from_utf8(request.body.clone()).unwrap()).collect();
    let start = 1_396_310_400_u64;
    let expected: String = (0..7)
        .map(|i| format!("art\\ daily,site=nab value={i}.5 {}000000000\n", start + i * 60))
        .collect();
    assert_eq!(bodies, expected);
    for request in &seen {
        assert_eq!(request.first_line, "POST /write?db=default&precision=ns HTTP/1.1");
        assert_eq!(request.header("tidewatch-durability"), Some("written"));
    }
    for (key, value) in
        [("files", 1), ("rows_sent", 7), ("rows_accepted", 7), ("requests", 3), ("last_lsn", 9)]
    {
        assert_eq!(summary[key], value, "{key} of {summary}");
    }
}

#[test]
fn partial_writes_go_on_and_end_with_exit_4() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.lp");
    fs::write(&file, "m v=1\nm v=x\nm v=3\n").unwrap();
    let partial = Answer::new(400, r#"{"error":"partial write: line 2: invalid value"}"#)
        .header("Tidewatch-Accepted", "1")
        .header("Tidewatch-Rejected", "1")
        .header("Tidewatch-Lsn", "1");
    let server = FakeServer::start(vec![partial, stored("2")]);
    let words = ["--batch-rows", "2", "--precision", "ms", "--db", "a b", file.to_str().unwrap()];
    let (result, summary) = write(server.url(), &words);
    assert_eq!(result.unwrap_err().exit_code(), 4);
    assert_eq!(server.requests().len(), 2);
    assert_eq!(server.requests()[0].first_line, "POST /write?db=a%20b&precision=ms HTTP/1.1");
    assert_eq!((&summary["rows_accepted"], &summary["rows_rejected"]), (&2.into(), &1.into()));
}

#[test]
fn a_refused_request_ends_the_command_with_the_servers_words() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.lp");
    fs::write(&file, "m v=1\nm v=2\n").unwrap();
    let refused = Answer::new(400, r#"{"error":"database \"tidewatch\" is refused"}"#);
    let server = FakeServer::start(vec![refused]);
    let words = ["--batch-rows", "1", file.to_str().unwrap()];
    let (result, summary) = write(server.url(), &words);
    let error = result.unwrap_err();
    assert_eq!(error.exit_code(), 4);
    assert!(error.to_string().contains("database \"tidewatch\" is refused"), "{error}");
    assert_eq!((&summary["rows_accepted"], server.requests().len()), (&0.into(), 1));
}

#[test]
fn a_server_that_goes_away_leaves_the_figures_of_what_it_took() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.lp");
    fs::write(&file, "m v=1\nm v=2\n").unwrap();
    let server = FakeServer::start(vec![stored("1")]);
    let words = ["--batch-rows", "1", file.to_str().unwrap()];
    let (result, summary) = write(server.url(), &words);
    assert_eq!(result.unwrap_err().exit_code(), 3);
    assert_eq!((&summary["rows_accepted"], &summary["files"]), (&1.into(), &0.into()));
}

#[test]
fn several_files_are_all_sent() {
    let dir = tempfile::tempdir().unwrap();
    let files: Vec<_> = (0..9).map(|i| dir.path().join(format!("f{i}.csv"))).collect();
    for file in &files {
        fs::write(file, "timestamp,value\n1,1\n2,nan\n").unwrap();
    }
    let server = FakeServer::start(vec![stored("1"); 9]);
    let words: Vec<_> = files.iter().map(|file| file.to_str().unwrap()).collect();
    let (result, summary) = write(server.url(), &words);
    assert_eq!(result.unwrap_err().exit_code(), 4, "nine rows are no numbers");
    let mut bodies: Vec<_> = server.requests().into_iter().map(|request| request.body).collect();
    bodies.sort();
    for (i, body) in bodies.iter().enumerate() {
        assert_eq!(*body, format!("f{i} value=1.0 1000000000\n").into_bytes());
    }
    assert_eq!((&summary["files"], &summary["rows_rejected"]), (&9.into(), &9.into()));
}

#[test]
fn arguments_that_contradict_each_other_are_refused_before_anything_is_sent() {
    for words in [
        &["-", "-"][..],
        &["--metric", "m", "a.lp"],
        &["--label", "a=b", "-"],
        &["--format", "csv", "-"],
        &["--label", "k=1", "--label", "k=2", "a.csv"],
        &["--db", "tidewatch", "a.csv"],
    ] {
        assert_eq!(jobs(&parse(words)).unwrap_err().exit_code(), 2, "{words:?}");
    }
    assert!(jobs(&parse(&["--format", "csv", "--metric", "m", "-"])).is_ok());
}

#[test]
fn a_missing_file_is_named() {
    let server = FakeServer::start(Vec::new());
    let (result, summary) = write(server.url(), &["/nowhere/a.lp"]);
    let error = result.unwrap_err();
    assert_eq!((error.exit_code(), &summary["requests"]), (2, &0.into()));
    assert!(error.to_string().contains("/nowhere/a.lp"), "{error}");
}

#[test]
fn json_goes_to_its_own_door_in_batches_that_it_takes() {
    let dir = tempfile::tempdir().unwrap();
    let (document, lines) = (dir.path().join("a.json"), dir.path().join("b.ndjson"));
    fs::write(&document, "{\"metrics\":[{\"name\":\"a\"},{\"name\":\"b\"},{\"name\":\"c\"}]}")
        .unwrap();
    fs::write(&lines, "{\"metric\":\"a\"}\n{\"metric\":\"b\"}\n").unwrap();
    let partial = r#"{"accepted":1,"rejected":1,"errors":[{"index":1,"metric":"b","error":"x"}]}"#;
    let partial = Answer::new(207, partial)
        .header("Tidewatch-Accepted", "1")
        .header("Tidewatch-Rejected", "1");
    for (file, content_type, bodies) in [
        (
            &document,
            "application/json",
            [
                "{\"metrics\":[{\"name\":\"a\"},{\"name\":\"b\"}]}",
                "{\"metrics\":[{\"name\":\"c\"}]}",
            ],
        ),
        (&lines, "application/x-ndjson", ["{\"metric\":\"a\"}\n{\"metric\":\"b\"}\n", ""]),
    ] {
        let server = FakeServer::start(vec![partial.clone(), stored("2")]);
        let words = ["--batch-rows", "2", "--db", "lab", file.to_str().unwrap()];
        let (result, summary) = write(server.url(), &words);
        assert_eq!(result.unwrap_err().exit_code(), 4, "{summary}");
        assert_eq!(summary["rows_rejected"], 1);
        for (request, body) in server.requests().iter().zip(bodies) {
            assert_eq!(request.first_line, "POST /api/v1/write?db=lab HTTP/1.1");
            assert_eq!(request.header("content-type"), Some(content_type));
            assert_eq!(String::from_utf8_lossy(&request.body), body);
        }
    }
    for words in [&["--precision", "ms", "a.json"][..], &["--metric", "m", "a.ndjson.gz"]] {
        assert_eq!(jobs(&parse(words)).unwrap_err().exit_code(), 2, "{words:?}");
    }
    assert_eq!(jobs(&parse(&["a.jsonl"])).unwrap()[0].form.rows_max(), 10_000);
}
