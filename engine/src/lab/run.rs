//! Plays a script, from its beginning or from where a crash left it.

use std::collections::BTreeMap;
use std::ops::Range;

use tidewatch_metrics::Lsn;

use crate::EngineError;
use crate::lab::finding::{Finding, Layer};
use crate::lab::process::{Machine, Process};
use crate::lab::proving::Proof;
use crate::lab::script::{Script, Step};

/// What the operators had come to after each record.
#[derive(Clone, Debug, Default)]
pub(super) struct Proofs(BTreeMap<Lsn, Proof>);

/// Plays steps of a script, one process after the other.
#[derive(Debug)]
pub(super) struct Player<'a> {
    script: &'a Script,
    machine: &'a Machine,
    /// Whether every record is proven, or only where the log advances.
    each: bool,
    pub(super) process: Option<Process>,
    pub(super) proofs: Proofs,
}

impl Proofs {
    /// What the operators had come to after the record `lsn`.
    pub(super) fn at(&self, lsn: Lsn) -> Proof {
        self.0.range(..=lsn).next_back().map(|(_, proof)| *proof).unwrap_or_default()
    }

    /// Those of records up to `lsn`.
    pub(super) fn upto(&self, lsn: Lsn) -> Self {
        Self(self.0.range(..=lsn).map(|(lsn, proof)| (*lsn, *proof)).collect())
    }

    /// What a life has proven joins what lives before it have: they must agree.
    fn merge(&mut self, of_life: Vec<(Lsn, Proof)>) -> Result<(), Finding> {
        // A record's last proof counts: before it, not all shards have seen the record.
        let of_life: BTreeMap<Lsn, Proof> = of_life.into_iter().collect();
        for (lsn, proof) in of_life {
            let known = *self.0.entry(lsn).or_insert(proof);
            if known != proof {
                let told = format!("at record {lsn}: live {known:?}, replayed {proof:?}");
                return Err(Finding::new(Layer::ReplayHash, told));
            }
        }
        Ok(())
    }
}

impl<'a> Player<'a> {
    pub(super) fn new(script: &'a Script, machine: &'a Machine, each: bool) -> Self {
        Self { script, machine, each, process: None, proofs: Proofs::default() }
    }

    /// Plays these steps, until the log fails.
    pub(super) fn play(&mut self, steps: Range<usize>) -> Result<(), EngineError> {
        for number in steps {
            self.machine.world.lock().step = number;
            self.step(&self.script.steps[number])?;
        }
        Ok(())
    }

    /// Delivers what is due at the script's end.
    pub(super) fn settle(&mut self) -> Result<(), EngineError> {
        self.machine.world.lock().step = self.script.steps.len();
        self.process().settle()
    }

    /// As [`Player::settle`], until the log has no room to note deliveries.
    pub(super) fn settle_while_there_is_room(&mut self) -> Result<(), EngineError> {
        self.machine.world.lock().step = self.script.steps.len();
        self.process().settle_while_there_is_room()
    }

    /// Ends the process, as a kill does, and keeps what it has proven.
    pub(super) fn kill(&mut self) {
        if let Some(mut process) = self.process.take()
            && let Err(Finding { layer, told }) = self.proofs.merge(process.proofs())
        {
            self.machine.world.lock().break_promise(layer, told);
        }
    }

    fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("a script begins with a start")
    }

    fn step(&mut self, step: &Step) -> Result<(), EngineError> {
        let (script, machine) = (self.script, self.machine);
        let requests = |numbers: &[usize]| -> Vec<_> {
            numbers.iter().map(|number| (*number, &script.requests[*number])).collect()
        };
        match step {
            Step::Start(life) => {
                machine.world.lock().life = *life;
                self.kill();
                self.process = Some(Process::start(machine, *life, self.each)?);
                machine.world.lock().promote();
            }
            Step::Write(numbers) => self.process().write(&requests(numbers))?,
            Step::Pass(time) => machine.clock.advance(*time),
            Step::Jump(nanos) => machine.jump(*nanos),
            Step::Read(count) => self.process().read(*count)?,
            Step::Mend => self.process().mend()?,
            Step::Flush => self.process().flush()?,
            Step::Compact => self.process().compact()?,
            Step::Delete(number) => self.process().delete(&script.deletes[*number])?,
            Step::Checkpoint(numbers) => self.process().checkpoint(&requests(numbers))?,
            Step::Outbox => self.process().outbox()?,
            Step::Idle => self.process().idle()?,
            Step::Preallocate => self.process().preallocate(),
            Step::Hash => self.process().hash()?,
        }
        Ok(())
    }
}
