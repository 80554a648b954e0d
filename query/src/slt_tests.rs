//! Runs `tests/slt/*.slt`: rows that are written, statements, and their answers as CSV.
//!
//! ```text
//! # a comment
//! write                       rows of one record: metric,label=value,… seconds value [severity]
//! cpu,host=a 10 1.5 6.25      (seconds since 2024-01-01; db/metric for another database; kinds by the second)
//!
//! window                      name label=value start end revision value…: a window closes (seconds)
//! latency service=a 0 60 1 5 6 7
//!
//! flush 0                     the rows of shard 0 become a segment
//!
//! query                       or `query sorted`: lines below the header in order of their bytes
//! SELECT value FROM cpu
//! ----
//! value
//! 1.5
//!
//! error INVALID_QUERY         a statement, and below the line a part of what must be said
//! SELECT nonsense
//! ----
//! nonsense
//! ```
//!
//! Blocks end with an empty line; series live on shard `reference % 2`.

use std::path::{Path, PathBuf};

use tidewatch_metrics::{
    AlertKey, AnomalyKind, EventTime, Lsn, SeriesId, Severity, Sketch, Subject, Transition,
    TransitionKind, TransitionTimes,
};
use tidewatch_segments::{AlertRow, DeliveryRow, WindowRow};

use crate::fixtures::{Arrival, Asked, SECOND, World, at_second};

const NEW_YEAR: i64 = 1_704_067_200;

fn files() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/slt");
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|f| f.extension().is_some_and(|e| e == "slt")).collect();
    files.sort();
    files
}

#[test]
fn every_statement_of_the_slt_files_has_its_answer() {
    let files = files();
    assert!(files.len() >= 5, "{files:?}");
    for file in files {
        run(&file);
    }
}

fn run(file: &Path) {
    let world = World::new(2);
    let asked = Asked::new(&world);
    let text = std::fs::read_to_string(file).unwrap();
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let mut blocks = 0;
    for block in text.split("\n\n") {
        let lines: Vec<&str> =
            block.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        let Some((directive, lines)) = lines.split_first() else { continue };
        blocks += 1;
        let (sql, expected) = match lines.iter().position(|line| *line == "----") {
            Some(at) => (lines[..at].join("\n"), &lines[at + 1..]),
            None => (lines.join("\n"), &lines[..0]),
        };
        match directive.split_whitespace().collect::<Vec<_>>()[..] {
            ["write"] => {
                world.write(&lines.iter().map(|line| arrival(&world, line)).collect::<Vec<_>>());
            }
            ["flush", shard] => world.flush(shard.parse().unwrap()),
            ["window"] => lines.iter().for_each(|line| window(&world, line)),
            ["alert"] => lines.iter().for_each(|line| alert(&world, line)),
            ["query"] | ["query", "sorted"] => {
                let answer = asked.csv(&sql).unwrap_or_else(|e| panic!("{name}: {sql}\n{e}"));
                let mut answer: Vec<&str> = answer.lines().collect();
                if directive.ends_with("sorted") {
                    answer[1..].sort_unstable();
                }
                assert_eq!(answer, expected, "{name}: {sql}\n{}", answer.join("\n"));
            }
            ["error", code] => {
                let error = asked.csv(&sql).expect_err(&sql);
                assert_eq!(error.kind().code(), code, "{name}: {sql}\n{error}");
                let said = error.to_string();
                expected.iter().for_each(|part| assert!(said.contains(part), "{name}: {said}"));
            }
            _ => panic!("{name}: {directive:?} is no directive"),
        }
    }
    assert!(blocks > 2, "{name} has {blocks} blocks");
}

fn arrival(world: &World, line: &str) -> Arrival {
    let mut words = line.split_whitespace();
    let mut series = words.next().unwrap().split(',');
    let name = series.next().unwrap();
    let (db, name) = name.split_once('/').unwrap_or(("default", name));
    let labels: Vec<_> = series.map(|label| label.split_once('=').unwrap()).collect();
    let series = world.series(db, name, &labels);
    let mut number = || words.next().map(|word| word.parse::<f64>().expect(line));
    let seconds = number().unwrap();
    #[expect(clippy::cast_possible_truncation, reason = "seconds of a test are small")]
    let time = NEW_YEAR * SECOND + (seconds * 1e9) as i64;
    let value = number().unwrap();
    #[expect(clippy::cast_possible_truncation, reason = "severities are small")]
    let severity = number().unwrap_or(0.0) as f32;
    Arrival { series, time, value, severity }
}

/// `name label=value start end revision value…`: a window closes with the last record; times in seconds.
fn window(world: &World, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let time = |word: &str| EventTime::new((NEW_YEAR + word.parse::<i64>().unwrap()) * SECOND);
    let (label, value) = words[1].split_once('=').unwrap();
    let mut sketch = Sketch::default();
    words[5..].iter().for_each(|value| sketch.add(value.parse().unwrap()));
    world.add_window(WindowRow {
        lsn: Lsn::ZERO,
        name: words[0].into(),
        db: "default".into(),
        labels: vec![(label.to_owned(), value.to_owned())],
        start: time(words[2]),
        end: time(words[3]),
        revision: words[4].parse().unwrap(),
        quantiles: [0.5, 0.99].into(),
        sketch,
    });
}

/// `key transition second`: a transition, and an attempt to deliver it.
fn alert(world: &World, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let key = AlertKey(words[0].parse().unwrap());
    let kind = match words[1] {
        "firing" => TransitionKind::Firing,
        "resolved" => TransitionKind::Resolved,
        _ => TransitionKind::Pending,
    };
    let second: i64 = words[2].parse().unwrap();
    let transition = Transition {
        key,
        rule: "slow".to_owned(),
        rule_version: "1".to_owned(),
        priority: "page".to_owned(),
        subject: Subject::Series(SeriesId::new(5)),
        db: "default".to_owned(),
        metric: "cpu".to_owned(),
        labels: vec![("host".to_owned(), "a".to_owned())],
        kind,
        revision: 0,
        reason: "severity 6.25 > 6".to_owned(),
        historical: false,
        onset: EventTime::new(NEW_YEAR * SECOND),
        event: EventTime::new((NEW_YEAR + second) * SECOND),
        severity: Severity::from_f32(6.25),
        value: 1.5,
        expected: f64::NAN,
        lower: 0.5,
        upper: 2.0,
        channel: tidewatch_metrics::Channel::Deviation,
        anomaly: AnomalyKind::None,
        received: at_second(NEW_YEAR + second),
        sparkline: String::new(),
    };
    let times = TransitionTimes {
        durable: at_second(NEW_YEAR + second),
        scored: at_second(NEW_YEAR + second),
        fired: at_second(NEW_YEAR + second),
    };
    world.add_alert(AlertRow { transition, times, lsn: Lsn::new(1) });
    world.add_delivery(DeliveryRow {
        key,
        transition: kind,
        sink: "oncall".to_owned(),
        attempt: 1,
        outcome: "delivered".to_owned(),
        status: Some(204),
        started: at_second(NEW_YEAR + second),
        finished: at_second(NEW_YEAR + second),
        error: String::new(),
    });
}
