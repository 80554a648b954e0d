//! The demo's server: the real one, with a rule, a sink and a directory of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use tempfile::TempDir;
use tidewatch_metrics::time::NANOS_PER_SECOND;
use tidewatch_operators::{RuleConfig, RuleError, RuleSet};
use tidewatch_sinks::SinkConfig;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::assemble::{engine_config, query_limits};
use crate::cli::error::CliError;
use crate::cli::service::{Service, fatal_error, internal};
use crate::cli::signals::Signals;
use crate::cli::stop::Stop;
use crate::config::{Auth, Config, HttpConfig};

/// Where the alerts are delivered, in the data directory.
const ALERTS_FILE: &str = "alerts.jsonl";
/// A log of some 40 MB needs no files of 128 MiB, which are filled with zeros at the start.
const WAL_SEGMENT_BYTES: u64 = 16 << 20;
/// What the runtime's threads get to end.
const SHUTDOWN_MAX: Duration = Duration::from_secs(1);

/// The rule that watches the generated series; this machine's have no `service`.
///
/// Two samples in a row: a single one may be a burst that the series has now and then.
fn rule() -> RuleConfig {
    RuleConfig {
        name: "unusual".to_owned(),
        matchers: vec![("service".to_owned(), "~ .+".to_owned())],
        when: "severity > 6".to_owned(),
        for_nanos: 10 * NANOS_PER_SECOND,
        keep_firing_nanos: 120 * NANOS_PER_SECOND,
        budget: None,
        priority: "page".to_owned(),
    }
}

/// A running server with its runtime.
#[derive(Debug)]
pub(crate) struct DemoServer {
    runtime: Runtime,
    attending: JoinHandle<Result<(), CliError>>,
    over: watch::Sender<bool>,
    address: SocketAddr,
    directory: Directory,
}

impl DemoServer {
    /// Starts the server in `data_dir`, or in a directory that is removed in the end; signals and a
    /// failure of the engine turn `stop`.
    ///
    /// # Errors
    /// If the directory holds something, or the server does not start.
    pub(crate) fn start(data_dir: Option<&Path>, stop: Arc<Stop>) -> Result<Self, CliError> {
        let directory = Directory::new(data_dir)?;
        let config = config(directory.path())?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_name("http")
            .build()
            .map_err(|source| internal("starting threads", source))?;
        let (over, is_over) = watch::channel(false);
        let (address, attending) = runtime.block_on(async {
            let signals = Signals::new()?;
            let engine = engine_config(&config, None);
            // Where somebody else serves already, any free port will do.
            let any = SocketAddr::new(config.http.listen.ip(), 0);
            let listen = [config.http.listen, any];
            let query = query_limits(&config);
            let service = Service::start(&engine, &query, (&config.http, &[]), &listen).await?;
            let address = service.address();
            Ok((address, tokio::spawn(attend(service, signals, stop, is_over))))
        })?;
        Ok(Self { runtime, attending, over, address, directory })
    }

    /// The server's address, as clients are given it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Whether commands find the server without being told its address.
    pub(crate) fn is_default(&self) -> bool {
        self.address == HttpConfig::default().listen
    }

    /// Where everything is stored.
    pub(crate) fn data_dir(&self) -> &Path {
        self.directory.path()
    }

    /// Where the alerts are delivered.
    pub(crate) fn alerts_file(&self) -> PathBuf {
        alerts_file(self.data_dir())
    }

    /// Whether the directory is removed in the end.
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(self.directory, Directory::Temporary(_))
    }

    /// Stops in order and removes a temporary directory; a further signal makes it hurry.
    ///
    /// # Errors
    /// If the engine has failed, or the directory cannot be removed.
    pub(crate) fn end(self) -> Result<(), CliError> {
        self.over.send(true).ok();
        let ended = self.runtime.block_on(self.attending);
        self.runtime.shutdown_timeout(SHUTDOWN_MAX);
        let removed = self.directory.end();
        ended.map_err(|panic| internal("stopping", panic))?.and(removed)
    }
}

/// Waits for a signal, a failure or the demo's end, then stops the server once the demo is over.
async fn attend(
    mut service: Service,
    mut signals: Signals,
    stop: Arc<Stop>,
    mut over: watch::Receiver<bool>,
) -> Result<(), CliError> {
    let failed = tokio::select! {
        () = signals.next() => None,
        reason = service.failed() => Some(reason),
        _ = over.wait_for(|over| *over) => None,
    };
    stop.stop();
    if let Some(reason) = failed {
        return Err(fatal_error(reason));
    }
    over.wait_for(|over| *over).await.ok();
    tokio::select! {
        () = service.stop() => Ok(()),
        () = signals.next() => Err(CliError::Interrupted),
    }
}

/// The defaults, but for one rule, one sink and small files.
fn config(data_dir: &Path) -> Result<Config, CliError> {
    let mut config = Config::default();
    config.storage.data_dir = data_dir.to_owned();
    config.wal.segment_bytes_max = WAL_SEGMENT_BYTES;
    // Whoever tries something out with it should be let in by the commands that it names.
    config.http.auth = Auth::Off;
    let refused = |errors: Vec<RuleError>| {
        let problems: Vec<String> = errors.iter().map(ToString::to_string).collect();
        internal("the demo's rule", problems.join("; "))
    };
    config.rules = RuleSet::new(vec![rule()]).map_err(refused)?;
    config.sinks = vec![SinkConfig::File { name: "demo".to_owned(), path: alerts_file(data_dir) }];
    Ok(config)
}

fn alerts_file(data_dir: &Path) -> PathBuf {
    data_dir.join(ALERTS_FILE)
}

/// Where the demo stores everything.
#[derive(Debug)]
enum Directory {
    /// Removed in the end, also where the demo fails.
    Temporary(TempDir),
    /// Given by the user, who keeps it.
    Kept(PathBuf),
}

impl Directory {
    /// An empty directory. One with an older demo would make the new history late.
    fn new(given: Option<&Path>) -> Result<Self, CliError> {
        let file_error = |action, path: &Path, source: io::Error| CliError::File {
            action,
            path: path.to_owned(),
            source: source.into(),
        };
        let Some(path) = given else {
            let made = tempfile::Builder::new().prefix("tidewatch-demo-").tempdir();
            return made.map(Self::Temporary).map_err(|source| {
                file_error("make a directory in", &std::env::temp_dir(), source)
            });
        };
        match fs::read_dir(path).map(|mut entries| entries.next().is_some()) {
            Ok(false) => Ok(Self::Kept(path.to_owned())),
            Ok(true) => Err(CliError::Usage {
                problem: format!(
                    "--data-dir \"{0}\" is not empty, and a demo begins with its own history; go \
                     on with an earlier one by `tidewatch serve --data-dir {0}`",
                    path.display()
                ),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Self::Kept(path.to_owned()))
            }
            Err(source) => Err(file_error("read the directory", path, source)),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(directory) => directory.path(),
            Self::Kept(path) => path,
        }
    }

    fn end(self) -> Result<(), CliError> {
        let Self::Temporary(directory) = self else { return Ok(()) };
        let path = directory.path().to_owned();
        directory.close().map_err(|source| CliError::File {
            action: "remove",
            path,
            source: source.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_is_one_that_the_product_takes() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path()).unwrap();
        assert_eq!(config.rules.len(), 1);
        assert!(config.sinks.iter().all(|sink| sink.problems().is_empty()));
    }

    #[test]
    fn only_an_empty_directory_is_taken_and_a_given_one_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let given = Directory::new(Some(dir.path())).unwrap();
        given.end().unwrap();
        assert!(dir.path().exists());
        fs::write(dir.path().join("x"), "").unwrap();
        assert_eq!(Directory::new(Some(dir.path())).unwrap_err().exit_code(), 2);
        Directory::new(Some(&dir.path().join("new"))).unwrap();
    }

    #[test]
    fn a_temporary_directory_goes_with_all_that_is_in_it() {
        let directory = Directory::new(None).unwrap();
        let path = directory.path().to_owned();
        fs::write(path.join("x"), "").unwrap();
        directory.end().unwrap();
        assert!(!path.exists());
    }
}
