//! Accepts connections and lets the router answer their requests.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tower::Service;
use tracing::{debug, warn};

use super::App;
use super::connections::{Connections, Place};
use super::head_timeout::{Answering, HeadTimeout};
use super::lock::harden;
use super::routes::router;

/// Time from the first byte of a request's head to its last.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// Time in which TLS must be agreed on.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
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
        let doorman = Doorman::new(app);
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.accept() => accepted,
                _ = stop.changed() => break,
            };
            let Some((stream, place)) = accepted else { continue };
            let (doorman, watcher) = (doorman.clone(), graceful.watcher());
            tokio::spawn(async move {
                doorman.serve(stream, watcher).await;
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

/// Answers what comes over a connection.
#[derive(Clone, Debug)]
struct Doorman {
    app: Arc<App>,
    router: Router,
    http: Builder<TokioExecutor>,
}

impl Doorman {
    fn new(app: Arc<App>) -> Self {
        let mut http = Builder::new(TokioExecutor::new()).http1_only();
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE_MAX)
            .max_buf_size(READ_BYTES_MAX);
        Self { router: router(Arc::clone(&app)), app, http }
    }

    /// Agrees on TLS, where there is any, and answers to the connection's end.
    async fn serve(self, stream: TcpStream, watcher: Watcher) {
        let peer = stream.peer_addr().map(|peer| Peer(peer.ip())).ok();
        let Some(tls) = &self.app.tls else { return self.answer(stream, peer, watcher).await };
        let handshake = TlsAcceptor::from(tls.config()).accept(stream);
        match tokio::time::timeout(HANDSHAKE_MAX, handshake).await {
            Ok(Ok(stream)) => self.answer(stream, peer, watcher).await,
            Ok(Err(error)) => {
                self.app.lock.instruments.tls_failures.inc();
                debug!(%error, "TLS was not agreed on");
            }
            Err(_elapsed) => {
                self.app.lock.instruments.tls_failures.inc();
                debug!("TLS was not agreed on in time");
            }
        }
    }

    async fn answer<S>(self, stream: S, peer: Option<Peer>, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let answering = Answering::default();
        let stream = TokioIo::new(HeadTimeout::new(stream, HEAD_MAX, answering.clone()));
        let (router, is_tls) = (self.router, self.app.tls.is_some());
        let service = tower::service_fn(move |mut request: Request<_>| {
            answering.begin();
            if let Some(peer) = peer {
                request.extensions_mut().insert(peer);
            }
            let (answer, answering) = (router.clone().call(request), answering.clone());
            async move {
                let mut answer = answer.await;
                if let Ok(answer) = &mut answer {
                    harden(answer.headers_mut(), is_tls);
                }
                answering.end();
                answer
            }
        });
        let connection = self.http.serve_connection(stream, TowerToHyperService::new(service));
        if let Err(error) = watcher.watch(connection.into_owned()).await {
            debug!(%error, "connection ended");
        }
    }
}
