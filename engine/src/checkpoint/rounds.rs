//! The loop around the checkpointer: when a checkpoint is due, and how fast it is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::channel::{RecvTimeoutError, SendError, Sender, bounded};
use tidewatch_env::Clock;
use tidewatch_metrics::Slot;
use tracing::{info, warn};

use crate::EngineError;
use crate::checkpoint::checkpointer::{Checkpointer, EncodedSlot, Round};
use crate::checkpoint::record::CheckpointRecord;
use crate::committer::{Append, CommitterMessage, Standing};
use crate::config::CheckpointPolicy;
use crate::dispatch::shard_of;
use crate::progress::Progress;
use crate::record::KIND_CHECKPOINT;
use crate::threads::ShardMessage;

/// Between two looks whether a checkpoint is due.
const LOOK: Duration = Duration::from_secs(1);
/// Between two looks whether a checkpoint's rows are in segments.
const FLUSH_LOOK: Duration = Duration::from_millis(10);
/// Pause after a checkpoint that failed, for example for want of space.
const RETRY: Duration = Duration::from_secs(10);
/// Time that a shard or the committer gets for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Where samples are so few that a checkpoint costs more than their replay, one is made after this.
const IDLE_INTERVAL: Duration = Duration::from_hours(1);
/// A checkpoint in its time may write this many times as many bytes as the samples took in the log.
const COST_MAX: u64 = 4;
/// Bytes that a sample takes in the log.
const LOG_BYTES_PER_SAMPLE: u64 = 20;

/// Makes checkpoints while the engine runs.
#[derive(Debug)]
pub(crate) struct Rounds {
    pub(crate) checkpointer: Checkpointer,
    pub(crate) shards: Vec<Sender<ShardMessage>>,
    pub(crate) queue: Sender<CommitterMessage>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) policy: CheckpointPolicy,
    pub(crate) last: Last,
}

/// The last checkpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Last {
    /// Samples in the log when it began.
    pub(crate) rows: u64,
    /// When it began.
    pub(crate) began: Duration,
    /// Its size; 0 where it is not known.
    pub(crate) bytes: u64,
}

/// Why a round ended early.
#[derive(Debug)]
enum Ended {
    /// The engine is stopping, or a thread has gone.
    Stopping,
    /// A shard or the committer did not answer in time.
    Late,
    /// The disk.
    Failed(EngineError),
}

impl From<RecvTimeoutError> for Ended {
    fn from(error: RecvTimeoutError) -> Self {
        match error {
            RecvTimeoutError::Timeout => Self::Late,
            RecvTimeoutError::Disconnected => Self::Stopping,
        }
    }
}

impl<T> From<SendError<T>> for Ended {
    fn from(_gone: SendError<T>) -> Self {
        Self::Stopping
    }
}

impl From<EngineError> for Ended {
    fn from(error: EngineError) -> Self {
        Self::Failed(error)
    }
}

impl Rounds {
    /// Makes checkpoints when they are due, and one more when the engine is closing; until that is
    /// made, or `stop`.
    pub(crate) fn run(mut self, closing: &AtomicBool, stop: &AtomicBool) {
        while !stop.load(Ordering::Acquire) {
            let is_last = closing.load(Ordering::Acquire);
            if let Err(error) = self.checkpointer.relieve(self.progress.log_time()) {
                warn!(%error, "the archive could not be given up");
            }
            let rows = self.progress.rows();
            let is_due = if is_last { rows > self.last.rows } else { self.is_due(rows) };
            let pace = if is_last { u64::MAX } else { self.policy.bytes_per_second_max };
            match is_due.then(|| self.round(pace, stop)) {
                None if is_last => return,
                None => std::thread::park_timeout(LOOK),
                Some(Ok(())) => {}
                Some(Err(Ended::Stopping)) => return,
                Some(Err(ended)) => {
                    match &ended {
                        Ended::Failed(error) => self.checkpointer.failed(error),
                        _ => self.checkpointer.failed(&"the shards did not answer in time"),
                    }
                    if is_last {
                        return;
                    }
                    std::thread::park_timeout(RETRY);
                }
            }
        }
    }

    fn is_due(&self, rows: u64) -> bool {
        let debt = rows.saturating_sub(self.last.rows);
        let elapsed = self.clock.monotonic().saturating_sub(self.last.began);
        let is_worth = debt.saturating_mul(LOG_BYTES_PER_SAMPLE * COST_MAX) >= self.last.bytes;
        debt >= self.policy.debt_rows
            || debt > 0 && elapsed >= self.policy.interval && is_worth
            || debt > 0 && elapsed >= IDLE_INTERVAL.max(self.policy.interval)
    }

    /// One checkpoint.
    fn round(&mut self, bytes_per_second: u64, stop: &AtomicBool) -> Result<(), Ended> {
        let (rows, began) = (self.progress.rows(), self.clock.monotonic());
        let mut round = self.checkpointer.begin()?;
        while let Some(slot) = round.next_slot() {
            if stop.load(Ordering::Acquire) {
                return Err(Ended::Stopping);
            }
            let encoded = self.encode(slot)?;
            round.put(&encoded)?;
            self.pace(&round, began, bytes_per_second);
        }
        if self.checkpointer.needs_windows() {
            self.pass_tick()?;
            self.checkpointer.put_windows(&mut round)?;
        }
        let record = round.seal()?;
        self.settle(&round, &record, stop)?;
        let standing = self.standing()?;
        let (bytes, last) = (round.bytes(), round.last_lsn());
        let release = self.checkpointer.commit(round, (standing.lsn, standing.position))?;
        self.last = Last { rows, began, bytes };
        let took = self.clock.monotonic().saturating_sub(began);
        info!(number = record.number, lsn = %last, bytes, seconds = took.as_secs_f64(), "checkpoint");
        if let Some(upto) = release {
            self.checkpointer.put_away(&standing.files, upto, standing.position.tick)?;
            drop(self.queue.send(CommitterMessage::Release(upto)));
        }
        Ok(())
    }

    /// Waits until segments hold the rows that the states have seen, and the log their transitions.
    fn settle(
        &self,
        round: &Round,
        record: &CheckpointRecord,
        stop: &AtomicBool,
    ) -> Result<(), Ended> {
        // ORDER: a shard that answers has put out all that it and the windows have come to so far, so the outbox can
        // be asked what of that is logged.
        for shard in &self.shards {
            let (answer, answered) = bounded(1);
            shard.send(ShardMessage::Freeze(answer))?;
            answered.recv_timeout(ANSWER_MAX)?;
        }
        while !self.checkpointer.is_covered(round) {
            if stop.load(Ordering::Acquire) {
                return Err(Ended::Stopping);
            }
            std::thread::park_timeout(FLUSH_LOOK);
        }
        let (noted, answer) = bounded(1);
        let done = Box::new(move |ack| drop(noted.send(ack)));
        let note = Append::note(KIND_CHECKPOINT, record.encode(), done);
        self.queue.send(CommitterMessage::Append(note))?;
        answer.recv_timeout(ANSWER_MAX)??;
        Ok(())
    }

    /// Has all shards pass a tick behind all records so far.
    fn pass_tick(&self) -> Result<(), Ended> {
        let (answer, answered) = bounded(1);
        let done = Box::new(move |ack| drop(answer.send(ack)));
        self.queue.send(CommitterMessage::Tick(done))?;
        let tick = answered.recv_timeout(ANSWER_MAX)??;
        let passed = self.progress.wait_visible(tick.lsn, ANSWER_MAX);
        if passed { Ok(()) } else { Err(Ended::Late) }
    }

    fn encode(&self, slot: Slot) -> Result<EncodedSlot, Ended> {
        let (answer, answered) = bounded(1);
        let shard = &self.shards[shard_of(slot, self.shards.len())];
        shard.send(ShardMessage::Encode(slot, answer))?;
        Ok(answered.recv_timeout(ANSWER_MAX)?)
    }

    fn standing(&self) -> Result<Standing, Ended> {
        let (answer, answered) = bounded(1);
        self.queue.send(CommitterMessage::Standing(answer))?;
        Ok(answered.recv_timeout(ANSWER_MAX)?)
    }

    /// Waits as long as the bytes so far are too many for the time.
    fn pace(&self, round: &Round, began: Duration, bytes_per_second: u64) {
        let due = Duration::from_millis(round.bytes().saturating_mul(1_000) / bytes_per_second);
        let elapsed = self.clock.monotonic().saturating_sub(began);
        if let Some(ahead) = due.checked_sub(elapsed).filter(|ahead| !ahead.is_zero()) {
            std::thread::park_timeout(ahead);
        }
    }
}
