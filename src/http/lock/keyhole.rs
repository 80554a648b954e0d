//! Whether a request may pass.

use std::net::IpAddr;
use std::sync::Arc;

use tidewatch_env::Clock;

use crate::config::Auth;
use crate::http::instruments::{DoorInstruments, Refused};
use crate::http::lock::access::Access;
use crate::http::lock::credentials::Credentials;
use crate::http::lock::strangers::{Stranger, Strangers};
use crate::keys::{Key, Keyring, Rate, Scope, Turn};

/// How the lock works.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LockConfig {
    /// When keys are asked for.
    pub(crate) auth: Auth,
    /// Requests a second that one key may send, twice as many at once; 0 is without limit.
    pub(crate) requests_per_second: u64,
}

/// Knows the keys, and how often they and strangers came.
#[derive(Debug)]
pub(crate) struct Lock {
    /// The keys.
    pub(crate) keyring: Keyring,
    auth: Auth,
    rate: Option<Rate>,
    strangers: Strangers,
    clock: Arc<dyn Clock>,
    /// What is counted at the door.
    pub(crate) instruments: DoorInstruments,
}

/// Who passed.
#[derive(Clone, Debug, Default)]
pub(super) struct Passed {
    /// The key; none where the lock is off or the route is open.
    pub(super) key: Option<Arc<Key>>,
    /// How many requests the key has left, where there is a limit.
    pub(super) allowance: Option<Allowance>,
}

/// What a key may still send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    /// Requests at once, after a pause.
    pub(super) limit: u64,
    /// What the last request left of them.
    pub(super) turn: Turn,
}

/// Why a request does not pass.
#[derive(Clone, Debug)]
pub(super) struct Denied {
    pub(super) why: Denial,
    /// The key that was shown, if it is known.
    pub(super) key: Option<Arc<Key>>,
    /// Refusals of the same address that the audit trail was not told; `None`: nor is this one.
    pub(super) untold: Option<u64>,
}

/// Why a request does not pass.
#[derive(Clone, Copy, Debug)]
pub(super) enum Denial {
    /// It shows no key.
    NoKey,
    /// What it shows is none; why.
    Unreadable(&'static str),
    /// No such key was ever made.
    Unknown,
    /// The key was revoked.
    Revoked,
    /// The key is for something else.
    Scope {
        /// What it is for.
        has: Scope,
        /// What is needed.
        needed: Scope,
    },
    /// The key was used too often.
    TooOften(Allowance),
    /// The address was refused too often.
    TurnedAway(Turn),
}

impl Denial {
    /// As it is counted and audited.
    pub(super) const fn reason(&self) -> Refused {
        match self {
            Self::NoKey => Refused::NoKey,
            Self::Unreadable(_) | Self::Unknown => Refused::WrongKey,
            Self::Revoked => Refused::Revoked,
            Self::Scope { .. } => Refused::Scope,
            Self::TooOften(_) => Refused::Rate,
            Self::TurnedAway(_) => Refused::TurnedAway,
        }
    }
}

impl Lock {
    /// A lock for these keys.
    pub(crate) fn new(keyring: Keyring, config: LockConfig, clock: Arc<dyn Clock>) -> Self {
        let per_second = config.requests_per_second;
        let rate = (per_second > 0).then(|| Rate::new(per_second, per_second.saturating_mul(2)));
        let instruments = DoorInstruments::default();
        Self { keyring, auth: config.auth, rate, strangers: Strangers::new(), clock, instruments }
    }

    /// Whether keys are asked for.
    pub(crate) fn is_on(&self) -> bool {
        self.auth.is_on(self.keyring.table().is_empty())
    }

    /// Whether the request of `address` with these credentials may have `access`.
    pub(super) fn ask(
        &self,
        access: Access,
        shown: Credentials,
        address: Option<IpAddr>,
    ) -> Result<Passed, Box<Denied>> {
        let table = self.keyring.table();
        if access == Access::Open || !self.auth.is_on(table.is_empty()) {
            return Ok(Passed::default());
        }
        let key = match shown {
            Credentials::None => return Err(self.stranger(Denial::NoKey, None, address)),
            Credentials::Unreadable(why) => {
                return Err(self.stranger(Denial::Unreadable(why), None, address));
            }
            Credentials::Key(digest) => match table.find(&digest) {
                None => return Err(self.stranger(Denial::Unknown, None, address)),
                Some(key) => Arc::clone(key),
            },
        };
        if key.record.revoked.is_some() {
            return Err(self.stranger(Denial::Revoked, Some(key), address));
        }
        let allowance = self.rate.map(|rate| {
            let turn = key.bucket.take(&rate, self.clock.monotonic());
            Allowance { limit: rate.burst(), turn }
        });
        if let Some(allowance) = allowance.filter(|allowance| !allowance.turn.granted) {
            return Err(self.stranger(Denial::TooOften(allowance), Some(key), address));
        }
        match access {
            Access::Scope(needed) if !key.record.scope.covers(needed) => {
                let has = key.record.scope;
                Err(self.stranger(Denial::Scope { has, needed }, Some(key), address))
            }
            Access::Open | Access::AnyKey | Access::Scope(_) => {
                Ok(Passed { key: Some(key), allowance })
            }
        }
    }

    /// A refusal. Known keys get their answer however often; only the trail is spared.
    fn stranger(&self, why: Denial, key: Option<Arc<Key>>, address: Option<IpAddr>) -> Box<Denied> {
        let (why, untold) = match self.strangers.refused(address, self.clock.monotonic()) {
            Stranger::Told { untold } => (why, Some(untold)),
            Stranger::TurnedAway { turn } => match why {
                Denial::TooOften(_) | Denial::Scope { .. } => (why, None),
                Denial::NoKey
                | Denial::Unreadable(_)
                | Denial::Unknown
                | Denial::Revoked
                | Denial::TurnedAway(_) => (Denial::TurnedAway(turn), None),
            },
        };
        self.instruments.refused(why.reason());
        Box::new(Denied { why, key, untold })
    }
}

#[cfg(test)]
#[path = "keyhole_tests.rs"]
mod tests;
