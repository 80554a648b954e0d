//! `tidewatch serve`: the server.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::json;
use tidewatch_engine::{DataDir, EngineConfig, EngineError, ErrorKind, RecoveryState};
use tidewatch_env::RealDisk;
use tidewatch_query::{Format, QueryRequest};
use tokio::sync::{mpsc, watch};
use tracing::{error, info};

use crate::assemble::{Running, StartError, engine_config, stopped_query};
use crate::cli::check::ConfigArgs;
use crate::cli::error::CliError;
use crate::cli::progress::Progress;
use crate::cli::query::Statement;
use crate::config::{Config, QueryConfig};
use crate::http::{App, Server, ServerConfig};

/// Decompressed bytes of one body.
const BODY_BYTES_MAX: usize = 32 << 20;
/// Connections at a time.
const CONNECTIONS_MAX: usize = 4_096;
/// Where the address stands while the server runs.
const LISTEN_FILE: &str = "listen.json";
/// After a fatal error the process ends within this, whatever its threads do.
const FATAL_GRACE: Duration = Duration::from_millis(500);

const EXAMPLES: &str = "\
Examples:
  tidewatch serve
  tidewatch serve --data-dir /var/lib/tidewatch --config /etc/tidewatch.toml
  tidewatch serve --listen 127.0.0.1:0        # a free port; it is told on standard output

Standard output tells the address once writes are accepted, as one JSON line. Until then /readyz
tells how far the log has been replayed. The first SIGTERM stops in order, a second one at once.
Levels of the logs: TIDEWATCH_LOG=debug.";

/// `tidewatch serve`
#[derive(Clone, Debug, clap::Args)]
#[command(about = "Run the server", after_help = EXAMPLES)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Where everything is stored [default: storage.data_dir, ./tidewatch-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where to listen; port 0 lets the system choose [default: http.listen, 127.0.0.1:8850]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Threads that own series; nothing that is put out depends on it [default: cores]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    shards: Option<u16>,
    /// Listen beyond this machine although nobody is asked for a key
    #[arg(long)]
    insecure_listen: bool,
}

/// Runs the server until it is told to stop.
///
/// # Errors
/// Whatever keeps it from starting, or ends it.
pub(crate) fn run(args: &ServeArgs, out: &mut dyn Write) -> Result<(), CliError> {
    crate::logs::start("info");
    let mut config = load(&args.config)?;
    if let Some(data_dir) = &args.data_dir {
        config.storage.data_dir.clone_from(data_dir);
    }
    if let Some(listen) = args.listen {
        config.http.listen = listen;
    }
    if !config.http.listen.ip().is_loopback() && !args.insecure_listen {
        return Err(CliError::Usage {
            problem: format!(
                "{} is beyond this machine, and nobody would be asked for a key: listen on \
                 127.0.0.1, or say --insecure-listen",
                config.http.listen
            ),
        });
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("http")
        .build()
        .map_err(|source| internal("starting threads", source))?;
    let served = runtime.block_on(serve(&config, args.shards.map(usize::from), out));
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

/// The configuration, or all of its problems on standard error.
pub(crate) fn load(args: &ConfigArgs) -> Result<Config, CliError> {
    args.load().map_err(|problems| {
        for problem in &problems {
            drop(writeln!(std::io::stderr(), "{problem}"));
        }
        CliError::Configuration { problems: problems.len() }
    })
}

async fn serve(
    config: &Config,
    shards: Option<usize>,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let mut signals = Signals::new()?;
    let engine = engine_config(config, shards);
    let data_dir = DataDir::lock(&RealDisk, &engine.data_dir)
        .map_err(|error| start_error(error.into(), &engine.data_dir))?;
    let listen = ServerConfig { listen: config.http.listen, connections_max: CONNECTIONS_MAX };
    let server = Server::bind(listen).await.map_err(|source| CliError::File {
        action: "listen on",
        path: config.http.listen.to_string().into(),
        source: source.into(),
    })?;
    let address = server.address().map_err(|source| internal("listening", source))?;
    let app = Arc::new(App {
        running: OnceLock::new(),
        recovery: Arc::new(RecoveryState::default()),
        body_bytes_max: BODY_BYTES_MAX,
    });
    let (stop, stopped) = watch::channel(false);
    let serving = tokio::spawn(server.run(Arc::clone(&app), stopped));
    let (fatal, mut failed) = mpsc::channel::<String>(1);
    let listening = Listening::announce(&engine.data_dir, address)?;
    let running = start(&engine, &config.query, &app, data_dir, fatal).await?;
    app.running.set(Arc::clone(&running)).expect("the product starts once");
    writeln!(out, "{}", listening.line(&engine.data_dir)).map_err(CliError::output)?;
    out.flush().map_err(CliError::output)?;
    info!(%address, data_dir = %engine.data_dir.display(), shards = engine.shards, "listening");
    let ended = tokio::select! {
        () = signals.next() => None,
        reason = failed.recv() => reason,
    };
    if let Some(reason) = ended {
        error!(reason, "the process ends; a restart recovers what the disk has");
        return Err(fatal_error(reason));
    }
    info!("stopping");
    stop.send(true).ok();
    let orderly = async {
        serving.await.ok();
        let engine = Arc::clone(&running.engine);
        tokio::task::spawn_blocking(move || engine.stop()).await.ok();
    };
    tokio::select! {
        () = orderly => {}
        () = signals.next() => return Err(CliError::Interrupted),
    }
    listening.end();
    Ok(())
}

/// Starts the product on a thread of its own: replaying the log may take a while.
async fn start(
    engine: &EngineConfig,
    query: &QueryConfig,
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
        StartError::Query(_) => ErrorKind::Internal,
    };
    let path = data_dir.to_owned();
    match (kind, error) {
        (ErrorKind::InUse, _) => CliError::InUse { path },
        (ErrorKind::Corrupt, error) => {
            CliError::Corrupt { path, problem: crate::http::chain(&error) }
        }
        (_, StartError::Engine(EngineError::Io { action, path, source })) => {
            CliError::File { action, path, source: Box::new(source) }
        }
        (_, error) => CliError::Internal { action: "starting", source: error.into() },
    }
}

fn fatal_error(reason: String) -> CliError {
    // The committer's thread may hang in a system call: the process must not wait for it.
    let end = std::thread::Builder::new().name("end".to_owned()).spawn(|| {
        std::thread::park_timeout(FATAL_GRACE);
        std::process::abort();
    });
    drop(end);
    CliError::Internal { action: "the engine", source: reason.into() }
}

fn internal(action: &'static str, source: impl Into<super::error::Cause>) -> CliError {
    CliError::Internal { action, source: source.into() }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self, CliError> {
        use tokio::signal::unix::{SignalKind, signal};
        let watch = |kind| signal(kind).map_err(|source| internal("watching for signals", source));
        Ok(Self {
            terminate: watch(SignalKind::terminate())?,
            interrupt: watch(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The file that tells where the server listens, from when the port is bound.
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

/// Answers a statement from a data directory that no server works on.
///
/// # Errors
/// What is wrong with the directory or the statement.
pub(crate) fn answer_locally(
    data_dir: &Path,
    statement: &Statement,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    crate::logs::start("warn");
    let missing = |source: std::io::Error| CliError::File {
        action: "read the data directory",
        path: data_dir.to_owned(),
        source: source.into(),
    };
    fs::metadata(data_dir.join("wal")).map_err(missing)?;
    let progress = Progress::records();
    let query = stopped_query(&Config::default(), data_dir.to_owned(), |_| progress.advance(1));
    progress.finish();
    let query = query.map_err(|error| start_error(error, data_dir))?;
    let format = Format::from_name(statement.format.name()).expect("both know the same formats");
    let request = QueryRequest {
        sql: statement.sql.clone(),
        db: statement.db.clone(),
        format,
        timeout: statement.timeout,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| internal("starting threads", source))?;
    let answer = runtime.block_on(query.execute(request)).map_err(|error| CliError::Refused {
        url: data_dir.display().to_string(),
        status: crate::http::ApiError::from(&error).status.as_u16(),
        message: crate::http::chain(&error),
    })?;
    out.write_all(&answer.body).map_err(CliError::output)
}
