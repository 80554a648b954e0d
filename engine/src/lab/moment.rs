//! One crash: what it left is started again and held against the ledger and the uninterrupted run.

use std::path::Path;
use std::sync::Arc;

use arrow::array::AsArray;
use tidewatch_env::{Disk, OpenMode, Rng, SimClock, SimDisk};
use tidewatch_metrics::{Lsn, UnixNanos};
use tidewatch_wal::WalReader;

use crate::lab::process::{DATA_DIR, Machine, Process};
use crate::lab::replayed::Replayed;
use crate::lab::run::{Oracle, play};
use crate::lab::script::{BEGIN_NANOS, Script, SentRow};
use crate::lab::stored::rows_of;
use crate::lab::world::{SharedWorld, World};
use crate::record::{LogRecord, decode};
use crate::verify::{Verdict, VerifyConfig, verify};

/// When a recovery that is interrupted takes place.
const INTERRUPTED: UnixNanos = UnixNanos::new(BEGIN_NANOS + 3_000_000_000_000);

/// How much of the script a recovered engine goes on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// One more request, and all deliveries.
    Brief,
    /// All that is left of it, then `replay --verify` and the tables of alerts.
    Whole,
}

/// A crash.
#[derive(Debug)]
pub(super) struct Moment {
    /// What it left of the disk.
    pub(super) image: SimDisk,
    /// What clients and the receiver knew.
    pub(super) world: World,
    pub(super) now: UnixNanos,
    /// The process alone ended, and what it had written is there.
    pub(super) killed: bool,
    pub(super) depth: Depth,
    /// The recovery is interrupted as well, once.
    pub(super) twice: bool,
    /// The newest checkpoint has a wrong byte, so that the start falls back to the one before.
    pub(super) damaged: bool,
    pub(super) seed: u64,
}

/// An engine that was started after a crash.
struct Recovered<'a> {
    script: &'a Script,
    oracle: &'a Oracle,
    machine: Machine,
    /// The last record that survived.
    last: Lsn,
    /// The ledger before the crash.
    before: World,
    shards: usize,
}

impl Moment {
    /// Starts what is left and checks every promise.
    pub(super) fn check(mut self, script: &Script, oracle: &Oracle) -> Result<(), String> {
        let mut rng = Rng::from_seed(self.seed);
        if self.damaged {
            damage_newest_checkpoint(&self.image, &mut rng);
        }
        let mut life = self.world.life;
        life.shards = 1 + lot(&mut rng, 3);
        if self.twice {
            let from = self.image.ops();
            self.image.crash_at(from + 1 + rng.below(16));
            let machine = self.machine(rng.next_u64());
            // Its clock tells its record from those of the script.
            machine.clock.set(INTERRUPTED);
            drop(Process::start(&machine, life, false));
            self.image = match self.killed {
                true => self.image.reboot_keeping_all(),
                false => self.image.reboot(rng.next_u64()),
            };
        }
        let machine = self.machine(rng.next_u64());
        let interrupted = self.twice.then(|| first_start_after(&machine)).flatten();
        let mut process = Process::start(&machine, life, false)
            .map_err(|error| format!("what a crash left is refused: {error:?}"))?;
        let proofs = process.proofs();
        let (end, proof) = proofs[proofs.len() - 2];
        let last = interrupted.map_or(end, |start| Lsn::new(start.get() - 1));
        let promised = self.world.promised(self.killed);
        if last < promised {
            return Err(format!("record {promised} was acknowledged, and {last} is the last left"));
        }
        if interrupted.is_none() && proof != oracle.proof_at(last) {
            let live = oracle.proof_at(last);
            return Err(format!("up to record {last}: live {live:?}, replayed {proof:?}"));
        }
        machine.world.lock().promote();
        let shards = 1 + lot(&mut rng, 4);
        let before = self.world;
        let mut recovered = Recovered { script, oracle, machine, last, before, shards };
        recovered.go_on(process, self.depth)
    }

    fn machine(&self, seed: u64) -> Machine {
        Machine {
            disk: Arc::new(self.image.clone()),
            clock: Arc::new(SimClock::new(self.now)),
            world: SharedWorld::new(self.world.clone()),
            seed,
            acks_early: false,
            alerts_early: false,
            forgets_lsn: false,
        }
    }
}

impl Recovered<'_> {
    fn go_on(&mut self, mut process: Process, depth: Depth) -> Result<(), String> {
        let refused = |error: crate::EngineError| format!("after the recovery: {error:?}");
        match depth {
            Depth::Brief => {
                let probe = (self.script.requests.len() - 1, self.script.probe());
                process.write(&[probe]).and_then(|()| process.settle()).map_err(refused)?;
            }
            Depth::Whole => {
                let from = (self.before.step + 1).min(self.script.steps.len());
                let played = play(self.script, from, Some(process), &self.machine, false);
                process = played.map_err(refused)?.process;
            }
        }
        let replayed = self.replay()?;
        self.check_rows(&replayed)?;
        self.check_ledger(&replayed)?;
        self.check_deliveries(&replayed)?;
        let snapshot = process.snapshot().ok_or("a recovered engine shows no snapshot")?;
        let stored: Vec<_> = rows_of(&snapshot).map_err(refused)?;
        let mut expected: Vec<_> = replayed.rows.iter().map(|(_, row)| *row).collect();
        expected.sort_unstable();
        if stored != expected {
            let (stored, expected) = (stored.len(), expected.len());
            return Err(format!(
                "{stored} rows are shown, the log has {expected}, and they differ"
            ));
        }
        if process.proof() != replayed.proof {
            return Err("another number of shards comes to another state".to_owned());
        }
        if depth == Depth::Whole {
            self.check_alerts(&process, &replayed)?;
            drop(process);
            self.verify()?;
            self.verify_segments()?;
        }
        let broken = self.machine.world.lock().broken.take();
        broken.map_or(Ok(()), Err)
    }

    fn replay(&self) -> Result<Replayed, String> {
        let replayed = Replayed::of(&self.machine.disk, Path::new(DATA_DIR), self.shards);
        replayed.map_err(|error| format!("the log cannot be replayed: {error:?}"))
    }

    /// What survived is what the uninterrupted run had: every row, with its severity and flags.
    fn check_rows(&self, replayed: &Replayed) -> Result<(), String> {
        let (left, live) = (replayed.rows_to(self.last), self.oracle.replayed.rows_to(self.last));
        if left == live {
            return Ok(());
        }
        let differs = left.iter().zip(live).find(|(left, live)| left != live);
        Err(format!("{} rows left, {} before: {differs:?}", left.len(), live.len()))
    }

    /// The log holds whole requests, in the order in which they were sent, and each one once.
    fn check_ledger(&self, replayed: &Replayed) -> Result<(), String> {
        let world = self.machine.world.lock();
        let mut expected: Vec<&[SentRow]> = Vec::new();
        let live = self.oracle.replayed.rows_to(self.last);
        let survived = live.chunk_by(|a, b| a.0 == b.0).count();
        let sent = self.oracle.world.sent.iter().take(survived);
        let later = &world.sent[self.before.sent.len()..];
        for number in sent.chain(later) {
            expected.push(&self.script.requests[*number].rows);
        }
        if replayed.requests() != expected {
            return Err("the log does not hold what was sent, in order and once".to_owned());
        }
        let earlier = self.before.acks.len();
        for (place, ack) in world.acks.iter().enumerate() {
            if place < earlier && ack.lsn > self.last {
                continue;
            }
            let rows = replayed.rows.iter().filter(|(lsn, _)| *lsn == ack.lsn);
            let rows: Vec<_> = rows.map(|(_, row)| row.sent).collect();
            if rows != self.script.requests[ack.request].rows {
                return Err(format!("{ack:?} is not what its record holds"));
            }
        }
        Ok(())
    }

    /// Every transition has arrived, in order within its series, and nothing else has.
    fn check_deliveries(&self, replayed: &Replayed) -> Result<(), String> {
        let mut arrived = self.machine.world.lock().arrivals.clone();
        arrived.sort_by_key(|arrival| arrival.series);
        let due = replayed.due();
        if arrived == due {
            return Ok(());
        }
        let differs = arrived.iter().zip(&due).find(|(arrived, due)| arrived != due);
        Err(format!("{} arrived, {} were due: {differs:?}", arrived.len(), due.len()))
    }

    /// Files and memory together show each logged transition once.
    fn check_alerts(&self, process: &Process, replayed: &Replayed) -> Result<(), String> {
        let snapshot = process.snapshot().ok_or("a recovered engine shows no snapshot")?;
        let mut shown = Vec::new();
        for file in &snapshot.alerts {
            let batches = file.read().map_err(|error| format!("alerts: {error:?}"))?;
            for batch in batches {
                let text = |name| batch.column_by_name(name).expect("a column").as_string::<i32>();
                let (keys, kinds) = (text("key"), text("transition"));
                shown.extend(
                    (0..batch.num_rows())
                        .map(|row| format!("{}:{}", keys.value(row), kinds.value(row))),
                );
            }
        }
        shown.extend(process.alerts_in_memory());
        let logged = replayed.logged.iter();
        let logged: Vec<_> = logged.map(|(key, kind)| format!("{key}:{}", kind.name())).collect();
        if shown == logged {
            return Ok(());
        }
        Err(format!("{} alerts are shown, {} logged, and they differ", shown.len(), logged.len()))
    }

    fn verify(&self) -> Result<(), String> {
        let config = VerifyConfig { shards: self.shards, rechunk: Some(7) };
        let disk: &Arc<dyn Disk> = &self.machine.disk;
        let report = verify(disk, Path::new(DATA_DIR), config, |_| {});
        match report.map_err(|error| format!("replay --verify fails: {error:?}"))? {
            report if report.result == Verdict::Identical => Ok(()),
            report => Err(format!("replay --verify: {report:?}")),
        }
    }

    /// Every file that the manifest names is whole.
    fn verify_segments(&self) -> Result<(), String> {
        let dir = Path::new(DATA_DIR).join("segments");
        let report = tidewatch_segments::verify(&self.machine.disk, &dir);
        if report.ok { Ok(()) } else { Err(format!("segments verify: {report:?}")) }
    }
}

/// Flips a bit of the newest checkpoint that counts, if there is one.
fn damage_newest_checkpoint(image: &SimDisk, rng: &mut Rng) {
    let dir = Path::new(DATA_DIR).join("checkpoints");
    let names = Disk::list(image, &dir).unwrap_or_default();
    let indexes = names.iter().filter(|name| name.ends_with(".index"));
    let Some(index) = indexes.max() else { return };
    let slots = index.replace("checkpoint-", "slots-").replace(".index", ".state");
    let path = dir.join(if rng.below(2) == 0 { index } else { &slots });
    // With a bug planted, files may be missing or empty.
    let Ok(file) = image.open(&path, OpenMode::ReadWrite) else { return };
    let length = file.len().expect("the file is open");
    if length == 0 {
        return;
    }
    let at = rng.below(length);
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("the byte is there");
    file.write_all_at(&[byte[0] ^ (1 << rng.below(8))], at).expect("the disk works");
    file.sync_data().expect("the disk works");
}

/// The record of a start that was interrupted, if it has survived.
fn first_start_after(machine: &Machine) -> Option<Lsn> {
    let [wal, archive] = ["wal", "archive"].map(|dir| Path::new(DATA_DIR).join(dir));
    let disk = Arc::clone(&machine.disk);
    let mut reader = WalReader::open_with_archive(disk, &wal, &archive, Lsn::ZERO).ok()?;
    while let Ok(Some(record)) = reader.next_record() {
        if let Some(LogRecord::Start(start)) = decode(record.kind, record.payload)
            && start.time == INTERRUPTED
        {
            return Some(record.lsn);
        }
    }
    None
}

pub(super) fn lot(rng: &mut Rng, below: u64) -> usize {
    usize::try_from(rng.below(below)).expect("lots are small")
}
