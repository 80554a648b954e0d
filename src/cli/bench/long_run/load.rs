//! The load: steps of a fleet, in order, over a few connections.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidewatch_metrics::EventTime;

use crate::cli::bench::connection::Connection;
use crate::cli::bench::long_run::sums::HourSums;
use crate::cli::error::CliError;
use crate::cli::generate::{Format, GeneratedSeries, Generator, TextForm};
use crate::cli::progress::Progress;
use crate::cli::stop::Stop;

/// Connections; a series' samples go over one of them, in order.
const CONNECTIONS: usize = 2;
/// Samples of one request.
const REQUEST_SAMPLES: usize = 10_000;
/// Requests that wait for their connection.
const QUEUE: usize = 4;
/// Pause where the server asks to wait.
const BUSY_PAUSE: Duration = Duration::from_millis(200);

/// Times that one request is sent again.
const WAITS_MAX: u32 = 600;

/// What was sent and acknowledged so far.
#[derive(Debug)]
pub(crate) struct Sent {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    sums: HourSums,
    /// Per connection, samples before this time are acknowledged.
    acked: [EventTime; CONNECTIONS],
    samples: u64,
    busy: u64,
}

/// A request's body and the time behind its last sample.
#[derive(Debug)]
struct Body {
    text: String,
    samples: u64,
    end: EventTime,
}

impl Sent {
    /// Nothing.
    pub(crate) fn new() -> Self {
        let acked = [EventTime::MIN; CONNECTIONS];
        let state = State { sums: HourSums::default(), acked, samples: 0, busy: 0 };
        Self { state: Mutex::new(state) }
    }

    /// The sums of all that was made, and the hour before which all of it is acknowledged.
    pub(crate) fn sums(&self) -> (HourSums, i64) {
        let state = self.lock();
        let acked = state.acked.iter().min().copied().unwrap_or(EventTime::MIN);
        (state.sums.clone(), HourSums::hour_of(acked))
    }

    /// Samples acknowledged, and how often the server asked to wait.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let state = self.lock();
        (state.samples, state.busy)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends `steps` steps of `generator` to the server at `address`.
///
/// # Errors
/// If the server refuses a request, or goes away.
pub(crate) fn send(
    mut generator: Generator,
    steps: u64,
    address: SocketAddr,
    sent: &Arc<Sent>,
    progress: &Progress,
) -> Result<(), CliError> {
    let series = generator.series().to_vec();
    let parts: Vec<&[GeneratedSeries]> =
        series.chunks(series.len().div_ceil(CONNECTIONS)).collect();
    let per_request = (REQUEST_SAMPLES * parts.len() / series.len()).max(1);
    std::thread::scope(|scope| {
        let (queues, workers): (Vec<SyncSender<Body>>, Vec<_>) = (0..parts.len())
            .map(|index| {
                let (queue, bodies) = sync_channel(QUEUE);
                (queue, scope.spawn(move || work(index, &bodies, address, sent, progress)))
            })
            .unzip();
        let mut forms: Vec<_> = parts.iter().map(|part| TextForm::new(Format::Lp, part)).collect();
        let metrics: Vec<_> = series.iter().map(|series| series.metric).collect();
        let (mut values, mut left) = (Vec::new(), steps);
        'steps: while left > 0 {
            let count = left.min(per_request as u64);
            left -= count;
            let mut bodies: Vec<_> = parts.iter().map(|_| String::new()).collect();
            let mut end = EventTime::MIN;
            for _ in 0..count {
                let time = generator.step(&mut values);
                sent.lock().sums.add(time, &metrics, &values);
                let chunks = values.chunks(series.len().div_ceil(CONNECTIONS));
                for ((form, body), values) in forms.iter_mut().zip(&mut bodies).zip(chunks) {
                    form.push_step(time, values, body);
                }
                end = EventTime::new(time.nanos() + 1);
            }
            for ((queue, text), part) in queues.iter().zip(bodies).zip(&parts) {
                let samples = count * part.len() as u64;
                if queue.send(Body { text, samples, end }).is_err() {
                    break 'steps;
                }
            }
        }
        drop(queues);
        let ended = workers.into_iter().map(|worker| worker.join().expect("no worker panics"));
        ended.collect::<Result<Vec<()>, _>>().map(drop)
    })
}

fn work(
    index: usize,
    bodies: &Receiver<Body>,
    address: SocketAddr,
    sent: &Sent,
    progress: &Progress,
) -> Result<(), CliError> {
    let failed =
        |source: crate::cli::error::Cause| CliError::Internal { action: "sending samples", source };
    let mut connection = Connection::open(address).map_err(|error| failed(error.into()))?;
    let pause = Stop::default();
    for body in bodies {
        let request = format!(
            "POST /write?precision=ns HTTP/1.1\r\nhost: bench\r\ncontent-length: {}\r\n\r\n{}",
            body.text.len(),
            body.text
        );
        let mut waits = 0;
        loop {
            let answer =
                connection.ask(request.as_bytes()).map_err(|error| failed(error.into()))?;
            match answer.status {
                204 => break,
                429 | 503 | 507 if waits < WAITS_MAX => {
                    waits += 1;
                    sent.lock().busy += 1;
                    pause.wait(BUSY_PAUSE);
                }
                status => return Err(failed(format!("{status}: {}", answer.body).into())),
            }
        }
        let mut state = sent.lock();
        state.samples += body.samples;
        if let Some(acked) = state.acked.get_mut(index) {
            *acked = body.end;
        }
        drop(state);
        progress.advance(body.samples);
    }
    Ok(())
}
