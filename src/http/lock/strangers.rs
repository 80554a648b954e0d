//! How often an address is told that its key is wrong.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::keys::{Bucket, Rate, Turn};

/// Refusals a second that an address is answered and that are told to the audit trail.
const PER_SECOND: u64 = 20;
/// Of these at once, after a pause.
const BURST: u64 = 200;
/// Addresses that are remembered; further ones share one place.
const ADDRESSES_MAX: usize = 10_000;
/// Between two looks for addresses that need no longer be remembered.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

/// What is to be done with a request that shows no key that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stranger {
    /// Its refusal is told, with the number of earlier ones that were not.
    Told {
        /// Refusals of this address since the last one that was told.
        untold: u64,
    },
    /// It came too often: it is turned away without another word.
    TurnedAway {
        /// When the next refusal will be told.
        turn: Turn,
    },
}

/// Addresses whose requests were refused lately.
#[derive(Debug)]
pub(super) struct Strangers {
    rate: Rate,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    places: HashMap<IpAddr, Arc<Place>>,
    /// For addresses beyond those that are remembered.
    others: Arc<Place>,
    swept: Duration,
}

#[derive(Debug, Default)]
struct Place {
    bucket: Bucket,
    untold: Mutex<u64>,
}

impl Strangers {
    /// Nobody yet.
    pub(super) fn new() -> Self {
        Self { rate: Rate::new(PER_SECOND, BURST), known: Mutex::default() }
    }

    /// Notes a request from `address` that is refused at `now` of the monotonic clock.
    pub(super) fn refused(&self, address: Option<IpAddr>, now: Duration) -> Stranger {
        let place = self.place(address.map(network), now);
        let turn = place.bucket.take(&self.rate, now);
        let mut untold = place.untold.lock().unwrap_or_else(PoisonError::into_inner);
        if turn.granted {
            return Stranger::Told { untold: std::mem::take(&mut untold) };
        }
        *untold = untold.saturating_add(1);
        Stranger::TurnedAway { turn }
    }

    fn place(&self, network: Option<IpAddr>, now: Duration) -> Arc<Place> {
        let mut known = self.known();
        let Some(network) = network else { return Arc::clone(&known.others) };
        if let Some(place) = known.places.get(&network) {
            return Arc::clone(place);
        }
        if known.places.len() >= ADDRESSES_MAX && now >= known.swept + SWEEP_PAUSE {
            known.swept = now;
            known.places.retain(|_, place| !place.bucket.is_full(now));
        }
        if known.places.len() >= ADDRESSES_MAX {
            return Arc::clone(&known.others);
        }
        Arc::clone(known.places.entry(network).or_default())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An IPv4 address, or the /64 that one customer is usually given of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(number: u32) -> Option<IpAddr> {
        Some(IpAddr::V4(Ipv4Addr::from(number)))
    }

    #[test]
    fn after_a_burst_an_address_is_turned_away_and_others_are_not() {
        let strangers = Strangers::new();
        let now = Duration::from_secs(5);
        for _ in 0..BURST {
            assert_eq!(strangers.refused(address(1), now), Stranger::Told { untold: 0 });
        }
        for _ in 0..7 {
            let turned = strangers.refused(address(1), now);
            assert!(matches!(turned, Stranger::TurnedAway { .. }), "{turned:?}");
        }
        assert_eq!(strangers.refused(address(2), now), Stranger::Told { untold: 0 });
        let later = now + Duration::from_secs(1);
        assert_eq!(strangers.refused(address(1), later), Stranger::Told { untold: 7 });
    }

    #[test]
    fn addresses_are_remembered_up_to_a_number_and_forgotten_when_they_are_quiet() {
        let strangers = Strangers::new();
        let now = Duration::from_secs(100);
        let all = u32::try_from(ADDRESSES_MAX).unwrap() + 500;
        for number in 0..all {
            strangers.refused(address(number), now);
        }
        assert_eq!(strangers.known().places.len(), ADDRESSES_MAX);
        let crowd = (0..1_000).map(|number| strangers.refused(address(all + number), now));
        assert!(crowd.last().is_some_and(|last| last != Stranger::Told { untold: 0 }));
        strangers.refused(address(u32::MAX), now + Duration::from_secs(60));
        assert_eq!(strangers.known().places.len(), 1);
    }

    #[test]
    fn addresses_of_one_network_are_one() {
        let parse = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(parse("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(parse("::ffff:10.1.2.3"), "10.1.2.3");
        assert_eq!(parse("10.1.2.3"), "10.1.2.3");
    }
}
