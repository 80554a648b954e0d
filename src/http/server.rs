//! Accepts connections and lets the router answer their requests.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tower::Service;
use tracing::{debug, warn};

use super::App;
use super::connections::{Connections, Place};
use super::head_timeout::{Answering, HeadTimeout};

/// Time from the first byte of a request's head to its last.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// Time for an idle connection to ask again. A head that has begun has less, see [`HeadTimeout`].
const IDLE_MAX: Duration = Duration::from_secs(75);
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

/// Who sent a request, as the connection tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// A bound listener.
#[derive(Debug)]
pub(crate) struct Server {
    listener: TcpListener,
    connections: Arc<Connections>,
}

impl Server {
    /// Binds the listener.
    ///
    /// # Errors
    /// What the system says, for example that the address is in use.
    pub(crate) async fn bind(config: ServerConfig) -> io::Result<Self> {
        let listener = TcpListener::bind(config.listen).await?;
        Ok(Self { listener, connections: Connections::new(config.connections_max) })
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
        let router = super::router(app);
        let mut http = Builder::new(TokioExecutor::new()).http1_only();
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE_MAX)
            .max_buf_size(READ_BYTES_MAX);
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.accept() => accepted,
                _ = stop.changed() => break,
            };
            let Some((stream, place)) = accepted else { continue };
            let peer = stream.peer_addr().map(|peer| Peer(peer.ip())).ok();
            let answering = Answering::default();
            let stream = TokioIo::new(HeadTimeout::new(stream, HEAD_MAX, answering.clone()));
            let router = router.clone();
            let service = tower::service_fn(move |mut request: Request<_>| {
                answering.begin();
                if let Some(peer) = peer {
                    request.extensions_mut().insert(peer);
                }
                let (answer, answering) = (router.clone().call(request), answering.clone());
                async move {
                    let answer = answer.await;
                    answering.end();
                    answer
                }
            });
            let connection = http.serve_connection(stream, TowerToHyperService::new(service));
            let connection = graceful.watch(connection.into_owned());
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    debug!(%error, "connection ended");
                }
                drop(place);
            });
        }
        drop(self.listener);
        if tokio::time::timeout(DRAIN_MAX, graceful.shutdown()).await.is_err() {
            warn!("requests in hand did not finish in time");
        }
    }

    async fn accept(&self) -> Option<(TcpStream, Place)> {
        let permit = self.connections.free().await?;
        match self.listener.accept().await {
            Ok((stream, peer)) => {
                let Some(place) = self.connections.take(peer.ip(), permit) else {
                    warn!(address = %peer.ip(), "too many connections from one address");
                    return None;
                };
                // Answers are short: they should not wait for more bytes.
                stream.set_nodelay(true).ok();
                Some((stream, place))
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
