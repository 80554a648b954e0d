//! The loops around the steps: committer, shards, flusher, outbox. Only here does the engine wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use tidewatch_metrics::{Lsn, Slot};
use tidewatch_operators::Lacking;
use tidewatch_wal::{Preallocator, WalError};
use tracing::{error, warn};

use crate::EngineError;
use crate::checkpoint::EncodedSlot;
use crate::committer::{Append, Committer, CommitterMessage, TakeOver};
use crate::deletes::DeleteRecord;
use crate::dispatch::{Dispatch, RulesInForce};
use crate::flusher::{Flusher, SegmentWriter};
use crate::hashes::Hashes;
use crate::limits::{GROUP_BYTES_MAX, GROUP_RECORDS_MAX};
use crate::outbox::Outbox;
use crate::priming::ShardPrimed;
use crate::progress::Progress;
use crate::record::{KIND_DELIVERY, KIND_OUTPUT_HASH, KIND_TRANSITION, encode_delivery};
use crate::recovery::Replay;
use crate::shard::{Shard, ShardRows};

/// Pause after a flush that failed, for example for want of space.
const FLUSH_RETRY: Duration = Duration::from_secs(1);

/// Between two looks for a file to ready, or for space.
const PREALLOCATE_PAUSE: Duration = Duration::from_millis(50);
/// Between two looks of the idle committer whether a window or a silence waits for a tick, and whether there are any.
const TICK_LOOK: Duration = Duration::from_millis(250);
const COUNTING_LOOK: Duration = Duration::from_secs(5);
/// How often replay reads on to the log's end before writes have to wait for it.
const REPLAY_PASSES: usize = 8;

/// What a shard's thread is told.
#[derive(Debug)]
pub(crate) enum ShardMessage {
    Rows(ShardRows),
    Tick(Lsn, crate::record::TickRecord),
    Rules(Lsn, RulesInForce),
    Advance(Lsn),
    /// Freeze the head before the next record.
    Delete(Lsn, DeleteRecord),
    Primed(ShardPrimed),
    /// Answer with the series whose detectors lack history.
    Lacking(Sender<Vec<Lacking>>),
    /// Freeze the head now, whatever its size, and answer.
    Freeze(Sender<()>),
    /// Answer with the hash of all operator state.
    StateHash(Sender<u64>),
    /// Answer with the state of a slot.
    Encode(Slot, Sender<EncodedSlot>),
    /// Nothing more comes.
    Stop,
}

/// Hands records to the shards' threads.
#[derive(Clone, Debug)]
pub(crate) struct ChannelDispatch {
    senders: Vec<Sender<ShardMessage>>,
}

impl ChannelDispatch {
    pub(crate) fn new(senders: Vec<Sender<ShardMessage>>) -> Self {
        Self { senders }
    }

    /// A shard's thread ends only when its channel does, or with the process.
    fn send(&self, shard: usize, message: ShardMessage) {
        self.senders[shard].send(message).expect("a shard outlives the committer");
    }
}

impl Dispatch for ChannelDispatch {
    fn shards(&self) -> usize {
        self.senders.len()
    }

    fn rows(&mut self, shard: usize, rows: ShardRows) {
        self.send(shard, ShardMessage::Rows(rows));
    }

    fn tick(&mut self, lsn: Lsn, tick: crate::record::TickRecord) {
        for shard in 0..self.senders.len() {
            self.send(shard, ShardMessage::Tick(lsn, tick));
        }
    }

    fn rules(&mut self, lsn: Lsn, rules: &RulesInForce) {
        for shard in 0..self.senders.len() {
            self.send(shard, ShardMessage::Rules(lsn, rules.clone()));
        }
    }

    fn delete(&mut self, lsn: Lsn, delete: &DeleteRecord) {
        for shard in 0..self.senders.len() {
            self.send(shard, ShardMessage::Delete(lsn, delete.clone()));
        }
    }

    fn primed(&mut self, shard: usize, primed: ShardPrimed) {
        self.send(shard, ShardMessage::Primed(primed));
    }

    fn advance(&mut self, lsn: Lsn) {
        for shard in 0..self.senders.len() {
            self.send(shard, ShardMessage::Advance(lsn));
        }
    }
}

/// Hands over what the committer appends once replay has read the log before it.
///
/// Until then the records' rows reach the shards from the log, in its order, through replay.
#[derive(Debug)]
pub(crate) struct Gate {
    inner: ChannelDispatch,
    open: bool,
}

impl Gate {
    pub(crate) fn closed(inner: ChannelDispatch) -> Self {
        Self { inner, open: false }
    }
}

impl Dispatch for Gate {
    fn shards(&self) -> usize {
        self.inner.shards()
    }

    fn rows(&mut self, shard: usize, rows: ShardRows) {
        if self.open {
            self.inner.rows(shard, rows);
        }
    }

    fn tick(&mut self, lsn: Lsn, tick: crate::record::TickRecord) {
        if self.open {
            self.inner.tick(lsn, tick);
        }
    }

    fn rules(&mut self, lsn: Lsn, rules: &RulesInForce) {
        if self.open {
            self.inner.rules(lsn, rules);
        }
    }

    fn delete(&mut self, lsn: Lsn, delete: &DeleteRecord) {
        if self.open {
            self.inner.delete(lsn, delete);
        }
    }

    fn primed(&mut self, shard: usize, primed: ShardPrimed) {
        if self.open {
            self.inner.primed(shard, primed);
        }
    }

    fn advance(&mut self, lsn: Lsn) {
        if self.open {
            self.inner.advance(lsn);
        }
    }
}

/// When a shard's head is frozen for a flush.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlushPolicy {
    pub(crate) rows: usize,
    pub(crate) interval: Duration,
}

/// One shard, until its channel ends.
pub(crate) fn run_shard(
    mut shard: Shard,
    messages: &Receiver<ShardMessage>,
    hashes: &Hashes,
    flusher: &Flusher,
    policy: FlushPolicy,
) {
    let mut head_since = flusher.monotonic();
    loop {
        let now = flusher.monotonic();
        let due = now.saturating_sub(head_since) >= policy.interval;
        if shard.head_rows() == 0 {
            head_since = now;
        } else if due || shard.head_rows() >= policy.rows {
            flusher.take(&mut shard);
            head_since = now;
        }
        match messages.recv_timeout(policy.interval.min(Duration::from_secs(1))) {
            Ok(ShardMessage::Rows(rows)) => shard.step(&rows),
            Ok(ShardMessage::Tick(lsn, tick)) => {
                if let Some(hash) = shard.tick(lsn, tick) {
                    hashes.add(lsn, hash);
                }
            }
            Ok(ShardMessage::Rules(lsn, rules)) => shard.set_rules(lsn, &rules),
            Ok(ShardMessage::Advance(lsn)) => shard.advance(lsn),
            Ok(ShardMessage::Delete(lsn, delete)) => {
                shard.delete(lsn, &delete);
                flusher.take(&mut shard);
            }
            Ok(ShardMessage::Primed(primed)) => shard.prime(&primed),
            Ok(ShardMessage::Lacking(done)) => answer(&done, shard.lacking_history()),
            Ok(ShardMessage::Freeze(done)) => {
                flusher.take(&mut shard);
                answer(&done, ());
            }
            Ok(ShardMessage::StateHash(done)) => answer(&done, shard.state_hash()),
            Ok(ShardMessage::Encode(slot, done)) => answer(&done, shard.encode_slot(slot)),
            Err(RecvTimeoutError::Timeout) => {}
            Ok(ShardMessage::Stop) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Whoever asked may have gone; that is no concern of the shard.
fn answer<T>(asked: &Sender<T>, reply: T) {
    drop(asked.send(reply));
}

/// The committer, until it is told to stop.
///
/// # Errors
/// The first failed write or sync: the process must end.
pub(crate) fn run_committer(
    committer: &mut Committer<Gate>,
    queue: &Receiver<CommitterMessage>,
    idle_mark: Duration,
    mut watch: impl FnMut(&Committer<Gate>),
) -> Result<(), EngineError> {
    let mut group = Vec::new();
    let mut idle = true;
    loop {
        let first = if !idle {
            queue.recv_timeout(idle_mark)
        } else if committer.awaits_time() {
            queue.recv_timeout(TICK_LOOK)
        } else {
            queue.recv_timeout(COUNTING_LOOK)
        };
        let last = match first {
            Ok(CommitterMessage::Append(append)) => {
                let last = gather(append, queue, &mut group);
                committer.commit(&mut group)?;
                idle = false;
                last
            }
            Ok(other) => Some(other),
            Err(RecvTimeoutError::Timeout) => {
                if !std::mem::replace(&mut idle, true) {
                    committer.idle()?;
                }
                idle = !committer.tick_if_awaited()?;
                None
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        match last {
            Some(CommitterMessage::Stop) => return Ok(()),
            Some(CommitterMessage::Tick(done)) => committer.tick(done)?,
            Some(CommitterMessage::Standing(asked)) => answer(&asked, committer.standing()),
            Some(CommitterMessage::Release(upto)) => {
                if let Err(error) = committer.release(upto) {
                    warn!(%error, "files of the log could not be given up; trying again later");
                }
            }
            Some(CommitterMessage::TakeOver(replay)) => {
                answer(&replay.end, committer.standing().lsn);
                // An end without word is that of the process.
                committer.dispatch_mut().open = replay.read.recv().is_ok();
            }
            Some(CommitterMessage::Append(_)) | None => {}
        }
        watch(committer);
    }
}

/// The committer has ended: whoever waits for a record in its queue hears that none will come, and the
/// record's idempotency key is free.
pub(crate) fn forsake(queue: Receiver<CommitterMessage>) {
    // A channel keeps its messages as long as there are senders.
    queue.try_iter().for_each(drop);
    drop(queue);
}

/// Takes what waits already into the group; what is no record ends it and is given back.
fn gather(
    first: Append,
    queue: &Receiver<CommitterMessage>,
    group: &mut Vec<Append>,
) -> Option<CommitterMessage> {
    let mut bytes = first.payload.len();
    group.push(first);
    while bytes < GROUP_BYTES_MAX && group.len() < GROUP_RECORDS_MAX {
        match queue.try_recv() {
            Ok(CommitterMessage::Append(append)) => {
                bytes += append.payload.len();
                group.push(append);
            }
            Ok(other) => return Some(other),
            Err(_empty) => return None,
        }
    }
    None
}

/// Writes frozen heads until it is told to stop.
pub(crate) fn run_flusher(flusher: &Flusher, writer: &SegmentWriter, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        if let Err(error) = writer.name_deletes() {
            warn!(%error, "deletes could not be put into the manifest; trying again");
            std::thread::park_timeout(FLUSH_RETRY);
        }
        if let Err(error) = writer.file_waiting() {
            warn!(%error, "windows of percentiles or letters could not be put into a file; trying again");
            std::thread::park_timeout(FLUSH_RETRY);
        }
        let Some(frozen) = flusher.next(Duration::from_millis(100)) else { continue };
        match writer.write(&frozen, Duration::from_millis(200)) {
            Ok(true) => flusher.done(),
            Ok(false) => {}
            Err(error) => {
                warn!(%error, shard = frozen.shard, "a head could not be flushed; trying again");
                std::thread::park_timeout(FLUSH_RETRY);
            }
        }
    }
}

/// Replays the log up to its end, which moves on, and hands over to the committer there.
///
/// Gives the last record replayed, after which the committer hands over by itself; `None` when the
/// engine is stopping.
///
/// # Errors
/// Damage, and what the disk reports.
pub(crate) fn run_replay(
    replay: &mut Replay,
    dispatch: &mut ChannelDispatch,
    progress: &Progress,
    queue: &Sender<CommitterMessage>,
) -> Result<Option<Lsn>, EngineError> {
    // What was appended during a pass is little beside the pass before: passes grow short quickly.
    for _ in 0..REPLAY_PASSES {
        if !replay.run(progress.durable(), dispatch)? {
            return Ok(None);
        }
    }
    let (end, asked) = bounded(1);
    let (read, waits) = bounded(1);
    let take_over = TakeOver { end, read: waits };
    if queue.send(CommitterMessage::TakeOver(take_over)).is_err() {
        return Ok(None);
    }
    let Ok(end) = asked.recv() else { return Ok(None) };
    // A committer that has gone needs no word.
    Ok((replay.run(end, dispatch)? && read.send(()).is_ok()).then_some(end))
}

/// What the outbox's thread works between.
#[derive(Clone, Debug)]
pub(crate) struct Notary {
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) hashes: Arc<Hashes>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) queue: Sender<CommitterMessage>,
}

/// Moves transitions, reports and output hashes into the log, and messages to the sinks.
pub(crate) fn run_outbox(notary: &Notary, stop: &AtomicBool, mut pump: impl FnMut(&Outbox)) {
    let Notary { outbox, progress, .. } = notary;
    while !stop.load(Ordering::Acquire) {
        pump(outbox);
        if let Some(cause) = outbox.next_cause() {
            // Fired transitions wait for their cause; a closed engine lets them be: replay fires them again.
            if !progress.wait_durable(cause, Duration::from_millis(100)) {
                continue;
            }
        } else {
            outbox.wait(Duration::from_millis(100));
        }
        if !notary.note_all() {
            return;
        }
    }
}

impl Notary {
    /// One step of the outbox: everything that waits for the log is handed to the committer.
    ///
    /// `false` when the committer is gone.
    pub(crate) fn note_all(&self) -> bool {
        let Self { outbox, hashes, progress, queue } = self;
        if outbox.is_recovering() {
            // What replay puts out is compared with the log first.
            return true;
        }
        let mut notes = Vec::new();
        // ORDER: the turn first; what is refused in between ends it.
        let turn = outbox.turn();
        for record in outbox.take_releasable(progress) {
            let (outbox, payload) = (Arc::clone(outbox), record.encode());
            notes.push(Append::note_in(
                &turn,
                KIND_TRANSITION,
                payload,
                Box::new(move |ack| match ack {
                    Ok(ack) => outbox.logged(ack.lsn, record),
                    Err(_) => outbox.refused(record),
                }),
            ));
        }
        for row in outbox.take_reports() {
            let (outbox, payload) = (Arc::clone(outbox), encode_delivery(&row));
            let done = Box::new(move |ack: Result<crate::Ack, EngineError>| match ack {
                Ok(ack) => outbox.reported(ack.lsn, row),
                // Without room it waits: a start that does not find it would tell the sink again.
                Err(_) => outbox.report_refused(row),
            });
            notes.push(Append::note(KIND_DELIVERY, payload, done));
        }
        for hash in hashes.take_complete() {
            notes.push(Append::note(KIND_OUTPUT_HASH, hash.encode(), Box::new(drop)));
        }
        notes.into_iter().all(|note| queue.send(CommitterMessage::Append(note)).is_ok())
    }
}

/// Tells of a thread's panic: a panic of the committer or a shard ends the process.
pub(crate) struct PanicGuard {
    pub(crate) fatal: Arc<dyn Fn(&str) + Send + Sync>,
    pub(crate) name: String,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (self.fatal)(&format!("the thread \"{}\" panicked", self.name));
        }
    }
}

/// Readies files for the log, until `stop`.
pub(crate) fn preallocate(mut preallocator: Preallocator, progress: &Progress, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        let readied = preallocator.run_once();
        progress.set_full(matches!(readied, Err(WalError::Full { .. })));
        match readied {
            Ok(true) => {}
            Ok(false) | Err(WalError::Full { .. }) => std::thread::park_timeout(PREALLOCATE_PAUSE),
            Err(error) => {
                // The committer meets the same fault, or makes its files itself.
                warn!(%error, "files of the log are no longer readied beside it");
                return;
            }
        }
    }
}

/// Waits for threads to end.
pub(crate) fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        if thread.join().is_err() {
            error!("a thread of the engine had panicked");
        }
    }
}
