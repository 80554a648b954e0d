//! Which operation fails, and how.

use std::io;

/// How long a planned fault lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultMode {
    /// The operation with the number fails, without effect; later ones succeed.
    Once,
    /// The operation with the number and all later ones fail, without effect.
    Forever,
    /// As `Once`, but a write is done in part.
    ShortWrite,
}

/// What becomes of an operation.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It happens.
    Proceed,
    /// It fails without effect.
    Fail(io::Error),
    /// It fails after a part of its bytes.
    Partial(io::Error),
    /// It fails because the machine is down.
    Dead,
}

impl Verdict {
    /// For operations without parts: partial failures have no effect.
    pub(crate) fn whole(self) -> io::Result<()> {
        match self {
            Self::Proceed => Ok(()),
            Self::Fail(error) | Self::Partial(error) => Err(error),
            Self::Dead => Err(dead()),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct FaultPlan {
    ops: u64,
    crash_at: Option<u64>,
    crashed: bool,
    faults: Vec<Fault>,
}

#[derive(Debug)]
struct Fault {
    op_number: u64,
    kind: io::ErrorKind,
    mode: FaultMode,
}

impl FaultPlan {
    pub(crate) fn crash_at(&mut self, op_number: u64) {
        self.crash_at = Some(op_number);
    }

    pub(crate) fn fail(&mut self, op_number: u64, kind: io::ErrorKind, mode: FaultMode) {
        self.faults.push(Fault { op_number, kind, mode });
    }

    pub(crate) fn ops(&self) -> u64 {
        self.ops
    }

    pub(crate) fn crashed(&self) -> bool {
        self.crashed
    }

    pub(crate) fn check_alive(&self) -> io::Result<()> {
        if self.crashed { Err(dead()) } else { Ok(()) }
    }

    /// Counts the next operation and judges it.
    pub(crate) fn next(&mut self) -> Verdict {
        if self.crashed {
            return Verdict::Dead;
        }
        self.ops += 1;
        if self.crash_at == Some(self.ops) {
            self.crashed = true;
            return Verdict::Partial(dead());
        }
        let hit = self.faults.iter().find(|fault| match fault.mode {
            FaultMode::Once | FaultMode::ShortWrite => fault.op_number == self.ops,
            FaultMode::Forever => fault.op_number <= self.ops,
        });
        match hit {
            None => Verdict::Proceed,
            Some(Fault { kind, mode: FaultMode::ShortWrite, .. }) => {
                Verdict::Partial(planned(*kind))
            }
            Some(Fault { kind, .. }) => Verdict::Fail(planned(*kind)),
        }
    }
}

fn planned(kind: io::ErrorKind) -> io::Error {
    io::Error::new(kind, "planned by the simulation")
}

pub(crate) fn dead() -> io::Error {
    io::Error::other("the simulated machine is down")
}
