//! The loop around the steps of priming: in the background, behind everything else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::channel::{RecvTimeoutError, SendTimeoutError, Sender, bounded};
use tidewatch_env::Clock;
use tidewatch_operators::Lacking;
use tracing::{info, warn};

use crate::committer::{Append, CommitterMessage};
use crate::flusher::Flusher;
use crate::instruments::PrimingInstruments;
use crate::priming::history::Batch;
use crate::priming::steps::Priming;
use crate::threads::ShardMessage;
use crate::{Ack, EngineError, ErrorKind};

/// Pause while the log is replayed, or flushes are behind; and between two looks whether the engine stops.
const STAND_BACK: Duration = Duration::from_millis(50);
/// Between two words of how far it is.
const TELL: Duration = Duration::from_secs(10);
/// Pause where the log has no room.
const RETRY: Duration = Duration::from_secs(10);

/// Primes detectors while the engine runs, once after its start.
#[derive(Debug)]
pub(crate) struct PrimingRun {
    pub(crate) priming: Priming,
    pub(crate) shards: Vec<Sender<ShardMessage>>,
    pub(crate) queue: Sender<CommitterMessage>,
    pub(crate) flusher: Arc<Flusher>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) instruments: PrimingInstruments,
    pub(crate) recovered: Arc<AtomicBool>,
    /// The engine begins to stop.
    pub(crate) ended: Arc<AtomicBool>,
    pub(crate) stop: Arc<AtomicBool>,
}

/// The engine stops; the next start goes on with what still lacks history.
#[derive(Clone, Copy, Debug)]
struct Stopping;

/// How far it is.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    series: usize,
    rows: u64,
    told: Duration,
}

impl PrimingRun {
    /// Works until no series lacks history, or the engine stops.
    pub(crate) fn run(mut self) {
        if let Err(error) = tidewatch_env::lower_thread_priority() {
            warn!(%error, "detectors learn from stored rows with the priority of everything else");
        }
        if let Err(Stopping) = self.prime() {
            let left = self.instruments.to_prime.get();
            if left > 0 {
                info!(
                    left,
                    "detectors have not learnt from all stored rows; the next start goes on"
                );
            }
        }
    }

    fn prime(&mut self) -> Result<(), Stopping> {
        while !self.recovered.load(Ordering::Acquire) {
            self.pause(STAND_BACK)?;
        }
        let lacking = self.ask()?;
        if lacking.is_empty() {
            return Ok(());
        }
        let began = self.clock.monotonic();
        let mut done = Done { told: began, ..Done::default() };
        info!(series = lacking.len(), "detectors learn from stored rows");
        self.priming.begin(lacking);
        while let Some(mut batch) = self.priming.next_batch() {
            self.teach(&mut batch, &mut done)?;
            // What came meanwhile is little beside what was read.
            Priming::go_on(&mut batch, &self.ask()?);
            self.teach(&mut batch, &mut done)?;
            self.put(&batch, &mut done)?;
        }
        let seconds = self.clock.monotonic().saturating_sub(began).as_secs_f64();
        info!(
            series = done.series,
            rows = done.rows,
            seconds,
            "detectors have learnt from stored rows"
        );
        Ok(())
    }

    fn teach(&self, batch: &mut Batch, done: &mut Done) -> Result<(), Stopping> {
        let mut pace = |rows| {
            done.rows += rows;
            self.stand_back(done).is_ok()
        };
        if self.priming.teach(batch, &mut pace) { Ok(()) } else { Err(Stopping) }
    }

    /// Puts what the batch has learnt into the log, a record at a time.
    fn put(&self, batch: &Batch, done: &mut Done) -> Result<(), Stopping> {
        let mut from = 0;
        loop {
            let (answer, answered) = bounded(1);
            let ack = Box::new(move |ack: Result<Ack, EngineError>| drop(answer.send(ack)));
            let Some((series, append)) = self.priming.record(batch, from, ack) else {
                return Ok(());
            };
            self.send(append)?;
            let ack = loop {
                match answered.recv_timeout(STAND_BACK) {
                    Ok(ack) => break ack,
                    Err(RecvTimeoutError::Timeout) => self.check()?,
                    Err(RecvTimeoutError::Disconnected) => return Err(Stopping),
                }
            };
            match ack {
                Ok(_) => {
                    from += series;
                    done.series += series;
                    self.instruments.primed.inc_by(u64::try_from(series).unwrap_or(u64::MAX));
                    self.stand_back(done)?;
                }
                Err(error) if error.kind() == ErrorKind::Full => {
                    warn!(%error, "the log has no room for what detectors have learnt; trying again");
                    self.pause(RETRY)?;
                }
                Err(_) => return Err(Stopping),
            }
        }
    }

    fn send(&self, append: Append) -> Result<(), Stopping> {
        let mut message = CommitterMessage::Append(append);
        loop {
            match self.queue.send_timeout(message, STAND_BACK) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Timeout(back)) => message = back,
                Err(SendTimeoutError::Disconnected(_)) => return Err(Stopping),
            }
            self.check()?;
        }
    }

    /// All series that lack history.
    fn ask(&self) -> Result<Vec<Lacking>, Stopping> {
        let mut lacking = Vec::new();
        for shard in &self.shards {
            let (answer, answered) = bounded(1);
            shard.send(ShardMessage::Lacking(answer)).map_err(|_gone| Stopping)?;
            loop {
                match answered.recv_timeout(STAND_BACK) {
                    Ok(of_shard) => break lacking.extend(of_shard),
                    Err(RecvTimeoutError::Timeout) => self.check()?,
                    Err(RecvTimeoutError::Disconnected) => return Err(Stopping),
                }
            }
        }
        Ok(lacking)
    }

    /// Between two portions of work: says how far it is, and stands back while flushes are behind.
    fn stand_back(&self, done: &mut Done) -> Result<(), Stopping> {
        let now = self.clock.monotonic();
        if now.saturating_sub(done.told) >= TELL {
            done.told = now;
            let Done { series, rows, .. } = *done;
            let left = self.instruments.to_prime.get();
            info!(series, rows, left, "detectors learn from stored rows");
        }
        while self.flusher.is_behind() {
            self.pause(STAND_BACK)?;
        }
        self.check()
    }

    fn pause(&self, pause: Duration) -> Result<(), Stopping> {
        let until = self.clock.monotonic() + pause;
        while self.clock.monotonic() < until {
            self.check()?;
            std::thread::park_timeout(STAND_BACK);
        }
        self.check()
    }

    fn check(&self) -> Result<(), Stopping> {
        let ends = self.stop.load(Ordering::Acquire) || self.ended.load(Ordering::Acquire);
        if ends { Err(Stopping) } else { Ok(()) }
    }
}
