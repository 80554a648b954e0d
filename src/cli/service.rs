//! The server within this process: from the bound port to the orderly stop.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::json;
use tidewatch_connectors::kafka::KafkaConfig;
use tidewatch_engine::{
    DataDir, EngineConfig, EngineError, ErrorKind, RecoveryState, SalvageReport,
};
use tidewatch_env::{Clock, RealClock, RealDisk};
use tidewatch_query::QueryLimits;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use crate::assemble::{Running, StartError};
use crate::cli::error::{Cause, CliError};
use crate::config::HttpConfig;
use crate::http::{ApiError, App, Lock, LockConfig, Server, ServerConfig, Tails, Tls};
use crate::keys::{Keyring, KeysError};
use crate::retention::RetentionError;
use crate::sealed_file::FileError;

/// Decompressed bytes of one body, where two of them fit into the memory for requests in hand.
const BODY_BYTES_MAX: usize = 32 << 20;
/// Connections at a time, where the system lets the process have so many.
const CONNECTIONS_MAX: usize = 4_096;
/// Where the address stands while the server runs.
const LISTEN_FILE: &str = "listen.json";
/// After a fatal error the process ends within this, whatever its threads do.
const FATAL_GRACE: Duration = Duration::from_millis(500);

/// What is said to whoever has a damaged directory.
const SALVAGE: &str =
    "; `tidewatch serve --salvage` starts without what is damaged and reports what is missing";

/// A server that takes writes and answers statements.
#[derive(Debug)]
pub(crate) struct Service {
    running: Arc<Running>,
    listening: Listening,
    data_dir: PathBuf,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
    failed: mpsc::Receiver<String>,
}

impl Service {
    /// Locks the data directory, listens on the first address that is free, replays the log; ready
    /// when it returns.
    ///
    /// # Errors
    /// Whatever keeps the server from starting.
    pub(crate) async fn start(
        engine: &EngineConfig,
        query: &QueryLimits,
        (http, sources): (&HttpConfig, &[KafkaConfig]),
        listen: &[SocketAddr],
    ) -> Result<Self, CliError> {
        let data_dir_lock = DataDir::lock(&RealDisk, &engine.data_dir)
            .map_err(|error| start_error(error.into(), &engine.data_dir))?;
        let clock: Arc<dyn Clock> = Arc::new(RealClock::new());
        let tls = http.tls.as_ref().map(|files| Tls::open(files, Arc::clone(&clock)));
        let tls = tls.transpose().map_err(|error| CliError::Usage {
            problem: format!("http.tls: {}", crate::http::chain(&error)),
        })?;
        let lock = lock(http, Arc::clone(&clock), &engine.data_dir)?;
        let server = bind(listen).await?;
        let address = server.address().map_err(|source| internal("listening", source))?;
        let (stop, stopped) = watch::channel(false);
        let app = Arc::new(App {
            running: OnceLock::new(),
            recovery: Arc::new(RecoveryState::default()),
            clock,
            body_bytes_max: usize::try_from(engine.ingest.bytes_max / 2)
                .map_or(BODY_BYTES_MAX, |half| half.min(BODY_BYTES_MAX)),
            lock,
            tls,
            tails: Tails::new(stopped.clone()),
        });
        let serving = tokio::spawn(server.run(Arc::clone(&app), stopped));
        let (fatal, failed) = mpsc::channel::<String>(1);
        let listening = Listening::announce(&engine.data_dir, address)?;
        let running = match start(engine, query, &app, data_dir_lock, fatal).await {
            Ok(running) => running,
            Err(error) => {
                listening.end();
                return Err(error);
            }
        };
        app.running.set(Arc::clone(&running)).expect("the product starts once");
        running.read(sources).map_err(|error| start_error(error, &engine.data_dir))?;
        let data_dir = engine.data_dir.clone();
        Ok(Self { running, listening, data_dir, stop, serving, failed })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listening.address
    }

    /// What the start had to leave out of a damaged directory.
    pub(crate) fn salvaged(&self) -> Option<&SalvageReport> {
        self.running.engine.salvaged()
    }

    /// The line that tells where it listens.
    pub(crate) fn line(&self) -> String {
        self.listening.line(&self.data_dir)
    }

    /// Waits until the log or a shard has failed; gives the reason.
    pub(crate) async fn failed(&mut self) -> String {
        match self.failed.recv().await {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }

    /// Lets the requests in hand finish and stops the engine.
    pub(crate) async fn stop(self) {
        self.stop.send(true).ok();
        self.serving.await.ok();
        let running = Arc::clone(&self.running);
        tokio::task::spawn_blocking(move || running.stop()).await.ok();
        self.listening.end();
    }
}

/// The lock of the door, with the keys of the data directory.
fn lock(http: &HttpConfig, clock: Arc<dyn Clock>, data_dir: &Path) -> Result<Lock, CliError> {
    let keyring = Keyring::open(Arc::new(RealDisk), Arc::clone(&clock), data_dir);
    let keyring = keyring.map_err(|error| keys_error(error, data_dir))?;
    let (keys, has_admin) = (keyring.table().keys().len(), keyring.table().has_admin());
    let config = LockConfig { auth: http.auth, requests_per_second: http.requests_per_second };
    let lock = Lock::new(keyring, config, clock);
    match lock.is_on() {
        true => info!(keys, "every request needs a key"),
        false => info!("no request needs a key; the first one that `keys add` makes changes that"),
    }
    if lock.is_on() && !has_admin {
        warn!("no key may make others; stop and use `tidewatch keys add --scope admin --data-dir`");
    }
    if lock.is_on() && http.tls.is_none() && !http.listen.ip().is_loopback() {
        warn!("keys travel unencrypted: set http.tls, or put a proxy with TLS before this port");
    }
    Ok(lock)
}

/// The exit code of a command that cannot read or change keys.
pub(crate) fn keys_error(error: KeysError, data_dir: &Path) -> CliError {
    match error {
        KeysError::File(error) => {
            file_error(error, "make the keys again with `tidewatch keys add`")
        }
        KeysError::Random { .. } => internal("making a key", error),
        // As a server would refuse it.
        KeysError::BadName { .. }
        | KeysError::Taken { .. }
        | KeysError::Missing { .. }
        | KeysError::TooMany => {
            let refused = ApiError::from(error);
            let url = data_dir.display().to_string();
            CliError::Refused { url, status: refused.status.as_u16(), message: refused.message }
        }
    }
}

/// Listens on the first of the addresses that can be had; the error is the last one's.
async fn bind(addresses: &[SocketAddr]) -> Result<Server, CliError> {
    let connections_max = CONNECTIONS_MAX.min(crate::open_files::connections_max());
    let mut refused = CliError::Usage { problem: "no address to listen on is given".to_owned() };
    for listen in addresses {
        let config = ServerConfig { listen: *listen, connections_max };
        match Server::bind(config).await {
            Ok(server) => return Ok(server),
            Err(source) => {
                let (path, source) = (listen.to_string().into(), source.into());
                refused = CliError::File { action: "listen on", path, source };
            }
        }
    }
    Err(refused)
}

/// Starts the product on a thread of its own: replaying the log may take a while.
async fn start(
    engine: &EngineConfig,
    query: &QueryLimits,
    app: &Arc<App>,
    data_dir: DataDir,
    fatal: mpsc::Sender<String>,
) -> Result<Arc<Running>, CliError> {
    let fatal: Arc<dyn Fn(&str) + Send + Sync> = Arc::new(move |reason: &str| {
        // The first reason counts.
        fatal.try_send(reason.to_owned()).ok();
    });
    let (engine, query, recovery) = (engine.clone(), query.clone(), Arc::clone(&app.recovery));
    let path = engine.data_dir.clone();
    let started = tokio::task::spawn_blocking(move || {
        Running::start(&engine, &query, &recovery, data_dir, fatal)
    });
    let started = started.await.map_err(|panic| internal("starting", panic))?;
    started.map(Arc::new).map_err(|error| start_error(error, &path))
}

/// The exit code that a failed start has.
pub(crate) fn start_error(error: StartError, data_dir: &Path) -> CliError {
    let kind = match &error {
        StartError::Engine(error) => error.kind(),
        StartError::Query(_) | StartError::Retention(_) => ErrorKind::Internal,
    };
    let path = data_dir.to_owned();
    let can_be_salvaged = match &error {
        StartError::Engine(error) => error.can_be_salvaged(),
        StartError::Query(_) | StartError::Retention(_) => false,
    };
    match (kind, error) {
        (ErrorKind::InUse, _) => CliError::InUse { path },
        (ErrorKind::Corrupt, error) => {
            let mut problem = crate::http::chain(&error);
            if can_be_salvaged {
                problem.push_str(SALVAGE);
            }
            CliError::Corrupt { path, problem }
        }
        (_, StartError::Engine(EngineError::Io { action, path, source })) => {
            CliError::File { action, path, source: Box::new(source) }
        }
        (_, StartError::Retention(RetentionError::File(error))) => {
            let again = "say again for how long metrics are kept: POST /api/v1/admin/retention";
            file_error(error, again)
        }
        (_, error) => CliError::Internal { action: "starting", source: error.into() },
    }
}

/// The exit code of a file that cannot be read or replaced. What is to be done once a damaged one is
/// away, in `again`.
fn file_error(error: FileError, again: &str) -> CliError {
    match error {
        FileError::Io { action, path, source } => {
            CliError::File { action, path, source: source.into() }
        }
        FileError::Damaged { path, problem, .. } => {
            CliError::Corrupt { path, problem: format!("{problem}; move it away, and {again}") }
        }
        FileError::Newer { ref path, .. } => {
            CliError::Corrupt { path: path.clone(), problem: error.to_string() }
        }
    }
}

/// The error of a failed engine; sees to it that the process ends.
pub(crate) fn fatal_error(reason: String) -> CliError {
    error!(reason, "the process ends; a restart recovers what the disk has");
    // The committer's thread may hang in a system call: the process must not wait for it.
    let end = std::thread::Builder::new().name("end".to_owned()).spawn(|| {
        std::thread::park_timeout(FATAL_GRACE);
        std::process::abort();
    });
    drop(end);
    CliError::Internal { action: "the engine", source: reason.into() }
}

/// A failure that no user can do anything about.
pub(crate) fn internal(action: &'static str, source: impl Into<Cause>) -> CliError {
    CliError::Internal { action, source: source.into() }
}

/// The file that tells where the server listens, from when the port is bound.
#[derive(Debug)]
struct Listening {
    file: PathBuf,
    address: SocketAddr,
}

impl Listening {
    fn announce(data_dir: &Path, address: SocketAddr) -> Result<Self, CliError> {
        let listening = Self { file: data_dir.join(LISTEN_FILE), address };
        let written = fs::create_dir_all(data_dir).and_then(|()| {
            // By a rename, so that nobody reads half of it.
            let fresh = listening.file.with_extension("json.new");
            fs::write(&fresh, format!("{}\n", listening.line(data_dir)))?;
            fs::rename(&fresh, &listening.file)
        });
        written.map_err(|source| CliError::File {
            action: "write",
            path: listening.file.clone(),
            source: source.into(),
        })?;
        Ok(listening)
    }

    fn line(&self, data_dir: &Path) -> String {
        json!({
            "event": "listening", "addr": self.address.to_string(), "pid": std::process::id(),
            "version": env!("CARGO_PKG_VERSION"), "data_dir": data_dir,
        })
        .to_string()
    }

    fn end(self) {
        drop(fs::remove_file(self.file));
    }
}
