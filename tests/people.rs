//! The commands for people, as they are used: statements one after the other, samples as they arrive,
//! what has many series, and why an alert fired.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::server::{Home, Server, Start, json_of, program, run, tell};

/// Types into a terminal and reads what appears. Each word is typed once what stands before it in the
/// list has appeared behind what was found last, or once the server of `@address` answers a statement.
pub(crate) const TYPIST: &str = r#"
import http.client, os, pty, select, sys, time
words = [word.encode().decode("unicode_escape") for word in sys.argv[1:sys.argv.index("--")]]
steps = [word.encode(errors="surrogateescape") for word in words]
child, terminal = pty.fork()
if child == 0:
    command = sys.argv[sys.argv.index("--") + 1:]
    os.execvp(command[0], command)
import fcntl, struct, termios
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
seen, place, last, end = b"", 0, b"", time.monotonic() + 120
def fail(why):
    sys.stdout.write(why + ": " + seen.decode(errors="replace"))
    sys.exit(1)
def is_busy(address):
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("GET", "/metrics")
    return b"\ntidewatch_query_running 1\n" in connection.getresponse().read()
def read():
    global seen
    while not select.select([terminal], [], [], 1)[0]:
        if time.monotonic() > end:
            fail("NOTHING MORE COMES AFTER")
        if last.endswith(b"\t"):
            # A busy server may not have told its tables in time; Tab asks again.
            os.write(terminal, b"\t")
    try:
        part = os.read(terminal, 4096)
    except OSError:
        part = b""
    seen += part
    return part
for wanted, typed in zip(steps[::2], steps[1::2]):
    if wanted.startswith(b"@"):
        while not is_busy(wanted[1:].decode()):
            if time.monotonic() > end:
                fail("NOTHING RUNS AFTER")
    else:
        while seen.find(wanted, place) < 0:
            if not read():
                fail("IT ENDS AFTER")
        place = seen.find(wanted, place) + len(wanted)
    os.write(terminal, typed)
    last = typed
while read():
    pass
_, status = os.waitpid(child, 0)
sys.stdout.write(seen.decode(errors="replace"))
sys.exit(os.waitstatus_to_exitcode(status))
"#;

/// `tidewatch sql` with these statements on its standard input.
fn sql(server: &Server, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(program());
    command.args(["sql", "--url", &server.url()]).args(arguments);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn with_rows(home: &Home) -> Server {
    let server = home.serve();
    let body = "cpu,host=a value=1.5 1700000000\ncpu,host=b value=-2 1700000001\n\
                cpu,host=a value=3 1700000010\n";
    assert_eq!(server.post("/write?precision=s", body).status, 204);
    server
}

#[test]
fn statements_without_a_terminal_are_answered_one_after_the_other() {
    let home = Home::new();
    let server = with_rows(&home);
    let statement = "SELECT time, host, value FROM cpu ORDER BY time";
    for format in ["pretty", "csv", "json", "jsonl"] {
        let output = sql(&server, &["--format", format], &format!("{statement};\n{statement}"));
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let one = run(&["query", "--url", &server.url(), "--format", format, statement]);
        assert_eq!(text(&output.stdout), text(&one.stdout).repeat(2), "{format}");
    }
    let commands = "\\x\nSELECT value FROM cpu\n ORDER BY time\nLIMIT 1; \\x off\n\
                    \\d cpu\n\\format csv\nSELECT 1 AS one;\n\\d\n\\q\nSELECT nothing;";
    let output = sql(&server, &[], commands);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let out = text(&output.stdout);
    for part in ["-[ 1 ]--------\nvalue | 1.5\n", "| severity ", "\none\n1\n", "default,cpu\n"] {
        assert!(out.contains(part), "{part}: {out}");
    }
}

#[test]
fn a_refused_statement_ends_a_file_and_shows_its_place() {
    let home = Home::new();
    let server = with_rows(&home);
    let input = "SELECT 1 AS one;\n\nSELECT value\nFRM cpu;\nSELECT 2 AS two;\n";
    let output = sql(&server, &[], input);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert!(out.contains("one") && !out.contains("two"), "{out}");
    assert!(err.contains("line 3:") && err.contains("INVALID_QUERY"), "{err}");
    assert!(err.contains("FRM cpu\n    ^"), "{err}");
    let output = sql(&server, &[], "\\nonsense\n");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn the_last_result_is_drawn_over_its_times() {
    let home = Home::new();
    let server = with_rows(&home);
    let output = sql(&server, &[], "SELECT time, value FROM cpu ORDER BY time;\n\\plot\n");
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for part in ["  value\n", "   3 ┤", "  -2 ┤", "└───", "2023-11-14 22:13:20", "22:13:30"]
    {
        assert!(out.contains(part), "{part}: {out}");
    }
    let output = sql(&server, &[], "SELECT value FROM cpu;\n\\plot\n");
    assert!(text(&output.stderr).contains("no column of times"), "{output:?}");
}

#[test]
fn a_stopped_directory_is_opened_once_for_all_statements() {
    let home = Home::new();
    assert_eq!(with_rows(&home).stop(), 0);
    let data = home.data();
    let mut command = Command::new(program());
    command.args(["sql", "--format", "csv", "--data-dir", data.to_str().unwrap()]);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let input = b"SELECT count(*) AS n FROM cpu; SELECT max(value) AS m FROM cpu;";
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout), "n\n3\nm\n3.0\n", "{output:?}");
}

/// What appears while `steps` are typed into `tidewatch sql`, each of which is what must appear and
/// what is typed then; `None` where there is no Python.
fn typed(home: &Home, server: &Server, steps: &[(&str, &str)]) -> Option<Output> {
    let state = home.file("state");
    let steps = steps.iter().flat_map(|(wanted, typed)| [*wanted, *typed]);
    let mut python = Command::new("python3");
    python.args(["-c", TYPIST]).args(steps).args(["--", program(), "sql", "--url", &server.url()]);
    python.env("XDG_STATE_HOME", state).env("TERM", "xterm").env("PAGER", "cat");
    match python.stdin(Stdio::null()).output() {
        Ok(output) if output.status.code() != Some(127) => Some(output),
        _ => {
            tell("no python3: nothing was typed into a terminal");
            None
        }
    }
}

#[test]
fn a_terminal_edits_completes_and_remembers() {
    let home = Home::new();
    let server = with_rows(&home);
    let steps = [
        ("default=> ", "SELEC\\t hos\\x7f\\x7f\\x7fma\\t"),
        ("max(", "value) AS m FROM cp\\t"),
        ("FROM cpu", "\\r"),
        // The table of the line before has this column.
        ("default-> ", "WHERE hos\\t"),
        ("host", " <> 'x';\\r"),
        ("| 3.0 |", ""),
        // Ctrl-C gives up the lines before it as well.
        ("default=> ", "SELECT 7\\r"),
        ("default-> ", "+ 1\\x03"),
        // An entry comes with all of its lines, and goes on before the end of the last one.
        ("default=> ", "\\x1b[A"),
        ("FROM cpu\\r\\nWHERE host <> 'x';", "\\x1b[D AND value < 3\\r"),
        ("| 1.5 |", ""),
        ("default=> ", "\\x04"),
    ];
    let Some(output) = typed(&home, &server, &steps) else { return };
    let seen = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{seen}");
    assert!(seen.contains("|   m |"), "{seen}");
    let history = home.file("state").join("tidewatch").join("sql_history");
    let entry = "SELECT max(value) AS m FROM cpu\\nWHERE host <> 'x'";
    let expected = format!("#V2\n{entry};\n{entry} AND value < 3;\n");
    assert_eq!(fs::read_to_string(&history).unwrap(), expected);
    assert_eq!(fs::metadata(&history).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_terminal_cancels_a_statement_that_runs() {
    let home = Home::new();
    let server = with_rows(&home);
    let slow = "SELECT sum(a.value * b.value) FROM range(0, 200000) a \
                CROSS JOIN range(0, 200000) b;\\r";
    let busy = format!("@{}", server.address);
    let steps = [
        ("default=> ", slow),
        (&busy, "\\x03"),
        ("interrupted", ""),
        // It can be asked again; on its line, Ctrl-C gives it up.
        ("default=> ", "\\x1b[A"),
        ("CROSS JOIN", "\\x03"),
        ("default=> ", "\\\\q\\r"),
    ];
    let Some(output) = typed(&home, &server, &steps) else { return };
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    while server.counter("tidewatch_query_running") > 0 {}
    assert_eq!(server.counter("tidewatch_query_timeouts_total"), 0, "cancelled");
}

#[test]
fn a_terminal_takes_pastes_and_what_is_typed_ahead() {
    let home = Home::new();
    let server = with_rows(&home);
    let history = home.file("state").join("tidewatch").join("sql_history");
    fs::create_dir_all(history.parent().unwrap()).unwrap();
    fs::write(&history, b"#V2\nSELECT 0;\n\xff\n").unwrap();
    let long = format!("\\x1b[200~SELECT '{}';\\x1b[201~\\r", "x".repeat(64 * 1_024));
    let steps = [
        // The history is damaged.
        ("sql_history.damaged", ""),
        ("default=> ", "\\x1b[200~SELECT 1 AS one;\\rSELECT 2\\r  AS two;\\r\\\\x\\r\\x1b[201~"),
        ("\\\\x", "\\r"),
        ("(1 row)", ""),
        ("(1 row)", ""),
        ("a line per column: on", ""),
        // Without brackets a paste is as if typed, faster than it is answered.
        ("default=> ", "SELECT 3 AS three;\\rSELECT 4\\r  AS four; \\\\x off\\r"),
        ("three | 3", ""),
        ("four | 4", ""),
        ("a line per column: off", ""),
        // Wide characters, and what is left of one that is erased.
        ("default=> ", "SELECT '\\u65e5\\u672c\\x7f\\u8a9e' AS wide;\\r"),
        ("| \\u65e5\\u8a9e |", ""),
        ("default=> ", &long),
        ("longer than 65536 bytes", ""),
        // A byte that no text has.
        ("default=> ", "SELECT '\\udcff"),
        ("is no UTF-8", ""),
        ("default=> ", "SELECT 5 AS five;\\r"),
        ("(1 row)", ""),
        ("default=> ", "\\x04"),
    ];
    let Some(output) = typed(&home, &server, &steps) else { return };
    let seen = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{seen}");
    let kept = fs::read_to_string(&history).unwrap();
    let expected = "#V2\nSELECT 0;\nSELECT 1 AS one;\\nSELECT 2\\n  AS two;\\n\\\\x\n\
        SELECT 3 AS three;\nSELECT 4\\n  AS four; \\\\x off\nSELECT '日語' AS wide;\nSELECT 5 AS five;\n";
    assert_eq!(kept, expected);
}

/// Follows with these words until `rows` are written; what came.
fn followed(server: &Server, words: &[&str], rows: &str) -> String {
    let mut command = Command::new(program());
    command.args(["tail", "--url", &server.url()]).args(words);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    while server.counter("tidewatch_http_tails") == 0 {}
    assert_eq!(server.post("/write?precision=s", rows).status, 204);
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{out}");
    while server.counter("tidewatch_http_tails") > 0 {}
    out
}

#[test]
fn samples_are_followed_from_when_they_are_durable() {
    let home = Home::new();
    let server = with_rows(&home);
    let rows = "cpu,host=a value=7 1700000020\ncpu,host=c value=8 1700000021\n\
                mem,host=a value=9 1700000022\ncpu,host=a value=10 1700000023\n";
    let out = followed(&server, &["--json", "--limit", "4"], rows);
    let values: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected = json!({
        "time": "2023-11-14T22:13:40Z", "db": "default", "metric": "cpu",
        "labels": { "host": "a" }, "value": 7.0, "severity": 0.0,
    });
    assert_eq!(values[0], expected, "the first one that was not there before");
    let values: Vec<_> = values.iter().map(|row| row["value"].as_f64().unwrap()).collect();
    assert_eq!(values, [7.0, 8.0, 9.0, 10.0]);
    let rows = rows.replace("17000000", "17000001");
    let words = ["--limit", "2", "--metric", "cpu", "--where", "host!~c|d"];
    let out = followed(&server, &words, &rows);
    assert_eq!(out.matches("cpu{host=a}").count(), 2, "{out}");
    assert_eq!(out.lines().count(), 2, "{out}");
    let out = followed(&server, &["--json", "--seconds", "2", "--rows-per-second", "5"], &rows);
    let skipped = out.lines().find(|line| line.contains("skipped")).unwrap();
    assert!(skipped.starts_with("{\"reason\":") && skipped.contains("\"skipped\":3"), "{out}");
    let refused = server.get("/api/v1/tail?severity_min=much");
    assert_eq!(
        (refused.status, &refused.json()["error"]["code"]),
        (400, &json!("INVALID_REQUEST"))
    );
}

/// Opens a tail and reads the head of its answer.
fn open_tail(server: &Server, accept: &str) -> (BufReader<TcpStream>, String) {
    let stream = TcpStream::connect(&server.address).unwrap();
    let request = format!("GET /api/v1/tail HTTP/1.1\r\nHost: t\r\nAccept: {accept}\r\n\r\n");
    (&stream).write_all(request.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
    }
    (reader, head)
}

#[test]
fn a_bounded_number_follows_and_nobody_keeps_a_server_from_stopping() {
    let home = Home::new();
    let server = home.serve();
    let mut tails: Vec<_> = (0..16).map(|_| open_tail(&server, "text/event-stream")).collect();
    for (_, head) in &tails {
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
    }
    let (_, head) = open_tail(&server, "*/*");
    assert!(head.starts_with("HTTP/1.1 503") && head.contains("retry-after: 5"), "{head}");
    assert_eq!(server.post("/write", "cpu value=1 1").status, 204);
    let mut line = String::new();
    while !line.starts_with("data: {\"time\"") {
        line.clear();
        assert!(tails[3].0.read_line(&mut line).unwrap() > 0);
    }
    tails.truncate(2);
    while server.counter("tidewatch_http_tails") > 2 {}
    assert!(open_tail(&server, "*/*").1.starts_with("HTTP/1.1 200"), "a place is free again");
    assert_eq!(server.stop(), 0);
    let mut rest = String::new();
    tails[0].0.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "the body ends in order: {rest}");
}

#[test]
fn what_has_many_series_is_told_by_metric_label_and_client() {
    let home = Home::new();
    let server = home.serve();
    let mut body: String =
        (0..30).map(|id| format!("requests,user=u{id},dc=x value=1 1\n")).collect();
    body.push_str("cpu,host=a value=1 1\ncpu,host=b value=1 1\n");
    assert_eq!(server.post("/write", &body).status, 204);
    assert_eq!(server.post("/write?db=lab", "requests value=1 1\n").status, 204);
    let top = |words: &[&str]| {
        let url = server.url();
        let output = run(&[&["series", "top", "--url", &url], words].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        output
    };
    let metrics = json_of(&top(&["--json"]));
    let row = |db: &str, metric: &str, series: u64| json!({ "db": db, "metric": metric, "series": series });
    let expected =
        [row("default", "requests", 30), row("default", "cpu", 2), row("lab", "requests", 1)];
    assert_eq!(metrics, json!({ "by": "metric", "rows": expected }));
    let labels = json_of(&top(&["--by", "label", "--limit", "1", "--json"]));
    let expected = json!({ "db": "default", "metric": "requests", "label": "user", "values": 30, "exact": true });
    assert_eq!(labels, json!({ "by": "label", "rows": [expected] }));
    let clients = json_of(&top(&["--by", "client", "--json"]));
    assert_eq!(clients["rows"], json!([{ "client": "127.0.0.1", "series": 33 }]));
    let table = text(&top(&["--db", "lab"]).stdout);
    assert!(table.contains("requests") && !table.contains("cpu"), "{table}");
}

#[test]
fn alerts_are_listed_and_shown_with_their_reason_and_deliveries() {
    let home = Home::new();
    let (config, file) = (home.file("tidewatch.toml"), home.file("alerts.jsonl"));
    let rules = format!(
        "[[rule]]\nname = \"too hot\"\nmatch = {{ metric = \"temperature\" }}\n\
         when = \"value > 50\"\npriority = \"page\"\n\n[[sink.file]]\nname = \"log\"\npath = {file:?}\n"
    );
    fs::write(&config, rules).unwrap();
    let server = Start::on(&home.data()).config(&config).up();
    let now =
        server.sql("SELECT cast(now() AS bigint) / 1000000000 AS s")[0]["s"].as_i64().unwrap();
    let waves = |room: &str, values: &[i64]| -> String {
        let at = |step: usize| now - 100 + i64::try_from(step).unwrap();
        let line = |(step, value)| format!("temperature,room={room} value={value} {}\n", at(step));
        values.iter().enumerate().map(line).collect()
    };
    let body = waves("a", &[20, 80, 21]) + &waves("b", &[20, 20, 20, 90]);
    assert_eq!(server.post("/write?precision=s", body).status, 204);
    while server.number("SELECT count(*) FROM tidewatch.deliveries") < 3 {}
    let url = server.url();
    let alerts = |words: &[&str]| run(&[&["alerts"], words, &["--url", &url]].concat());
    let all = json_of(&alerts(&["ls", "--json", "--since", "1h"]));
    let all = all["alerts"].as_array().unwrap().clone();
    let states: Vec<_> = all.iter().map(|alert| alert["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["firing", "resolved"], "{all:?}");
    let open = text(&alerts(&["ls", "--open", "--rule", "too hot"]).stdout);
    assert!(open.contains("temperature{room=b}") && !open.contains("room=a"), "{open}");
    assert_eq!(text(&alerts(&["ls", "--rule", "another"]).stdout), "no alerts\n");
    let key = all[0]["key"].as_str().unwrap();
    let shown = text(&alerts(&["show", key.get(..8).unwrap()]).stdout);
    for part in ["firing: too hot (page)\ntemperature{room=b}\nvalue 90", "└──", "value 90", "log"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let document = json_of(&alerts(&["show", "--json", key]));
    assert_eq!(
        (&document["key"], document["deliveries"].as_array().unwrap().len()),
        (&json!(key), 1)
    );
    let last = document["transitions"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["transition"], "firing", "{document}");
    assert_eq!(alerts(&["show", "ffffffffffff"]).status.code(), Some(4), "there is none");
    assert_eq!(alerts(&["show", "no key"]).status.code(), Some(2));
}
