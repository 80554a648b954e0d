//! TLS: certificate and key from files, read again when they change.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::ServerConfig;
use tidewatch_env::Clock;
use tracing::{info, warn};

use super::error::chain;
use crate::config::TlsConfig;

/// Bytes of a file with a certificate and its chain, or with a key.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Between two looks whether the files have changed.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// A file cannot be read.
    #[error("could not read \"{}\"", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file is no PEM.
    #[error("\"{}\" holds no {what} in PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// The cause.
        #[source]
        source: Box<pem::Error>,
    },
    /// Certificate and key do not fit together, or neither can be used.
    #[error("the certificate \"{}\" cannot be used with its key", path.display())]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<rustls::Error>,
    },
}

/// What connections are encrypted with.
#[derive(Debug)]
pub(crate) struct Tls {
    files: TlsConfig,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    config: Arc<ServerConfig>,
    /// The files that were read last, good or bad.
    stamp: Stamp,
    /// When they were looked at.
    looked: Duration,
}

/// Tells whether files are still those that were read.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl Tls {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// If they cannot be used.
    pub(crate) fn open(files: &TlsConfig, clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        // ORDER: the stamp first, or a change in between would never be seen.
        let (stamp, looked) = (stamp(files), clock.monotonic());
        let state = State { config: load(files)?, stamp, looked };
        Ok(Self { files: files.clone(), clock, state: Mutex::new(state) })
    }

    /// What the next connection is encrypted with. Once a second the files are looked at; where they have
    /// changed for the worse, the old certificate stays.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.monotonic();
        if now >= state.looked + LOOK_PAUSE {
            state.looked = now;
            let stamp = stamp(&self.files);
            if stamp != state.stamp {
                state.stamp = stamp;
                let file = self.files.cert.display();
                match load(&self.files) {
                    Ok(config) => {
                        info!(%file, "the certificate was read again");
                        state.config = config;
                    }
                    Err(error) => {
                        let error = chain(&error);
                        warn!(%file, error, "the changed certificate is not used; the old one is kept");
                    }
                }
            }
        }
        Arc::clone(&state.config)
    }
}

fn stamp(files: &TlsConfig) -> Stamp {
    [&files.cert, &files.key].map(|path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}

fn load(files: &TlsConfig) -> Result<Arc<ServerConfig>, TlsError> {
    let no_pem = |path: &Path, what| {
        let path = path.to_owned();
        move |source| TlsError::Pem { path, what, source: Box::new(source) }
    };
    let cert = read(&files.cert)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&cert).collect();
    let chain = chain.map_err(no_pem(&files.cert, "certificate"))?;
    if chain.is_empty() {
        return Err(no_pem(&files.cert, "certificate")(pem::Error::NoItemsFound));
    }
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?);
    let key = key.map_err(no_pem(&files.key, "private key"))?;
    let unusable =
        |source| TlsError::Unusable { path: files.cert.clone(), source: Box::new(source) };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth();
    let mut config = config.with_single_cert(chain, key).map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(bytes)
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
