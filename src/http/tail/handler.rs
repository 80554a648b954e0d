//! The handler, and the task that serves one client.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use tidewatch_env::{Clock, RealClock};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::http::tail::filter::Filter;
use crate::http::tail::follower::{Follower, Step, Wrapping};
use crate::http::tail::{TAILS_MAX, Tails};
use crate::http::{ApiError, App};

/// Between two looks at the heads.
const POLL: Duration = Duration::from_millis(200);
const POLLS_PER_SECOND: usize = 5;
/// After so much silence an empty line or event shows whether the client is still there.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Steps that wait for a slow client; beyond them rows are skipped.
const STEPS_QUEUED: usize = 4;

/// `GET /api/v1/tail?db=&metric=&where=&severity_min=&rows_per_second=&seconds=`.
pub(crate) async fn tail(
    State(app): State<Arc<App>>,
    parameters: Result<Query<Vec<(String, String)>>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let Query(parameters) = match parameters {
        Ok(parameters) => parameters,
        Err(rejection) => return ApiError::invalid(rejection.body_text()).into_response(),
    };
    follow(&app, &parameters, &headers).await.unwrap_or_else(IntoResponse::into_response)
}

async fn follow(
    app: &App,
    parameters: &[(String, String)],
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let running = app.running()?;
    let filter = Filter::parse(parameters)?;
    let Ok(place) = Arc::clone(&app.tails.room).try_acquire_owned() else {
        let message = format!("{TAILS_MAX} clients follow already; try again when one has ended");
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return Err(ApiError::new(status, "SERVICE_UNAVAILABLE", message).retry_after(5));
    };
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let wrapping = match accept.is_some_and(|accept| accept.contains("text/event-stream")) {
        true => Wrapping::Events,
        false => Wrapping::Lines,
    };
    let content_type = match wrapping {
        Wrapping::Lines => "application/x-ndjson",
        Wrapping::Events => "text/event-stream",
    };
    let (send, receive) = mpsc::channel::<Bytes>(STEPS_QUEUED);
    let mut follower = Follower::new(Arc::clone(&running.engine), filter.clone(), wrapping);
    // Before the answer begins: what its reader writes from then on is seen.
    let beginning = tokio::task::spawn_blocking(move || follower.begin().then_some(follower));
    let Ok(Some(follower)) = beginning.await else {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let message = "the shards are behind the log; try again in a moment";
        return Err(ApiError::new(status, "SERVICE_UNAVAILABLE", message).retry_after(1));
    };
    let serving = Serving { tails: app.tails.clone(), send, filter, wrapping, _place: place };
    tokio::spawn(serving.serve(follower));
    let body = stream::unfold(receive, |mut receive| async move {
        receive.recv().await.map(|bytes| (Ok::<_, Infallible>(bytes), receive))
    });
    let headers = [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(body)).into_response())
}

/// Serves one client until it goes, its time is over, or the server stops.
struct Serving {
    tails: Tails,
    send: mpsc::Sender<Bytes>,
    filter: Filter,
    wrapping: Wrapping,
    _place: OwnedSemaphorePermit,
}

impl Serving {
    async fn serve(mut self, mut follower: Follower) {
        let clock = RealClock::new();
        let begin = clock.monotonic();
        let mut spoke = begin;
        let rate = usize::try_from(self.filter.rate_max).unwrap_or(usize::MAX);
        let rows_max = rate.div_ceil(POLLS_PER_SECOND);
        self.tails.instruments.open.inc();
        loop {
            // On a thread that may wait, and nobody else is served meanwhile by this task.
            let stepping = tokio::task::spawn_blocking(move || {
                let step = follower.step(rows_max);
                (follower, step)
            });
            let Ok((after, step)) = stepping.await else { break };
            follower = after;
            let now = clock.monotonic();
            if !step.text.is_empty() {
                spoke = now;
                follower.missed(self.put(step));
            } else if now.saturating_sub(spoke) >= HEARTBEAT {
                spoke = now;
                self.send.try_send(Bytes::from_static(self.heartbeat())).ok();
            }
            let elapsed = now.saturating_sub(begin);
            if self.filter.ends_after.is_some_and(|end| elapsed >= end) || self.is_over().await {
                break;
            }
        }
        self.tails.instruments.open.dec();
    }

    /// Hands rows to the client; gives how many it has no room for.
    fn put(&self, step: Step) -> u64 {
        let instruments = &self.tails.instruments;
        match self.send.try_send(Bytes::from(step.text)) {
            Ok(()) => {
                instruments.rows.inc_by(step.rows);
                instruments.rows_skipped.inc_by(step.skipped);
                0
            }
            Err(_full_or_gone) => {
                // Counted as skipped once the client is told.
                step.rows + step.skipped
            }
        }
    }

    /// Waits for the next look; whether there is none.
    async fn is_over(&mut self) -> bool {
        let gone = self.send.clone();
        let ended = async {
            tokio::select! {
                () = gone.closed() => {}
                _ = self.tails.stopping.wait_for(|stopping| *stopping) => {}
            }
        };
        tokio::time::timeout(POLL, ended).await.is_ok()
    }

    const fn heartbeat(&self) -> &'static [u8] {
        match self.wrapping {
            Wrapping::Lines => b"\n",
            Wrapping::Events => b":\n\n",
        }
    }
}
