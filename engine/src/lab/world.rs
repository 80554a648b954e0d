//! What no crash of the simulated machine can touch: the clients' ledger and the alerts' receiver.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidewatch_metrics::{AlertKey, Lsn, Subject, Transition, TransitionKind, UnixNanos};
use tidewatch_sinks::{Message, body};

use crate::ingest::Durability;
use crate::lab::finding::{Finding, Layer};
use crate::lab::keys::KeyLedger;
use crate::lab::script::Life;
use crate::{EngineError, ErrorKind};

/// The ledger, and where the script stands.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    /// The step that the script is in.
    pub(super) step: usize,
    /// What is in force since the last start that was tried.
    pub(super) life: Life,
    /// What the engine is doing, for the table.
    pub(super) phase: &'static str,
    /// Requests that a record was made of, in order.
    pub(super) sent: Vec<usize>,
    /// Answers that clients got.
    pub(super) acks: Vec<Acked>,
    /// What they know of their idempotency keys.
    pub(super) keys: KeyLedger,
    /// Answers that the reader of the partition got.
    pub(super) fed: Vec<Fed>,
    /// Answers that whoever had letters replayed got.
    pub(super) mended: Vec<Mended>,
    /// Records of deletes that were answered.
    pub(super) deleted: Vec<Lsn>,
    /// What the receiver got, repeats left out.
    pub(super) arrivals: Vec<Arrival>,
    /// The disk has refused something.
    pub(super) faulted: bool,
    /// The disk was too full to keep what only `replay` needs.
    pub(super) archive_may_go: bool,
    /// Requests that were refused for want of space.
    pub(super) refused: u64,
    /// The first promise that was seen broken.
    pub(super) broken: Option<Finding>,
}

/// An answer that a client got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Acked {
    pub(super) request: usize,
    pub(super) lsn: Lsn,
    pub(super) level: Durability,
}

/// Messages are stored, as their reader was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fed {
    pub(super) lsn: Lsn,
    /// The offset after the last one.
    pub(super) next: u64,
}

/// Letters are replayed, as was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mended {
    pub(super) lsn: Lsn,
    /// Offsets of their messages.
    pub(super) offsets: Vec<u64>,
}

/// An alert as its receiver knows it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) subject: Subject,
    pub(super) key: (AlertKey, TransitionKind),
    pub(super) body: Vec<u8>,
}

/// The world, shared with the callbacks of the engine.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedWorld(Arc<Mutex<World>>);

impl SharedWorld {
    pub(super) fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    /// The last record that must have survived.
    pub(super) fn promised(&self, killed: bool) -> Lsn {
        let counts = |ack: &&Acked| killed || ack.level == Durability::Synced;
        let acks = self.acks.iter().filter(counts).map(|ack| ack.lsn);
        let fed = self.fed.iter().map(|fed| fed.lsn);
        let mended = self.mended.iter().map(|mended| mended.lsn);
        acks.chain(fed).chain(mended).chain(self.deleted.iter().copied()).max().unwrap_or_default()
    }

    /// A recovery has shown all that was written, so from here on no crash may take it back.
    pub(super) fn promote(&mut self) {
        for ack in &mut self.acks {
            ack.level = Durability::Synced;
        }
    }

    /// A record was made of a request; `now` is the log's time.
    pub(super) fn make(&mut self, request: usize, key: Option<u64>, now: UnixNanos) {
        self.sent.push(request);
        if let Some(key) = key {
            let made = self.keys.make((key, request), now);
            self.check(Layer::Ledger, made);
        }
    }

    /// A client was told that its request is stored.
    pub(super) fn acknowledge(&mut self, ack: Acked, key: Option<u64>) {
        self.acks.push(ack);
        if let Some(key) = key {
            self.keys.hold((key, ack.request), ack.lsn);
        }
    }

    pub(super) fn receive(&mut self, message: &Message) {
        let arrival = Arrival::of(&message.transition);
        match self.arrivals.iter().find(|known| known.key == arrival.key) {
            None => self.arrivals.push(arrival),
            Some(known) if *known == arrival => {}
            Some(_) => {
                let told = format!("{:?} repeated with another body", arrival.key);
                self.break_promise(Layer::Receiver, told);
            }
        }
    }

    /// A client was told that its request was not stored: it must be nowhere.
    pub(super) fn refuse(&mut self, request: usize, error: &EngineError) {
        if error.kind() == ErrorKind::Full && self.faulted {
            self.refused += 1;
            if let Some(at) = self.sent.iter().rposition(|sent| *sent == request) {
                self.sent.remove(at);
            }
        } else {
            self.break_promise(Layer::Conduct, format!("request {request} got {error:?}"));
        }
    }

    /// The reader was told that its messages were not stored: it reads them again.
    pub(super) fn refuse_messages(&mut self, error: &EngineError) {
        if error.kind() == ErrorKind::Full && self.faulted {
            self.refused += 1;
        } else {
            self.break_promise(Layer::Conduct, format!("messages got {error:?}"));
        }
    }

    pub(super) fn check(&mut self, layer: Layer, kept: Result<(), String>) {
        if let Err(told) = kept {
            self.break_promise(layer, told);
        }
    }

    pub(super) fn break_promise(&mut self, layer: Layer, told: impl Into<String>) {
        self.broken.get_or_insert_with(|| Finding::new(layer, told));
    }
}

impl Arrival {
    pub(super) fn of(transition: &Transition) -> Self {
        Self {
            subject: transition.subject,
            key: (transition.key, transition.kind),
            body: body(transition, None),
        }
    }
}

impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.body))
    }
}
