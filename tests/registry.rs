//! A real schema registry: Apicurio, as `./test` fetches it, with Confluent's interface at a path.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::broker::Broker;
use crate::clients::python;
use crate::server::tell;

/// A busy machine has a registry up within this many seconds.
const PATIENCE_S: u32 = 120;
const APP: &str = "target/registry/apicurio-registry-app-2.6.13.Final-runner.jar";

/// A registry, which keeps what it has in memory. It is killed where a test ends without stopping it.
pub(crate) struct Registry {
    dir: PathBuf,
    child: Option<Child>,
    port: u16,
}

impl Registry {
    /// A registry whose log is in `dir`, up; `None` where it, Java or the clients' Python is not here, which is told.
    pub(crate) fn up(dir: &Path) -> Option<Self> {
        let app = Path::new(env!("CARGO_MANIFEST_DIR")).join(APP);
        if !app.exists() || python().is_none() {
            tell(
                "target/registry or target/clients is not there: tests with a real schema registry are \
                 skipped; ./test makes them",
            );
            return None;
        }
        fs::create_dir_all(dir).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut registry = Self { dir: dir.to_owned(), child: None, port };
        registry.start();
        Some(registry)
    }

    /// Starts it, empty, and waits until it answers.
    pub(crate) fn start(&mut self) {
        let app = Path::new(env!("CARGO_MANIFEST_DIR")).join(APP);
        let log = fs::File::options().create(true).append(true).open(self.dir.join("log")).unwrap();
        let mut java = Command::new("java");
        java.current_dir(&self.dir).args(["-Xmx384m", "-Dquarkus.http.host=127.0.0.1"]);
        java.arg(format!("-Dquarkus.http.port={}", self.port)).arg("-jar").arg(app);
        java.stdin(Stdio::null()).stderr(log.try_clone().unwrap()).stdout(log);
        self.child = Some(java.spawn().unwrap());
        let url = format!("{}/subjects", self.url());
        let is_up = (0..PATIENCE_S * 4).any(|_| {
            std::thread::park_timeout(Duration::from_millis(250));
            ureq::get(&url).call().is_ok()
        });
        assert!(is_up, "{}", fs::read_to_string(self.dir.join("log")).unwrap_or_default());
    }

    /// It is gone at once, with all that it had.
    pub(crate) fn kill9(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Its address, with the path.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/apis/ccompat/v7", self.port)
    }

    /// Has `tests/clients/registry.py` write messages of a kind: those of `count` numbers from `first` on.
    pub(crate) fn write(&self, broker: &Broker, what: &str, (first, count): (u64, u64)) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/registry.py");
        let mut client = Command::new(python().unwrap());
        client.arg(script).args([&broker.address(), &self.url(), what]);
        let output = client.args([first.to_string(), count.to_string()]).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// TLS and a password in front of a registry.
pub(crate) struct Lock {
    child: Child,
    /// Its address, with the path.
    pub(crate) url: String,
}

impl Lock {
    /// With this certificate, its key, and the user's name and password.
    pub(crate) fn of(
        registry: &Registry,
        (certificate, key): (&Path, &Path),
        (user, password): (&str, &str),
    ) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/locked_registry.py");
        let mut python = Command::new(python().unwrap());
        python.arg(script).arg(format!("http://127.0.0.1:{}", registry.port));
        python.args([certificate, key]).args([user, password]).stdout(Stdio::piped());
        let mut child = python.spawn().unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let url = format!("https://127.0.0.1:{}/apis/ccompat/v7", port.trim());
        Self { child, url }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
