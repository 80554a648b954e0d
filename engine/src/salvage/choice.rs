//! From which checkpoint to start, so that as much as possible of what segments lost comes back from
//! the log.

use std::collections::{BTreeMap, BTreeSet};

use tidewatch_metrics::series::SLOTS;
use tidewatch_metrics::{Lsn, Slot};
use tidewatch_segments::{FileKind, FileMeta, SegmentsSalvage, SlotSet};

use crate::checkpoint::CheckpointIndex;

/// What is done about damaged segments.
#[derive(Debug)]
pub(crate) struct Choice {
    /// The newest checkpoints, as many, that are not started from.
    pub(crate) passed_over: usize,
    /// Files, damaged or not, whose rows the log has.
    pub(crate) dropped: BTreeSet<String>,
    /// Whether the log has all rows of versions of the manifest that are lost.
    pub(crate) restores_versions: bool,
    /// Per slot the last record whose rows are in files, or lost.
    pub(crate) flushed: Box<[Lsn; SLOTS]>,
    /// Per slot the last record whose rows are not replayed.
    covered: Box<[Lsn; SLOTS]>,
}

/// Where a start can begin.
#[derive(Clone, Copy, Debug)]
struct Start<'a> {
    /// None at the first record of the log.
    index: Option<&'a CheckpointIndex>,
}

impl Choice {
    /// Chooses among whole checkpoints, newest first, and the first record if the log has it: `oldest`
    /// is the one with which the log begins.
    pub(crate) fn new(segments: &SegmentsSalvage, whole: &[&CheckpointIndex], oldest: Lsn) -> Self {
        let begins = oldest <= Lsn::new(1);
        let starts = whole.iter().map(|index| Start { index: Some(index) });
        let starts = starts.chain(begins.then_some(Start { index: None }));
        let choices = starts.enumerate().map(|(passed_over, start)| {
            let mut choice = Self::nothing(segments, start.covered());
            choice.passed_over = passed_over;
            choice.restores_versions = segments.lost_versions() && start.precedes(segments);
            for (damaged, _) in segments.data() {
                choice.try_to_restore(damaged, segments, start);
            }
            choice
        });
        let gain = |choice: &Self| {
            let restored = segments.data().iter().filter(|(meta, _)| choice.restores(meta));
            (choice.restores_versions, restored.count())
        };
        // Of equal ones the first, which is the newest.
        let best = choices.reduce(|best, next| if gain(&next) > gain(&best) { next } else { best });
        best.unwrap_or_else(|| Self::nothing(segments, without_state(oldest)))
    }

    /// The operators begin anew with the record `oldest`.
    pub(crate) fn lose_state(&mut self, oldest: Lsn) {
        self.covered = without_state(oldest);
        self.restores_versions = false;
    }

    /// Rows of versions of the manifest that are lost, and that are not replayed: of these slots, those
    /// of records behind the first and up to the second.
    pub(crate) fn lost_rows(&self) -> BTreeMap<(Lsn, Lsn), SlotSet> {
        let mut lost: BTreeMap<_, SlotSet> = BTreeMap::new();
        if self.restores_versions {
            return lost;
        }
        let reached = self.flushed.iter().zip(self.covered.iter());
        for (slot, (flushed, covered)) in (0..=u8::MAX).map(Slot).zip(reached) {
            if flushed < covered {
                lost.entry((*flushed, *covered)).or_default().insert(slot);
            }
        }
        lost
    }

    /// Whether the log has all rows of the file.
    pub(crate) fn restores(&self, meta: &FileMeta) -> bool {
        self.dropped.contains(&meta.file)
    }

    fn nothing(segments: &SegmentsSalvage, covered: Box<[Lsn; SLOTS]>) -> Self {
        Self {
            passed_over: 0,
            dropped: BTreeSet::new(),
            restores_versions: false,
            flushed: Box::new(*segments.manifest().flushed()),
            covered,
        }
    }

    fn try_to_restore(&mut self, damaged: &FileMeta, segments: &SegmentsSalvage, start: Start<'_>) {
        let restored = match damaged.kind {
            FileKind::Samples => self.with_samples(damaged, segments, start),
            FileKind::Alerts | FileKind::Deliveries => self.with_events(damaged, segments, start),
            // Names and keys are looked for in the log, wherever a start begins.
            // Windows come from state that is older than their file.
            // What is lost of letters is told; those of the log come back by themselves.
            FileKind::Series
            | FileKind::Keys
            | FileKind::Percentiles
            | FileKind::DeadLetters
            | FileKind::LetterMarks => None,
        };
        if let Some((dropped, flushed)) = restored {
            (self.dropped, self.flushed) = (dropped, flushed);
        }
    }

    /// Drops a file of samples, and those in which rows stand that would come back with its own.
    fn with_samples(
        &self,
        damaged: &FileMeta,
        segments: &SegmentsSalvage,
        start: Start<'_>,
    ) -> Option<(BTreeSet<String>, Box<[Lsn; SLOTS]>)> {
        let (mut dropped, mut flushed) = (self.dropped.clone(), self.flushed.clone());
        let mut next = Some(damaged);
        while let Some(meta) = next {
            if !start.precedes_samples(meta) {
                return None;
            }
            dropped.insert(meta.file.clone());
            for slot in meta.slots.iter() {
                let known = &mut flushed[usize::from(slot.0)];
                *known = (*known).min(Lsn::new(meta.first_lsn.get().saturating_sub(1)));
            }
            let mut files = segments.manifest().files_of(FileKind::Samples);
            let overlaps = |meta: &FileMeta| {
                meta.slots.iter().any(|slot| meta.last_lsn > flushed[usize::from(slot.0)])
            };
            let found = files.find(|meta| !dropped.contains(&meta.file) && overlaps(meta));
            next = found.map(|meta| &**meta);
        }
        Some((dropped, flushed))
    }

    /// Drops a file of events with all of its flush and of later ones.
    fn with_events(
        &self,
        damaged: &FileMeta,
        segments: &SegmentsSalvage,
        start: Start<'_>,
    ) -> Option<(BTreeSet<String>, Box<[Lsn; SLOTS]>)> {
        let number = version_of(damaged)?;
        let is_event =
            |meta: &&FileMeta| matches!(meta.kind, FileKind::Alerts | FileKind::Deliveries);
        let events = || segments.manifest().files().iter().map(|meta| &**meta).filter(is_event);
        let is_later = |meta: &&FileMeta| version_of(meta).is_none_or(|n| n >= number);
        let kept = events().filter(|meta| !is_later(meta)).map(|meta| meta.last_lsn).max();
        if start.replay_from() > kept.unwrap_or_default().next() {
            return None;
        }
        let mut dropped = self.dropped.clone();
        dropped.extend(events().filter(is_later).map(|meta| meta.file.clone()));
        Some((dropped, self.flushed.clone()))
    }
}

impl Start<'_> {
    fn replay_from(&self) -> Lsn {
        self.index.map_or(Lsn::new(1), |index| index.replay_from)
    }

    /// Whether all rows of the file are replayed.
    fn precedes_samples(&self, meta: &FileMeta) -> bool {
        let covered = self.covered();
        meta.slots.iter().all(|slot| covered[usize::from(slot.0)] < meta.first_lsn)
    }

    /// Per slot the last record whose rows are not replayed.
    fn covered(&self) -> Box<[Lsn; SLOTS]> {
        let mut covered = Box::new([Lsn::ZERO; SLOTS]);
        for (known, entry) in covered.iter_mut().zip(self.index.iter().flat_map(|i| &i.slots)) {
            *known = entry.lsn;
        }
        covered
    }

    /// Whether all rows of versions that are lost are replayed.
    fn precedes(&self, segments: &SegmentsSalvage) -> bool {
        let number = segments.manifest().number();
        self.index.is_none_or(|index| (1..=number).contains(&index.manifest))
    }
}

fn without_state(oldest: Lsn) -> Box<[Lsn; SLOTS]> {
    Box::new([Lsn::new(oldest.get().saturating_sub(1)); SLOTS])
}

/// The version of the manifest that named the file first, as its name tells.
fn version_of(meta: &FileMeta) -> Option<u64> {
    let (_, number) = meta.file.strip_suffix(".parquet")?.rsplit_once('-')?;
    number.parse().ok()
}
