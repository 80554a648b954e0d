//! A device that fails, or has no space, while the engine lives on.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidewatch_env::{Clock, DiskOp, FaultMode, Rng, SimDisk};

use crate::ingest::Durability;
use crate::lab::audit::Audit;
use crate::lab::campaign::{Campaign, LifeStart, Op};
use crate::lab::crashes::rng_of;
use crate::lab::finding::{Finding, Layer, guarded};
use crate::lab::moment::{Depth, Known, Moment, crashed};
use crate::lab::outcome::Outcome;
use crate::lab::plant::Plant;
use crate::lab::process::{Machine, Process};
use crate::lab::run::Player;
use crate::lab::tally::{FileOp, Tally};
use crate::lab::tape::{Event, Tape};
use crate::lab::world::SharedWorld;

/// Bytes that are free at most when there is no space: too few for a file of the log.
const ROOM_MAX: u64 = 12_000;

/// One run with one fault.
#[derive(Debug)]
struct Fault<'a> {
    campaign: &'a Campaign,
    outcome: Outcome,
    op: Op,
    plant: Plant,
    life: &'a LifeStart,
    /// The step after which the machine is stopped.
    until: usize,
    machine: Machine,
    disk: SimDisk,
    seen: Arc<Mutex<Seen>>,
}

/// What the witness has noticed.
#[derive(Debug, Default)]
struct Seen {
    /// Answers that clients had when the fault came.
    acks: Option<usize>,
    refused: Vec<FileOp>,
}

/// A time without space.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// The operation that is the first one.
    from: u64,
    /// Bytes that are still free.
    room: u64,
    /// The step that is the first one with space again.
    upto: usize,
}

/// Lets the operation `point` of `campaign` fail, and checks what comes of it.
pub(super) fn fail(
    campaign: &Campaign,
    plant: Plant,
    (point, outcome): (u64, Outcome),
) -> Result<Tally, Finding> {
    guarded(|| {
        let mut rng = rng_of(campaign.seed, point, outcome);
        let fault = Fault::new(campaign, plant, (point, outcome), &mut rng);
        let tally = fault.run(&mut rng)?;
        Ok(tally)
    })
}

impl<'a> Fault<'a> {
    fn new(
        campaign: &'a Campaign,
        plant: Plant,
        (point, outcome): (u64, Outcome),
        rng: &mut Rng,
    ) -> Self {
        let life = campaign.life_of(point);
        let index = usize::try_from(point.saturating_sub(1)).unwrap_or(usize::MAX);
        let op = campaign.ops[index.min(campaign.ops.len() - 1)];
        let number = point.saturating_sub(life.ops);
        let disk = life.disk.reboot_keeping_all();
        let steps = campaign.script.steps.len();
        let mut until = (op.step + 1 + lot(rng, 4)).min(steps);
        let mut window = None;
        match outcome {
            Outcome::Eio => disk.fail_op(number, io::ErrorKind::Other, FaultMode::Once),
            Outcome::EioOn => disk.fail_op(number, io::ErrorKind::Other, FaultMode::Forever),
            Outcome::Enospc => disk.fail_op(number, io::ErrorKind::StorageFull, FaultMode::Once),
            Outcome::Short => {
                let full = rng.below(2) == 0;
                let kind = if full { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
                disk.fail_op(number, kind, FaultMode::ShortWrite);
            }
            Outcome::Before | Outcome::After | Outcome::Torn => {}
            Outcome::FullOn | Outcome::Window => {
                // A start may be refused on a full disk, so the time without space ends before the next.
                let starts = campaign.script.starts();
                let next = starts.into_iter().find(|start| *start > op.step).unwrap_or(steps);
                let upto = (op.step + 1 + lot(rng, 14)).min(next);
                let is_window = outcome == Outcome::Window;
                until = if is_window { (upto + lot(rng, 4)).min(next) } else { upto };
                let upto = if is_window { upto } else { usize::MAX };
                let room = if rng.below(2) == 0 { 0 } else { rng.below(ROOM_MAX) };
                window = Some(Window { from: number, room, upto });
            }
        }
        let mut machine =
            Machine::new(Arc::new(disk.clone()), life.now, life.world.clone(), campaign.seed);
        let seen = Arc::default();
        let witness = witness(&disk, &machine.world, &seen, number, window);
        machine.disk = Arc::new(Tape::new(disk.clone(), witness, plant.bad_syncs()));
        Self { campaign, outcome, op, plant, life, until, machine, disk, seen }
    }

    fn run(&self, rng: &mut Rng) -> Result<Tally, Finding> {
        let mut player = Player::new(&self.campaign.script, &self.machine, true);
        player.proofs = self.campaign.proofs.upto(self.life.last);
        let mut played = player.play(self.life.step..self.until);
        if self.op.step >= self.until {
            played = played.and_then(|()| match self.outcome {
                Outcome::FullOn => player.settle_while_there_is_room(),
                _ => player.settle(),
            });
        }
        let mut tally = self.tally()?;
        tally.refused = self.machine.world.lock().refused;
        let has_ended = played.is_err();
        self.check_conduct(has_ended, &format!("{played:?}"))?;
        if !has_ended && self.outcome != Outcome::FullOn {
            self.check_alive(&mut player, rng)?;
        }
        player.kill();
        if let Some(broken) = self.machine.world.lock().broken.take() {
            return Err(broken);
        }
        if self.outcome == Outcome::EioOn {
            let life = self.machine.world.lock().life;
            if Process::start(&self.machine, life, false).is_ok() {
                let told = "an engine starts on a disk that refuses everything";
                return Err(Finding::new(Layer::Conduct, told));
            }
        }
        let mut world = self.machine.world.lock().clone();
        // A device that refuses a sync may lose what was only written.
        world.acks.retain(|ack| ack.level == Durability::Synced);
        let killed = rng.below(3) == 0;
        let moment = Moment {
            image: crashed(&self.disk, killed, rng),
            world,
            now: self.machine.clock.now(),
            killed,
            depth: if rng.below(6) == 0 { Depth::Whole } else { Depth::Brief },
            twice: rng.below(6) == 0,
            damaged: rng.below(6) == 0,
            seed: rng.next_u64(),
        };
        let campaign = self.campaign;
        if has_ended && self.op.phase == "start" {
            // It has proven nothing, and written no more than the undisturbed one.
            player.proofs = campaign.proofs.clone();
        }
        let proofs = &player.proofs;
        let known = Known { script: &campaign.script, proofs, live: None, files: &campaign.files };
        moment.check(known)?;
        Ok(tally)
    }

    /// What was refused, by kind; that the fault has struck at all.
    fn tally(&self) -> Result<Tally, Finding> {
        let seen = lock(&self.seen);
        let mut tally = Tally { points: 1, ..Tally::default() };
        match self.outcome {
            Outcome::FullOn | Outcome::Window => {
                seen.refused.iter().for_each(|file_op| tally.count(*file_op, self.outcome));
            }
            _ if seen.refused.first() == Some(&self.op.file_op) => {
                tally.count(self.op.file_op, self.outcome);
            }
            _ => {
                let told = format!("{:?} was to fail, and did not: {seen:?}", self.op);
                return Err(Finding::new(Layer::Conduct, told));
            }
        }
        Ok(tally)
    }

    /// The engine ends where it must, and nowhere else.
    fn check_conduct(&self, has_ended: bool, told: &str) -> Result<(), Finding> {
        let conduct = |told: String| Err(Finding::new(Layer::Conduct, told));
        let acks_before = lock(&self.seen).acks;
        let acks = self.machine.world.lock().acks.len();
        let Op { file_op, phase, .. } = self.op;
        match self.outcome {
            Outcome::FullOn | Outcome::Window if has_ended => {
                conduct(format!("a full disk ends the process: {told}"))
            }
            // That this bug goes on is plain; whether its harm is noticed is the question.
            _ if self.plant == Plant::RetryAfterEio => Ok(()),
            Outcome::Eio | Outcome::EioOn | Outcome::Short | Outcome::Enospc
                if is_fatal(file_op) && (!has_ended || acks_before != Some(acks)) =>
            {
                conduct(format!("{file_op:?} has failed in {phase}, and the process goes on"))
            }
            _ => Ok(()),
        }
    }

    /// An engine that goes on does all that it did before.
    fn check_alive(&self, player: &mut Player<'_>, rng: &mut Rng) -> Result<(), Finding> {
        let Some(process) = &mut player.process else { return Ok(()) };
        self.disk.set_capacity(None);
        let conduct = |told: String| Finding::new(Layer::Conduct, told);
        if self.outcome == Outcome::Window {
            let script = &self.campaign.script;
            let probe = script.requests.len() - 1;
            let written = process.write(&[(probe, script.probe())]);
            written.map_err(|error| conduct(format!("there is space again, but {error:?}")))?;
            if self.machine.world.lock().acks.last().map(|ack| ack.request) != Some(probe) {
                return Err(conduct("there is space again, but writes are refused".to_owned()));
            }
        }
        if self.outcome != Outcome::Window && rng.below(2) == 0 {
            return Ok(());
        }
        match process.settle() {
            Ok(()) => {}
            Err(_device) if self.outcome == Outcome::EioOn => return Ok(()),
            Err(error) => return Err(conduct(format!("a process that went on ends: {error:?}"))),
        }
        let audit = Audit {
            script: &self.campaign.script,
            machine: &self.machine,
            files: &self.campaign.files,
            shards: 1 + lot(rng, 4),
            crash: None,
        };
        audit.running(process).map(drop)
    }
}

/// Operations after whose failure nobody knows what the log has: its process must end.
fn is_fatal(file_op: FileOp) -> bool {
    matches!(file_op, ("log file", DiskOp::Write | DiskOp::Sync | DiskOp::Rename))
}

fn witness(
    disk: &SimDisk,
    world: &SharedWorld,
    seen: &Arc<Mutex<Seen>>,
    number: u64,
    window: Option<Window>,
) -> Arc<dyn Fn(&Event<'_>) + Send + Sync> {
    let (disk, world, seen) = (disk.clone(), world.clone(), Arc::clone(seen));
    Arc::new(move |event: &Event<'_>| {
        let mut world = world.lock();
        if let Some(window) = window {
            if world.step >= window.upto {
                disk.set_capacity(None);
            } else if event.number == window.from && event.ended.is_none() {
                disk.set_capacity(Some(disk.used_bytes().saturating_add(window.room)));
                world.archive_may_go = true;
            }
        }
        if event.number == number {
            lock(&seen).acks.get_or_insert(world.acks.len());
        }
        if let Some(Err(kind)) = event.ended
            && kind != io::ErrorKind::NotFound
        {
            world.faulted = true;
            let is_archived = event.file_op.0 == "archive file";
            world.archive_may_go |= is_archived && kind == io::ErrorKind::StorageFull;
            lock(&seen).refused.push(event.file_op);
        }
    })
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lot(rng: &mut Rng, below: u64) -> usize {
    usize::try_from(rng.below(below)).expect("lots are small")
}
