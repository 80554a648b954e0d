//! `tidewatch serve`: the server.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidewatch_engine::EngineConfig;
use tidewatch_env::{RealClock, RealDisk};
use tracing::info;

use crate::assemble::{engine_config, query_limits};
use crate::cli::check::ConfigArgs;
use crate::cli::error::CliError;
use crate::cli::service::{Service, fatal_error, internal, keys_error};
use crate::cli::signals::Signals;
use crate::config::{Auth, Config};
use crate::keys::Keyring;

const EXAMPLES: &str = "\
Examples:
  tidewatch serve
  tidewatch serve --data-dir /var/lib/tidewatch --config /etc/tidewatch.toml
  tidewatch serve --listen 127.0.0.1:0        # a free port; it is told on standard output
  tidewatch serve --salvage                   # after exit code 5; docs/operations.md says more

  # For others, too: the first key turns the lock on
  tidewatch keys add --data-dir ./tidewatch-data --name admin --scope admin
  tidewatch serve --listen 0.0.0.0:8850 --set http.tls.cert=cert.pem --set http.tls.key=key.pem

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
    /// Start on a damaged directory without what is damaged, and report what is missing
    #[arg(long)]
    salvage: bool,
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
    if !args.insecure_listen {
        refuse_open_door(&config)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("http")
        .build()
        .map_err(|source| internal("starting threads", source))?;
    let mut engine = engine_config(&config, args.shards.map(usize::from));
    engine.salvage = args.salvage;
    let served = runtime.block_on(serve(&config, &engine, out));
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

/// Beyond this machine nobody listens who asks for no key.
fn refuse_open_door(config: &Config) -> Result<(), CliError> {
    let (listen, data_dir) = (config.http.listen, &config.storage.data_dir);
    if listen.ip().is_loopback() {
        return Ok(());
    }
    // Without the directory's lock: the file is only looked at, and is always whole.
    let keyring = Keyring::open(Arc::new(RealDisk), Arc::new(RealClock::new()), data_dir);
    let keyring = keyring.map_err(|error| keys_error(error, data_dir))?;
    if config.http.auth.is_on(keyring.table().is_empty()) {
        return Ok(());
    }
    let advice = match config.http.auth {
        Auth::Off => "leave http.auth to \"auto\" and make a key".to_owned(),
        Auth::Auto | Auth::On => {
            let dir = data_dir.display();
            format!(
                "make a key by `tidewatch keys add --data-dir {dir} --name admin --scope admin`"
            )
        }
    };
    Err(CliError::Usage {
        problem: format!(
            "{listen} is beyond this machine, and nobody would be asked for a key: {advice}, or \
             listen on 127.0.0.1, or say --insecure-listen"
        ),
    })
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
    engine: &EngineConfig,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let mut signals = Signals::new()?;
    let door = (&config.http, &*config.sources);
    let mut service =
        Service::start(engine, &query_limits(config), door, &[config.http.listen]).await?;
    if let Some(report) = service.salvaged() {
        // Standard output has one line, and this is not it.
        drop(write!(std::io::stderr(), "{}{report}", report.to_json()));
    }
    writeln!(out, "{}", service.line()).map_err(CliError::output)?;
    out.flush().map_err(CliError::output)?;
    let (address, data_dir) = (service.address(), engine.data_dir.display());
    info!(%address, %data_dir, shards = engine.shards, "listening");
    let failed = tokio::select! {
        () = signals.next() => None,
        reason = service.failed() => Some(reason),
    };
    if let Some(reason) = failed {
        return Err(fatal_error(reason));
    }
    info!("stopping");
    tokio::select! {
        () = service.stop() => Ok(()),
        () = signals.next() => Err(CliError::Interrupted),
    }
}
