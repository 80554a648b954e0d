//! Conducts one case: servers up, warm, load in rounds by turns, work done, counted, down.

use std::path::Path;
use std::time::Duration;

use tidewatch_env::{Clock, RealClock};

use crate::cli::bench::case::Case;
use crate::cli::bench::child::{DiskUse, ServerChild};
use crate::cli::bench::floor::Latency;
use crate::cli::bench::load::{Acknowledged, Span, put};
use crate::cli::bench::process::Process;
use crate::cli::bench::questdb::QuestDb;
use crate::cli::bench::report::{Outcome, median};
use crate::cli::bench::requests::Requests;
use crate::cli::bench::target::Target;
use crate::cli::error::CliError;
use crate::cli::progress::Progress;

/// Rounds of a case, whose medians are told.
pub(crate) const ROUNDS: u32 = 5;
/// Load before the first round, at least: enough for every series, file and buffer to be there, and for
/// a peer's just-in-time compiler.
const WARM_UP: Duration = Duration::from_secs(2);

/// What all cases of a run have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    /// Load on each server in each case, over all rounds.
    pub(crate) load: Duration,
    /// Where data directories are made.
    pub(crate) parent: &'a Path,
    /// Peers.
    pub(crate) peers: &'a [QuestDb],
    /// Counts rounds.
    pub(crate) progress: &'a Progress,
}

/// One server's part in a case.
#[derive(Debug)]
struct Part {
    target: Target,
    positions: Vec<u64>,
    all: Acknowledged,
    measured: Acknowledged,
    rounds: Vec<Round>,
}

/// One round of load and the work that it left behind.
#[derive(Clone, Copy, Debug)]
struct Round {
    samples: f64,
    load_s: f64,
    whole_s: f64,
    server_cpu_s: Option<f64>,
    client_cpu_s: f64,
}

/// Measures a case on this program's server and on the peers.
///
/// # Errors
/// If a server does not start, is not reached or refuses.
pub(crate) fn measure(case: &Case, plan: &Plan<'_>) -> Result<Vec<Outcome>, CliError> {
    let mut requests: Vec<Requests> = std::thread::scope(|scope| {
        let building: Vec<_> = (0..case.connections)
            .map(|index| scope.spawn(move || Requests::build(case, index)))
            .collect();
        let built = building
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        built.collect()
    });
    let mut parts =
        vec![Part::new(Target::Tidewatch(ServerChild::start(plan.parent, case.name)?), &requests)];
    for peer in plan.peers.iter().filter(|_| case.peers) {
        peer.clear(case)?;
        parts.push(Part::new(Target::QuestDb(peer.clone()), &requests));
    }
    for part in &mut parts {
        part.warm_up(&mut requests)?;
    }
    // By turns, so that what else happens on the machine meets all of them.
    for _ in 0..ROUNDS {
        for part in &mut parts {
            part.round(&mut requests, plan.load / ROUNDS)?;
            plan.progress.advance(1);
        }
    }
    parts.into_iter().map(|part| part.end(case)).collect()
}

impl Part {
    fn new(target: Target, requests: &[Requests]) -> Self {
        Self {
            target,
            positions: vec![0; requests.len()],
            all: Acknowledged::none(),
            measured: Acknowledged::none(),
            rounds: Vec::new(),
        }
    }

    fn warm_up(&mut self, requests: &mut [Requests]) -> Result<(), CliError> {
        let one_step = requests.iter().map(Requests::one_step).max().unwrap_or(1);
        let span = Span { time: WARM_UP, requests: one_step };
        let sent = put(self.target.address(), requests, &mut self.positions, span)?;
        self.all.add(&sent);
        self.target.drain().map(drop)
    }

    fn round(&mut self, requests: &mut [Requests], load: Duration) -> Result<(), CliError> {
        let (clock, this) = (RealClock::new(), Process::this());
        let client_before = this.cpu_seconds().unwrap_or(0.0);
        let server_before = self.target.cpu_seconds();
        let span = Span { time: load, requests: 1 };
        let sent = put(self.target.address(), requests, &mut self.positions, span)?;
        let loaded = clock.monotonic();
        let client_cpu_s = this.cpu_seconds().unwrap_or(0.0) - client_before;
        let draining = self.target.drain()?;
        let server_after = self.target.cpu_seconds();
        let samples = u32::try_from(sent.samples).map_or(f64::INFINITY, f64::from);
        self.rounds.push(Round {
            samples,
            load_s: loaded.as_secs_f64(),
            whole_s: (loaded + draining).as_secs_f64(),
            server_cpu_s: server_after.zip(server_before).map(|(after, before)| after - before),
            client_cpu_s,
        });
        self.all.add(&sent);
        self.measured.add(&sent);
        Ok(())
    }

    /// Counts what is stored, stops the server that we started, and tells all.
    fn end(self, case: &Case) -> Result<Outcome, CliError> {
        let resident = self.target.process().map(|process| {
            (process.resident_bytes().unwrap_or(0), process.resident_bytes_peak().unwrap_or(0))
        });
        let stored = self.target.stored(case)?;
        let outcome = self.outcome(case);
        let target = self.target.name().to_owned();
        let disk = match self.target {
            Target::Tidewatch(server) => Some(server.stop()?),
            Target::QuestDb(peer) => peer.clear(case).map(|()| None)?,
        };
        Ok(Outcome {
            target,
            stored_samples: stored.samples,
            stored_equals_sent: stored.equals(self.all.samples, self.all.hundredths),
            resident_bytes: resident.map(|(now, _)| now),
            resident_bytes_peak: resident.map(|(_, peak)| peak),
            disk,
            segment_bytes_per_sample: disk.map(|disk| per_sample(disk, self.all.samples)),
            ..outcome
        })
    }

    fn outcome(&self, case: &Case) -> Outcome {
        let rounds = &self.rounds;
        let of = |figure: &dyn Fn(&Round) -> f64| median(rounds.iter().map(figure));
        let cpu: Option<Vec<f64>> = rounds.iter().map(|round| round.server_cpu_s).collect();
        Outcome {
            case: case.name.to_owned(),
            what: case.what.to_owned(),
            series: case.series(),
            request_samples: case.batch_lines * case.line_samples(),
            connections: case.connections,
            sent_samples: self.all.samples,
            samples_per_s: of(&|round| round.samples / round.whole_s),
            acknowledged_per_s: of(&|round| round.samples / round.load_s),
            samples_per_s_rounds: rounds.iter().map(|r| r.samples / r.whole_s).collect(),
            samples_per_cpu_s: cpu.as_ref().map(|cpu| {
                median(rounds.iter().zip(cpu).map(|(round, cpu)| round.samples / cpu.max(0.01)))
            }),
            server_cpu_s: cpu.map(|cpu| cpu.iter().sum()),
            client_cpu_s: rounds.iter().map(|round| round.client_cpu_s).sum(),
            load_s: rounds.iter().map(|round| round.load_s).sum(),
            whole_s: rounds.iter().map(|round| round.whole_s).sum(),
            requests: self.measured.requests,
            busy_answers: self.measured.busy,
            ack: Latency::of(&self.measured.acks),
            ..Outcome::default()
        }
    }
}

fn per_sample(disk: DiskUse, samples: u64) -> f64 {
    // Both far below 2^53.
    disk.segment_bytes as f64 / samples.max(1) as f64
}
