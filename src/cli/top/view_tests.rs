use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::cli::top::snapshot::{AlertLine, Lost, Machine, PartitionLine, SourceLine, Trouble};

fn snapshot() -> Snapshot {
    let source = SourceLine {
        name: "main".to_owned(),
        state: "catching_up".to_owned(),
        samples_per_second: Some(612_345.0),
        messages_per_second: Some(12_345.0),
        bytes_per_second: Some(3_145_728.0),
        lag_messages: Some(1_234_567.0),
        lag_seconds: Some(95.0),
        catch_up_seconds: Some(100.0),
        bad_messages: Some(3.0),
        gap_messages: Some(0.0),
        rebalances: None,
    };
    let http = SourceLine { name: "HTTP".to_owned(), ..SourceLine::default() };
    let partition = |number: u32| PartitionLine {
        source: "main".to_owned(),
        topic: "metrics".to_owned(),
        partition: number.to_string(),
        state: if number == 0 { "stopped" } else { "reading" }.to_owned(),
        lag_messages: f64::from(100 - number),
        lag_seconds: f64::from(100 - number),
        bad_messages: 0.0,
        trouble: if number == 0 { "it stops".to_owned() } else { String::new() },
    };
    let alert = AlertLine {
        onset: "2026-11-22T10:00:00.123Z".to_owned(),
        rule: "slow".to_owned(),
        priority: "page".to_owned(),
        series: "latency{host=a}".to_owned(),
        severity: 7.25,
    };
    Snapshot {
        url: "http://here:8850".to_owned(),
        version: "0.1.0".to_owned(),
        status: "degraded".to_owned(),
        uptime_seconds: 3_725.0,
        samples_per_second: Some(620_000.0),
        machine: Machine {
            durable_lsn: Some(98_765.0),
            data_bytes: Some(1_073_741_824.0),
            data_bytes_max: Some(10_737_418_240.0),
            queries_in_hand: Some(2.0),
            queries_max: Some(72.0),
            ..Machine::default()
        },
        sources: vec![http, source],
        partitions: (0..40).map(partition).collect(),
        alerts: vec![alert; 30],
        troubles: vec![Trouble {
            part: "sinks".to_owned(),
            status: "degraded".to_owned(),
            message: "oncall: no answer".to_owned(),
        }],
        ..Snapshot::default()
    }
}

/// The lines of a terminal of this size.
fn drawn(snapshot: &Snapshot, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let frame = terminal.draw(|frame| render(snapshot, frame.area(), frame.buffer_mut())).unwrap();
    lines(frame.buffer)
}

fn line<'a>(frame: &'a [String], word: &str) -> &'a str {
    frame.iter().find(|line| line.contains(word)).unwrap_or_else(|| panic!("{word} in {frame:#?}"))
}

#[test]
fn a_wide_terminal_has_every_column_and_a_narrow_one_those_that_count() {
    let (wide, narrow) = (drawn(&snapshot(), 140, 50), drawn(&snapshot(), 80, 24));
    for frame in [&wide, &narrow] {
        assert!(
            frame[0].contains("http://here:8850  degraded  not caught up  up 1 h 2 min"),
            "{frame:#?}"
        );
        assert!(line(frame, "durable LSN").contains("98,765"));
        assert!(line(frame, "data ").contains("1.0 GiB of 10.0 GiB"));
        let main = line(frame, "main  ");
        for part in ["catching_up", "612,345", "12,345", "1,234,567", "1 min 35 s", " 3"] {
            assert!(main.contains(part), "{part} in {main}");
        }
        assert!(line(frame, "metrics/0").contains("stopped"), "{frame:#?}");
        assert!(line(frame, "latency{host=a}").contains("2026-11-22T10:00:00Z"));
        assert!(line(frame, "sinks").contains("oncall: no answer"));
    }
    assert!(
        line(&wide, "SOURCE").contains("REBALANCES") && line(&wide, "main  ").contains("3.0 MiB")
    );
    assert!(line(&wide, "metrics/0").contains("it stops"));
    assert!(line(&wide, "latency{").contains("page"));
    assert!(!line(&narrow, "SOURCE").contains("REBALANCES"));
}

#[test]
fn partitions_and_alerts_share_the_room_and_a_small_terminal_panics_on_nothing() {
    let frame = drawn(&snapshot(), 140, 50);
    let count = |word: &str| frame.iter().filter(|line| line.contains(word)).count();
    let (partitions, alerts) = (count("metrics/"), count("latency{"));
    assert!(partitions > 10 && alerts > 10 && partitions.abs_diff(alerts) <= 1, "{frame:#?}");
    assert_eq!(shared(10, (3, 20)), (3, 7));
    assert_eq!(shared(10, (20, 3)), (7, 3));
    assert_eq!(shared(9, (20, 20)), (5, 4));
    assert_eq!(shared(0, (1, 1)), (0, 0));
    for (width, height) in [(1, 1), (10, 3), (40, 8), (300, 5)] {
        drawn(&snapshot(), width, height);
    }
}

#[test]
fn text_has_what_there_is_and_says_what_there_is_not() {
    let frame = as_text(&snapshot(), 120);
    assert_eq!(frame.matches("metrics/").count(), TEXT_ROWS_MAX, "{frame}");
    assert_eq!(frame.matches("latency{").count(), TEXT_ROWS_MAX, "{frame}");
    let nothing = as_text(&Snapshot::of_nothing("http://here"), 80);
    assert_eq!(nothing.matches("there is no answer yet").count(), 2, "{nothing}");
    let empty = as_text(&Snapshot { url: "http://here".to_owned(), ..Snapshot::default() }, 80);
    for part in ["http://here", "no partitions are read", "no alert is firing", UNKNOWN] {
        assert!(empty.contains(part), "{part} in {empty}");
    }
    let unknown = Snapshot {
        partitions_missing: Some("one\u{1b}[2J".to_owned()),
        alerts_missing: Some("two".to_owned()),
        ..Snapshot::default()
    };
    let unknown = as_text(&unknown, 80);
    assert!(unknown.contains("partitions are not known: one") && !unknown.contains('\u{1b}'));
    assert!(unknown.contains("alerts are not known: two"), "{unknown}");
}

#[test]
fn a_long_trouble_has_several_lines_and_not_too_many() {
    assert_eq!(wrapped("a bb ccc", 80), ["a bb ccc"]);
    assert_eq!(wrapped("aaaa bbb cc ddddddddddd", 8), ["aaaa bbb", "  cc", "  ddddddddddd"]);
    let lines = wrapped(&"word ".repeat(100), 20);
    assert_eq!((lines.len(), lines[2].as_str()), (TROUBLE_LINES_MAX, "  word word word …"));
    assert_eq!(wrapped("", 8), [""]);
}

#[test]
fn a_server_that_does_not_answer_is_told_above_what_was_known() {
    let lost = Some(Lost { seconds: 75.0, why: "no answer from http://here:8850".to_owned() });
    let frame = drawn(&Snapshot { lost, ..snapshot() }, 100, 30);
    assert!(frame[1].starts_with("no answer for 1 min 15 s, and goes on trying: no answer from"));
    assert!(line(&frame, "durable LSN").contains("98,765"));
}
