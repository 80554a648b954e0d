use super::*;
use crate::fixtures::Directory;
use crate::letters::{LetterEnd, LetterLimits, LetterMark, LetterMarkRow};

fn row(lsn: u64, offset: u64, payload: &[u8]) -> Arc<LetterRow> {
    let is_odd = offset % 2 == 1;
    Arc::new(LetterRow {
        lsn: Lsn::new(lsn),
        source: "main".into(),
        topic: "metrics".into(),
        partition: 3,
        topic_id: if is_odd { 0 } else { 1 << 100 | 5 },
        received: UnixNanos::new(1_000 + i64::try_from(lsn).unwrap()),
        letter: Letter {
            offset,
            time: is_odd.then(|| EventTime::new(-7)),
            reason: "not valid JSON".into(),
            payload: payload.into(),
            key: is_odd.then(|| [0, 255].into()),
            bytes: u64::try_from(payload.len()).unwrap() + u64::from(is_odd),
        },
    })
}

#[test]
fn letters_come_back_from_their_file_whole_and_those_that_nobody_wants_are_passed_over() {
    let directory = Directory::new(1);
    let (disk, dir) = (directory.shared_disk(), directory.dir());
    let rows = [row(3, 8, b""), row(3, 9, b"\xff\0{"), row(9, 8, &[b'x'; 70_000])];
    let file = crate::manifest::data_name(FileKind::DeadLetters, 1);
    let meta = write_letters(&*disk, dir, file, &rows).unwrap();
    assert_eq!((meta.first_lsn, meta.last_lsn, meta.rows), (Lsn::new(3), Lsn::new(9), 3));
    assert_eq!((meta.time_min, meta.time_max), (EventTime::new(1_003), EventTime::new(1_009)));
    let file = EventFile::open(disk, dir, Arc::new(meta));
    let back = read_letters(&file, |_, _| true).unwrap();
    assert_eq!(back, rows.iter().map(|row| LetterRow::clone(row)).collect::<Vec<_>>());
    let some = read_letters(&file, |id, bytes| (id.lsn.get(), id.offset, bytes) == (9, 8, 70_000))
        .unwrap();
    assert_eq!(some, [LetterRow::clone(&rows[2])]);
    assert!(rows[1].letter.is_cut() && !rows[2].letter.is_cut());
}

#[test]
fn large_letters_make_groups_of_their_own_and_none_is_lost_between_groups() {
    let large = vec![b'x'; GROUP_BYTES / 2];
    let rows: Vec<_> = (0..5)
        .map(|offset| row(1, offset, &large))
        .chain((5..10_000).map(|o| row(2, o, b"")))
        .collect();
    let groups: Vec<_> = letter_groups(&rows).collect();
    assert_eq!(groups.concat(), rows);
    assert_eq!(groups[0].len(), 2);
    assert!(groups.iter().all(|group| group.len() <= GROUP_LETTERS));
    assert!(groups.len() <= 6, "{}", groups.len());
}

fn mark(lsn: u64, letter_lsn: u64) -> LetterMarkRow {
    let id = LetterId { lsn: Lsn::new(letter_lsn), offset: 1 };
    LetterMarkRow { lsn: Lsn::new(lsn), mark: LetterMark { id, end: LetterEnd::Dropped } }
}

/// Three files of letters, of the records 3, 13 and 23, and marks of the first ones behind each.
fn three_files() -> Directory {
    let mut directory = Directory::new(4);
    for file in [0, 10, 20] {
        let letters = [row(file + 3, 1, b"a"), row(file + 3, 2, b"b")];
        directory.flush_letters(&letters, &[mark(file + 4, file + 3)], file + 5);
    }
    directory
}

fn kinds(directory: &Directory) -> (usize, usize) {
    let files = |kind| directory.manifest.files_of(kind).count();
    (files(FileKind::DeadLetters), files(FileKind::LetterMarks))
}

#[test]
fn the_oldest_letters_go_by_age_bytes_and_number_and_marks_with_the_last_of_their_letters() {
    let unlimited = LetterLimits { keep_nanos: 1 << 60, bytes_max: 1 << 40, letters_max: 1 << 40 };
    let mut directory = three_files();
    assert_eq!(directory.expire_letters(unlimited, 1 << 59), None);
    let bytes = directory.manifest.files_of(FileKind::DeadLetters).map(|file| file.bytes).sum();
    let exact = LetterLimits { bytes_max: bytes, letters_max: 6, ..unlimited };
    assert_eq!(directory.expire_letters(exact, 1 << 59), None, "all is within the limits");
    // Letters of the record 3 came at 1,003.
    let by_age = LetterLimits { keep_nanos: 100, ..unlimited };
    assert_eq!(directory.expire_letters(by_age, 1_103), None);
    let gone = directory.expire_letters(by_age, 1_104).unwrap();
    assert!(gone.starts_with("dead_letters-") && gone.ends_with("1.parquet"), "{gone}");
    let gone = directory.expire_letters(unlimited, 0).unwrap();
    assert!(gone.starts_with("letter_marks-") && gone.ends_with("1.parquet"), "{gone}");
    assert_eq!((kinds(&directory), directory.expire_letters(unlimited, 0)), ((2, 2), None));
    let by_number = LetterLimits { letters_max: 3, ..unlimited };
    assert!(directory.expire_letters(by_number, 0).is_some());
    let by_bytes = LetterLimits { bytes_max: 1, ..unlimited };
    while directory.expire_letters(by_bytes, 0).is_some() {}
    assert_eq!((kinds(&directory), directory.manifest.letters_lsn()), ((0, 0), Lsn::new(25)));
    let reopened = crate::Manifest::open(&*directory.shared_disk(), directory.dir()).unwrap();
    assert_eq!(reopened.letters_lsn(), Lsn::new(25), "what is gone does not come back");
}

#[test]
fn files_of_letters_are_verified_and_an_exchanged_row_is_found() {
    let directory = three_files();
    let report = crate::verify(&directory.shared_disk(), directory.dir());
    assert!(report.ok, "{report:?}");
    let mut wrong = Directory::new(5);
    wrong.flush_letters(&[row(4, 1, b""), row(3, 1, b"")], &[mark(4, 5)], 5);
    let problems = crate::verify(&wrong.shared_disk(), wrong.dir()).problems;
    let told: Vec<_> = problems.iter().map(|problem| &*problem.file).collect();
    let named =
        ["dead_letters", "letter_marks"].map(|kind| told.iter().any(|f| f.starts_with(kind)));
    assert_eq!((told.len(), named), (2, [true, true]), "{problems:?}");
}

#[test]
fn a_file_of_letters_that_expires_is_removed_when_nobody_reads_it() {
    let mut directory = three_files();
    let (manifest, catalog) =
        (directory.manifest.clone(), Arc::new(tidewatch_metrics::SeriesCatalog::new(1)));
    let all =
        crate::Published::new(directory.shared_disk(), directory.dir(), catalog, manifest, vec![]);
    let held = all.letters();
    let limits = LetterLimits { letters_max: 1, ..LetterLimits::default() };
    let gone = directory.expire_letters(limits, 0).unwrap();
    all.commit_files(directory.manifest.clone());
    assert_eq!((held.len(), all.letters().len()), (3, 2));
    assert!(all.take_unread().is_empty(), "a query may still read it");
    assert_eq!(read_letters(&held[0], |_, _| true).unwrap().len(), 2);
    drop(held);
    assert_eq!(all.take_unread(), [directory.dir().join(gone)]);
}
