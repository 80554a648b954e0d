//! Plays a script, from its beginning or from where a crash left it.

use std::collections::BTreeMap;

use tidewatch_metrics::Lsn;

use crate::EngineError;
use crate::lab::process::{DATA_DIR, Machine, Process};
use crate::lab::proving::Proof;
use crate::lab::replayed::Replayed;
use crate::lab::script::{Script, Step};
use crate::lab::world::World;

/// A script's end, with its last process still running.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) process: Process,
    pub(super) proofs: BTreeMap<Lsn, Proof>,
}

/// What an uninterrupted run of a script has come to.
#[derive(Debug)]
pub(super) struct Oracle {
    pub(super) replayed: Replayed,
    pub(super) proofs: BTreeMap<Lsn, Proof>,
    pub(super) world: World,
}

/// Plays the steps from `from` on, until the end or until the log fails.
pub(super) fn play(
    script: &Script,
    from: usize,
    mut process: Option<Process>,
    machine: &Machine,
    each: bool,
) -> Result<Played, EngineError> {
    let mut proofs = BTreeMap::new();
    for (number, step) in script.steps.iter().enumerate().skip(from) {
        machine.world.lock().step = number;
        if let Step::Start(life) = step {
            machine.world.lock().life = *life;
            if let Some(mut killed) = process.take() {
                merge(&mut proofs, &mut killed, machine);
            }
            process = Some(Process::start(machine, *life, each)?);
            machine.world.lock().promote();
            continue;
        }
        let process = process.as_mut().expect("a script begins with a start");
        match step {
            Step::Start(_) => {}
            Step::Write(numbers) => {
                let requests: Vec<_> =
                    numbers.iter().map(|number| (*number, &script.requests[*number])).collect();
                process.write(&requests)?;
            }
            Step::Pass(time) => machine.clock.advance(*time),
            Step::Flush => process.flush()?,
            Step::Checkpoint(numbers) => {
                let requests: Vec<_> =
                    numbers.iter().map(|number| (*number, &script.requests[*number])).collect();
                process.checkpoint(&requests)?;
            }
            Step::Outbox => process.outbox()?,
            Step::Idle => process.idle()?,
            Step::Preallocate => process.preallocate(),
            Step::Hash => process.hash()?,
        }
    }
    machine.world.lock().step = script.steps.len();
    let mut process = process.expect("a script begins with a start");
    process.settle()?;
    merge(&mut proofs, &mut process, machine);
    Ok(Played { process, proofs })
}

/// What a life has proven joins what lives before it have: they must agree.
fn merge(proofs: &mut BTreeMap<Lsn, Proof>, process: &mut Process, machine: &Machine) {
    let of_life: BTreeMap<Lsn, Proof> = process.proofs().into_iter().collect();
    for (lsn, proof) in of_life {
        let known = *proofs.entry(lsn).or_insert(proof);
        if known != proof {
            let told = format!("at record {lsn}: live {known:?}, replayed {proof:?}");
            machine.world.lock().break_promise(told);
        }
    }
}

impl Oracle {
    /// Plays the whole script on a machine that does not fail.
    pub(super) fn of(script: &Script, machine: &Machine) -> Result<Self, String> {
        let played = play(script, 0, None, machine, true).map_err(|error| format!("{error:?}"))?;
        let data_dir = std::path::Path::new(DATA_DIR);
        let replayed =
            Replayed::of(&machine.disk, data_dir, 2).map_err(|error| format!("{error:?}"))?;
        let world = machine.world.lock().clone();
        let sent: Vec<_> =
            world.sent.iter().map(|number| script.requests[*number].rows.clone()).collect();
        if replayed.requests() != sent {
            return Err("the log does not hold what was sent".to_owned());
        }
        match &world.broken {
            Some(broken) => Err(broken.clone()),
            None => Ok(Self { replayed, proofs: played.proofs, world }),
        }
    }

    /// What the operators had come to after the record `lsn`.
    pub(super) fn proof_at(&self, lsn: Lsn) -> Proof {
        self.proofs.range(..=lsn).next_back().map(|(_, proof)| *proof).unwrap_or_default()
    }
}
