use tidewatch_env::SimDisk;
use tidewatch_metrics::EventTime;

use super::*;
use crate::late_hours::LateHours;

const DIR: &str = "/segments";

fn file(number: u64) -> FileMeta {
    FileMeta {
        file: data_name(FileKind::Samples, number),
        bytes: number,
        crc32c: 1,
        footer_offset: 0,
        footer_crc32c: 2,
        rows: 3,
        late_rows: 1,
        late_hours: LateHours::All,
        time_min: EventTime::new(-5),
        time_max: EventTime::new(i64::MAX),
        first_lsn: Lsn::new(number),
        last_lsn: Lsn::new(number),
        slots: SlotSet::ALL,
        ..FileMeta::of(FileKind::Samples)
    }
}

fn edit(number: u64) -> Edit {
    let slot = Slot(u8::try_from(number % 256).unwrap());
    let flushed = FlushedSlots { lsn: Lsn::new(number), slots: SlotSet::from_iter([slot]) };
    Edit {
        added: vec![file(number)],
        flushed: Some(flushed),
        series: Some(SeriesKnown {
            end: u32::try_from(number).unwrap(),
            missing: vec![RefRange { start: 0, end: 1 }],
        }),
        ..Edit::default()
    }
}

fn chain(disk: &dyn Disk, upto: u64) -> Manifest {
    let mut manifest = Manifest::open(disk, Path::new(DIR)).unwrap();
    while manifest.number() < upto {
        let next = edit(manifest.number() + 1);
        manifest = manifest.commit(disk, Path::new(DIR), next).unwrap();
    }
    manifest
}

fn assert_same(a: &Manifest, b: &Manifest) {
    assert_eq!((a.number, &a.files, a.series_end), (b.number, &b.files, b.series_end));
    assert_eq!((&a.flushed, &a.series_missing), (&b.flushed, &b.series_missing));
    assert_eq!(a.chain_start, b.chain_start);
}

fn overwrite(disk: &dyn Disk, path: &Path, bytes: &[u8]) {
    let file = disk.open(path, OpenMode::ReadWrite).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    file.write_all_at(bytes, 0).unwrap();
}

#[test]
fn a_chain_comes_back_and_keeps_few_files() {
    let disk = SimDisk::new(1);
    for upto in [1, 2, DELTAS_PER_FULL - 1, DELTAS_PER_FULL, DELTAS_PER_FULL * 3 + 2] {
        let written = chain(&disk, upto);
        assert_same(&written, &Manifest::open(&disk, Path::new(DIR)).unwrap());
        assert_eq!(written.flushed_lsn(Slot(1)).get() % 256, 1);
        assert_eq!(written.files().len() as u64, upto);
    }
    let names = disk.list(&Path::new(DIR).join(MANIFEST_DIR)).unwrap();
    assert_eq!(names.len(), 3, "the last full delta and two more: {names:?}");
}

#[test]
fn at_every_crash_a_commit_counts_or_does_not_and_its_number_is_used_again() {
    // 2 is an ordinary delta; the other is full and removes its predecessors.
    for upto in [2, DELTAS_PER_FULL] {
        for crash in 1.. {
            let disk = SimDisk::new(crash);
            let before = chain(&disk, upto - 1);
            disk.crash_at(disk.ops() + crash);
            let done = before.commit(&disk, Path::new(DIR), edit(upto));
            for seed in 0..8 {
                let disk = disk.reboot(seed);
                let opened = Manifest::open(&disk, Path::new(DIR)).unwrap();
                let is_new = opened.number() == upto;
                assert!(is_new || opened.number() == upto - 1, "crash {crash} seed {seed}");
                assert!(
                    is_new || done.is_err(),
                    "acknowledged and lost, crash {crash} seed {seed}"
                );
                remove_orphans(&disk, Path::new(DIR), &opened).unwrap();
                let after = chain(&disk, upto + 3);
                assert_same(&after, &Manifest::open(&disk.reboot(seed), Path::new(DIR)).unwrap());
            }
            if !disk.crashed() {
                assert!(done.is_ok() && crash > 4, "create, write, sync and sync_dir were stopped");
                break;
            }
        }
    }
}

#[test]
fn the_laboratory_sees_a_manifest_that_is_not_synced() {
    let lost = (0..40).filter(|seed| {
        let disk = SimDisk::new(*seed);
        let before = chain(&disk, 1);
        disk.ignore_syncs(true);
        before.commit(&disk, Path::new(DIR), edit(2)).unwrap();
        let opened = Manifest::open(&disk.reboot(*seed), Path::new(DIR));
        opened.is_ok_and(|manifest| manifest.number() == 1)
    });
    assert!(lost.count() > 0);
}

#[test]
fn a_failed_commit_is_taken_back_and_may_be_tried_again() {
    let disk = SimDisk::new(5);
    let before = chain(&disk, 1);
    for op in 1..=3 {
        let fault = disk.ops() + op;
        disk.fail_op(fault, io::ErrorKind::StorageFull, tidewatch_env::FaultMode::Once);
        let refused = before.commit(&disk, Path::new(DIR), edit(2)).unwrap_err();
        assert!(matches!(refused, SegmentsError::Io { .. }), "op {op}: {refused}");
        assert_eq!(Manifest::open(&disk.reboot(op), Path::new(DIR)).unwrap().number(), 1);
    }
    let after = before.commit(&disk, Path::new(DIR), edit(2)).unwrap();
    assert_same(&after, &Manifest::open(&disk.reboot(9), Path::new(DIR)).unwrap());
    let fault = disk.ops() + 2;
    disk.fail_op(fault, io::ErrorKind::Other, tidewatch_env::FaultMode::Forever);
    let refused = after.commit(&disk, Path::new(DIR), edit(3)).unwrap_err();
    assert!(matches!(refused, SegmentsError::Unsettled { .. }), "{refused}");
}

#[test]
fn damage_is_refused_unless_a_crash_could_have_done_it() {
    let disk = SimDisk::new(6);
    chain(&disk, 5);
    let path = |number| Path::new(DIR).join(MANIFEST_DIR).join(delta_name(number));
    for number in 1..=5 {
        let good = read_file(&disk, &path(number), 1 << 20).unwrap();
        // The last one without its end is as a crash leaves it.
        for at in (0..good.len() - 2).step_by(7) {
            let mut bad = good.clone();
            bad[at] ^= 4;
            overwrite(&disk, &path(number), &bad);
            let refused = Manifest::open(&disk, Path::new(DIR));
            assert!(refused.is_err(), "delta {number}, byte {at}");
        }
        if number < 5 {
            overwrite(&disk, &path(number), &good[..good.len() / 2]);
            let refused = Manifest::open(&disk, Path::new(DIR)).unwrap_err();
            assert!(refused.is_corrupt(), "delta {number} cut: {refused}");
        }
        overwrite(&disk, &path(number), &good);
    }
    disk.remove(&path(3)).unwrap();
    assert!(Manifest::open(&disk, Path::new(DIR)).unwrap_err().is_corrupt(), "delta 3 is missing");
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let disk = SimDisk::new(7);
    chain(&disk, 2);
    let path = Path::new(DIR).join(MANIFEST_DIR).join(delta_name(2));
    let text = String::from_utf8(read_file(&disk, &path, 1 << 20).unwrap()).unwrap();
    overwrite(&disk, &path, text.replacen("\"format\":3", "\"format\":4", 1).as_bytes());
    let refused = Manifest::open(&disk, Path::new(DIR)).unwrap_err();
    assert!(matches!(refused, SegmentsError::NewerFormat { found: 4, known: 3, .. }), "{refused}");
}

#[test]
fn what_is_flushed_of_a_slot_never_goes_back() {
    let disk = SimDisk::new(10);
    let mut manifest = Manifest::open(&disk, Path::new(DIR)).unwrap();
    for (lsn, known) in [(100, 100), (70, 100), (120, 120)] {
        let flushed = Some(FlushedSlots { lsn: Lsn::new(lsn), slots: SlotSet::ALL });
        let next = Edit { flushed, added: Vec::new(), ..edit(0) };
        manifest = manifest.commit(&disk, Path::new(DIR), next).unwrap();
        let opened = Manifest::open(&disk, Path::new(DIR)).unwrap();
        assert_eq!(*opened.flushed(), [Lsn::new(known); SLOTS]);
    }
}

#[test]
fn a_merge_takes_the_place_of_its_inputs_whatever_records_were_flushed_since() {
    let disk = SimDisk::new(11);
    let mut manifest = chain(&disk, 2);
    // Of a shard that is behind: the record of the second file is later.
    let behind = FileMeta { last_lsn: Lsn::new(1), ..file(3) };
    let merged = FileMeta { last_lsn: Lsn::new(2), ..file(5) };
    let removed = [1, 2].map(|number| file(number).file).to_vec();
    let edits = [
        Edit { added: vec![behind], ..edit(3) },
        edit(4),
        Edit { added: vec![merged], removed, ..edit(5) },
    ];
    for edit in edits {
        manifest = manifest.commit(&disk, Path::new(DIR), edit).unwrap();
    }
    let names = [5, 3, 4].map(|number| file(number).file);
    assert!(manifest.files().iter().map(|file| &file.file).eq(&names));
    assert_same(&Manifest::open(&disk, Path::new(DIR)).unwrap(), &manifest);
    while !manifest.number().is_multiple_of(DELTAS_PER_FULL) {
        let nothing = Edit { added: Vec::new(), ..edit(manifest.number() + 1) };
        manifest = manifest.commit(&disk, Path::new(DIR), nothing).unwrap();
    }
    assert_eq!(manifest.chain_start, manifest.number());
    assert_same(&Manifest::open(&disk, Path::new(DIR)).unwrap(), &manifest);
}

#[test]
fn a_second_writer_is_refused() {
    let disk = SimDisk::new(8);
    let before = chain(&disk, 3);
    before.commit(&disk, Path::new(DIR), edit(4)).unwrap();
    let refused = before.commit(&disk, Path::new(DIR), edit(4)).unwrap_err();
    assert!(matches!(refused, SegmentsError::Conflict { number: 4 }), "{refused}");
}

#[test]
fn orphans_go_and_foreign_files_stay() {
    let disk = SimDisk::new(9);
    let manifest = chain(&disk, 2);
    let touch = |name: &str| {
        disk.open(&Path::new(DIR).join(name), OpenMode::CreateNew).unwrap();
    };
    let named = data_name(FileKind::Samples, 2);
    let stays = [named.as_str(), "samples-1.parquet", "notes.txt", "series.parquet"];
    let orphan = data_name(FileKind::Series, 3);
    let temporary = format!("{named}.tmp");
    stays.iter().copied().chain([orphan.as_str(), &temporary]).for_each(touch);
    assert_eq!(remove_orphans(&disk, Path::new(DIR), &manifest).unwrap(), 2);
    let mut left = disk.list(Path::new(DIR)).unwrap();
    left.retain(|name| name != MANIFEST_DIR);
    let mut expected = stays.map(str::to_owned).to_vec();
    expected.sort_unstable();
    assert_eq!(left, expected);
}
