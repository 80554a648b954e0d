//! One crash: what it left is started again, and goes on.

use std::path::Path;
use std::sync::Arc;

use tidewatch_env::{Disk, OpenMode, Rng, SimDisk};
use tidewatch_metrics::{Lsn, UnixNanos};
use tidewatch_wal::WalReader;

use crate::EngineError;
use crate::lab::audit::{Audit, Crash};
use crate::lab::finding::{Finding, Layer};
use crate::lab::process::{DATA_DIR, Machine, Process};
use crate::lab::replayed::Replayed;
use crate::lab::run::{Player, Proofs};
use crate::lab::script::{BEGIN_NANOS, Script};
use crate::lab::stored::ReadFiles;
use crate::lab::world::World;
use crate::record::{LogRecord, decode};

/// When a recovery that is interrupted takes place.
const INTERRUPTED: UnixNanos = UnixNanos::new(BEGIN_NANOS + 3_000_000_000_000);

/// Requests that clients have under way at most when a crash comes.
const GROUP_MAX: usize = 6;
/// Messages that a recovered engine reads.
const MESSAGES: u64 = 2;

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

/// What is known of the run that crashed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    pub(super) script: &'a Script,
    pub(super) proofs: &'a Proofs,
    /// The same run without a crash, unless a fault had led it elsewhere.
    pub(super) live: Option<&'a Replayed>,
    pub(super) files: &'a ReadFiles,
}

/// What is left of a disk when the machine stops, or the process alone.
pub(super) fn crashed(disk: &SimDisk, killed: bool, rng: &mut Rng) -> SimDisk {
    if killed { disk.reboot_keeping_all() } else { disk.reboot(rng.next_u64()) }
}

impl Moment {
    /// Starts what is left and checks every promise.
    pub(super) fn check(mut self, known: Known<'_>) -> Result<(), Finding> {
        if let Some(broken) = self.world.broken.take() {
            return Err(broken);
        }
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
            self.image = crashed(&self.image, self.killed, &mut rng);
        }
        let machine = self.machine(rng.next_u64());
        let interrupted = self.twice.then(|| first_start_after(&machine)).flatten();
        let mut process = Process::start(&machine, life, false).map_err(|error| {
            Finding::new(Layer::Reopen, format!("what a crash left is refused: {error:?}"))
        })?;
        let proofs = process.proofs();
        // The start's own record changes the state: silences count anew.
        let start = process.last_lsn();
        let before = proofs.iter().rev().find(|(lsn, _)| *lsn < start);
        let (end, proof) = *before.expect("replay proves what it has come to before the start");
        let last = interrupted.map_or(end, |start| Lsn::new(start.get() - 1));
        let promised = self.world.promised(self.killed);
        if last < promised {
            let told = format!("record {promised} was acknowledged, and {last} is the last left");
            return Err(Finding::new(Layer::Ledger, told));
        }
        if interrupted.is_none() && proof != known.proofs.at(last) {
            let live = known.proofs.at(last);
            let told = format!("up to record {last}: live {live:?}, replayed {proof:?}");
            return Err(Finding::new(Layer::ReplayHash, told));
        }
        let mut world = machine.world.lock();
        world.promote();
        world.keys.forget_after(last);
        drop(world);
        let again = self.sent_again(known.script, &mut rng);
        let audit = Audit {
            script: known.script,
            machine: &machine,
            files: known.files,
            shards: 1 + lot(&mut rng, 4),
            crash: Some(Crash {
                last,
                sent: self.world.sent.len(),
                acks: self.world.acks.len(),
                faulted: self.world.faulted,
                live: known.live,
            }),
        };
        self.go_on(&audit, process, again)
    }

    /// What clients send again: requests under a key that got no answer, some request of the time before,
    /// and now and then another one under its key.
    fn sent_again(&self, script: &Script, rng: &mut Rng) -> Vec<usize> {
        let World { sent, acks, .. } = &self.world;
        let key = |number: usize| script.requests.get(number).and_then(|request| request.key);
        let is_answered = |number: usize| acks.iter().any(|ack| ack.request == number);
        let last = sent.iter().rev().take(GROUP_MAX).copied();
        let mut again: Vec<usize> =
            last.filter(|number| key(*number).is_some() && !is_answered(*number)).collect();
        let keyed: Vec<usize> =
            sent.iter().copied().filter(|number| key(*number).is_some()).collect();
        if keyed.is_empty() {
            return again;
        }
        let earlier = keyed[lot(rng, keyed.len() as u64)];
        again.push(earlier);
        if rng.below(4) == 0 {
            let of_key = 0..script.requests.len();
            again.extend(of_key.filter(|other| *other != earlier && key(*other) == key(earlier)));
        }
        again
    }

    fn go_on(
        &self,
        audit: &Audit<'_>,
        mut process: Process,
        mut again: Vec<usize>,
    ) -> Result<(), Finding> {
        let refused = |error: EngineError| {
            Finding::new(Layer::Conduct, format!("after the recovery: {error:?}"))
        };
        let requests = |numbers: &[usize]| -> Vec<_> {
            numbers.iter().map(|number| (*number, &audit.script.requests[*number])).collect()
        };
        if self.depth == Depth::Brief {
            again.push(audit.script.requests.len() - 1);
            let written = process.write(&requests(&again)).and_then(|()| process.read(MESSAGES));
            let mended = written.and_then(|()| process.mend());
            mended.and_then(|()| process.settle()).map_err(refused)?;
            return audit.running(&mut process).map(drop);
        }
        let written = process.write(&requests(&again)).and_then(|()| process.read(MESSAGES));
        written.map_err(refused)?;
        let steps = audit.script.steps.len();
        let mut player = Player::new(audit.script, audit.machine, false);
        player.process = Some(process);
        let played = player.play((self.world.step + 1).min(steps)..steps);
        played.and_then(|()| player.settle()).map_err(refused)?;
        let mut process = player.process.take().expect("a played script has a process");
        let Some(replayed) = audit.running(&mut process)? else { return Ok(()) };
        audit.alerts(&process, &replayed)?;
        drop(process);
        audit.stopped()
    }

    fn machine(&self, seed: u64) -> Machine {
        let world = World { faulted: false, ..self.world.clone() };
        Machine::new(Arc::new(self.image.clone()), self.now, world, seed)
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

fn lot(rng: &mut Rng, below: u64) -> usize {
    usize::try_from(rng.below(below)).expect("lots are small")
}
