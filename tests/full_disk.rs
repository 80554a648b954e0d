//! A disk that fills up under writers, and has room again: nothing that was acknowledged is lost.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use tidewatch_env::Rng;

use crate::server::{Answer, Home, Server, Start, tell};

/// Bytes of the file system, and of the file that takes most of it.
const DISK_MIB: u32 = 300;
const FILLER_MIB: u32 = 272;
/// Rows of one request.
const ROWS: u64 = 10_000;
/// Requests after which the disk must be full.
const REQUESTS_MAX: u64 = 1_000;
/// Between two looks for what happens in the background.
const LOOK: Duration = Duration::from_millis(50);
/// Looks until it must have happened.
const LOOKS_MAX: u32 = 1_200;

/// Makes a file system of its own below a directory, which takes most of it, and holds it until its
/// input ends; a line of it removes what takes so much. `$1` is the directory, `$2` and `$3` are MiB.
const HOLD: &str = "mount -t tmpfs -o size=$2m tmpfs \"$1\" && head -c $3M /dev/zero >\"$1/filler\" \
                    && echo $$ && read line && rm \"$1/filler\" && echo freed && read line";

/// A process with a small file system, which goes with it: nobody else sees the mount.
pub(crate) struct SmallDisk {
    holder: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// What a program is started under to see it.
    pub(crate) wrapper: Vec<String>,
}

impl SmallDisk {
    /// Mounted on `dir`, as an ordinary user in a user namespace, or else as root.
    pub(crate) fn new(dir: &Path) -> Option<Self> {
        [("-rm", &["-U", "--preserve-credentials"][..]), ("-m", &[])]
            .into_iter()
            .find_map(|(spaces, enter)| Self::mount(dir, spaces, enter))
    }

    fn mount(dir: &Path, spaces: &str, enter: &[&str]) -> Option<Self> {
        let mut holder = Command::new("unshare")
            .args([spaces, "sh", "-c", HOLD, "sh"])
            .arg(dir)
            .args([DISK_MIB.to_string(), FILLER_MIB.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let (input, output) = (holder.stdin.take().unwrap(), holder.stdout.take().unwrap());
        let mut disk = Self { holder, input, output: BufReader::new(output), wrapper: Vec::new() };
        let line = disk.line();
        let pid: u32 = line.trim().parse().ok()?;
        let words = ["nsenter", "-t", &pid.to_string(), "-m"].map(str::to_owned);
        disk.wrapper =
            words.into_iter().chain(enter.iter().map(|word| (*word).to_owned())).collect();
        // Where entering it is forbidden, the server could not either.
        let (program, arguments) = disk.wrapper.split_first().unwrap();
        let entered = Command::new(program).args(arguments).arg("true").output().ok()?;
        entered.status.success().then_some(disk)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line
    }

    /// Most of it gets free.
    pub(crate) fn free(&mut self) {
        self.input.write_all(b"\n").unwrap();
        assert_eq!(self.line(), "freed\n");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.holder.kill().ok();
        self.holder.wait().ok();
    }
}

/// What was acknowledged.
pub(crate) struct Ledger {
    rng: Rng,
    pub(crate) rows: u64,
    sum: u64,
    /// The request that is sent until it is taken.
    next: Vec<u64>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        let mut ledger = Self { rng: Rng::from_seed(7), rows: 0, sum: 0, next: Vec::new() };
        ledger.draw();
        ledger
    }

    /// Values that cannot be packed well, whose sum is exact.
    fn draw(&mut self) {
        self.next = (0..ROWS).map(|_| self.rng.below(1 << 40)).collect();
    }

    fn send(&mut self, server: &Server) -> Answer {
        let time = 1_700_000_000 + self.rows / ROWS;
        let lines = self.next.iter().enumerate();
        let body: String = lines
            .map(|(host, value)| format!("filled,host=h{host} value={value} {time}\n"))
            .collect();
        let answer = server.post("/write?precision=s", &body);
        if answer.status == 204 {
            self.rows += ROWS;
            self.sum += self.next.iter().sum::<u64>();
            self.draw();
        }
        answer
    }

    /// Sends until the answer is `status`; it may be told to wait for flushes meanwhile.
    pub(crate) fn send_until(&mut self, server: &Server, status: u16) -> Answer {
        let mut looks = 0;
        loop {
            let answer = self.send(server);
            if answer.status == status {
                return answer;
            }
            assert!([204, 429, 507].contains(&answer.status), "{answer:?}");
            assert!(self.rows < REQUESTS_MAX * ROWS, "the disk does not get full");
            if answer.status != 204 {
                looks += 1;
                assert!(looks < LOOKS_MAX, "{status} does not come: {answer:?}");
                std::thread::park_timeout(LOOK);
            }
        }
    }

    fn assert_all_there(&self, server: &Server, when: &str) {
        assert_eq!(server.number("SELECT count(*) FROM filled"), self.rows, "{when}");
        let sum = "SELECT sum(CAST(value AS bigint)) FROM filled";
        assert_eq!(server.number(sum), self.sum, "{when}");
    }
}

/// Writes on, kills the server and looks for all that was acknowledged.
fn write_and_kill(start: &Start, server: Server, mut ledger: Ledger) {
    for _ in 0..20 {
        ledger.send_until(&server, 204);
    }
    ledger.assert_all_there(&server, "before kill -9");
    server.kill9();
    let server = start.up();
    ledger.assert_all_there(&server, "after kill -9");
    ledger.send_until(&server, 204);
    ledger.assert_all_there(&server, "after kill -9 and one more");
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_full_file_system_refuses_writes_until_there_is_room_and_loses_nothing() {
    let home = Home::new();
    let dir = home.file("disk");
    fs::create_dir(&dir).unwrap();
    let start = Start::on(&dir.join("data")).set("wal.segment_bytes_max=4MiB");
    let Some(mut disk) = SmallDisk::new(&dir) else {
        tell(
            "!! NOT TESTED: a file system that is really full. No tmpfs can be mounted here, neither \
             with unshare -rm nor as root. Without it only kill -9 is tried.",
        );
        return write_and_kill(&start, start.up(), Ledger::new());
    };
    let wrapper: Vec<_> = disk.wrapper.iter().map(String::as_str).collect();
    let start = start.under(&wrapper);
    let (mut server, mut ledger) = (start.up(), Ledger::new());
    let pid = server.pid;
    ledger.send_until(&server, 204);
    let full = ledger.send_until(&server, 507);
    let seconds = full.header("retry-after").parse::<u64>();
    assert!(seconds.is_ok_and(|seconds| (1..=60).contains(&seconds)), "{full:?}");
    // A checkpoint may make a little room now and then.
    for _ in 0..5 {
        ledger.send_until(&server, 507);
    }
    ledger.assert_all_there(&server, "while the disk is full");
    assert!(server.counter("tidewatch_engine_records_refused_total") > 5);
    disk.free();
    ledger.send_until(&server, 204);
    assert!(server.is_alive() && server.pid == pid, "it goes on without a restart");
    write_and_kill(&start, server, ledger);
}
