//! The HTTP face: writes, queries, health, instruments.

mod admin;
mod body;
mod connections;
mod error;
mod head_timeout;
mod health;
mod influx;
mod keyed;
mod query;
mod server;
mod write;

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::routing::{any, delete, get, post};

use crate::assemble::Running;
use tidewatch_engine::RecoveryState;

pub(crate) use self::error::{ApiError, chain};
pub(crate) use self::server::{Server, ServerConfig};

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct App {
    /// Set once recovery is over and writes are accepted.
    pub(crate) running: OnceLock<Arc<Running>>,
    /// How far recovery has come.
    pub(crate) recovery: Arc<RecoveryState>,
    /// The largest decompressed body.
    pub(crate) body_bytes_max: usize,
}

impl App {
    /// The running product, or 503 while it recovers.
    fn running(&self) -> Result<&Arc<Running>, ApiError> {
        self.running.get().ok_or_else(ApiError::recovering)
    }
}

/// All routes.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/write", post(write::v1))
        .route("/api/v2/write", post(write::v2))
        .route("/query", any(influx::query))
        .route("/ping", get(influx::ping).head(influx::ping))
        .route("/api/v3/query_sql", any(query::query_sql))
        .route("/health", get(influx::health))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/startupz", get(health::startupz))
        .route("/api/v1/health", get(health::health))
        .route("/api/v1/version", get(health::version))
        .route("/api/v1/admin/compact", post(admin::compact))
        .route("/api/v1/admin/delete", post(admin::delete))
        .route("/api/v1/admin/metrics/{name}", delete(admin::delete_metric))
        .route("/metrics", get(health::metrics))
        .fallback(health::not_found)
        .method_not_allowed_fallback(health::method_not_allowed)
        .with_state(app)
}
