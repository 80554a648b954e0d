//! Holds an engine against what clients and the receiver know, and against its own log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use arrow::array::AsArray;
use tidewatch_env::Disk;
use tidewatch_metrics::{Lsn, Transition};
use tidewatch_wal::WalError;

use crate::EngineError;
use crate::ingest::Durability;
use crate::lab::finding::{Finding, Layer};
use crate::lab::process::{DATA_DIR, Machine, Process};
use crate::lab::replayed::Replayed;
use crate::lab::script::{Script, SentRow};
use crate::lab::source;
use crate::lab::stored::{ReadFiles, StoredRow, rows_of};
use crate::verify::{Verdict, VerifyConfig, verify};

/// What an engine is held against. Everything that it had to deliver must be delivered before.
#[derive(Debug)]
pub(super) struct Audit<'a> {
    pub(super) script: &'a Script,
    pub(super) machine: &'a Machine,
    pub(super) files: &'a ReadFiles,
    /// Shards of the replay that everything is compared with.
    pub(super) shards: usize,
    pub(super) crash: Option<Crash<'a>>,
}

/// The crash that the engine comes from.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Crash<'a> {
    /// The last record that survived.
    pub(super) last: Lsn,
    /// Requests that were sent before, and answers that had come.
    pub(super) sent: usize,
    pub(super) acks: usize,
    /// The disk had refused something before.
    pub(super) faulted: bool,
    /// The same run without a crash, if there is one.
    pub(super) live: Option<&'a Replayed>,
}

/// Requests as their clients know them.
#[derive(Clone, Copy, Debug)]
struct Sent<'a> {
    numbers: &'a [usize],
    /// A crash may have taken the last ones.
    is_cut: bool,
    /// The disk has refused something.
    is_full: bool,
}

impl Audit<'_> {
    /// Everything that can be seen while the engine runs. Gives the log as it reads; `None` where a full
    /// disk has cost the archive, so that it does not begin at its beginning.
    pub(super) fn running(&self, process: &mut Process) -> Result<Option<Replayed>, Finding> {
        let named = process.name_deletes();
        let is_named =
            named.map_err(|error| Finding::new(Layer::Conduct, format!("deletes: {error:?}")))?;
        let shown = self.shown(process)?;
        let replayed = match Replayed::of(&self.machine.disk, Path::new(DATA_DIR), self.shards) {
            Ok(replayed) => Some(replayed),
            Err(error) => match self.machine.world.lock().archive_may_go.then_some(&error) {
                Some(EngineError::Wal(cause)) if matches!(**cause, WalError::Missing { .. }) => {
                    None
                }
                _ => {
                    let told = format!("the log cannot be replayed: {error:?}");
                    return Err(Finding::new(Layer::ReplayHash, told));
                }
            },
        };
        match &replayed {
            // A device that fails for ever keeps deletes waiting, and shows their rows.
            Some(replayed) => self.check_all(process, replayed, is_named.then_some(&shown))?,
            None => self.check_sent(&shown)?,
        }
        self.check_messages(process, &shown)?;
        let broken = self.machine.world.lock().broken.take();
        broken.map_or(Ok(replayed), Err)
    }

    fn check_all(
        &self,
        process: &mut Process,
        replayed: &Replayed,
        shown: Option<&Vec<StoredRow>>,
    ) -> Result<(), Finding> {
        if let Some(lsn) = replayed.went_back {
            let told = format!("the log's time goes back at record {lsn}");
            return Err(Finding::new(Layer::ReplayHash, told));
        }
        self.check_rows(replayed)?;
        self.check_ledger(replayed)?;
        self.check_deliveries(replayed)?;
        let expected = replayed.visible();
        if let Some(shown) = shown.filter(|shown| **shown != expected) {
            let (shown, expected) = (shown.len(), expected.len());
            let told = format!("{shown} rows are shown, the log has {expected}, and they differ");
            return Err(Finding::new(Layer::Query, told));
        }
        if process.proof() != replayed.proof {
            let told = format!(
                "another number of shards comes to another state: live {:?}, replayed {:?}",
                process.proof(),
                replayed.proof
            );
            return Err(Finding::new(Layer::ReplayHash, told));
        }
        Ok(())
    }

    /// Without a whole log: every row of an acknowledged request is shown, and none that nobody sent or
    /// that is there already.
    fn check_sent(&self, shown: &[StoredRow]) -> Result<(), Finding> {
        let ledger = |told: String| Err(Finding::new(Layer::Ledger, told));
        let world = self.machine.world.lock();
        let rows = |request: usize| self.script.requests[request].rows.iter().copied();
        // A request may have got several answers.
        let acked: BTreeMap<Lsn, usize> =
            world.acks.iter().map(|ack| (ack.lsn, ack.request)).collect();
        let mut acked: Vec<SentRow> = acked.into_values().flat_map(rows).collect();
        acked.retain(|row| !self.script.may_be_deleted(row));
        let mut sent: Vec<SentRow> = world.sent.iter().flat_map(|request| rows(*request)).collect();
        let requests = shown.iter().map(|row| row.sent).filter(|row| !source::has(row.series));
        let mut shown: Vec<SentRow> = requests.collect();
        for rows in [&mut acked, &mut sent, &mut shown] {
            rows.sort_unstable();
        }
        if !is_part_of(&acked, &shown) {
            return ledger(format!("{} rows are shown of {} promised", shown.len(), acked.len()));
        }
        if !is_part_of(&shown, &sent) {
            return ledger(format!("{} rows are shown of {} sent", shown.len(), sent.len()));
        }
        Ok(())
    }

    /// Every message before the one with which the engine goes on is shown once, and no other.
    fn check_messages(&self, process: &Process, shown: &[StoredRow]) -> Result<(), Finding> {
        let ledger = |told: String| Err(Finding::new(Layer::Ledger, told));
        let next = process.next_offset();
        let fed = self.machine.world.lock().fed.iter().map(|fed| fed.next).max().unwrap_or(0);
        if next < fed {
            return ledger(format!(
                "messages up to {fed} were stored, and the engine is at {next}"
            ));
        }
        let messages = shown.iter().map(|row| row.sent).filter(|row| source::has(row.series));
        let mut messages: Vec<SentRow> = messages.collect();
        let replayed = self.check_letters(process, next)?;
        let is_stored = |offset: &u64| source::is_line(*offset) || replayed.contains(offset);
        let mut expected: Vec<SentRow> = (0..next).filter(is_stored).map(source::row).collect();
        messages.sort_unstable();
        expected.sort_unstable();
        if messages != expected {
            let (shown, expected) = (messages.len(), expected.len());
            return ledger(format!("of {expected} messages before {next} {shown} rows are shown"));
        }
        Ok(())
    }

    /// Every message before `next` that is no line is a letter, once and whole, and every one whose replay was answered
    /// has ended. Gives the offsets of those that are replayed.
    fn check_letters(&self, process: &Process, next: u64) -> Result<BTreeSet<u64>, Finding> {
        let ledger = |told: String| Finding::new(Layer::Ledger, told);
        let letters = process.letters();
        let letters = letters.map_err(|error| ledger(format!("letters: {error:?}")))?;
        if self.machine.offsets_first {
            // The planted bug reads messages as a body, and keeps none.
            return Ok(BTreeSet::new());
        }
        let kept: Vec<_> = letters.iter().map(|(row, _)| row.letter.offset).collect();
        let expected: Vec<_> = (0..next).filter(|offset| !source::is_line(*offset)).collect();
        if kept != expected {
            return Err(ledger(format!("letters are kept of {kept:?}, and not of {expected:?}")));
        }
        for (row, _) in &letters {
            let is_whole = *row.letter.payload == *source::message(row.letter.offset).as_bytes();
            if !is_whole || row.letter.reason.is_empty() {
                return Err(ledger(format!("a letter is not what was sent: {row:?}")));
            }
        }
        let ended = letters.iter().filter(|(_, end)| end.is_some());
        let ended: BTreeSet<u64> = ended.map(|(row, _)| row.letter.offset).collect();
        let world = self.machine.world.lock();
        let promised = world.mended.iter().flat_map(|mended| &mended.offsets);
        match promised.into_iter().find(|offset| !ended.contains(offset)) {
            Some(offset) => Err(ledger(format!("letter {offset} was replayed and is open"))),
            None => Ok(ended),
        }
    }

    /// What survived is what the uninterrupted run had: every row, with its severity and flags.
    fn check_rows(&self, replayed: &Replayed) -> Result<(), Finding> {
        let Some(Crash { last, live: Some(live), .. }) = self.crash else { return Ok(()) };
        let (left, live) = (replayed.rows_to(last), live.rows_to(last));
        if left == live {
            return Ok(());
        }
        let differs = left.iter().zip(live).find(|(left, live)| left != live);
        let told = format!("{} rows left, {} before: {differs:?}", left.len(), live.len());
        Err(Finding::new(Layer::ReplayHash, told))
    }

    /// The log holds whole requests, in the order in which they were sent, and each one once.
    fn check_ledger(&self, replayed: &Replayed) -> Result<(), Finding> {
        let logged = replayed.requests();
        let world = self.machine.world.lock();
        let Crash { last, sent, acks: earlier, faulted, .. } = self.crash.unwrap_or_default();
        let survived = logged.partition_point(|(lsn, _)| *lsn <= last);
        let (before, later) = world.sent.split_at(sent.min(world.sent.len()));
        let before = Sent { numbers: before, is_cut: true, is_full: faulted };
        let later = Sent { numbers: later, is_cut: false, is_full: world.faulted };
        if !self.is_told(&logged[..survived], before) || !self.is_told(&logged[survived..], later) {
            let told = "the log does not hold what was sent, in order and once";
            return Err(Finding::new(Layer::Ledger, told));
        }
        if let Some((first, second)) = replayed.stored_twice() {
            let told = format!("records {first} and {second} are one request");
            return Err(Finding::new(Layer::Ledger, told));
        }
        for (place, ack) in world.acks.iter().enumerate() {
            if place < earlier && ack.lsn > last {
                continue;
            }
            let found = logged.binary_search_by_key(&ack.lsn, |(lsn, _)| *lsn);
            let rows = found.ok().map(|at| &logged[at].1);
            if rows != Some(&self.script.requests[ack.request].rows) {
                let told = format!("{ack:?} is not what its record holds");
                return Err(Finding::new(Layer::Ledger, told));
            }
        }
        Ok(())
    }

    /// Whether `logged` is what was `sent`. Of requests that ask for no answer, nobody knows whether a
    /// full disk has refused them.
    fn is_told(&self, logged: &[(Lsn, Vec<SentRow>)], sent: Sent<'_>) -> bool {
        let Sent { numbers, is_cut, is_full } = sent;
        let mut sent = numbers.iter().map(|number| &self.script.requests[*number]);
        let unsure = |durability| is_full && durability == Durability::Accepted;
        for (_, rows) in logged {
            let mut next = sent.next();
            while next.is_some_and(|request| request.rows != *rows && unsure(request.durability)) {
                next = sent.next();
            }
            if next.is_none_or(|request| request.rows != *rows) {
                return false;
            }
        }
        is_cut || sent.all(|request| unsure(request.durability))
    }

    /// Every transition has arrived, in order within its series, and nothing else has.
    fn check_deliveries(&self, replayed: &Replayed) -> Result<(), Finding> {
        let mut arrived = self.machine.world.lock().arrivals.clone();
        arrived.sort_by_key(|arrival| arrival.subject);
        let due = replayed.due();
        if arrived == due {
            return Ok(());
        }
        let differs = arrived.iter().zip(&due).find(|(arrived, due)| arrived != due);
        let told = format!("{} arrived, {} were due: {differs:?}", arrived.len(), due.len());
        Err(Finding::new(Layer::Receiver, told))
    }

    /// What queries show.
    fn shown(&self, process: &Process) -> Result<Vec<StoredRow>, Finding> {
        let query = |told: String| Finding::new(Layer::Query, told);
        let snapshot = process.snapshot();
        let snapshot = snapshot.ok_or_else(|| query("there is no snapshot".to_owned()))?;
        let shown = rows_of(&snapshot, &*self.machine.disk, self.files);
        shown.map_err(|error| query(format!("a segment is unreadable: {error:?}")))
    }

    /// Each transition is logged once, and files and memory together show it once.
    pub(super) fn alerts(&self, process: &Process, replayed: &Replayed) -> Result<(), Finding> {
        let query = |told: String| Finding::new(Layer::Query, told);
        let snapshot = process.snapshot();
        let snapshot = snapshot.ok_or_else(|| query("there is no snapshot".to_owned()))?;
        let mut shown = Vec::new();
        for file in &*snapshot.alerts {
            for batch in file.read().map_err(|error| query(format!("alerts: {error:?}")))? {
                let text = |name| batch.column_by_name(name).expect("a column").as_string::<i32>();
                let (keys, kinds) = (text("key"), text("transition"));
                shown.extend(
                    (0..batch.num_rows())
                        .map(|row| format!("{}:{}", keys.value(row), kinds.value(row))),
                );
            }
        }
        shown.extend(process.alerts_in_memory());
        let logged: Vec<_> = replayed.logged.iter().map(Transition::dedupe_key).collect();
        let ids = |transitions: &[Transition]| {
            let mut ids: Vec<_> = transitions.iter().map(Transition::id).collect();
            ids.sort_unstable();
            ids
        };
        let (in_log, put_out) = (ids(&replayed.logged), ids(&replayed.transitions));
        if in_log != put_out {
            let (in_log, put_out) = (in_log.len(), put_out.len());
            let told =
                format!("{in_log} transitions are logged, {put_out} put out, and they differ");
            return Err(Finding::new(Layer::ReplayHash, told));
        }
        if shown == logged {
            return Ok(());
        }
        let (shown, logged) = (shown.len(), logged.len());
        Err(query(format!("{shown} alerts are shown, {logged} logged, and they differ")))
    }

    /// What the product's own commands say of the stopped directory.
    pub(super) fn stopped(&self) -> Result<(), Finding> {
        let found = |told: String| Err(Finding::new(Layer::Verify, told));
        let config = VerifyConfig { shards: self.shards, rechunk: Some(7) };
        let disk: &Arc<dyn Disk> = &self.machine.disk;
        match verify(disk, Path::new(DATA_DIR), config, |_| {}) {
            Ok(report) if report.result == Verdict::Identical => {}
            Ok(report) => return found(format!("replay --verify: {report:?}")),
            Err(error) => return found(format!("replay --verify fails: {error:?}")),
        }
        let dir = Path::new(DATA_DIR).join("segments");
        let report = tidewatch_segments::verify(disk, &dir);
        if report.ok { Ok(()) } else { found(format!("segments verify: {report:?}")) }
    }
}

/// Whether each of the sorted `some` stands in the sorted `all`, as often at least.
fn is_part_of(some: &[SentRow], all: &[SentRow]) -> bool {
    let mut all = all.iter();
    some.iter().all(|row| all.any(|other| other == row))
}
