//! Every route: its path, who may use it, how its clients read refusals, and who answers.
//!
//! There is no other way to a handler than through this table, so that none is without its lock.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, post};

use super::lock::{Access, Guard, Shape, guard};
use super::{
    App, admin, cardinality, components, dlq, health, influx, keys, lines, luminate, openapi,
    query, retention, samples, tail,
};
use crate::keys::Scope;

const OPEN: Access = Access::Open;
const ANY_KEY: Access = Access::AnyKey;
const READ: Access = Access::Scope(Scope::Read);
const WRITE: Access = Access::Scope(Scope::Write);
const ADMIN: Access = Access::Scope(Scope::Admin);

/// A line of the table.
struct Route {
    path: &'static str,
    access: Access,
    shape: Shape,
    methods: fn() -> MethodRouter<Arc<App>>,
}

const fn route(
    path: &'static str,
    access: Access,
    shape: Shape,
    methods: fn() -> MethodRouter<Arc<App>>,
) -> Route {
    Route { path, access, shape, methods }
}

/// The table. `tests/keys.rs` reads it and asks every route with every kind of key.
const ROUTES: &[Route] = &[
    route("/write", WRITE, Shape::InfluxText, || post(lines::v1)),
    route("/api/v2/write", WRITE, Shape::InfluxCode, || post(lines::v2)),
    route("/api/v3/write_lp", WRITE, Shape::InfluxText, || post(lines::v3)),
    route("/api/v1/write", WRITE, Shape::Product, || post(samples::write)),
    // Clients of InfluxDB 1 send CREATE DATABASE with the key that they write with.
    route("/query", ANY_KEY, Shape::InfluxText, || get(influx::query).post(influx::query)),
    route("/api/v1/query", READ, Shape::Product, || post(luminate::query)),
    route("/api/v1/metrics", READ, Shape::Product, || get(luminate::metrics)),
    route("/api/v1/metrics/{name}/dimensions", READ, Shape::Product, || get(luminate::dimensions)),
    route("/api/v1/metrics/{name}/dimensions/{key}/values", READ, Shape::Product, || {
        get(luminate::values)
    }),
    route("/api/v3/query_sql", READ, Shape::Product, || {
        get(query::query_sql).post(query::query_sql)
    }),
    route("/api/v1/tail", READ, Shape::Product, || get(tail::tail)),
    route("/metrics", READ, Shape::Product, || get(health::metrics)),
    route("/health", READ, Shape::InfluxCode, || get(influx::health)),
    route("/api/v1/health", READ, Shape::Product, || get(components::health)),
    route("/ping", OPEN, Shape::InfluxText, || get(influx::ping).head(influx::ping)),
    route("/healthz", OPEN, Shape::Product, || get(health::healthz)),
    route("/readyz", OPEN, Shape::Product, || get(health::readyz)),
    route("/startupz", OPEN, Shape::Product, || get(health::startupz)),
    route("/api/v1/version", OPEN, Shape::Product, || get(health::version)),
    route("/api/v1/openapi.json", OPEN, Shape::Product, || get(openapi::openapi)),
    route("/api/v1/admin/keys", ADMIN, Shape::Product, || get(keys::list).post(keys::add)),
    route("/api/v1/admin/keys/{name}", ADMIN, Shape::Product, || delete(keys::revoke)),
    route("/api/v1/admin/retention", ADMIN, Shape::Product, || {
        get(retention::list).post(retention::say)
    }),
    route("/api/v1/admin/retention/{name}", ADMIN, Shape::Product, || delete(retention::take_back)),
    route("/api/v1/admin/series/top", ADMIN, Shape::Product, || get(cardinality::top)),
    route("/api/v1/admin/dlq/replay", ADMIN, Shape::Product, || post(dlq::replay)),
    route("/api/v1/admin/dlq/drop", ADMIN, Shape::Product, || post(dlq::drop)),
    route("/api/v1/admin/compact", ADMIN, Shape::Product, || post(admin::compact)),
    route("/api/v1/admin/delete", ADMIN, Shape::Product, || post(admin::delete)),
    route("/api/v1/admin/metrics/{name}", ADMIN, Shape::Product, || delete(admin::delete_metric)),
];

/// All routes, each behind its lock.
pub(crate) fn router(app: Arc<App>) -> Router {
    let mut router = Router::new();
    for Route { path, access, shape, methods } in ROUTES {
        let (access, shape) = (*access, *shape);
        let guarded = Arc::new(Guard { app: Arc::clone(&app), access, shape });
        router = router.route(path, methods().layer(from_fn_with_state(guarded, guard)));
    }
    router
        .fallback(health::not_found)
        .method_not_allowed_fallback(health::method_not_allowed)
        .with_state(app)
}
