use super::*;
use crate::sources::SourcePartition;

fn offsets(first: u64, last: u64) -> SourceOffsets {
    let partition = SourcePartition::new("main", "metrics", 3).unwrap();
    SourceOffsets::new(partition, 7, (first, last)).unwrap()
}

fn letter(offset: u64, bytes: usize) -> Letter {
    Letter {
        offset,
        time: None,
        reason: "not valid JSON".into(),
        payload: vec![b'x'; bytes].into(),
        key: None,
        bytes: u64::try_from(bytes).unwrap(),
    }
}

fn take(letters: &Letters, lsn: u64, taken: &[Letter]) {
    let first = taken.first().map_or(0, |letter| letter.offset);
    let offsets = offsets(first, first + 99);
    let place = LetterPlace { lsn: Lsn::new(lsn), offsets: &offsets, received: UnixNanos::new(5) };
    letters.hold(place, taken.to_vec());
}

fn id(lsn: u64, offset: u64) -> LetterId {
    LetterId { lsn: Lsn::new(lsn), offset }
}

#[test]
fn a_letter_ends_once_and_one_that_is_in_hand_is_nobody_elses() {
    let letters = Arc::new(Letters::default());
    take(&letters, 3, &[letter(8, 1), letter(9, 1)]);
    let ids = [id(3, 8), id(3, 9)];
    let (mut claim, refused) = letters.claim(&ids, LetterEnd::Replayed);
    assert_eq!((claim.marks().len(), refused), (2, vec![]));
    let (none, refused) = letters.claim(&ids, LetterEnd::Dropped);
    assert!(none.marks().is_empty());
    assert!(refused.iter().all(|(_, why)| *why == LetterRefusal::InHand));
    drop(none);
    claim.keep_first(1);
    let (second, refused) = letters.claim(&ids, LetterEnd::Dropped);
    assert_eq!((second.marks()[0].id, refused.len()), (ids[1], 1));
    drop(second);
    claim.hold(Lsn::new(4));
    let (rest, refused) = letters.claim(&ids, LetterEnd::Dropped);
    assert_eq!(refused, [(ids[0], LetterRefusal::Ended(LetterEnd::Replayed))]);
    assert_eq!(rest.marks().len(), 1);
    let tail = letters.tail(Lsn::ZERO, Lsn::new(9)).unwrap();
    assert_eq!((tail.rows.len(), tail.ends.get(&ids[0])), (2, Some(&LetterEnd::Replayed)));
}

#[test]
fn what_goes_into_a_file_is_whole_records_with_all_marks_between_them() {
    let letters = Arc::new(Letters::default());
    let half = LETTERS_FILE_BYTES_MAX / 2;
    take(&letters, 3, &[letter(1, half), letter(2, half), letter(3, half)]);
    letters.claim(&[id(3, 1)], LetterEnd::Dropped).0.hold(Lsn::new(4));
    take(&letters, 5, &[letter(4, 1)]);
    letters.claim(&[id(3, 2)], LetterEnd::Replayed).0.hold(Lsn::new(6));
    assert!(letters.wants_file() && letters.is_behind());
    let lsns = |unfiled: &Unfiled| {
        let rows = unfiled.letters.iter().map(|row| row.lsn.get()).collect::<Vec<_>>();
        let marks = unfiled.marks.iter().map(|row| row.lsn.get()).collect::<Vec<_>>();
        (rows, marks, unfiled.lsn.get())
    };
    let first = letters.unfiled(Lsn::ZERO, Lsn::new(9));
    assert_eq!(lsns(&first), (vec![3, 3, 3], vec![], 3), "the next record does not fit");
    assert_eq!(lsns(&letters.unfiled(first.lsn, Lsn::new(9))), (vec![5], vec![4, 6], 6));
    assert_eq!(lsns(&letters.unfiled(first.lsn, Lsn::new(4))), (vec![], vec![4], 4));
    assert_eq!(letters.first_after(first.lsn), Some(Lsn::new(4)));
    letters.filed(first.lsn);
    assert!(!letters.wants_file() && !letters.is_behind());
    assert!(letters.tail(Lsn::ZERO, Lsn::new(9)).is_some(), "until the next file");
    letters.forget_up_to(first.lsn);
    assert!(letters.tail(Lsn::ZERO, Lsn::new(9)).is_none());
    assert_eq!(letters.tail(first.lsn, Lsn::new(9)).unwrap().rows.len(), 1);
}

#[test]
fn ends_of_letters_that_are_gone_are_forgotten_and_others_stay() {
    let letters = Arc::new(Letters::default());
    take(&letters, 3, &[letter(1, 1)]);
    take(&letters, 5, &[letter(2, 1)]);
    letters.claim(&[id(3, 1), id(5, 2)], LetterEnd::Dropped).0.hold(Lsn::new(6));
    letters.expire(Lsn::new(4), 1);
    let ends = letters.tail(Lsn::ZERO, Lsn::new(9)).unwrap().ends;
    assert_eq!(ends.keys().copied().collect::<Vec<_>>(), [id(5, 2)]);
}
