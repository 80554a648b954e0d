//! Many scripts with a crash at every operation of each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tidewatch_env::{Clock, DiskOp, FaultMode, Rng, SimClock, SimDisk};
use tidewatch_metrics::UnixNanos;

use crate::ingest::Durability;
use crate::lab::moment::{Depth, Moment};
use crate::lab::process::Machine;
use crate::lab::run::{Oracle, play};
use crate::lab::script::{BEGIN_NANOS, Script};
use crate::lab::tape::{Tape, Witness};
use crate::lab::world::SharedWorld;

/// What the engine was doing, to which kind of file, and how.
pub(super) type Place = (&'static str, &'static str, DiskOp);

/// A bug for the laboratory to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plant {
    /// None.
    Nothing,
    /// No file is ever synced.
    NoFileSync,
    /// No directory is ever synced.
    NoDirectorySync,
    /// One kind of sync of one kind of file is missing.
    Missing(&'static str, DiskOp),
    /// Clients are answered before the sync.
    AckBeforeSync,
    /// The receiver is told before the sync.
    AlertBeforeSync,
    /// Checkpoints do not say how far in the log their states are.
    CheckpointWithoutLsn,
}

/// Crashes at one seed, with the points found so far.
#[derive(Debug, Default)]
pub(super) struct Points {
    pub(super) by_place: BTreeMap<Place, u64>,
    /// Crashes in the middle of an operation, and failing devices.
    pub(super) live: u64,
    pub(super) broken: Option<String>,
}

impl Points {
    pub(super) fn total(&self) -> u64 {
        self.by_place.values().sum::<u64>() + self.live
    }

    pub(super) fn add(&mut self, other: Self) {
        for (place, count) in other.by_place {
            *self.by_place.entry(place).or_default() += count;
        }
        self.live += other.live;
        self.broken = self.broken.take().or(other.broken);
    }
}

/// A script and what it comes to.
#[derive(Debug)]
pub(super) struct Campaign {
    seed: u64,
    script: Arc<Script>,
    oracle: Arc<Oracle>,
    /// Operations of the uninterrupted run.
    ops: u64,
}

impl Campaign {
    /// Plays the script of `seed` once without a crash.
    pub(super) fn new(seed: u64) -> Result<Self, String> {
        let script = Script::new(seed);
        let disk = SimDisk::new(seed);
        let oracle = Oracle::of(&script, &machine(&disk, seed))?;
        let ops = disk.ops();
        Ok(Self { seed, script: Arc::new(script), oracle: Arc::new(oracle), ops })
    }

    /// Crashes before every operation, or before `only`; with a planted bug, until it is found.
    pub(super) fn crash_everywhere(&self, plant: Plant, only: Option<u64>) -> Points {
        let disk = SimDisk::new(self.seed);
        disk.ignore_syncs(plant == Plant::NoFileSync);
        disk.ignore_dir_syncs(plant == Plant::NoDirectorySync);
        let mut machine = machine(&disk, self.seed);
        machine.acks_early = plant == Plant::AckBeforeSync;
        machine.alerts_early = plant == Plant::AlertBeforeSync;
        machine.forgets_lsn = plant == Plant::CheckpointWithoutLsn;
        let left_out = match plant {
            Plant::Missing(kind, op) => Some((kind, op)),
            _ => None,
        };
        let points = Arc::new(Mutex::new(Points::default()));
        let witness = self.witness(&disk, &machine, &points, only);
        machine.disk = Arc::new(Tape::new(disk, witness, left_out));
        let played = play(&self.script, 0, None, &machine, false);
        drop(machine.disk);
        let mut points =
            std::mem::take(&mut *points.lock().unwrap_or_else(PoisonError::into_inner));
        let world = machine.world.lock();
        if let Err(error) = played {
            points.broken.get_or_insert(format!("{}: {error:?}", self.told(0)));
        } else if plant == Plant::Nothing && world.acks != self.oracle.world.acks {
            points.broken.get_or_insert(format!("{}: the same run ends otherwise", self.told(0)));
        }
        points
    }

    fn witness(
        &self,
        disk: &SimDisk,
        machine: &Machine,
        points: &Arc<Mutex<Points>>,
        only: Option<u64>,
    ) -> Witness {
        let (disk, points) = (disk.clone(), Arc::clone(points));
        let (script, oracle) = (Arc::clone(&self.script), Arc::clone(&self.oracle));
        let (clock, world) = (Arc::clone(&machine.clock), machine.world.clone());
        let seed = self.seed;
        Arc::new(move |kind, op| {
            let point = disk.ops() + 1;
            let world = world.lock().clone();
            let mut points = points.lock().unwrap_or_else(PoisonError::into_inner);
            *points.by_place.entry((world.phase, kind, op)).or_default() += 1;
            if points.broken.is_some() || only.is_some_and(|only| only != point) {
                return;
            }
            let mut rng = Rng::from_seed(seed.rotate_left(32) ^ point);
            let killed = rng.below(4) == 0;
            let moment = Moment {
                image: crashed(&disk, killed, &mut rng),
                world,
                now: clock.now(),
                killed,
                depth: if rng.below(16) == 0 { Depth::Whole } else { Depth::Brief },
                twice: rng.below(6) == 0,
                damaged: rng.below(8) == 0,
                seed: rng.next_u64(),
            };
            if let Err(told) = moment.check(&script, &oracle) {
                let at = format!("SEED={seed} TIDEWATCH_LAB={seed}:{point}");
                points.broken = Some(format!("{at} before {op:?} of {kind}: {told}"));
            }
        })
    }

    /// Crashes in the middle of operations, and failing devices, at some places of the script.
    pub(super) fn fail_somewhere(&self, times: u64) -> Points {
        let mut points = Points::default();
        let mut rng = Rng::from_seed(!self.seed);
        for _ in 0..times {
            let point = 1 + rng.below(self.ops);
            points.live += 1;
            if let Err(told) = self.fail_at(point, rng.next_u64()) {
                points.broken.get_or_insert(format!("{} failing: {told}", self.told(point)));
            }
        }
        points
    }

    fn fail_at(&self, point: u64, seed: u64) -> Result<(), String> {
        let mut rng = Rng::from_seed(seed);
        let disk = SimDisk::new(self.seed);
        let machine = machine(&disk, self.seed);
        let fault = rng.below(4);
        match fault {
            0 => disk.fail_op(point, std::io::ErrorKind::Other, FaultMode::Once),
            1 => disk.fail_op(point, std::io::ErrorKind::Other, FaultMode::ShortWrite),
            _ => disk.crash_at(point),
        }
        let played = play(&self.script, 0, None, &machine, false);
        if fault > 1 && (played.is_ok() || !disk.crashed()) {
            return Err("the engine goes on without a machine".to_owned());
        }
        drop(played);
        let mut world = machine.world.lock().clone();
        let killed = rng.below(2) == 0;
        if fault < 2 {
            // A device that refuses a sync may lose what was only written.
            world.acks.retain(|ack| ack.level == Durability::Synced);
        }
        let moment = Moment {
            image: crashed(&disk, killed, &mut rng),
            world,
            now: machine.clock.now(),
            killed,
            depth: Depth::Whole,
            twice: rng.below(3) == 0,
            damaged: rng.below(4) == 0,
            seed: rng.next_u64(),
        };
        moment.check(&self.script, &self.oracle)
    }

    fn told(&self, point: u64) -> String {
        format!("SEED={} TIDEWATCH_LAB={}:{point}", self.seed, self.seed)
    }
}

fn crashed(disk: &SimDisk, killed: bool, rng: &mut Rng) -> SimDisk {
    if killed { disk.reboot_keeping_all() } else { disk.reboot(rng.next_u64()) }
}

fn machine(disk: &SimDisk, seed: u64) -> Machine {
    Machine {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SimClock::new(UnixNanos::new(BEGIN_NANOS))),
        world: SharedWorld::default(),
        seed,
        acks_early: false,
        alerts_early: false,
        forgets_lsn: false,
    }
}
