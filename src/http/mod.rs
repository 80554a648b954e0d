//! The HTTP face: writes, queries, health, instruments.

mod admin;
mod body;
mod cardinality;
mod change;
mod components;
mod connections;
mod dlq;
mod document;
mod error;
mod head_timeout;
mod health;
mod influx;
mod instruments;
mod json;
mod keyed;
mod keys;
mod lines;
mod lock;
mod luminate;
mod openapi;
mod path_names;
mod query;
mod remote_write;
mod retention;
mod routes;
mod samples;
mod server;
mod tail;
mod tls;
mod unpack;
mod write;

use std::sync::{Arc, OnceLock};

use prometheus_client::registry::Registry;
use tidewatch_engine::RecoveryState;
use tidewatch_env::Clock;

use crate::assemble::Running;

pub(crate) use self::error::{ApiError, chain};
pub(crate) use self::lock::{Lock, LockConfig};
use self::path_names::PathNames;
pub(crate) use self::server::{Server, ServerConfig};
pub(crate) use self::tail::Tails;
pub(crate) use self::tls::Tls;

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct App {
    /// Set once recovery is over and writes are accepted.
    pub(crate) running: OnceLock<Arc<Running>>,
    /// How far recovery has come.
    pub(crate) recovery: Arc<RecoveryState>,
    /// Started with the process.
    pub(crate) clock: Arc<dyn Clock>,
    /// The largest decompressed body.
    pub(crate) body_bytes_max: usize,
    /// Who may ask for what.
    pub(crate) lock: Lock,
    /// What connections are encrypted with; none: they are not.
    pub(crate) tls: Option<Tls>,
    /// Who follows samples as they become durable.
    pub(crate) tails: Tails,
}

impl App {
    /// The running product, or 503 while it recovers.
    fn running(&self) -> Result<&Arc<Running>, ApiError> {
        self.running.get().ok_or_else(ApiError::recovering)
    }

    /// What is counted at the door itself.
    fn door_registry(&self) -> Registry {
        let mut registry = Registry::default();
        self.lock.instruments.register(&mut registry);
        self.tails.instruments.register(&mut registry);
        registry
    }
}
