//! What all doors for writes have in common: admission, keys, durability, and what an answer tells.

use std::collections::HashMap;
use std::net::IpAddr;

use axum::extract::{Query, Request};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use tidewatch_engine::{
    Ack, Claim, Done, Durability, Engine, EngineError, LineReport, Permit, StoredAnswer,
};
use tidewatch_metrics::Lsn;

use super::body::{self, Intake};
use super::keyed::{self, Keyed};
use super::server::Peer;
use super::{ApiError, App};

/// The database of writes that name none.
const DEFAULT_DATABASE: &str = "default";
/// Bodies beyond this are decoded off the event loop's back.
pub(super) const INLINE_BYTES_MAX: usize = 1 << 20;

/// A query string.
pub(super) type Parameters = Query<HashMap<String, String>>;

/// Which way a request came in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Door<'a> {
    /// The parameter that names the database.
    pub(super) database: &'a str,
    /// What, beside path, database and body, makes two requests the same: how the body is read.
    pub(super) reading: &'a str,
    /// What bodies it takes.
    pub(super) intake: Intake,
}

/// A request that was let in.
#[derive(Debug)]
pub(super) struct Entered<'a> {
    pub(super) engine: &'a Engine,
    pub(super) db: &'a str,
    pub(super) body: Vec<u8>,
    pub(super) durability: Durability,
    pub(super) client: Option<IpAddr>,
    pub(super) turn: Turn,
}

/// What is to be done with it.
#[derive(Debug)]
pub(super) enum Turn {
    /// Write it.
    Write(Permit, Option<Claim>),
    /// It was stored before, and is answered as then.
    Replay(Outcome),
}

/// Lets a request in: its body is read, and its key is claimed.
pub(super) async fn enter<'a>(
    app: &'a App,
    door: Door<'_>,
    parameters: &'a HashMap<String, String>,
    request: Request,
) -> Result<Entered<'a>, ApiError> {
    let running = app.running()?;
    if running.engine.is_behind() {
        return Err(EngineError::Overloaded { retry_after_s: 1 }.into());
    }
    let client = request.extensions().get::<Peer>().map(|peer| peer.0);
    let (parts, body) = request.into_parts();
    let engine = &running.engine;
    let key = keyed::key(&parts.headers)?;
    let durability = durability(parameters, &parts.headers)?;
    let db = parameters.get(door.database).map_or(DEFAULT_DATABASE, String::as_str);
    let body = body::read(engine.ingest(), &parts.headers, body, door.intake).await?;
    let keyed = match &key {
        None => Keyed::Write(None),
        Some(key) => {
            let (path, reading) = (parts.uri.path().as_bytes(), door.reading.as_bytes());
            keyed::claim(engine, db, key, &[path, db.as_bytes(), reading, &body.bytes]).await?
        }
    };
    let turn = match keyed {
        Keyed::Write(claim) => Turn::Write(body.permit, claim),
        Keyed::Replay(stored, lsn) => Turn::Replay(Outcome::replayed(stored, lsn)),
    };
    Ok(Entered { engine, db, body: body.bytes, durability, client, turn })
}

/// Lets `write` hand a body to the engine, and waits until it has the asked durability.
pub(super) async fn settle(
    durability: Durability,
    body_bytes: usize,
    write: impl FnOnce(Done) -> Result<LineReport, EngineError>,
) -> Result<Outcome, ApiError> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    let done = Box::new(move |ack: Result<Ack, EngineError>| {
        // A client that has gone does not read its answer.
        drop(answer.send(ack));
    });
    let report = if body_bytes > INLINE_BYTES_MAX {
        tokio::task::block_in_place(|| write(done))?
    } else {
        write(done)?
    };
    let lsn = if report.appended && durability != Durability::Accepted {
        let ack = answered.await.map_err(|_closed| ApiError::from(EngineError::Closed))?;
        Some(ack?.lsn)
    } else {
        None
    };
    Ok(Outcome { report, durability, lsn, is_replay: false })
}

fn durability(
    parameters: &HashMap<String, String>,
    headers: &HeaderMap,
) -> Result<Durability, ApiError> {
    let header = headers.get("tidewatch-durability").and_then(|value| value.to_str().ok());
    match parameters.get("durability").map(String::as_str).or(header) {
        None | Some("synced") => Ok(Durability::Synced),
        Some("written") => Ok(Durability::Written),
        Some("accepted") => Ok(Durability::Accepted),
        Some(other) => Err(ApiError::invalid(format!(
            "durability {other:?} is not known; accepted, written and synced are"
        ))),
    }
}

/// What became of a write.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) report: LineReport,
    pub(super) durability: Durability,
    lsn: Option<Lsn>,
    /// Whether it was stored by an earlier request with the same key.
    is_replay: bool,
}

impl Outcome {
    /// That of the request which was stored.
    fn replayed(stored: StoredAnswer, lsn: Lsn) -> Self {
        let StoredAnswer { durability, report } = stored;
        let lsn = (durability != Durability::Accepted).then_some(lsn);
        Self { report, durability, lsn, is_replay: true }
    }

    /// Adds the headers that all protocols have.
    pub(super) fn tell(&self, mut response: Response) -> Response {
        let level = match self.durability {
            Durability::Accepted => "accepted",
            Durability::Written => "written",
            Durability::Synced => "synced",
        };
        let report = &self.report;
        let headers = response.headers_mut();
        headers.insert("tidewatch-durability", HeaderValue::from_static(level));
        headers.insert("tidewatch-accepted", HeaderValue::from(report.lines_accepted));
        headers.insert("tidewatch-rejected", HeaderValue::from(report.lines_rejected));
        if let Some(lsn) = self.lsn {
            headers.insert("tidewatch-lsn", HeaderValue::from(lsn.get()));
        }
        if self.is_replay {
            headers.insert("idempotency-replayed", HeaderValue::from_static("true"));
        }
        response
    }
}
