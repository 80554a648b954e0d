//! Makes checkpoints, one slot after the other.

use std::sync::Arc;

use tidewatch_metrics::series::SLOTS;
use tidewatch_metrics::{Lsn, Slot, UnixNanos};
use tidewatch_operators::SlotSummary;
use tidewatch_segments::Published;
use tidewatch_wal::WalSegmentInfo;

use crate::checkpoint::archiver::Archiver;
use crate::checkpoint::index::{CheckpointIndex, SlotEntry};
use crate::checkpoint::record::CheckpointRecord;
use crate::checkpoint::store::{CheckpointStore, SlotsWriter};
use crate::committer::LogPosition;
use crate::deletes::Deletes;
use crate::feeds::Feeds;
use crate::idempotency::Idempotency;
use crate::instruments::CheckpointInstruments;
use crate::letters::Letters;
use crate::outbox::Outbox;
use crate::record::StartRecord;
use crate::shard::ShardShared;
use crate::sources::Sources;
use crate::windows::{EncodedWindows, Windows};
use crate::{EngineError, OPERATORS_VERSION};

/// Checkpoints to start from that are kept: a damaged one falls back to the one before it.
const KEPT: usize = 2;
/// Anchors over the time for which records are kept to be replayed.
const ANCHORS: i64 = 4;

/// A checkpoint that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) number: u64,
    /// The first record that a start from it reads.
    pub(crate) replay_from: Lsn,
    /// The log's time when it was made.
    pub(crate) time: UnixNanos,
}

impl Kept {
    /// Of what it says.
    pub(crate) fn of(index: &CheckpointIndex) -> Self {
        Self { number: index.number, replay_from: index.replay_from, time: index.position.1.tick }
    }
}

/// A slot's state as its shard gave it between two records.
#[derive(Debug)]
pub(crate) struct EncodedSlot {
    /// The last record whose rows are in it.
    pub(crate) lsn: Lsn,
    pub(crate) state: Vec<u8>,
    pub(crate) summary: SlotSummary,
}

/// A checkpoint in the making.
#[derive(Debug)]
pub(crate) struct Round {
    writer: SlotsWriter,
    slots: Vec<SlotEntry>,
    windows: Option<SlotEntry>,
}

/// Makes checkpoints. Not a thread: each call is one step of it.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    store: CheckpointStore,
    outbox: Arc<Outbox>,
    keys: Arc<Idempotency>,
    sources: Arc<Sources>,
    published: Arc<Published>,
    deletes: Arc<Deletes>,
    windows: Arc<Windows>,
    letters: Arc<Letters>,
    feeds: Arc<Feeds>,
    instruments: CheckpointInstruments,
    /// The start whose rules are in force.
    start: (Lsn, StartRecord),
    archiver: Archiver,
    /// Oldest first: anchors, from which archived records are replayed, then those to start from.
    kept: Vec<Kept>,
    next: u64,
}

impl Round {
    /// Takes the next slot, in their order.
    pub(crate) fn put(&mut self, encoded: &EncodedSlot) -> Result<(), EngineError> {
        let entry = SlotEntry {
            lsn: encoded.lsn,
            series: encoded.summary.series,
            state_hash: encoded.summary.state_hash,
            output: encoded.summary.output,
            ..SlotEntry::default()
        };
        self.slots.push(self.writer.put(&encoded.state, entry)?);
        Ok(())
    }

    /// The slot that is due; `None` after the last one.
    pub(crate) fn next_slot(&self) -> Option<Slot> {
        u8::try_from(self.slots.len()).ok().map(Slot)
    }

    /// Takes the windows of percentiles, behind all slots.
    fn put_windows(&mut self, encoded: &EncodedWindows) -> Result<(), EngineError> {
        assert!(encoded.lsn > self.last_lsn(), "windows are of a tick behind all slots");
        let entry = SlotEntry {
            lsn: encoded.lsn,
            series: u32::try_from(encoded.windows).unwrap_or(u32::MAX),
            state_hash: encoded.state_hash,
            ..SlotEntry::default()
        };
        self.windows = Some(self.writer.put(&encoded.state, entry)?);
        Ok(())
    }

    /// Bytes so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.writer.bytes()
    }

    /// The last record whose rows are in some slot's state.
    pub(crate) fn last_lsn(&self) -> Lsn {
        self.slots.iter().map(|slot| slot.lsn).max().unwrap_or_default()
    }

    /// Makes the slots durable, and says what the log is told of them.
    pub(crate) fn seal(&mut self) -> Result<CheckpointRecord, EngineError> {
        assert!(self.slots.len() == SLOTS, "a checkpoint has all slots");
        self.writer.seal()?;
        Ok(CheckpointRecord::new(self.writer.number(), &self.slots, self.windows.as_ref()))
    }
}

impl Checkpointer {
    /// Goes on after the checkpoints that a start found, oldest first.
    pub(crate) fn new(
        store: CheckpointStore,
        (shared, keys, sources): (&ShardShared, &Arc<Idempotency>, &Arc<Sources>),
        start: (Lsn, StartRecord),
        (archiver, kept): (Archiver, Vec<Kept>),
        instruments: CheckpointInstruments,
    ) -> Result<Self, EngineError> {
        store.settle()?;
        let (outbox, keys) = (Arc::clone(&shared.outbox), Arc::clone(keys));
        let sources = Arc::clone(sources);
        let (published, deletes) = (Arc::clone(&shared.published), Arc::clone(&shared.deletes));
        let windows = Arc::clone(&shared.windows);
        let (letters, feeds) = (Arc::clone(&shared.letters), Arc::clone(&shared.feeds));
        let next = store.numbers()?.last().map_or(1, |last| last + 1);
        Ok(Self {
            store,
            outbox,
            keys,
            sources,
            published,
            deletes,
            windows,
            letters,
            feeds,
            instruments,
            start,
            archiver,
            kept,
            next,
        })
    }

    /// Gives up the archive where the budget of the disk is short. `now` is the log's time.
    pub(crate) fn relieve(&mut self, now: UnixNanos) -> Result<(), EngineError> {
        if self.archiver.is_pressed() { self.put_away(&[], Lsn::ZERO, now) } else { Ok(()) }
    }

    /// Begins a checkpoint.
    pub(crate) fn begin(&mut self) -> Result<Round, EngineError> {
        let number = self.next;
        // A round that fails leaves its number behind.
        self.next += 1;
        Ok(Round {
            writer: self.store.begin(number)?,
            slots: Vec::with_capacity(SLOTS),
            windows: None,
        })
    }

    /// Whether what the round's states have seen is where a start finds it: rows and closed windows in
    /// files, transitions in the log.
    pub(crate) fn is_covered(&self, round: &Round) -> bool {
        let last = round.last_lsn();
        let flushed = self.published.oldest_unflushed().is_none_or(|oldest| oldest > last);
        let filed = round.windows.is_none_or(|windows| self.windows.is_filed(windows.lsn));
        // The tick of the windows may have caused transitions as well.
        let told = round.windows.map_or(last, |windows| windows.lsn);
        flushed && filed && self.outbox.is_logged(told)
    }

    /// Whether the round needs the windows of percentiles, as they are after a tick behind all of its slots.
    pub(crate) fn needs_windows(&self) -> bool {
        self.windows.has_rules()
    }

    /// Takes the windows of percentiles; all shards must have passed a tick behind the round's slots.
    pub(crate) fn put_windows(&self, round: &mut Round) -> Result<(), EngineError> {
        round.put_windows(&self.windows.encode())?;
        self.windows.want_file();
        Ok(())
    }

    /// Counts and tells a round that came to nothing; what it had written is overwritten or removed.
    pub(crate) fn failed(&self, error: &dyn std::fmt::Display) {
        self.instruments.failed.inc();
        tracing::warn!(%error, "a checkpoint failed; the log is kept and it is tried again");
    }

    /// Makes the round count. `position` is where the log stands after a durable record that is not
    /// before any slot's.
    ///
    /// Returns the record up to which no start needs the log any more, once there is one: those are to
    /// be [put away](Self::put_away).
    pub(crate) fn commit(
        &mut self,
        round: Round,
        position: (Lsn, LogPosition),
    ) -> Result<Option<Lsn>, EngineError> {
        debug_assert!(self.is_covered(&round), "a checkpoint relies on segments and the log");
        let number = round.writer.number();
        let slots_bytes = round.bytes();
        // ORDER: the outbox before the events' files, so that what is in neither is replayed.
        let outbox = self.outbox.checkpoint();
        let manifest = self.published.manifest();
        let events = self.outbox.first_event(manifest.events_lsn());
        // Keys that are in no file come back from the log, as events do. All up to the position are known.
        let keys = self.keys.first_after(manifest.keys_lsn());
        let letters = self.letters.first_after(manifest.letters_lsn());
        let mut index = CheckpointIndex {
            number,
            operators: OPERATORS_VERSION,
            replay_from: Lsn::ZERO,
            slots: round.slots,
            position,
            start: self.start.clone(),
            outbox,
            manifest: manifest.number(),
            // All up to the position are known; a start reads the later ones once more.
            offsets: self.sources.offsets(),
            windows: round.windows,
            // ORDER: behind the slots and windows, which have told the feeds of all their rows.
            feeds: self.feeds.checkpoint(),
        };
        // Of records up to the position the outbox was told before it was asked for here.
        index.outbox.lsn = index.outbox.lsn.max(position.0);
        let reached = index.least_lsn().min(position.0).next();
        let pending = self.deletes.oldest();
        index.replay_from =
            [events, keys, letters, pending].into_iter().flatten().fold(reached, Lsn::min);
        let index_bytes = self.store.commit(&index)?;
        self.kept.push(Kept::of(&index));
        self.instruments.count(index.replay_from, slots_bytes + index_bytes);
        let newest = self.kept.len().saturating_sub(KEPT);
        let needed = self.kept[newest..].iter().map(|kept| kept.replay_from).min();
        let upto = needed.map(|needed| Lsn::new(needed.get().saturating_sub(1)));
        Ok(upto.filter(|_| self.kept.len() >= KEPT))
    }

    /// Sees to what no start needs any more, records up to `upto`: copies of those `files` of the log go
    /// to the archive, from which old ones go, and so do anchors that nothing can be replayed from.
    ///
    /// The log may give up those records afterwards. `now` is its time.
    pub(crate) fn put_away(
        &mut self,
        files: &[WalSegmentInfo],
        upto: Lsn,
        now: UnixNanos,
    ) -> Result<(), EngineError> {
        self.archiver.store(files, upto, now)?;
        let first = self.archiver.expire(now)?;
        let newest = self.kept.len().saturating_sub(KEPT);
        let spacing = self.archiver.keep_nanos() / ANCHORS;
        let mut last: Option<UnixNanos> = None;
        let mut index = 0;
        self.kept.retain(|kept| {
            index += 1;
            let apart = last.is_none_or(|last| kept.time.nanos() - last.nanos() >= spacing);
            let is_anchor = first.is_some_and(|first| kept.replay_from >= first) && apart;
            if is_anchor {
                last = Some(kept.time);
            }
            is_anchor || index > newest
        });
        let kept: Vec<u64> = self.kept.iter().map(|kept| kept.number).collect();
        self.store.keep(&kept)
    }
}
