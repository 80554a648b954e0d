use std::sync::Mutex;

use tidewatch_env::{SimClock, SimDisk};
use tidewatch_wal::{SEGMENT_BYTES_MIN, WalConfig, WalHome, WalInstruments};

use super::*;
use crate::ErrorKind;
use crate::dispatch::RulesInForce;
use crate::idempotency::KeyLimits;
use crate::record::KIND_DELIVERY;
use crate::turn::Turns;

/// No shards.
#[derive(Debug)]
struct Nobody;

impl Dispatch for Nobody {
    fn shards(&self) -> usize {
        0
    }

    fn rows(&mut self, _shard: usize, _rows: ShardRows) {}

    fn tick(&mut self, _lsn: Lsn, _tick: TickRecord) {}

    fn rules(&mut self, _lsn: Lsn, _rules: &RulesInForce) {}

    fn delete(&mut self, _lsn: Lsn, _delete: &DeleteRecord) {}

    fn primed(&mut self, _shard: usize, _primed: ShardPrimed) {}

    fn advance(&mut self, _lsn: Lsn) {}
}

fn committer(disk: &SimDisk) -> Committer<Nobody> {
    let clock: Arc<dyn Clock> = Arc::new(SimClock::new(UnixNanos::new(1)));
    let home = WalHome {
        disk: Arc::new(disk.clone()),
        dir: "/data/wal".into(),
        clock: Arc::clone(&clock),
        epoch_seed: 1,
    };
    let config = WalConfig { segment_bytes_max: SEGMENT_BYTES_MIN, frame_bytes_max: 8 << 10 };
    let recovered =
        Wal::recover(home, config, WalInstruments::default(), |_| Ok::<_, WalError>(()));
    let told = (Arc::new(Progress::new(0)), Idempotency::new(KeyLimits::default()));
    Committer::new(recovered.unwrap().0, Nobody, clock, told, LogPosition::default())
}

type Answers = Arc<Mutex<Vec<Result<Ack, EngineError>>>>;

fn telling(answers: &Answers) -> Done {
    let answers = Arc::clone(answers);
    Box::new(move |answer| answers.lock().unwrap().push(answer))
}

/// The answer to a record with so many bytes.
fn answer(committer: &mut Committer<Nobody>, bytes: usize) -> Result<Ack, EngineError> {
    let answers = Answers::default();
    let note = Append::note(KIND_DELIVERY, vec![1; bytes], telling(&answers));
    committer.commit(&mut vec![note]).unwrap();
    answers.lock().unwrap().pop().unwrap()
}

#[test]
fn a_full_disk_refuses_records_marks_and_ticks_and_ends_nothing() {
    let disk = SimDisk::new(1);
    let mut committer = committer(&disk);
    answer(&mut committer, 100).unwrap();
    disk.set_capacity(Some(disk.used_bytes()));
    // Until not even the smallest record fits.
    let taken = (0..1_000).find(|_| answer(&mut committer, 0).is_err());
    assert!(taken.is_some_and(|taken| taken > 100), "{taken:?}");
    let last = committer.last_lsn();
    committer.idle().unwrap();
    let answers = Answers::default();
    committer.tick(telling(&answers)).unwrap();
    let told: Vec<_> = std::mem::take(&mut *answers.lock().unwrap());
    assert!(matches!(&told[..], [Err(error)] if error.kind() == ErrorKind::Full), "{told:?}");
    assert_eq!(committer.last_lsn(), last);
    disk.set_capacity(None);
    assert_eq!(answer(&mut committer, 100).unwrap().lsn, last.next());
    committer.tick(telling(&answers)).unwrap();
    assert_eq!(answers.lock().unwrap().pop().unwrap().unwrap().lsn, last.next().next());
}

#[test]
fn what_stands_behind_a_refused_record_of_its_turn_is_refused_and_both_are_offered_again_in_order()
{
    let disk = SimDisk::new(1);
    let mut committer = committer(&disk);
    let turns = Turns::default();
    let answers = Answers::default();
    let offer = |committer: &mut Committer<Nobody>, turn: &Turn, sizes: &[usize]| {
        let note = |bytes: &usize| {
            Append::note_in(turn, KIND_DELIVERY, vec![1; *bytes], telling(&answers))
        };
        committer.commit(&mut sizes.iter().map(note).collect()).unwrap();
        std::mem::take(&mut *answers.lock().unwrap())
    };
    disk.set_capacity(Some(disk.used_bytes()));
    let first = turns.current();
    // Until the log has no room for the first of them.
    let told = (0..1_000).map(|_| offer(&mut committer, &first, &[4_000, 1]));
    let told = told.into_iter().find(|told| told[0].is_err()).expect("the disk is full");
    assert!(matches!(&told[..], [Err(_), Err(EngineError::OutOfTurn)]), "{told:?}");
    disk.set_capacity(None);
    let second = turns.current();
    let late = offer(&mut committer, &first, &[1]);
    assert!(matches!(&late[..], [Err(EngineError::OutOfTurn)]), "{late:?}");
    let told = offer(&mut committer, &second, &[4_000, 1]);
    let lsns: Vec<_> = told.into_iter().map(|answer| answer.unwrap().lsn).collect();
    assert!(lsns[0] < lsns[1], "{lsns:?}");
}
