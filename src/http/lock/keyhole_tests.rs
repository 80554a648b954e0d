use std::path::Path;
use std::time::Duration;

use tidewatch_env::{Disk, SimClock, SimDisk};
use tidewatch_metrics::UnixNanos;

use super::*;
use crate::keys::{Digest, KeyText};

struct Door {
    lock: Lock,
    clock: Arc<SimClock>,
}

fn door(auth: Auth, requests_per_second: u64) -> Door {
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new("/d")).unwrap();
    let clock = Arc::new(SimClock::new(UnixNanos::new(1)));
    let shared = || -> Arc<dyn Clock> { Arc::<SimClock>::clone(&clock) };
    let keyring = Keyring::open(Arc::new(disk), shared(), Path::new("/d")).unwrap();
    let config = LockConfig { auth, requests_per_second };
    Door { lock: Lock::new(keyring, config, shared()), clock }
}

impl Door {
    fn key(&self, name: &str, scope: Scope) -> Credentials {
        shown(&self.lock.keyring.add(name, scope).unwrap().1)
    }

    /// The reason of the refusal; `None`: it passes.
    fn ask(&self, access: Access, shown: Credentials) -> Option<Refused> {
        let address = IpAddr::from([10, 0, 0, 1]);
        self.lock.ask(access, shown, Some(address)).err().map(|denied| denied.why.reason())
    }
}

fn shown(text: &KeyText) -> Credentials {
    Credentials::Key(Digest::of(text.expose().as_bytes()).unwrap())
}

const READ: Access = Access::Scope(Scope::Read);
const WRITE: Access = Access::Scope(Scope::Write);
const ADMIN: Access = Access::Scope(Scope::Admin);

#[test]
fn the_first_key_turns_the_lock_on_and_its_revocation_does_not_turn_it_off() {
    let door = door(Auth::Auto, 0);
    assert!(!door.lock.is_on());
    assert_eq!(door.ask(ADMIN, Credentials::None), None);
    let key = door.key("one", Scope::Admin);
    assert!(door.lock.is_on());
    assert_eq!(door.ask(ADMIN, Credentials::None), Some(Refused::NoKey));
    assert_eq!(door.ask(ADMIN, key), None);
    door.lock.keyring.revoke("one").unwrap();
    assert!(door.lock.is_on());
    assert_eq!(door.ask(ADMIN, key), Some(Refused::Revoked));
    assert_eq!(door.ask(Access::Open, Credentials::None), None);
}

#[test]
fn on_asks_without_any_key_and_off_never() {
    let (on, off) = (door(Auth::On, 0), door(Auth::Off, 0));
    assert_eq!(on.ask(Access::AnyKey, Credentials::None), Some(Refused::NoKey));
    off.key("one", Scope::Read);
    assert_eq!(off.ask(ADMIN, Credentials::None), None);
}

#[test]
fn scopes_open_what_they_say() {
    let door = door(Auth::Auto, 0);
    let [read, write, admin] =
        [Scope::Read, Scope::Write, Scope::Admin].map(|scope| door.key(scope.name(), scope));
    let scope = Some(Refused::Scope);
    for (access, expected) in [
        (READ, [None, scope, None]),
        (WRITE, [scope, None, None]),
        (ADMIN, [scope, scope, None]),
        (Access::AnyKey, [None; 3]),
        (Access::Open, [None; 3]),
    ] {
        assert_eq!([read, write, admin].map(|key| door.ask(access, key)), expected, "{access:?}");
    }
    let unknown = shown(&KeyText::generate().unwrap());
    assert_eq!(door.ask(READ, unknown), Some(Refused::WrongKey));
    assert_eq!(door.ask(READ, Credentials::Unreadable("")), Some(Refused::WrongKey));
}

#[test]
fn each_key_has_its_own_rate_and_a_burst_of_twice_of_it() {
    let door = door(Auth::Auto, 5);
    let [one, two] = ["one", "two"].map(|name| door.key(name, Scope::Read));
    for _ in 0..10 {
        assert_eq!(door.ask(READ, one), None);
    }
    assert_eq!(door.ask(READ, one), Some(Refused::Rate));
    assert_eq!(door.ask(READ, two), None);
    door.clock.advance(Duration::from_millis(200));
    assert_eq!(door.ask(READ, one), None);
    assert_eq!(door.ask(READ, one), Some(Refused::Rate));
    // A change of keys gives nobody another burst.
    door.key("three", Scope::Read);
    assert_eq!(door.ask(READ, one), Some(Refused::Rate));
}

#[test]
fn an_address_with_wrong_keys_is_turned_away_and_a_right_key_from_there_is_not() {
    let door = door(Auth::Auto, 0);
    let right = door.key("right", Scope::Read);
    let reasons: Vec<_> =
        (0..1_000).filter_map(|_| door.ask(READ, Credentials::Unreadable(""))).collect();
    assert_eq!(reasons.len(), 1_000, "all of them are refused");
    assert_eq!(reasons[0], Refused::WrongKey);
    assert_eq!(reasons[999], Refused::TurnedAway);
    assert_eq!(door.ask(READ, right), None);
    assert_eq!(door.ask(ADMIN, right), Some(Refused::Scope), "what a known key is told stays");
    let denied = door.lock.ask(ADMIN, right, Some(IpAddr::from([10, 0, 0, 1]))).unwrap_err();
    assert_eq!(denied.untold, None, "but the audit trail is spared");
}
