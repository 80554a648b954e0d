//! The one owner of the log: groups records, hands them on in the log's order, syncs, answers.

use std::fmt;
use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender};
use tidewatch_env::Clock;
use tidewatch_metrics::{Lsn, SampleBatch, SeriesEntry, UnixNanos};
use tidewatch_wal::{Wal, WalError, WalSegmentInfo};

use crate::admission::Permit;
use crate::deletes::DeleteRecord;
use crate::dispatch::Dispatch;
use crate::idempotency::{Claim, Idempotency};
use crate::ingest::{Ack, Done, Durability};
use crate::instruments::CommitterInstruments;
use crate::letters::LetterClaim;
use crate::limits::{HASH_TICK_ROWS, TICK_NANOS};
use crate::priming::{PrimedParts, ShardPrimed};
use crate::progress::Progress;
use crate::record::{KIND_TICK, SamplesHead, TickRecord};
use crate::shard::ShardRows;
use crate::sources::SourceClaim;
use crate::turn::Turn;
use crate::{EngineError, ErrorKind};

/// A record on its way into the log.
pub struct Append {
    /// Its kind.
    pub kind: u8,
    /// Its payload.
    pub payload: Vec<u8>,
    /// The payload's checksum, where the receiving thread has computed it already.
    pub payload_crc: Option<u32>,
    /// The series that it registers.
    pub registered: Vec<Arc<SeriesEntry>>,
    /// Its rows, per shard; empty for records without samples.
    pub parts: Vec<SampleBatch>,
    /// When its request was received.
    pub received: UnixNanos,
    /// What it asks to be deleted.
    pub delete: Option<Box<DeleteRecord>>,
    /// What detectors have learnt.
    pub primed: Option<Box<PrimedParts>>,
    /// Held until its rows are applied.
    pub permit: Option<Arc<Permit>>,
    /// The right to its idempotency key, if it has one.
    pub claim: Option<Claim>,
    /// The turn that it keeps, if it may not change places with others.
    pub turn: Option<Turn>,
    /// What its samples come from, if not from a request.
    pub origin: Option<Box<Origin>>,
    /// When it is answered.
    pub durability: Durability,
    /// How it is answered.
    pub done: Option<Done>,
}

impl fmt::Debug for Append {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Append")
            .field("kind", &self.kind)
            .field("bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// What samples come from, if not from a request, and the right to store them.
#[derive(Debug)]
pub enum Origin {
    /// Messages of a source.
    Source(SourceClaim),
    /// Letters.
    Letters(LetterClaim),
}

impl Origin {
    /// What the record of the samples begins with.
    pub(crate) fn head(&self) -> SamplesHead<'_> {
        match self {
            Self::Source(claim) => SamplesHead::Source(claim.offsets(), claim.letters()),
            Self::Letters(claim) => SamplesHead::Letters(claim.marks()),
        }
    }

    /// The record is durable.
    fn hold(self, lsn: Lsn) {
        match self {
            Self::Source(claim) => claim.hold(lsn),
            Self::Letters(claim) => claim.hold(lsn),
        }
    }
}

/// What the committer is told.
pub enum CommitterMessage {
    /// A record.
    Append(Append),
    /// A tick that asks for an output hash, as a clean stop does.
    Tick(Done),
    /// Answer with where the log stands.
    Standing(Sender<Standing>),
    /// No start needs records up to this one any more.
    Release(Lsn),
    /// Replay has come near the end of the log.
    TakeOver(TakeOver),
    /// Nothing more comes.
    Stop,
}

/// Where the log stands between two groups.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The last record, which is durable.
    pub(crate) lsn: Lsn,
    pub(crate) position: LogPosition,
    /// All files that hold records.
    pub(crate) files: Vec<WalSegmentInfo>,
}

/// The log's end goes from replay, which reads it, to the committer, which hands over what it appends.
#[derive(Debug)]
pub struct TakeOver {
    /// Told the last record that replay must read.
    pub(crate) end: Sender<Lsn>,
    /// Gets word, or loses its sender, when replay has read it. Nothing is appended until then.
    pub(crate) read: Receiver<()>,
}

impl fmt::Debug for CommitterMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Append(append) => append.fmt(f),
            Self::Tick(_) => f.write_str("Tick"),
            Self::Standing(_) => f.write_str("Standing"),
            Self::Release(upto) => write!(f, "Release({upto})"),
            Self::TakeOver(_) => f.write_str("TakeOver"),
            Self::Stop => f.write_str("Stop"),
        }
    }
}

impl Append {
    /// A record without samples, durable when `done` is called.
    #[must_use]
    pub fn note(kind: u8, payload: Vec<u8>, done: Done) -> Self {
        Self {
            kind,
            payload,
            payload_crc: None,
            registered: Vec::new(),
            parts: Vec::new(),
            received: UnixNanos::default(),
            delete: None,
            primed: None,
            permit: None,
            claim: None,
            turn: None,
            origin: None,
            durability: Durability::Synced,
            done: Some(done),
        }
    }

    /// As [`Append::note`]; refused when one of the same turn was refused before it.
    #[must_use]
    pub fn note_in(turn: &Turn, kind: u8, payload: Vec<u8>, done: Done) -> Self {
        Self { turn: Some(turn.clone()), ..Self::note(kind, payload, done) }
    }

    fn refuse(self, error: EngineError) {
        drop((self.claim, self.origin));
        if let Some(turn) = self.turn {
            turn.end();
        }
        if let Some(done) = self.done {
            done(Err(error));
        }
    }
}

/// Where the log stands when a committer takes it over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogPosition {
    /// Samples in the log.
    pub rows: u64,
    /// Samples in the log before its last tick that asked for an output hash.
    pub hashed_rows: u64,
    /// The last tick's time.
    pub tick: UnixNanos,
}

/// Groups records into the log. Not a thread: each call is one step of it.
#[derive(Debug)]
pub struct Committer<D> {
    wal: Wal,
    dispatch: D,
    clock: Arc<dyn Clock>,
    progress: Arc<Progress>,
    instruments: CommitterInstruments,
    position: LogPosition,
    rows_at_tick: u64,
    /// Whether rows may have come behind the last tick before the start.
    owes_tick: bool,
    waiting: Vec<Waiting>,
    keys: Arc<Idempotency>,
    /// Claims of the group in hand.
    claims: Vec<(Lsn, Claim)>,
    /// Messages of sources and letters in the group in hand.
    origins: Vec<(Lsn, Origin)>,
    /// Whether there is a tick behind them.
    ticked: bool,
}

/// A record of the group in hand that somebody waits for.
struct Waiting {
    lsn: Lsn,
    durability: Durability,
    done: Done,
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Waiting({})", self.lsn)
    }
}

impl<D: Dispatch> Committer<D> {
    /// Takes over `wal`, which stands at `position`.
    #[must_use]
    pub fn new(
        wal: Wal,
        dispatch: D,
        clock: Arc<dyn Clock>,
        (progress, keys): (Arc<Progress>, Arc<Idempotency>),
        position: LogPosition,
    ) -> Self {
        progress.set_log_time(position.tick);
        Self {
            wal,
            dispatch,
            clock,
            progress,
            instruments: CommitterInstruments::default(),
            position,
            rows_at_tick: position.rows,
            owes_tick: true,
            waiting: Vec::new(),
            keys,
            claims: Vec::new(),
            origins: Vec::new(),
            ticked: false,
        }
    }

    /// What the committer counts.
    #[must_use]
    pub fn instruments(&self) -> &CommitterInstruments {
        &self.instruments
    }

    /// Takes a group of records: appends, hands over, writes, syncs, answers.
    ///
    /// # Errors
    /// The first failed write or sync. Nothing of this group is acknowledged as synced then, nothing
    /// will be any more, and the process must end.
    pub fn commit(&mut self, group: &mut Vec<Append>) -> Result<(), EngineError> {
        let count = group.len();
        for append in group.drain(..) {
            self.append(append)?;
        }
        self.tick_if_due()?;
        self.dispatch.advance(self.wal.last_lsn());
        self.wal.write()?;
        self.answer(Durability::Written);
        let durable = self.wal.sync()?;
        self.progress.set_durable(durable, self.clock.now());
        self.progress.set_rows(self.position.rows);
        self.hold_keys();
        self.answer(Durability::Synced);
        self.instruments.groups.inc();
        self.instruments.records.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
        Ok(())
    }

    /// Called once the log has been idle: makes damage in the last group detectable.
    ///
    /// # Errors
    /// As [`Committer::commit`].
    pub fn idle(&mut self) -> Result<(), EngineError> {
        match self.wal.mark() {
            Ok(_) => {}
            // Without room the mark is left out: damage in the last group looks like a torn tail then.
            Err(WalError::Full { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        // The mark has its place in the log, so what waits for the last record must get past it.
        self.progress.set_durable(self.wal.durable_lsn(), self.clock.now());
        self.dispatch.advance(self.wal.last_lsn());
        Ok(())
    }

    /// Appends a tick that asks for an output hash, as a clean stop does.
    ///
    /// # Errors
    /// As [`Committer::commit`].
    pub fn tick(&mut self, done: Done) -> Result<(), EngineError> {
        match self.append_tick(true) {
            Ok(lsn) => self.waiting.push(Waiting { lsn, durability: Durability::Synced, done }),
            Err(error) if error.kind() == ErrorKind::Full => done(Err(error)),
            Err(error) => return Err(error),
        }
        self.commit(&mut Vec::new())
    }

    /// Whether time alone may make a tick due: rows are counted for percentiles, and a window waits to close, or a
    /// rule waits for a series to be silent.
    #[must_use]
    pub fn awaits_time(&self) -> bool {
        let fresh = self.owes_tick || self.position.rows > self.rows_at_tick;
        let window = self.progress.is_counting() && (fresh || self.progress.closes_at().is_some());
        window || self.progress.deadline().is_some()
    }

    /// Called while no records come: appends a tick if a window of percentiles or a silence waits for one. Returns
    /// whether it did.
    ///
    /// # Errors
    /// As [`Committer::commit`].
    pub fn tick_if_awaited(&mut self) -> Result<bool, EngineError> {
        let now = self.clock.now();
        let fresh = self.owes_tick || self.position.rows > self.rows_at_tick;
        let second = now.nanos().saturating_sub(self.position.tick.nanos());
        let closes = self.progress.closes_at().is_some_and(|at| now >= at);
        let window = self.progress.is_counting() && (fresh || closes);
        let silence = self.progress.deadline().is_some_and(|at| now >= at);
        if second < TICK_NANOS || !window && !silence {
            return Ok(false);
        }
        match self.append_tick(false) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Full => return Ok(false),
            Err(error) => return Err(error),
        }
        self.commit(&mut Vec::new())?;
        Ok(true)
    }

    /// The last record's number.
    #[must_use]
    pub fn last_lsn(&self) -> Lsn {
        self.wal.last_lsn()
    }

    /// The log's files.
    #[must_use]
    pub fn wal_segments(&self) -> Vec<WalSegmentInfo> {
        self.wal.segments()
    }

    /// Where the log stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let (lsn, files) = (self.wal.durable_lsn(), self.wal.segments());
        Standing { lsn, position: self.position, files }
    }

    /// Gives up the files all of whose records are at or below `upto`.
    ///
    /// # Errors
    /// What the disk reports; a later call tries again.
    pub fn release(&mut self, upto: Lsn) -> Result<(), EngineError> {
        Ok(self.wal.release(upto)?)
    }

    /// Where records are handed over.
    pub fn dispatch_mut(&mut self) -> &mut D {
        &mut self.dispatch
    }

    fn append(&mut self, append: Append) -> Result<(), EngineError> {
        if append.turn.as_ref().is_some_and(Turn::is_over) {
            append.refuse(EngineError::OutOfTurn);
            return Ok(());
        }
        let lsn = match self.wal.append(append.kind, &[&append.payload], append.payload_crc) {
            Ok(lsn) => lsn,
            Err(error @ (WalError::Full { .. } | WalError::TooLarge { .. })) => {
                self.instruments.refused.inc();
                append.refuse(error.into());
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        // ORDER: a record that is appended from now on may name these series by reference.
        for entry in &append.registered {
            entry.set_logged();
        }
        if let Some(done) = append.done {
            self.waiting.push(Waiting { lsn, durability: append.durability, done });
        }
        if let Some(claim) = append.claim {
            self.claims.push((lsn, claim));
        }
        self.origins.extend(append.origin.map(|origin| (lsn, *origin)));
        if !append.parts.is_empty() {
            self.hand_over(lsn, append.received, append.parts, append.permit.as_ref());
        } else if let Some(delete) = &append.delete {
            self.dispatch.delete(lsn, delete);
        }
        let primed = append.primed.map(|primed| primed.shards).unwrap_or_default();
        for (shard, states) in primed.into_iter().enumerate() {
            if !states.is_empty() {
                self.dispatch.primed(shard, ShardPrimed { lsn, states });
            }
        }
        Ok(())
    }

    fn hand_over(
        &mut self,
        lsn: Lsn,
        received: UnixNanos,
        parts: Vec<SampleBatch>,
        permit: Option<&Arc<Permit>>,
    ) {
        for (shard, batch) in parts.into_iter().enumerate() {
            if !batch.is_empty() {
                self.position.rows += u64::try_from(batch.len()).unwrap_or(u64::MAX);
                let permit = permit.cloned();
                self.dispatch.rows(shard, ShardRows { lsn, received, batch, permit });
            }
        }
    }

    /// One tick a second while samples arrive, and one every million rows.
    fn tick_if_due(&mut self) -> Result<(), EngineError> {
        let fresh = self.position.rows > self.rows_at_tick;
        let hashed = self.position.rows - self.position.hashed_rows >= HASH_TICK_ROWS;
        let second = self.clock.now().nanos().saturating_sub(self.position.tick.nanos());
        if !hashed && (!fresh || second < TICK_NANOS) {
            return Ok(());
        }
        match self.append_tick(hashed) {
            // Without room log time stands still; the next group tries again.
            Err(error) if error.kind() != ErrorKind::Full => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn append_tick(&mut self, hashed: bool) -> Result<Lsn, EngineError> {
        // Log time never goes back, whatever the machine's clock does.
        let time = self.clock.now().max(self.position.tick);
        let tick = TickRecord { time, rows: self.position.rows, hashed };
        let lsn = self.wal.append(KIND_TICK, &[&tick.encode()], None)?;
        self.position.tick = time;
        self.progress.set_log_time(time);
        self.ticked = true;
        self.rows_at_tick = self.position.rows;
        self.owes_tick = false;
        if hashed {
            self.position.hashed_rows = self.position.rows;
        }
        self.dispatch.tick(lsn, tick);
        Ok(lsn)
    }

    /// The group is durable: its keys stand for its records, its messages are stored, and its letters ended.
    fn hold_keys(&mut self) {
        for (lsn, claim) in self.claims.drain(..) {
            claim.hold(lsn);
        }
        for (lsn, origin) in self.origins.drain(..) {
            origin.hold(lsn);
        }
        // ORDER: a group's tick stands behind its records in the log.
        if std::mem::take(&mut self.ticked) {
            self.keys.tick(self.position.tick);
        }
    }

    fn answer(&mut self, reached: Durability) {
        let mut kept = Vec::new();
        for waiting in self.waiting.drain(..) {
            if reached == Durability::Synced || waiting.durability == Durability::Written {
                (waiting.done)(Ok(Ack { lsn: waiting.lsn }));
            } else {
                kept.push(waiting);
            }
        }
        self.waiting = kept;
    }
}

#[cfg(test)]
#[path = "committer_tests.rs"]
mod tests;
