//! Load on one server: a thread per connection, each with one request in flight.

use std::net::SocketAddr;
use std::time::Duration;

use hdrhistogram::Histogram;
use tidewatch_env::{Clock, RealClock};

use crate::cli::bench::connection::{Answer, Connection};
use crate::cli::bench::floor::latencies;
use crate::cli::bench::pace::{Pace, Place};
use crate::cli::bench::requests::Requests;
use crate::cli::error::CliError;
use crate::cli::stop::Stop;

/// Pause before a request is sent again that the server was too busy for. Shorter than servers ask for:
/// what is measured is how much they take, not how long they send clients away.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// How long load is put on a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// At least this time.
    pub(crate) time: Duration,
    /// And at least so many requests on each connection.
    pub(crate) requests: u64,
}

/// What was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Acknowledged {
    /// Samples.
    pub(crate) samples: u64,
    /// The sum of their values, times 100.
    pub(crate) hundredths: i64,
    /// Requests.
    pub(crate) requests: u64,
    /// Times that the server was too busy.
    pub(crate) busy: u64,
    /// Nanoseconds from a request's first byte to its acknowledgement, refusals for being busy included.
    pub(crate) acks: Histogram<u64>,
}

impl Acknowledged {
    /// Nothing yet.
    pub(crate) fn none() -> Self {
        Self { samples: 0, hundredths: 0, requests: 0, busy: 0, acks: latencies() }
    }

    /// Counts `other` in.
    pub(crate) fn add(&mut self, other: &Self) {
        self.samples += other.samples;
        self.hundredths += other.hundredths;
        self.requests += other.requests;
        self.busy += other.busy;
        self.acks.add(&other.acks).expect("both have the same bounds");
    }
}

/// Sends from every connection's requests, each from its own position on, for `span`.
///
/// # Errors
/// If the server is not reached or refuses a request.
pub(crate) fn put(
    address: SocketAddr,
    requests: &mut [Requests],
    positions: &mut [u64],
    span: Span,
) -> Result<Acknowledged, CliError> {
    let steps = requests.iter().zip(&*positions).map(|(r, at)| *at / r.one_step());
    let pace = Pace::new(steps.collect());
    let ended = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (index, (requests, position)) in requests.iter_mut().zip(positions).enumerate() {
            let place = pace.place(index);
            threads.push(
                scope.spawn(move || Sender { address, place, requests, position }.send(span)),
            );
        }
        let ended = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        ended.collect::<Vec<_>>()
    });
    let mut sum = Acknowledged::none();
    for acknowledged in ended {
        sum.add(&acknowledged?);
    }
    Ok(sum)
}

/// One connection's thread.
#[derive(Debug)]
struct Sender<'a> {
    address: SocketAddr,
    place: Place<'a>,
    requests: &'a mut Requests,
    position: &'a mut u64,
}

impl Sender<'_> {
    fn send(self, span: Span) -> Result<Acknowledged, CliError> {
        let Self { address, place, requests, position } = self;
        let url = format!("http://{address}");
        let clock = RealClock::new();
        let not_reached = |source: std::io::Error| CliError::NotReached {
            url: url.clone(),
            source: source.into(),
        };
        let mut connection = Connection::open(address).map_err(not_reached)?;
        let mut sum = Acknowledged::none();
        let one_step = requests.one_step();
        while clock.monotonic() < span.time || sum.requests < span.requests {
            place.enter(*position / one_step);
            let ready = requests.ready(*position);
            let started = clock.monotonic();
            let answer = loop {
                let answer = connection.ask(ready.bytes).map_err(not_reached)?;
                if !matches!(answer.status, 429 | 503) {
                    break answer;
                }
                sum.busy += 1;
                Stop::default().wait(BUSY_PAUSE);
            };
            let took = clock.monotonic().saturating_sub(started);
            refuse_refusals(&url, answer)?;
            sum.acks.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
            sum.samples += ready.samples;
            sum.hundredths += ready.hundredths;
            sum.requests += 1;
            *position += 1;
        }
        Ok(sum)
    }
}

fn refuse_refusals(url: &str, answer: Answer) -> Result<(), CliError> {
    match answer.status {
        200..=299 => Ok(()),
        status => Err(CliError::Refused { url: url.to_owned(), status, message: answer.body }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::bodies::BodyFormat;
    use crate::cli::bench::case::{Case, CaseName};
    use crate::cli::fake_server;
    use crate::cli::fake_server::FakeServer;

    const ONE: Case = Case {
        name: "one",
        what: "",
        measurement: "m",
        fields: &["a", "b"],
        hosts: 3,
        connections: 1,
        batch_lines: 3,
        labels: &[],
        format: BodyFormat::Lp,
        peers: false,
    };

    fn address(server: &FakeServer) -> SocketAddr {
        server.url().trim_start_matches("http://").parse().unwrap()
    }

    #[test]
    fn what_is_acknowledged_is_counted_and_the_next_request_follows() {
        let answers = vec![fake_server::Answer::new(204, "")];
        let server = FakeServer::start(answers);
        let mut requests = [Requests::build(&ONE, 0)];
        let mut positions = [5];
        let span = Span { time: Duration::ZERO, requests: 1 };
        let sum = put(address(&server), &mut requests, &mut positions, span).unwrap();
        assert_eq!((sum.samples, sum.requests, sum.busy), (6, 1, 0));
        assert_eq!((sum.acks.len(), positions), (1, [6]));
        let seen = server.requests();
        assert_eq!(seen[0].first_line, "POST /write?db=bench HTTP/1.1");
        assert_eq!(sum.hundredths, requests[0].ready(5).hundredths);
    }

    #[test]
    fn a_refusal_ends_the_load_with_its_reason() {
        let answers = vec![fake_server::Answer::new(400, "no such thing")];
        let server = FakeServer::start(answers);
        let mut requests = [Requests::build(&CaseName::Small.case(), 0)];
        let span = Span { time: Duration::ZERO, requests: 1 };
        let error = put(address(&server), &mut requests, &mut [0], span).unwrap_err();
        assert!(error.to_string().contains("no such thing"), "{error}");
    }
}
