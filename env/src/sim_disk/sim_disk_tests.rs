use super::*;

const DIR: &str = "/d";

fn disk_with_dir(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    disk.create_dir_all(Path::new(DIR)).unwrap();
    disk
}

fn create(disk: &SimDisk, name: &str) -> Arc<dyn DiskFile> {
    disk.open(&path(name), OpenMode::CreateNew).unwrap()
}

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

fn content(disk: &SimDisk, name: &str) -> Vec<u8> {
    crate::durable::read_file(disk, &path(name), u64::MAX).unwrap()
}

#[test]
fn synced_bytes_under_a_synced_name_survive_every_power_loss() {
    let disk = disk_with_dir(1);
    let file = create(&disk, "f");
    file.write_all_at(&[7; 3000], 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    file.write_all_at(&[8; 1000], 5000).unwrap();
    for seed in 0..100 {
        assert_eq!(content(&disk.reboot(seed), "f")[..3000], [7; 3000]);
    }
}

#[test]
fn unsynced_sectors_survive_vanish_or_tear_each_for_itself() {
    let disk = disk_with_dir(1);
    let file = create(&disk, "f");
    file.write_all_at(&[1; 4 * SECTOR_BYTES], 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    file.write_all_at(&[2; 4 * SECTOR_BYTES], 0).unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..400 {
        let after = content(&disk.reboot(seed), "f");
        let fates: Vec<_> = after
            .chunks(SECTOR_BYTES)
            .map(|sector| match sector.iter().filter(|&&byte| byte == 2).count() {
                0 => "lost",
                SECTOR_BYTES => "kept",
                _ => "torn",
            })
            .collect();
        assert!(fates[..3].iter().all(|fate| *fate != "torn"), "only the last sector tears");
        assert!(after.iter().all(|byte| [1, 2].contains(byte)), "bytes are old or new");
        seen.insert(fates);
    }
    assert!(seen.contains(&vec!["lost"; 4]) && seen.contains(&vec!["kept"; 4]));
    assert!(seen.contains(&vec!["lost", "kept", "lost", "kept"]));
    assert!(seen.iter().any(|fates| fates[3] == "torn"));
}

#[test]
fn names_are_volatile_until_their_directory_is_synced() {
    let disk = disk_with_dir(1);
    create(&disk, "old");
    disk.sync_dir(Path::new(DIR)).unwrap();
    disk.rename(&path("old"), &path("new")).unwrap();
    let outcomes: BTreeSet<_> =
        (0..100).map(|seed| disk.reboot(seed).list(Path::new(DIR)).unwrap()).collect();
    let expected = [vec!["new".to_owned()], vec!["old".to_owned()]];
    assert_eq!(outcomes, expected.into());
    disk.sync_dir(Path::new(DIR)).unwrap();
    assert!((0..100).all(|seed| disk.reboot(seed).list(Path::new(DIR)).unwrap() == ["new"]));
}

#[test]
fn a_kill_keeps_every_write_but_makes_none_durable() {
    let disk = disk_with_dir(1);
    create(&disk, "f").write_all_at(b"volatile", 0).unwrap();
    let killed = disk.reboot_keeping_all();
    assert_eq!(content(&killed, "f"), b"volatile");
    assert!((0..50).any(|seed| !killed.reboot(seed).exists(&path("f")).unwrap()));
}

#[test]
fn a_crash_ends_everything_and_leaves_at_most_a_part_of_the_write() {
    let mut lengths = BTreeSet::new();
    for seed in 0..50 {
        let disk = disk_with_dir(seed);
        let file = create(&disk, "f");
        disk.crash_at(disk.ops() + 1);
        assert!(file.write_all_at(&[1; 100], 0).is_err());
        assert!(disk.crashed());
        assert!(file.sync_data().is_err() && file.len().is_err());
        assert!(disk.list(Path::new(DIR)).is_err());
        lengths.insert(content(&disk.reboot_keeping_all(), "f").len());
    }
    assert!(lengths.len() > 10 && lengths.iter().all(|&length| length <= 100), "{lengths:?}");
}

#[test]
fn after_a_failed_sync_the_bytes_are_read_but_no_later_sync_saves_them() {
    let disk = disk_with_dir(1);
    let file = create(&disk, "f");
    disk.sync_dir(Path::new(DIR)).unwrap();
    file.set_len(600).unwrap();
    file.sync_data().unwrap();
    file.write_all_at(b"gone", 0).unwrap();
    disk.fail_op(disk.ops() + 1, io::ErrorKind::Other, FaultMode::Once);
    assert!(file.sync_data().is_err());
    file.sync_data().unwrap();
    assert_eq!(content(&disk, "f")[..4], *b"gone");
    assert!((0..50).all(|seed| content(&disk.reboot(seed), "f")[..4] == [0; 4]));
    file.forget_cached().unwrap();
    assert_eq!(content(&disk, "f")[..4], [0; 4]);
    file.write_all_at(b"here", 0).unwrap();
    file.sync_data().unwrap();
    assert!((0..50).all(|seed| content(&disk.reboot(seed), "f")[..4] == *b"here"));
}

#[test]
fn a_cut_that_was_not_synced_may_give_the_bytes_back() {
    let disk = disk_with_dir(1);
    let file = create(&disk, "f");
    file.write_all_at(&[9; 2000], 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    file.set_len(100).unwrap();
    file.set_len(300).unwrap();
    for seed in 0..100 {
        let after = content(&disk.reboot(seed), "f");
        assert!(after.len() == 2000 || after.len() == 300, "{}", after.len());
        assert_eq!(after[..100], [9; 100]);
        if after.len() == 2000 {
            assert_eq!(after[512..], [9; 1488], "whole sectors come back");
        }
    }
}

#[test]
fn ignored_syncs_lose_what_was_acknowledged() {
    let disk = disk_with_dir(1);
    disk.ignore_syncs(true);
    let file = create(&disk, "f");
    file.write_all_at(b"acknowledged", 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    assert!((0..50).any(|seed| content(&disk.reboot(seed), "f").is_empty()));
    disk.ignore_dir_syncs(true);
    disk.rename(&path("f"), &path("g")).unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    assert!((0..50).any(|seed| disk.reboot(seed).exists(&path("f")).unwrap()));
}

#[test]
fn a_full_disk_refuses_growth_and_nothing_else() {
    let disk = disk_with_dir(1);
    disk.set_capacity(Some(1000));
    let file = create(&disk, "f");
    file.write_all_at(&[1; 900], 0).unwrap();
    assert_eq!(disk.available_bytes(Path::new(DIR)).unwrap(), 100);
    assert_eq!(file.allocate(1001).unwrap_err().kind(), io::ErrorKind::StorageFull);
    let refused = file.write_all_at(&[1; 200], 850).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
    file.write_all_at(&[2; 900], 0).unwrap();
    disk.set_capacity(None);
    file.write_all_at(&[3; 200], 850).unwrap();
}

#[test]
fn operations_are_counted_by_kind_of_file() {
    let disk = SimDisk::with_classifier(1, |path| match path.extension() {
        Some(_) => "with extension",
        None => "without",
    });
    disk.create_dir_all(Path::new(DIR)).unwrap();
    create(&disk, "a.log").write_all_at(b"x", 0).unwrap();
    disk.remove(&path("a.log")).unwrap();
    let counts = disk.op_counts();
    assert_eq!(counts[&("with extension", DiskOp::Create)], 1);
    assert_eq!(counts[&("with extension", DiskOp::Write)], 1);
    assert_eq!(counts[&("with extension", DiskOp::Remove)], 1);
    assert_eq!(counts[&("without", DiskOp::CreateDir)], 1);
    assert_eq!(counts.values().sum::<u64>(), disk.ops());
}

#[test]
fn the_same_seeds_give_the_same_disk() {
    let run = || {
        let disk = disk_with_dir(3);
        let file = create(&disk, "f");
        file.write_all_at(&[1; 9000], 0).unwrap();
        disk.sync_dir(Path::new(DIR)).unwrap();
        disk.crash_at(disk.ops() + 1);
        assert!(file.write_all_at(&[2; 9000], 0).is_err());
        content(&disk.reboot(11), "f")
    };
    assert_eq!(run(), run());
}

#[test]
fn a_lock_excludes_and_ends_with_its_guard() {
    let disk = disk_with_dir(1);
    let held = disk.lock(&path("LOCK")).unwrap();
    assert!(held.is_some());
    assert!(disk.lock(&path("LOCK")).unwrap().is_none());
    assert!(disk.reboot(1).lock(&path("LOCK")).unwrap().is_some(), "a crash ends it too");
    drop(held);
    assert!(disk.lock(&path("LOCK")).unwrap().is_some());
}
