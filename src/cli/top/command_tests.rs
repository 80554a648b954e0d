use clap::Parser;

use super::*;
use crate::cli::fake_server::{Answer, FakeServer};

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    args: TopArgs,
}

fn args(words: &[&str]) -> Result<TopArgs, clap::Error> {
    let words = std::iter::once("top").chain(words.iter().copied());
    Command::try_parse_from(words).map(|command| command.args)
}

fn top(words: &[&str]) -> (Result<(), CliError>, String) {
    let mut out = Vec::new();
    let result = run(&args(words).expect("good arguments"), &mut out);
    (result, String::from_utf8(out).unwrap())
}

const HEALTH: &str = r#"{"status":"unhealthy","caught_up":true,"version":"0.1.0","uptime_seconds":5,
    "components":[{"name":"storage","status":"unhealthy","message":"the disk is full","details":{}}]}"#;
const METRICS: &str = "tidewatch_connectors_samples_decoded_total 5\n# EOF\n";

#[test]
fn a_frame_is_made_of_two_readings_and_what_is_busy_or_ill_is_an_answer_too() {
    let busy = r#"{"error":{"code":"NOT_READY","message":"the log is replayed"}}"#;
    let reading = [
        Answer::new(503, HEALTH),
        Answer::new(200, METRICS),
        Answer::new(503, busy).header("Retry-After", "3600"),
        Answer::new(200, "[]"),
    ];
    // Alerts are not asked for again so soon.
    let again = &reading[..3];
    let server = FakeServer::start([&reading[..], again].concat());
    let (result, out) = top(&["--url", server.url(), "--every", "100ms"]);
    result.expect("a frame");
    for part in ["unhealthy  caught up", "storage: the disk is full", "no alert is firing"] {
        assert!(out.contains(part), "{part} in {out}");
    }
    assert!(
        out.contains("partitions are not known") && out.contains("the log is replayed"),
        "{out}"
    );
    let lines: Vec<_> = server.requests().into_iter().map(|seen| seen.first_line).collect();
    assert_eq!(lines.len(), 7, "{lines:?}");
    assert_eq!(lines[0], "GET /api/v1/health HTTP/1.1");
}

#[test]
fn a_server_that_is_not_there_is_not_reached_and_a_key_that_does_not_fit_is_refused() {
    let gone = FakeServer::start(Vec::new()).url().to_owned();
    assert_eq!(top(&["--once", "--url", &gone]).0.unwrap_err().exit_code(), 3);
    let server = FakeServer::start(vec![Answer::new(401, "{}")]);
    assert_eq!(top(&["--json", "--url", server.url()]).0.unwrap_err().exit_code(), 4);
}

#[test]
fn what_was_known_stays_while_the_server_is_away_and_a_wrong_key_ends_it() {
    let answers = vec![
        Answer::new(200, HEALTH),
        Answer::new(200, METRICS),
        Answer::new(200, "[]"),
        Answer::new(200, "[]"),
    ];
    let server = FakeServer::start(answers);
    let given = args(&["--url", server.url()]).unwrap();
    let mut asker = Asker::new(&given.server, Arc::default()).unwrap();
    let mut watch = Watch::new(server.url(), Duration::ZERO);
    watch.take(Duration::from_secs(1), asker.read()).unwrap();
    assert_eq!((watch.snapshot.lost.as_ref(), watch.snapshot.version.as_str()), (None, "0.1.0"));
    watch.take(Duration::from_secs(31), asker.read()).unwrap();
    let lost = watch.snapshot.lost.clone().expect("it hangs up");
    assert!((lost.seconds - 30.0).abs() < 1e-9 && lost.why.contains("no answer from"), "{lost:?}");
    assert_eq!(watch.snapshot.version, "0.1.0");
    let refused = CliError::Refused { url: String::new(), status: 403, message: String::new() };
    assert!(watch.take(Duration::from_secs(32), Err(refused)).is_err());
}

#[test]
fn the_time_between_questions_has_bounds() {
    for words in [&["--every", "1ms"][..], &["--every", "2h"], &["--every", "5"]] {
        assert!(args(words).is_err(), "{words:?}");
    }
    assert_eq!(args(&[]).unwrap().every, Duration::from_secs(1));
}
