//! Every byte flipped and every length cut, one at a time, of every kind of file: a start either
//! refuses and names the file, or all acknowledged rows and alerts are there. With a salvage it always
//! starts, and what is missing is exactly what the report tells.
//!
//! A start tries every byte and every length of the log's last file and of the manifest. Of checkpoints and
//! segments it tries some: tests of their own see that with any byte of it flipped, or at any length, none
//! of them is taken by those who read it. Of the rest, and with a salvage, some are tried as well;
//! `TIDEWATCH_DAMAGE=all` tries all of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tidewatch_env::{Disk, OpenMode, SimDisk};
use tidewatch_metrics::{SeriesCatalog, Slot};
use tidewatch_segments::{
    EventFile, FileKind, FileMeta, Projection, Segment, SegmentColumns, SegmentsError, read_keys,
    read_marks, restore_catalog,
};

use crate::checkpoint::{Checkpoint, CheckpointStore};
use crate::lab::damaged::{Directory, Started, content, segments, start};
use crate::lab::process::DATA_DIR;
use crate::lab::stored::StoredRow;

fn directory() -> &'static Directory {
    static DIRECTORY: OnceLock<Directory> = OnceLock::new();
    DIRECTORY.get_or_init(Directory::new)
}

/// Whether nothing is left out, however long it takes.
fn is_all() -> bool {
    static ALL: OnceLock<bool> = OnceLock::new();
    *ALL.get_or_init(|| std::env::var("TIDEWATCH_DAMAGE").is_ok_and(|text| text == "all"))
}

/// What was tried and what became of it, counted.
#[derive(Debug, Default)]
struct Outcomes {
    files: AtomicU64,
    flips: AtomicU64,
    cuts: AtomicU64,
    refused: AtomicU64,
    harmless: AtomicU64,
    salvages: AtomicU64,
    /// Of them, those that lost no row.
    lossless: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Outcomes {
    /// Starts twice on equal disks with the same damage, once with a salvage.
    fn try_both(&self, make: impl Fn() -> SimDisk, path: &Path, at: &str) {
        self.start(&make(), path, at);
        self.salvage(&make(), at);
    }

    fn start(&self, disk: &SimDisk, path: &Path, at: &str) {
        let whole = directory();
        let name = path.file_name().unwrap().to_str().unwrap();
        let before = content(disk);
        match start(disk, false) {
            Err(told) => {
                // What ends too early is told by what it should have reached.
                let names = told.contains(name) || told.contains("the log");
                assert!(names, "{at}: {told}");
                assert!(content(disk) == before, "{at}: a refused start changed something");
                count(&self.refused);
            }
            Ok(Started { shown: Err(told), .. }) => {
                assert!(told.contains(name), "{at}: {told}");
                count(&self.refused);
            }
            Ok(Started { shown: Ok(shown), .. }) => {
                assert!(shown == whole.shown, "{at}: something is missing or wrong, untold");
                count(&self.harmless);
            }
        }
    }

    fn salvage(&self, disk: &SimDisk, at: &str) {
        count(&self.salvages);
        let whole = directory();
        let salvaged = start(disk, true).unwrap_or_else(|told| panic!("{at}: {told}"));
        let shown = salvaged.shown.unwrap_or_else(|told| panic!("{at}: {told}"));
        let Some(report) = salvaged.report else {
            assert!(shown == whole.shown, "{at}: something is missing, and no report");
            return;
        };
        let mut expected = sent(&whole.shown.rows);
        let mut lost = sent(&whole.lost(&report));
        expected.retain(|row| match lost.iter().position(|lost| lost == row) {
            Some(place) => {
                lost.swap_remove(place);
                false
            }
            None => true,
        });
        let left_out = usize::try_from(report.left_out_rows).unwrap();
        let found = sent(&shown.rows);
        assert_eq!(found.len() + left_out, expected.len(), "{at}: {report}");
        let is_there = |row: &_| expected.binary_search(row).is_ok();
        assert!(found.iter().all(is_there), "{at}: a row was invented");
        assert!(left_out > 0 || found == expected, "{at}: {report}");
        if found.len() == whole.shown.rows.len() {
            count(&self.lossless);
        }
    }

    fn assert_met(&self, refused: bool, harmless: bool) {
        let told = format!("{self:?}");
        assert_eq!(self.refused.load(Ordering::Relaxed) > 0, refused, "{told}");
        assert_eq!(self.harmless.load(Ordering::Relaxed) > 0, harmless, "{told}");
        println!("{told}");
    }
}

type Sent = crate::lab::script::SentRow;

fn sent(rows: &[StoredRow]) -> Vec<Sent> {
    let mut sent: Vec<_> = rows.iter().map(|row| row.sent).collect();
    sent.sort_unstable();
    sent
}

/// Which places of a file are tried.
#[derive(Clone, Copy)]
struct Places<'a> {
    path: &'a Path,
    from: u64,
    to: u64,
    /// Every so many bytes one is flipped, and the file is cut before it.
    step: u64,
    /// Of those, every so many are also tried with a salvage.
    salvaged: u64,
}

/// Flips bytes and cuts the file.
fn damage(places: Places<'_>, outcomes: &Outcomes) {
    let Places { path, from, to, .. } = places;
    let step = if is_all() { 1 } else { places.step };
    let salvaged = if is_all() { 1 } else { places.salvaged };
    count(&outcomes.files);
    in_turn((to - from).div_ceil(step), |index| {
        let place = from + index * step;
        let at = |what: &str| format!("{} at {place}: {what}", path.display());
        let whole = directory();
        count(&outcomes.flips);
        outcomes.start(&whole.flipped(path, place, 1 << (place % 8)), path, &at("a bit"));
        count(&outcomes.cuts);
        outcomes.start(&whole.cut(path, place), path, &at("cut"));
        if index.is_multiple_of(salvaged) {
            outcomes.try_both(|| whole.flipped(path, place, 0xff), path, &at("a byte"));
            outcomes.salvage(&whole.cut(path, place), &at("cut"));
        }
    });
}

/// Calls `work` with every number below `count`, on two threads.
fn in_turn(count: u64, work: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(0);
    let turns = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return;
            }
            work(index);
        }
    };
    std::thread::scope(|scope| {
        for worker in [scope.spawn(turns), scope.spawn(turns)] {
            worker.join().unwrap();
        }
    });
}

fn remove(path: &Path, outcomes: &Outcomes) {
    let at = format!("{} removed", path.display());
    outcomes.try_both(|| directory().without(path), path, &at);
}

#[test]
fn an_undamaged_directory_is_salvaged_by_leaving_it_alone() {
    let disk = directory().disk.reboot_keeping_all();
    let started = start(&disk, true).unwrap();
    assert_eq!((started.shown.as_ref(), started.report), (Ok(&directory().shown), None));
    assert!(!disk.exists(Path::new("/data/salvage")).unwrap());
}

#[test]
fn damage_of_the_log_is_refused_or_harmless_and_salvaged_to_the_record() {
    let files = directory().log_files();
    assert!(files.len() > 1, "{files:?}");
    let outcomes = Outcomes::default();
    for (index, (path, end)) in files.iter().enumerate() {
        let step = if index + 1 == files.len() { 1 } else { 5 };
        damage(Places { path, from: 0, to: *end, step, salvaged: 15 }, &outcomes);
        // Behind its records a file is filled with zeros.
        let to = directory().bytes(path);
        damage(Places { path, from: *end, to, step: 9_973, salvaged: 20 }, &outcomes);
        remove(path, &outcomes);
    }
    outcomes.assert_met(true, true);
}

#[test]
fn a_log_that_ends_before_what_segments_tell_of_is_refused() {
    let whole = directory();
    let (path, end) = whole.log_files().pop().unwrap();
    let zeroed = || {
        let disk = whole.disk.reboot_keeping_all();
        let file = disk.open(&path, OpenMode::ReadWrite).unwrap();
        // From the second frame on, as if nothing had ever been written there.
        let nothing = vec![0; usize::try_from(end - 500).unwrap()];
        file.write_all_at(&nothing, 500).unwrap();
        file.sync_data().unwrap();
        disk
    };
    let told = start(&zeroed(), false).unwrap_err();
    assert!(told.contains("the log ends before"), "{told}");
    let outcomes = Outcomes::default();
    outcomes.try_both(zeroed, &path, "zeros");
    outcomes.assert_met(true, false);
}

#[test]
fn a_damaged_checkpoint_is_harmless() {
    let outcomes = Outcomes::default();
    for (start, step, salvaged) in [("checkpoint-", 19, 41), ("slots-", 307, 4)] {
        let path = &directory().files("checkpoints", start).pop().unwrap();
        let to = directory().bytes(path);
        damage(Places { path, from: 0, to, step, salvaged }, &outcomes);
        remove(path, &outcomes);
    }
    outcomes.assert_met(false, true);
}

/// The checkpoints that a start would take, each with the states of all slots.
fn checkpoints(disk: &SimDisk) -> BTreeMap<u64, Vec<Option<Vec<u8>>>> {
    let dir = Path::new(DATA_DIR).join("checkpoints");
    let store = CheckpointStore::new(Arc::new(disk.clone()), dir);
    let indexes = store.indexes().unwrap().into_iter();
    let whole = indexes.filter_map(|index| store.open(index).unwrap());
    let states = |one: &Checkpoint| -> Vec<_> {
        (0..=u8::MAX).map(|slot| one.slot(Slot(slot)).unwrap()).collect()
    };
    whole.map(|one| (one.index.number, states(&one))).collect()
}

#[test]
fn a_checkpoint_with_any_byte_flipped_or_at_any_length_is_passed_over_and_no_other() {
    let whole = checkpoints(&directory().disk);
    assert!(whole.len() > 1, "there is one to fall back to");
    let newest = *whole.keys().next_back().unwrap();
    let others: BTreeMap<_, _> = whole.into_iter().filter(|(number, _)| *number < newest).collect();
    for start in ["checkpoint-", "slots-"] {
        let path = &directory().files("checkpoints", start).pop().unwrap();
        in_turn(directory().bytes(path), |place| {
            let flipped = directory().flipped(path, place, 1 << (place % 8));
            assert!(checkpoints(&flipped) == others, "{} at {place}: a bit", path.display());
            let cut = directory().cut(path, place);
            assert!(checkpoints(&cut) == others, "{} at {place}: cut", path.display());
        });
        println!("{}: {} bytes", path.display(), directory().bytes(path));
    }
}

#[test]
fn without_any_checkpoint_a_start_is_refused_and_a_salvage_begins_anew() {
    let whole = directory();
    let disk = whole.disk.reboot_keeping_all();
    for path in whole.files("checkpoints", "checkpoint-") {
        let file = disk.open(&path, OpenMode::ReadWrite).unwrap();
        file.set_len(100).unwrap();
        file.sync_data().unwrap();
    }
    let before = content(&disk);
    let told = start(&disk, false).unwrap_err();
    assert!(told.contains("no checkpoint in \"/data/checkpoints\" can be used"), "{told}");
    assert!(content(&disk) == before, "a refused start changed something");
    let salvaged = start(&disk, true).unwrap();
    let report = salvaged.report.unwrap();
    assert!(report.state_lost_before.is_some() && report.missing.is_empty(), "{report:?}");
    assert_eq!(sent(&salvaged.shown.unwrap().rows), sent(&whole.shown.rows));
}

#[test]
fn damage_of_the_manifest_is_refused_or_harmless_and_salvaged() {
    let deltas = directory().files("segments/manifest", "0");
    assert!(deltas.len() > 3, "{deltas:?}");
    let outcomes = Outcomes::default();
    for path in &deltas {
        let to = directory().bytes(path);
        damage(Places { path, from: 0, to, step: 1, salvaged: 15 }, &outcomes);
        remove(path, &outcomes);
    }
    outcomes.assert_met(true, true);
}

#[test]
fn damage_of_segments_is_refused_and_salvaged() {
    let outcomes = Outcomes::default();
    for kind in [FileKind::Samples, FileKind::Series, FileKind::Alerts] {
        let (path, meta) = directory().last_of(kind);
        let path = &path;
        let (from, to) = (meta.footer_offset, meta.bytes);
        damage(Places { path, from, to, step: 7, salvaged: 3 }, &outcomes);
        damage(Places { path, from: 0, to: from, step: 97, salvaged: 1 }, &outcomes);
        remove(path, &outcomes);
    }
    // Those that a checkpoint relies on, and those before which it was made.
    for meta in directory().manifest.files_of(FileKind::Samples) {
        let path = &segments().join(&meta.file);
        damage(Places { path, from: 0, to: meta.bytes, step: 451, salvaged: 2 }, &outcomes);
        remove(path, &outcomes);
    }
    outcomes.assert_met(true, false);
}

/// Reads a file that the manifest names, as a start or a query does.
fn read(disk: &SimDisk, meta: &Arc<FileMeta>) -> Result<(), SegmentsError> {
    let (disk, dir): (Arc<dyn Disk>, _) = (Arc::new(disk.clone()), segments());
    match meta.kind {
        FileKind::Samples => {
            let reader = Segment::open(disk, &dir, Arc::clone(meta)).reader()?;
            let mut columns = SegmentColumns::default();
            let mut groups = 0..reader.groups().len();
            groups.try_for_each(|group| reader.read(group, Projection::ALL, &mut columns).map(drop))
        }
        FileKind::Alerts | FileKind::Deliveries | FileKind::Percentiles | FileKind::DeadLetters => {
            EventFile::open(disk, &dir, Arc::clone(meta)).read().map(drop)
        }
        FileKind::Series => {
            let catalog = SeriesCatalog::new(1_000);
            restore_catalog(&*disk, &dir, &directory().manifest, &catalog).map(drop)
        }
        FileKind::Keys => read_keys(&*disk, &dir, meta, drop),
        FileKind::LetterMarks => read_marks(&*disk, &dir, meta, drop),
    }
}

#[test]
fn a_file_with_any_byte_flipped_or_at_any_length_is_refused_by_whoever_reads_it() {
    for kind in [FileKind::Samples, FileKind::Series, FileKind::Alerts, FileKind::Deliveries] {
        let (path, meta) = directory().last_of(kind);
        let meta = Arc::new(meta);
        read(&directory().disk, &meta).unwrap();
        in_turn(meta.bytes, |place| {
            for (disk, what) in [
                (directory().flipped(&path, place, 1 << (place % 8)), "a bit"),
                (directory().cut(&path, place), "cut"),
            ] {
                let at = format!("{} at {place}: {what}", path.display());
                let told = crate::chain(&read(&disk, &meta).expect_err(&at));
                assert!(told.contains(&meta.file), "{at}: {told}");
            }
        });
        let footer = meta.bytes - meta.footer_offset;
        println!("{}: {} bytes, {footer} of them its footer", path.display(), meta.bytes);
    }
}

#[test]
fn a_cut_delta_that_a_checkpoint_relies_on_is_not_taken_for_one_that_a_crash_tore() {
    let whole = directory();
    let deltas = whole.files("segments/manifest", "0");
    let with_cut = |last: usize| {
        let disk = whole.disk.reboot_keeping_all();
        deltas[last + 1..].iter().for_each(|later| disk.remove(later).unwrap());
        disk.open(&deltas[last], OpenMode::ReadWrite).unwrap().set_len(200).unwrap();
        disk
    };
    // Two files of each flush; behind the last checkpoint there are two flushes.
    let relied_on = deltas.len() - 5;
    let told = start(&with_cut(relied_on), false).unwrap_err();
    assert!(told.contains("it is cut or missing, and it counted"), "{told}");
    let outcomes = Outcomes::default();
    outcomes.try_both(|| with_cut(relied_on), &deltas[relied_on], "relied on");
    outcomes.try_both(|| with_cut(relied_on + 1), &deltas[relied_on + 1], "of later rows");
    outcomes.assert_met(true, true);
}
