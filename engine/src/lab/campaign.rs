//! One script: what it comes to undisturbed, and what becomes of it otherwise.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tidewatch_env::{Clock, SimDisk};
use tidewatch_metrics::{Lsn, UnixNanos};

use crate::lab::finding::{Finding, Layer};
use crate::lab::moment::Known;
use crate::lab::outcome::Outcome;
use crate::lab::plant::Plant;
use crate::lab::process::{DATA_DIR, Machine};
use crate::lab::replayed::Replayed;
use crate::lab::run::{Player, Proofs};
use crate::lab::script::{BEGIN_NANOS, Script};
use crate::lab::stored::ReadFiles;
use crate::lab::tally::{FileOp, Tally};
use crate::lab::tape::{BadSyncs, Event, Tape, Witness};
use crate::lab::world::{SharedWorld, World};

/// A script and what it comes to.
#[derive(Debug)]
pub(super) struct Campaign {
    pub(super) seed: u64,
    pub(super) script: Script,
    /// The world at the end.
    pub(super) world: World,
    pub(super) replayed: Replayed,
    pub(super) proofs: Proofs,
    /// The operations of the run, by their numbers less 1.
    pub(super) ops: Vec<Op>,
    pub(super) lives: Vec<LifeStart>,
    pub(super) files: ReadFiles,
}

/// An operation of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Op {
    pub(super) file_op: FileOp,
    pub(super) step: usize,
    pub(super) phase: &'static str,
}

/// All that there is before a life begins, so that a run can begin there.
#[derive(Debug)]
pub(super) struct LifeStart {
    pub(super) step: usize,
    pub(super) disk: SimDisk,
    pub(super) world: World,
    pub(super) now: UnixNanos,
    /// Operations before.
    pub(super) ops: u64,
    /// The last record before.
    pub(super) last: Lsn,
}

/// A promise that was broken at a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The script.
    pub seed: u64,
    /// The operation, and what became of it; `None` where the script alone is enough.
    pub point: Option<(u64, Outcome)>,
    /// What was broken.
    pub finding: Finding,
}

impl Campaign {
    /// Plays the script of `seed` once without a fault.
    pub(super) fn new(seed: u64) -> Result<Self, Failure> {
        Self::planted(seed, Plant::Nothing)
    }

    /// As [`Campaign::new`], with a bug that changes the log even if nothing goes wrong: without it, every
    /// crash would find another log than the one that it is compared with.
    pub(super) fn planted(seed: u64, plant: Plant) -> Result<Self, Failure> {
        let script = Script::new(seed);
        let played = Self::play(seed, script, plant);
        played.map_err(|finding| Failure { seed, point: None, finding })
    }

    fn play(seed: u64, script: Script, plant: Plant) -> Result<Self, Finding> {
        let disk = SimDisk::new(seed);
        let mut machine = Machine::new(
            Arc::new(disk.clone()),
            UnixNanos::new(BEGIN_NANOS),
            World::default(),
            seed,
        );
        machine.plant_offsets(plant);
        let ops = Arc::new(Mutex::new(Vec::new()));
        let witness = recorder(&ops, &machine.world);
        machine.disk = Arc::new(Tape::new(disk.clone(), witness, BadSyncs::default()));
        let mut player = Player::new(&script, &machine, true);
        let mut lives = Vec::new();
        let starts = script.starts();
        let ends = starts.iter().copied().skip(1).chain([script.steps.len()]);
        for (start, end) in starts.iter().copied().zip(ends) {
            let last = player.process.as_ref().map(|process| process.last_lsn());
            player.kill();
            lives.push(LifeStart {
                step: start,
                disk: disk.reboot_keeping_all(),
                world: machine.world.lock().clone(),
                now: machine.clock.now(),
                ops: disk.ops(),
                last: last.unwrap_or_default(),
            });
            player.play(start..end).map_err(undisturbed)?;
        }
        player.settle().map_err(undisturbed)?;
        player.kill();
        let proofs = std::mem::take(&mut player.proofs);
        let replayed = Replayed::of(&machine.disk, Path::new(DATA_DIR), 2).map_err(undisturbed)?;
        let mut world = machine.world.lock().clone();
        if let Some(broken) = world.broken.take() {
            return Err(broken);
        }
        let ops = std::mem::take(&mut *ops.lock().unwrap_or_else(PoisonError::into_inner));
        check_sent(&script, &replayed, &world)?;
        let files = ReadFiles::default();
        Ok(Self { seed, script, world, replayed, proofs, ops, lives, files })
    }

    /// What there is to count before any crash.
    pub(super) fn tally(&self) -> Tally {
        let keys = &self.world.keys;
        let mut tally = Tally {
            scripts: 1,
            jumps: self.script.jumps(),
            messages: self.world.fed.last().map_or(0, |fed| fed.next),
            keys_replayed: keys.replayed,
            keys_refused: keys.refused,
            keys_run_out: keys.run_out,
            ..Tally::default()
        };
        for (op, number) in self.ops.iter().zip(1..) {
            tally.performed.entry(op.file_op).or_insert((self.seed, number));
        }
        tally
    }

    /// The life in which the operation is.
    pub(super) fn life_of(&self, point: u64) -> &LifeStart {
        let lives = self.lives.partition_point(|life| life.ops < point);
        &self.lives[lives.saturating_sub(1)]
    }

    pub(super) fn known(&self) -> Known<'_> {
        Known {
            script: &self.script,
            proofs: &self.proofs,
            live: Some(&self.replayed),
            files: &self.files,
        }
    }

    pub(super) fn failure(&self, point: u64, outcome: Outcome, finding: Finding) -> Failure {
        Failure { seed: self.seed, point: Some((point, outcome)), finding }
    }

    /// Numbers of the operations at which this can be brought about, one for each kind of operation on
    /// each kind of file: the `lot`-th of them, if they were in a circle.
    pub(super) fn one_each(&self, lot: u64) -> Vec<(FileOp, u64)> {
        let mut of_kind: BTreeMap<FileOp, Vec<u64>> = BTreeMap::new();
        for (op, number) in self.ops.iter().zip(1..) {
            of_kind.entry(op.file_op).or_default().push(number);
        }
        let chosen = of_kind.into_iter().map(|(file_op, numbers)| {
            let at = lot % u64::try_from(numbers.len()).unwrap_or(u64::MAX);
            (file_op, numbers[usize::try_from(at).expect("below a length")])
        });
        chosen.collect()
    }
}

fn undisturbed(error: impl std::fmt::Debug) -> Finding {
    Finding::new(Layer::Conduct, format!("without a fault: {error:?}"))
}

/// Notes every operation that takes place.
fn recorder(ops: &Arc<Mutex<Vec<Op>>>, world: &SharedWorld) -> Witness {
    let (ops, world) = (Arc::clone(ops), world.clone());
    Arc::new(move |event: &Event<'_>| {
        if event.ended.is_some() {
            let world = world.lock();
            let op = Op { file_op: event.file_op, step: world.step, phase: world.phase };
            ops.lock().unwrap_or_else(PoisonError::into_inner).push(op);
        }
    })
}

fn check_sent(script: &Script, replayed: &Replayed, world: &World) -> Result<(), Finding> {
    let sent = world.sent.iter().map(|number| &script.requests[*number].rows);
    let logged = replayed.requests();
    if !logged.iter().map(|(_, rows)| rows).eq(sent) {
        return Err(Finding::new(Layer::Ledger, "the log does not hold what was sent"));
    }
    if let Some((first, second)) = replayed.stored_twice() {
        let told = format!("records {first} and {second} are one request");
        return Err(Finding::new(Layer::Ledger, told));
    }
    match replayed.went_back {
        Some(lsn) => {
            let told = format!("the log's time goes back at record {lsn}");
            Err(Finding::new(Layer::ReplayHash, told))
        }
        None => Ok(()),
    }
}
