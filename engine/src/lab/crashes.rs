//! A crash at every operation of a script: before it, after it, and in the middle of a write.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tidewatch_env::{Clock, Disk, OpenMode, Rng, SimClock, SimDisk};
use tidewatch_metrics::UnixNanos;

use crate::lab::campaign::{Campaign, Failure};
use crate::lab::effort::Effort;
use crate::lab::finding::{Finding, Layer, guarded};
use crate::lab::moment::{Depth, Moment, crashed};
use crate::lab::outcome::Outcome;
use crate::lab::plant::Plant;
use crate::lab::process::Machine;
use crate::lab::run::Player;
use crate::lab::script::BEGIN_NANOS;
use crate::lab::tally::{FileOp, Tally};
use crate::lab::tape::{Event, Tape};
use crate::lab::world::{SharedWorld, World};

/// Where crashes are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// As many as the effort says.
    Many(Effort),
    /// At this point alone.
    One(u64, Outcome),
}

/// The crashes of one run.
#[derive(Debug)]
struct Crashes {
    campaign: Arc<Campaign>,
    wanted: Wanted,
    disk: SimDisk,
    clock: Arc<SimClock>,
    world: SharedWorld,
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Found {
    tally: Tally,
    failure: Option<Failure>,
    /// What the script has had so far: the first of each is always tried.
    seen: BTreeSet<(FileOp, Outcome)>,
}

/// The numbers of a point: the same for the same point, whatever else is tried.
pub(super) fn rng_of(seed: u64, point: u64, outcome: Outcome) -> Rng {
    let lane = Outcome::ALL.iter().position(|other| *other == outcome).unwrap_or_default();
    let lane = u64::try_from(lane).expect("there are few outcomes");
    Rng::from_seed(seed.rotate_left(32) ^ point ^ (lane << 56))
}

/// Crashes of `campaign` where they are wanted, until one is not survived.
pub(super) fn crash(
    campaign: &Arc<Campaign>,
    plant: Plant,
    wanted: Wanted,
) -> (Tally, Option<Failure>) {
    let seed = campaign.seed;
    let disk = SimDisk::new(seed);
    disk.ignore_syncs(plant == Plant::NoFileSync);
    disk.ignore_dir_syncs(plant == Plant::NoDirectorySync);
    let begin = UnixNanos::new(BEGIN_NANOS);
    let mut machine = Machine::new(Arc::new(disk.clone()), begin, World::default(), seed);
    machine.acks_early = plant == Plant::AckBeforeSync;
    machine.alerts_early = plant == Plant::AlertBeforeSync;
    machine.forgets_lsn = plant == Plant::CheckpointWithoutLsn;
    machine.forgets_keys = plant == Plant::KeysNotPersisted;
    machine.plant_offsets(plant);
    let crashes = Arc::new(Crashes {
        campaign: Arc::clone(campaign),
        wanted,
        disk: disk.clone(),
        clock: Arc::clone(&machine.clock),
        world: machine.world.clone(),
        found: Mutex::default(),
    });
    let witness = Arc::clone(&crashes);
    let witness = Arc::new(move |event: &Event<'_>| witness.see(event));
    machine.disk = Arc::new(Tape::new(disk, witness, plant.bad_syncs()));
    let played = guarded(|| {
        let mut player = Player::new(&campaign.script, &machine, false);
        let played = player.play(0..campaign.script.steps.len());
        let told = |error| Finding::new(Layer::Conduct, format!("without a crash: {error:?}"));
        played.and_then(|()| player.settle()).map_err(told)
    });
    let mut found = std::mem::take(&mut *crashes.lock());
    let world = machine.world.lock();
    let otherwise = plant == Plant::Nothing && world.acks != campaign.world.acks;
    let told = "the same run ends otherwise";
    let finding = match played {
        Err(finding) => Some(finding),
        Ok(()) if otherwise => Some(Finding::new(Layer::Conduct, told)),
        Ok(()) => None,
    };
    if let Some(finding) = finding {
        found.failure.get_or_insert(Failure { seed, point: None, finding });
    }
    (found.tally, found.failure)
}

impl Crashes {
    fn lock(&self) -> std::sync::MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn see(&self, event: &Event<'_>) {
        let outcomes: &[Outcome] = match (event.ended, event.write) {
            (None, None) => &[Outcome::Before],
            (None, Some(_)) => &[Outcome::Before, Outcome::Torn],
            // A name that is missing already is as well removed.
            (Some(Ok(()) | Err(io::ErrorKind::NotFound)), _) => &[Outcome::After],
            (Some(Err(_)), _) => &[],
        };
        for outcome in outcomes {
            self.point(event, *outcome);
        }
    }

    fn point(&self, event: &Event<'_>, outcome: Outcome) {
        let seed = self.campaign.seed;
        let mut rng = rng_of(seed, event.number, outcome);
        let mut found = self.lock();
        let is_first = found.seen.insert((event.file_op, outcome));
        let is_drawn = match self.wanted {
            Wanted::Many(effort) => is_first || rng.below(effort.one_in(outcome)) == 0,
            Wanted::One(point, only) => (point, only) == (event.number, outcome),
        };
        if found.failure.is_some() || !is_drawn {
            return;
        }
        let world = self.world.lock().clone();
        *found.tally.phases.entry((world.phase, event.file_op)).or_default() += 1;
        found.tally.count(event.file_op, outcome);
        found.tally.points += 1;
        let checked = guarded(|| self.moment(event, outcome, world).check(self.campaign.known()));
        if let Err(finding) = checked {
            found.failure = Some(self.campaign.failure(event.number, outcome, finding));
        }
    }

    fn moment(&self, event: &Event<'_>, outcome: Outcome, world: World) -> Moment {
        let mut rng = rng_of(!self.campaign.seed, event.number, outcome);
        let killed = rng.below(4) == 0;
        let image = match event.write {
            Some((bytes, offset)) if outcome == Outcome::Torn => {
                let torn = self.disk.reboot_keeping_all();
                let part = usize::try_from(rng.below(bytes.len() as u64 + 1)).unwrap_or_default();
                // A file without a name has nothing to lose.
                if let Ok(file) = torn.open(event.path, OpenMode::ReadWrite) {
                    file.write_all_at(&bytes[..part], offset).expect("the copy has no faults");
                }
                crashed(&torn, killed, &mut rng)
            }
            _ => crashed(&self.disk, killed, &mut rng),
        };
        Moment {
            image,
            world,
            now: self.clock.now(),
            killed,
            depth: if rng.below(16) == 0 { Depth::Whole } else { Depth::Brief },
            twice: rng.below(6) == 0,
            damaged: rng.below(8) == 0,
            seed: rng.next_u64(),
        }
    }
}
