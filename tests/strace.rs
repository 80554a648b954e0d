//! What the system was asked to do, in which order: the log is written and synced before the answer.

use std::fs;
use std::process::Command;

use crate::server::{Home, Start, tell};

const WRITES: usize = 100;

/// A line of the trace: a call at its start, at its end, or both.
struct Event<'a> {
    thread: &'a str,
    text: &'a str,
}

impl Event<'_> {
    fn of(line: &str) -> Event<'_> {
        let (thread, rest) = line.trim_start().split_once(' ').unwrap();
        // The time of day stands between.
        let text = rest.trim_start().split_once(' ').unwrap().1;
        Event { thread, text }
    }

    /// Whether the call that begins here is `name` on the log.
    fn begins(&self, name: &str) -> bool {
        self.text.starts_with(&format!("{name}(")) && self.text.contains("/wal/wal-")
    }
}

/// Where the call that begins at `at` has ended with a result that is no error.
fn end(events: &[Event<'_>], at: usize) -> usize {
    let call = &events[at];
    let mut end = at;
    if call.text.ends_with("<unfinished ...>") {
        let name = call.text.split('(').next().unwrap();
        let resumed = format!("<... {name} resumed>");
        let later = events[at..]
            .iter()
            .position(|event| event.thread == call.thread && event.text.starts_with(&resumed));
        end += later.unwrap();
    }
    let result = events[end].text.rsplit_once(" = ").unwrap().1;
    assert!(!result.starts_with('-') && !result.starts_with('?'), "{}", events[end].text);
    end
}

#[test]
fn each_of_a_hundred_writes_is_written_and_synced_before_its_answer() {
    if !Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success()) {
        return tell("strace is not here: the order of system calls is not looked at (skipped)");
    }
    let home = Home::new();
    let trace = home.file("trace");
    let calls = "trace=pwrite64,fdatasync,sendto,write,writev";
    let wrapper =
        ["strace", "-f", "-tt", "-y", "-s", "4096", "-e", calls, "-o", trace.to_str().unwrap()];
    let server = Start::on(&home.data()).set("wal.idle_mark_ms=1000").under(&wrapper).up();
    for write in 0..WRITES {
        // A new series each time, whose label stands in its record as it is.
        let answer = server.post("/write", format!("traced,run=nr{write:03}end value={write}"));
        assert_eq!((answer.status, answer.header("tidewatch-durability")), (204, "synced"));
    }
    assert_eq!(server.stop(), 0);

    let text = fs::read_to_string(&trace).unwrap();
    let events: Vec<Event<'_>> = text.lines().map(Event::of).collect();
    let answers = (0..events.len()).filter(|at| {
        let text = events[*at].text;
        text.contains("\"HTTP/1.1 204") && !text.starts_with("pwrite64")
    });
    let answers: Vec<usize> = answers.collect();
    assert_eq!(answers.len(), WRITES, "one answer each");
    for (write, answer) in answers.into_iter().enumerate() {
        let label = format!("nr{write:03}end");
        let holds = |event: &Event<'_>| event.begins("pwrite64") && event.text.contains(&label);
        let written = events.iter().position(holds).map(|at| end(&events, at));
        let written = written.unwrap_or_else(|| panic!("{label} was not written to the log"));
        let synced = events[written..].iter().position(|event| event.begins("fdatasync"));
        let synced = synced.map(|later| end(&events, written + later));
        let synced = synced.unwrap_or_else(|| panic!("{label} was not synced"));
        assert!(synced < answer, "{label}: answered at line {answer}, synced at {synced}");
    }
}
