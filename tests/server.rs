//! The real process, as its users start it, end it and talk to it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, bounded};
use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::Agent;
use ureq::http::{HeaderMap, Request};

/// A debug build on a busy machine starts, replays and stops within this.
const PATIENCE: Duration = Duration::from_secs(60);
/// No answer of the server takes longer.
const ANSWER_MAX: Duration = Duration::from_secs(90);
/// More than a few bodies of the greatest length (32 MiB), grown by doubling, and what the allocator
/// keeps of them; a fourth of what a bomb of a gigabyte would take.
pub(crate) const REFUSED_MIB_MAX: u64 = 256;

/// The program under test.
pub(crate) fn program() -> &'static str {
    env!("CARGO_BIN_EXE_tidewatch")
}

/// Runs a command of the program to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    Command::new(program()).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// What a command put out as one JSON document.
pub(crate) fn json_of(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {output:?}"))
}

/// What a test tells although it passes: the harness shows only what failing tests print.
pub(crate) fn tell(text: &str) {
    use std::io::Write;
    std::io::stderr().write_all(format!("{text}\n").as_bytes()).unwrap();
}

/// How a server is started.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    data_dir: PathBuf,
    arguments: Vec<String>,
    wrapper: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Start {
    /// On this data directory, with defaults.
    pub(crate) fn on(data_dir: &Path) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            arguments: Vec::new(),
            wrapper: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// With a setting, such as `flush.rows_max=1000`.
    pub(crate) fn set(mut self, setting: &str) -> Self {
        self.arguments.extend(["--set".to_owned(), setting.to_owned()]);
        self
    }

    /// With a flag.
    pub(crate) fn with(mut self, flag: &str) -> Self {
        self.arguments.push(flag.to_owned());
        self
    }

    /// With a configuration file.
    pub(crate) fn config(mut self, file: &Path) -> Self {
        self.arguments.extend(["--config".to_owned(), file.display().to_string()]);
        self
    }

    /// Started by another program, which is given ours.
    pub(crate) fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// With a variable in its environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn command(&self) -> Command {
        let mut words = self.wrapper.clone();
        words.push(program().to_owned());
        let (first, rest) = words.split_first().unwrap();
        let mut command = Command::new(first);
        command.args(rest).args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]);
        command.arg(&self.data_dir).args(&self.arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts the process and waits until it takes writes.
    pub(crate) fn up(&self) -> Server {
        let log = self.data_dir.with_extension("stderr");
        let file = fs::File::options().create(true).append(true).open(&log).unwrap();
        let mut command = self.command();
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file).spawn().unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        let line = match lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(error) => {
                let status = child.try_wait();
                child.kill().ok();
                let log = fs::read_to_string(&log).unwrap_or_default();
                panic!("the server does not come up ({error}, {status:?}): {log}");
            }
        };
        let listening: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(listening["event"], "listening", "{line}");
        let address = listening["addr"].as_str().unwrap().to_owned();
        let pid = listening["pid"].as_u64().unwrap();
        Server { child: Some(child), lines, address, pid, log, agent: agent() }
    }
}

/// Each line that the process puts out; the end of them is the end of the process.
fn lines_of(stdout: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = bounded(64);
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            if line.is_err() || line.is_ok_and(|line| send.send(line).is_err()) {
                return;
            }
        }
    });
    receive
}

fn agent() -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(ANSWER_MAX))
        .max_idle_connections_per_host(16)
        .proxy(None)
        .build()
        .new_agent()
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// A header, or the empty text.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A running server. It is killed where a test ends without stopping it.
#[derive(Debug)]
pub(crate) struct Server {
    child: Option<Child>,
    lines: Receiver<String>,
    /// Host and port.
    pub(crate) address: String,
    /// Its process, also under a wrapper.
    pub(crate) pid: u64,
    log: PathBuf,
    agent: Agent,
}

impl Server {
    /// Its address for commands.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sends a request and reads the answer; fails where the connection does.
    pub(crate) fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, Box<ureq::Error>> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = self.agent.run(request.body(body).unwrap()).map_err(Box::new)?;
        let text =
            response.body_mut().with_config().limit(1 << 30).read_to_string().map_err(Box::new)?;
        let (parts, _) = response.into_parts();
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body: text })
    }

    /// POSTs a body.
    pub(crate) fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.try_send("POST", path, &[], body.as_ref()).unwrap()
    }

    /// POSTs a body with further headers.
    pub(crate) fn post_with(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Answer {
        self.try_send("POST", path, headers, body.as_ref()).unwrap()
    }

    /// GETs a path.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.try_send("GET", path, &[], b"").unwrap()
    }

    /// Asks a statement, whatever the answer.
    pub(crate) fn ask(&self, parameters: &Value) -> Answer {
        let headers = [("Content-Type", "application/json")];
        self.post_with("/api/v3/query_sql", &headers, parameters.to_string())
    }

    /// The rows of a statement that must be answered.
    pub(crate) fn sql(&self, statement: &str) -> Vec<Value> {
        let answer = self.ask(&json!({ "q": statement }));
        assert_eq!(answer.status, 200, "{statement}: {}", answer.body);
        answer.json().as_array().unwrap().clone()
    }

    /// The only value of a statement that gives one number.
    pub(crate) fn number(&self, statement: &str) -> u64 {
        let rows = self.sql(statement);
        let row = rows[0].as_object().unwrap();
        assert_eq!((rows.len(), row.len()), (1, 1), "{rows:?}");
        row.values().next().unwrap().as_u64().unwrap()
    }

    /// A counter or gauge of `/metrics`, by its whole name with labels.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let text = self.get("/metrics").body;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{name} is not in {text}")).parse().unwrap()
    }

    /// Resident memory in MiB.
    pub(crate) fn rss_mib(&self) -> u64 {
        self.status_mib("VmRSS:")
    }

    /// The most resident memory so far, in MiB: what was held for a moment shows as well.
    pub(crate) fn peak_rss_mib(&self) -> u64 {
        self.status_mib("VmHWM:")
    }

    fn status_mib(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1_024
    }

    /// Whether the process lives.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.as_mut().unwrap().try_wait().unwrap().is_none()
    }

    /// The process is gone at once: SIGKILL. Under a wrapper only ours is hit.
    pub(crate) fn kill9(self) {
        assert!(self.hit("KILL"));
        self.ended();
    }

    /// Ends the process in order and gives its exit code.
    pub(crate) fn stop(self) -> i32 {
        assert!(self.hit("TERM"));
        self.ended()
    }

    /// Sends a signal and does not wait for what comes of it.
    pub(crate) fn hit(&self, name: &str) -> bool {
        // The shell's own `kill` is there even where the program is not.
        let command = format!("kill -{name} {}", self.pid);
        Command::new("sh").args(["-c", &command]).status().is_ok_and(|status| status.success())
    }

    /// Waits for the end of the process; gives its exit code, -1 where it was killed.
    pub(crate) fn ended(mut self) -> i32 {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("the server does not end"),
            }
        }
        self.child.take().unwrap().wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take()
            && matches!(child.try_wait(), Ok(None))
        {
            // Under a wrapper, the end of ours is the end of both.
            self.hit("KILL");
            child.wait().ok();
        }
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            tell(&format!("the server's log:\n{log}"));
        }
    }
}

/// A directory of its own, and the data directory in it.
#[derive(Debug)]
pub(crate) struct Home {
    dir: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// Where the server stores.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A place outside the data directory.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts a server with defaults.
    pub(crate) fn serve(&self) -> Server {
        Start::on(&self.data()).up()
    }

    /// `replay --verify` of the stopped directory, which must find nothing that differs.
    pub(crate) fn replay(&self, more: &[&str]) -> Value {
        let data = self.data();
        let mut arguments = vec!["replay", "--json", "--verify", data.to_str().unwrap()];
        arguments.extend(more);
        let output = run(&arguments);
        let report = json_of(&output);
        assert_eq!(output.status.code(), Some(0), "{more:?}: {output:?}");
        assert_eq!(report["result"], "identical", "{more:?}: {report}");
        assert!(report["first_difference"].is_null(), "{more:?}: {report}");
        report
    }
}
