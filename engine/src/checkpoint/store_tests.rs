use tidewatch_env::SimDisk;

use super::*;
use crate::checkpoint::index::tests::{index, state_of};

const DIR: &str = "/data/checkpoints";

fn store(disk: &SimDisk) -> CheckpointStore {
    let store = CheckpointStore::new(Arc::new(disk.clone()), PathBuf::from(DIR));
    store.settle().unwrap();
    store
}

/// Makes the checkpoint that [`index`] tells of.
fn make(store: &CheckpointStore, number: u64) -> Result<(), EngineError> {
    let mut writer = store.begin(number)?;
    let index = index(number);
    for (slot, entry) in (0..=u8::MAX).zip(&index.slots) {
        let placed = writer.put(&state_of(slot), SlotEntry { offset: 0, ..*entry })?;
        assert_eq!(placed, *entry);
    }
    writer.seal()?;
    store.commit(&index)?;
    Ok(())
}

/// The checkpoints that are whole, newest first.
fn whole(store: &CheckpointStore) -> Vec<Checkpoint> {
    let indexes = store.indexes().unwrap().into_iter();
    indexes.filter_map(|index| store.open(index).unwrap()).collect()
}

fn numbers_of(whole: &[Checkpoint]) -> Vec<u64> {
    whole.iter().map(|checkpoint| checkpoint.index.number).collect()
}

#[test]
fn what_was_stored_is_read_newest_first_and_what_is_superfluous_goes() {
    let disk = SimDisk::new(1);
    let store = store(&disk);
    for number in 1..=3 {
        make(&store, number).unwrap();
    }
    let found = whole(&store);
    assert_eq!(numbers_of(&found), [3, 2, 1]);
    for slot in 0..=u8::MAX {
        assert_eq!(found[0].slot(Slot(slot)).unwrap(), Some(state_of(slot).to_vec()));
    }
    store.keep(&[2, 3]).unwrap();
    assert_eq!(numbers_of(&whole(&store)), [3, 2]);
    assert_eq!(Disk::list(&disk, Path::new(DIR)).unwrap().len(), 4);
}

#[test]
fn after_every_crash_the_older_checkpoints_are_whole_and_the_new_one_is_whole_or_not_there() {
    let mut made = false;
    for crash_at in 1.. {
        let disk = SimDisk::new(crash_at);
        let before = store(&disk);
        make(&before, 1).unwrap();
        make(&before, 2).unwrap();
        disk.crash_at(disk.ops() + crash_at);
        let returned = make(&before, 3).and_then(|()| before.keep(&[2, 3]));
        let finished = returned.is_ok();
        let after = disk.reboot(crash_at);
        let store = store(&after);
        let found = numbers_of(&whole(&store));
        assert!([&[2, 1][..], &[3, 2, 1], &[3, 2]].contains(&&*found), "{crash_at}: {found:?}");
        made |= found[0] == 3;
        make(&store, 4).unwrap();
        assert_eq!(numbers_of(&whole(&store))[0], 4);
        if finished {
            assert_eq!(found, [3, 2]);
            break;
        }
    }
    assert!(made);
}

#[test]
fn a_damaged_checkpoint_falls_back_wherever_a_byte_or_the_end_is_lost() {
    let disk = SimDisk::new(2);
    let store = store(&disk);
    make(&store, 1).unwrap();
    make(&store, 2).unwrap();
    for name in ["slots-00000000000000000002.state", "checkpoint-00000000000000000002.index"] {
        let path = Path::new(DIR).join(name);
        let file = disk.open(&path, OpenMode::ReadWrite).unwrap();
        let length = file.len().unwrap();
        for at in (0..length).step_by(if name.starts_with("slots") { 1 } else { 13 }) {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
            assert_eq!(numbers_of(&whole(&store)), [1], "{name}: byte {at}");
            file.write_all_at(&byte, at).unwrap();
        }
        assert_eq!(numbers_of(&whole(&store)), [2, 1]);
    }
    for (name, left) in [
        ("slots-00000000000000000002.state", 100),
        ("slots-00000000000000000002.state", 10),
        ("checkpoint-00000000000000000002.index", 50),
        ("checkpoint-00000000000000000002.index", 0),
    ] {
        make(&store, 2).unwrap();
        let file = disk.open(&Path::new(DIR).join(name), OpenMode::ReadWrite).unwrap();
        file.set_len(left).unwrap();
        assert_eq!(numbers_of(&whole(&store)), [1], "{name}: cut to {left}");
    }
    disk.remove(&Path::new(DIR).join("slots-00000000000000000002.state")).unwrap();
    assert_eq!(numbers_of(&whole(&store)), [1]);
}

#[test]
fn checkpoints_of_formats_3_to_5_are_read_for_ever() {
    for format in [3, 4, 5] {
        let fixture = format!("../tests/fixtures/checkpoint-v{format}");
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join(fixture);
        let store = CheckpointStore::new(Arc::new(tidewatch_env::RealDisk), fixture);
        let found = whole(&store);
        assert_eq!(numbers_of(&found), [1]);
        assert_eq!(found[0].index, CheckpointIndex { feeds: Vec::new(), ..index(1) });
        assert_eq!(found[0].slot(Slot(9)).unwrap(), Some(state_of(9).to_vec()));
    }
}

#[test]
fn a_checkpoint_of_format_1_is_read_for_ever() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/checkpoint-v1");
    let store = CheckpointStore::new(Arc::new(tidewatch_env::RealDisk), fixture);
    let found = whole(&store);
    assert_eq!(numbers_of(&found), [1]);
    let expected =
        CheckpointIndex { manifest: 0, offsets: Vec::new(), feeds: Vec::new(), ..index(1) };
    assert_eq!(found[0].index, expected);
    assert_eq!(found[0].slot(Slot(9)).unwrap(), Some(state_of(9).to_vec()));
}
