use tidewatch_env::Rng;

use super::*;

fn key(db: &str, key: &str) -> Arc<RequestKey> {
    let answer = vec![7; 8].into();
    Arc::new(RequestKey { db: db.into(), key: key.into(), request: 1, answer })
}

fn table(keep_nanos: i64, database_keys_max: usize, bytes_max: u64) -> KeyTable {
    KeyTable::new(KeyLimits { keep_nanos, database_keys_max, bytes_max })
}

fn held(table: &KeyTable) -> Vec<u64> {
    let entries = table.databases.values().flat_map(|database| &database.order);
    let mut held: Vec<u64> = entries.map(|entry| entry.lsn.get()).collect();
    held.sort_unstable();
    held
}

#[test]
fn a_key_is_held_until_ticks_are_further_than_its_time() {
    let mut table = table(100, 10, u64::MAX);
    table.tick(UnixNanos::new(1_000));
    table.insert(Lsn::new(2), None, key("a", "x"));
    // The next tick is its time, so only what is in the log decides.
    table.tick(UnixNanos::new(1_050));
    table.tick(UnixNanos::new(1_149));
    assert!(table.find("a", "x").is_some());
    table.tick(UnixNanos::new(1_150));
    assert!(table.find("a", "x").is_none());
    assert_eq!((table.keys(), table.bytes()), (0, 0));
    assert!(table.databases.is_empty() && table.fronts.is_empty(), "nothing is left of it");
}

#[test]
fn a_key_that_no_tick_has_followed_has_not_run_out() {
    let mut table = table(100, 10, u64::MAX);
    table.insert(Lsn::new(2), None, key("a", "x"));
    assert!(table.tail(Lsn::ZERO, u64::MAX).is_empty(), "its time is not known");
    assert_eq!(table.first_after(Lsn::ZERO), Some(Lsn::new(2)));
    table.tick(UnixNanos::new(5_000));
    assert_eq!(table.tail(Lsn::ZERO, u64::MAX)[0].time, UnixNanos::new(5_000));
}

#[test]
fn the_oldest_key_of_a_full_database_goes_first() {
    let mut table = table(100, 2, u64::MAX);
    assert_eq!(table.insert(Lsn::new(1), None, key("other", "x")), 0);
    for lsn in 2..=3 {
        assert_eq!(table.insert(Lsn::new(lsn), None, key("a", &format!("k{lsn}"))), 0);
    }
    assert_eq!(table.insert(Lsn::new(4), None, key("a", "k4")), 1);
    assert_eq!(held(&table), [1, 3, 4]);
    assert!(table.find("a", "k2").is_none() && table.find("other", "x").is_some());
}

#[test]
fn the_oldest_keys_go_first_when_all_take_too_much_memory() {
    let one = bytes_of(&key("a", "k"));
    let mut table = table(100, 10, 3 * one);
    for (lsn, db) in [(1, "b"), (2, "a"), (3, "a")] {
        assert_eq!(table.insert(Lsn::new(lsn), None, key(db, "k")), 0, "{lsn}");
    }
    // The same key again: the one before has run out, or this could not be.
    assert_eq!(table.find("a", "k").unwrap().0, Lsn::new(3));
    assert_eq!(table.insert(Lsn::new(4), None, key("c", "k")), 1);
    assert_eq!(held(&table), [2, 3, 4]);
    assert_eq!(table.insert(Lsn::new(5), None, key("c", "l")), 1);
    assert_eq!(table.find("a", "k").unwrap().0, Lsn::new(3), "the later one is what counts");
    assert_eq!(table.bytes(), 3 * one);
}

#[test]
fn a_tail_is_a_beginning_in_the_order_of_the_log() {
    let mut table = table(100, 10, u64::MAX);
    for (lsn, db) in [(3, "b"), (4, "a"), (5, "b"), (8, "a")] {
        table.insert(Lsn::new(lsn), None, key(db, &format!("k{lsn}")));
    }
    table.tick(UnixNanos::new(9));
    table.insert(Lsn::new(10), None, key("b", "late"));
    let lsns = |after, bytes_max| -> Vec<u64> {
        table.tail(Lsn::new(after), bytes_max).iter().map(|row| row.lsn.get()).collect()
    };
    assert_eq!(lsns(0, u64::MAX), [3, 4, 5, 8]);
    assert_eq!(lsns(4, u64::MAX), [5, 8]);
    assert_eq!(lsns(0, 2 * bytes_of(&key("a", "k1"))), [3, 4]);
    assert_eq!(table.first_after(Lsn::new(8)), Some(Lsn::new(10)));
    assert_eq!(table.first_after(Lsn::new(10)), None);
}

/// What the log says, without a table: the newest keys of each database, as far as limits and time go.
fn naive(log: &[(u64, Option<&'static str>, i64)], keep: i64, keys_max: usize) -> Vec<u64> {
    let now = log.iter().filter(|(_, db, _)| db.is_none()).map(|(_, _, time)| *time).max();
    let mut held = Vec::new();
    for name in ["a", "b", "c"] {
        let keys = log.iter().filter(|(_, db, _)| *db == Some(name)).rev().take(keys_max);
        held.extend(keys.filter_map(|(lsn, _, _)| {
            let tick = log.iter().find(|(at, db, _)| db.is_none() && at > lsn);
            let is_old = tick.zip(now).is_some_and(|((_, _, time), now)| *time <= now - keep);
            (!is_old).then_some(*lsn)
        }));
    }
    held.sort_unstable();
    held
}

#[test]
fn what_is_held_depends_on_the_log_alone_wherever_reading_began() {
    for seed in 0..200 {
        let mut rng = Rng::from_seed(seed);
        let (keep, keys_max) = (20 + i64::try_from(rng.below(60)).unwrap(), 12);
        let mut live = table(keep, keys_max, u64::MAX);
        let (mut log, mut time) = (Vec::new(), 0);
        for lsn in 1..200_u64 {
            if rng.below(4) == 0 {
                time += i64::try_from(rng.below(9)).unwrap();
                live.tick(UnixNanos::new(time));
                log.push((lsn, None, time));
            } else {
                let db = ["a", "b", "c"][usize::try_from(rng.below(3)).unwrap()];
                live.insert(Lsn::new(lsn), None, key(db, &format!("k{}", lsn % 90)));
                log.push((lsn, Some(db), 0));
            }
            assert_eq!(held(&live), naive(&log, keep, keys_max), "SEED={seed} at {lsn}");
        }
        // A start: keys up to some record come from files, with their times, the others from the log.
        let rows = live.tail(Lsn::ZERO, u64::MAX);
        let last = rows.last().map_or(0, |row| row.lsn.get());
        let filed = Lsn::new(rng.below(200).min(last));
        let mut started = table(keep, keys_max, u64::MAX);
        for row in rows.into_iter().filter(|row| row.lsn <= filed) {
            started.insert(row.lsn, Some(row.time), row.key);
        }
        for (lsn, db, time) in log.iter().filter(|(lsn, _, _)| Lsn::new(*lsn) > filed) {
            match db {
                None => started.tick(UnixNanos::new(*time)),
                Some(db) => {
                    started.insert(Lsn::new(*lsn), None, key(db, &format!("k{}", lsn % 90)));
                }
            }
        }
        assert_eq!(held(&started), held(&live), "SEED={seed} from {filed}");
    }
}
