//! The loop around the compactor: when it works, and that it stands back behind ingest.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::channel::Sender;
use tidewatch_env::Clock;
use tracing::warn;

use crate::committer::CommitterMessage;
use crate::compactor::{Compactor, Step};
use crate::flusher::Flusher;
use crate::progress::Progress;

/// Between two looks for something to do, and between two measurements of the disk.
const LOOK: Duration = Duration::from_secs(1);
/// Pause while the log is replayed, or flushes are behind.
const STAND_BACK: Duration = Duration::from_millis(50);
/// Pause after a task that failed, for example for want of space.
const RETRY: Duration = Duration::from_secs(10);
/// How far the log's time may be behind the clock where retention waits for it.
const TIME_BEHIND: i64 = 600 * tidewatch_metrics::time::NANOS_PER_SECOND;

/// Looks after segments while the engine runs.
#[derive(Debug)]
pub(crate) struct Upkeep {
    pub(crate) compactor: Compactor,
    pub(crate) flusher: Arc<Flusher>,
    pub(crate) queue: Sender<CommitterMessage>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) recovered: Arc<AtomicBool>,
    pub(crate) stop: Arc<AtomicBool>,
    /// Somebody wants neighbours merged that would wait for more.
    pub(crate) force: Arc<AtomicBool>,
}

impl Upkeep {
    /// Works until it is told to stop.
    pub(crate) fn run(&self) {
        if let Err(error) = tidewatch_env::lower_thread_priority() {
            warn!(%error, "compaction runs with the priority of everything else");
        }
        let mut measured: Option<Duration> = None;
        while !self.stop.load(Ordering::Acquire) {
            if !self.recovered.load(Ordering::Acquire) {
                std::thread::park_timeout(STAND_BACK);
                continue;
            }
            let mut pace = |_rows| self.pace(&mut measured);
            if !pace(0) {
                return;
            }
            let force = self.force.load(Ordering::Acquire);
            match self.compactor.step(force, &mut pace) {
                Ok(Step::Done | Step::GivenUp) => {}
                Ok(Step::Overtaken) => std::thread::park_timeout(LOOK),
                Ok(Step::Idle) => {
                    self.force.store(false, Ordering::Release);
                    std::thread::park_timeout(LOOK);
                }
                Err(error) => {
                    warn!(%error, "segments could not be compacted; trying again");
                    std::thread::park_timeout(RETRY);
                }
            }
        }
    }

    /// Between two portions of a task, however long it takes: keeps the budget, and stands back while
    /// flushes are behind. `false` when the engine stops.
    fn pace(&self, measured: &mut Option<Duration>) -> bool {
        loop {
            let now = self.clock.monotonic();
            if measured.is_none_or(|at| now.saturating_sub(at) >= LOOK) {
                *measured = Some(now);
                if let Err(error) = self.compactor.keep_budget() {
                    warn!(%error, "the budget of the disk could not be kept; trying again");
                }
                if let Err(error) = self.compactor.quarantine() {
                    warn!(%error, "a segment that may be damaged could not be looked at");
                }
                self.let_time_pass();
            }
            if self.stop.load(Ordering::Acquire) || !self.flusher.is_behind() {
                return !self.stop.load(Ordering::Acquire);
            }
            std::thread::park_timeout(STAND_BACK);
        }
    }

    /// Where no samples come, no tick does; but what is kept for a time waits for it.
    fn let_time_pass(&self) {
        let behind = self.clock.now().nanos().saturating_sub(self.progress.log_time().nanos());
        if self.compactor.waits_for_time() && behind > TIME_BEHIND {
            drop(self.queue.try_send(CommitterMessage::Tick(Box::new(drop))));
        }
    }
}
