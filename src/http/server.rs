//! Connections: bounded in number, with a limit on the time that a request's head may take.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tracing::{debug, warn};

use super::App;

/// Time for a request's head, and so for an idle connection to ask again.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Bytes of one read, and so of a request's head.
const READ_BYTES_MAX: usize = 256 * 1024;
/// After this a stop no longer waits for requests in hand.
const DRAIN_MAX: Duration = Duration::from_secs(3);
/// Pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How the server listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerConfig {
    /// Where to listen; port 0 lets the system choose.
    pub(crate) listen: SocketAddr,
    /// Connections at a time; more wait to be accepted.
    pub(crate) connections_max: usize,
}

/// A bound listener.
#[derive(Debug)]
pub(crate) struct Server {
    listener: TcpListener,
    connections: Arc<Semaphore>,
}

impl Server {
    /// Binds the listener.
    ///
    /// # Errors
    /// What the system says, for example that the address is in use.
    pub(crate) async fn bind(config: ServerConfig) -> io::Result<Self> {
        let listener = TcpListener::bind(config.listen).await?;
        Ok(Self { listener, connections: Arc::new(Semaphore::new(config.connections_max)) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `stop` changes, then lets the requests in hand finish.
    pub(crate) async fn run(self, app: Arc<App>, mut stop: watch::Receiver<bool>) {
        let service = TowerToHyperService::new(super::router(app));
        let mut http = Builder::new(TokioExecutor::new()).http1_only();
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(READ_BYTES_MAX);
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.accept() => accepted,
                _ = stop.changed() => break,
            };
            let Some((stream, permit)) = accepted else { continue };
            let connection = http.serve_connection(TokioIo::new(stream), service.clone());
            let connection = graceful.watch(connection.into_owned());
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    debug!(%error, "connection ended");
                }
                drop(permit);
            });
        }
        drop(self.listener);
        if tokio::time::timeout(DRAIN_MAX, graceful.shutdown()).await.is_err() {
            warn!("requests in hand did not finish in time");
        }
    }

    async fn accept(&self) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
        let permit = Arc::clone(&self.connections).acquire_owned().await.ok()?;
        match self.listener.accept().await {
            Ok((stream, _)) => {
                // Answers are short: they should not wait for more bytes.
                stream.set_nodelay(true).ok();
                Some((stream, permit))
            }
            Err(error) => {
                // Mostly a lack of file descriptors: others must end first.
                warn!(%error, "a connection could not be accepted");
                tokio::time::timeout(ACCEPT_PAUSE, std::future::pending::<()>()).await.ok();
                None
            }
        }
    }
}
