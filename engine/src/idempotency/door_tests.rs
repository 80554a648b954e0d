use crossbeam::channel::{Receiver, bounded};

use super::*;
use crate::ingest::{Durability, LineReport};

fn keys() -> Arc<Idempotency> {
    Idempotency::new(KeyLimits::default())
}

fn claim(keys: &Arc<Idempotency>, db: &str, request: u128) -> (Claimed, Receiver<()>) {
    let (wake, woken) = bounded(1);
    let key = IdempotencyKey::new(b"order-7").unwrap();
    let wake = Box::new(move || wake.send(()).unwrap());
    (keys.claim(db, &key, request, wake).unwrap(), woken)
}

fn free(keys: &Arc<Idempotency>, db: &str, request: u128) -> Claim {
    match claim(keys, db, request).0 {
        Claimed::Free(claim) => claim,
        other => panic!("{other:?}"),
    }
}

fn refused(keys: &Arc<Idempotency>, db: &str, request: u128) -> EngineError {
    let key = IdempotencyKey::new(b"order-7").unwrap();
    keys.claim(db, &key, request, Box::new(|| panic!("nobody waits"))).unwrap_err()
}

fn store(mut claim: Claim, lsn: u64) {
    let report = LineReport { lines_accepted: 3, appended: true, ..LineReport::default() };
    claim.seal(StoredAnswer::encode(&report, Durability::Written));
    claim.hold(Lsn::new(lsn));
}

#[test]
fn a_repeat_gets_the_first_answer_and_another_request_is_refused() {
    let keys = keys();
    store(free(&keys, "a", 1), 5);
    let Claimed::Replay { answer, lsn } = claim(&keys, "a", 1).0 else { panic!() };
    assert_eq!((answer.report.lines_accepted, answer.durability), (3, Durability::Written));
    assert_eq!(lsn, Lsn::new(5));
    assert!(matches!(refused(&keys, "a", 2), EngineError::KeyReused));
    store(free(&keys, "b", 2), 6);
    assert_eq!((keys.instruments.replayed.get(), keys.instruments.conflicts.get()), (1, 1));
    assert_eq!(keys.instruments.keys.get(), 2);
}

#[test]
fn who_comes_while_the_first_one_is_in_hand_is_woken_by_its_outcome() {
    let keys = keys();
    let first = free(&keys, "a", 1);
    let (waits, woken) = claim(&keys, "a", 1);
    let (other, other_woken) = claim(&keys, "a", 2);
    assert!(matches!((waits, other), (Claimed::Waits, Claimed::Waits)));
    assert!(woken.is_empty());
    // Nothing was stored: another request may have the key.
    drop(first);
    woken.try_recv().unwrap();
    other_woken.try_recv().unwrap();
    let second = free(&keys, "a", 2);
    let (waits, woken) = claim(&keys, "a", 1);
    assert!(matches!(waits, Claimed::Waits));
    store(second, 9);
    woken.try_recv().unwrap();
    assert!(matches!(refused(&keys, "a", 1), EngineError::KeyReused));
    assert!(keys.lock().pending.is_empty());
}

#[test]
fn only_so_many_wait_for_one_key() {
    let keys = keys();
    let first = free(&keys, "a", 1);
    let waiting: Vec<_> = (0..WAITERS_MAX).map(|_| claim(&keys, "a", 1)).collect();
    assert!(matches!(refused(&keys, "a", 1), EngineError::KeyInHand));
    store(first, 3);
    assert!(waiting.iter().all(|(_, woken)| woken.try_recv().is_ok()));
}

#[test]
fn many_threads_with_one_key_store_once() {
    let keys = keys();
    let stored = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for round in 0..200 {
                    let key = IdempotencyKey::new(format!("k{round}").as_bytes()).unwrap();
                    loop {
                        let (wake, woken) = bounded(1);
                        let wake = Box::new(move || wake.send(()).unwrap());
                        match keys.claim("a", &key, 1, wake).unwrap() {
                            Claimed::Waits => woken.recv().unwrap(),
                            Claimed::Replay { lsn, .. } => {
                                assert_eq!(lsn, Lsn::new(round + 1));
                                break;
                            }
                            // Every third one comes to nothing, and somebody else tries again.
                            Claimed::Free(claim) if lots(&stored) => drop(claim),
                            Claimed::Free(claim) => store(claim, round + 1),
                        }
                    }
                }
            });
        }
    });
    let state = keys.lock();
    assert_eq!((state.table.keys(), state.pending.len()), (200, 0));
}

fn lots(drawn: &std::sync::atomic::AtomicU64) -> bool {
    drawn.fetch_add(1, std::sync::atomic::Ordering::Relaxed).is_multiple_of(3)
}

#[test]
fn files_are_not_made_more_often_than_every_few_seconds() {
    let keys = keys();
    store(free(&keys, "a", 1), 5);
    keys.tick(UnixNanos::new(1));
    let now = Duration::from_secs(100);
    assert_eq!(keys.tail(Lsn::ZERO, now).len(), 1);
    keys.filed(now);
    assert!(keys.tail(Lsn::ZERO, now + FILE_INTERVAL / 2).is_empty());
    assert_eq!(keys.tail(Lsn::ZERO, now + FILE_INTERVAL).len(), 1);
    assert!(keys.tail(Lsn::new(5), now + FILE_INTERVAL).is_empty());
    assert_eq!(keys.first_after(Lsn::new(4)), Some(Lsn::new(5)));
}
