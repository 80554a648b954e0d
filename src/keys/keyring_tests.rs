use tidewatch_env::{SimClock, SimDisk, read_file, replace_file};
use tidewatch_metrics::UnixNanos;

use super::*;
use crate::keys::limits::FILE_BYTES_MAX;
use crate::sealed_file::FileError;

const DIR: &str = "/data";

fn clock() -> Arc<dyn Clock> {
    Arc::new(SimClock::new(UnixNanos::new(1_700_000_000_000_000_000)))
}

fn disk() -> Arc<SimDisk> {
    let disk = SimDisk::new(7);
    disk.create_dir_all(Path::new(DIR)).unwrap();
    Arc::new(disk)
}

fn open(disk: &Arc<SimDisk>) -> Result<Keyring, KeysError> {
    Keyring::open(Arc::<SimDisk>::clone(disk), clock(), Path::new(DIR))
}

fn find(keyring: &Keyring, text: &KeyText) -> Option<Arc<Key>> {
    keyring.table().find(&Digest::of(text.expose().as_bytes()).unwrap()).cloned()
}

#[test]
fn keys_are_found_by_their_text_also_after_a_restart() {
    let disk = disk();
    let keyring = open(&disk).unwrap();
    assert!(keyring.table().is_empty());
    let texts: Vec<KeyText> = (0..100)
        .map(|number| keyring.add(&format!("key-{number}"), Scope::Write).unwrap().1)
        .collect();
    for keyring in [keyring, open(&disk).unwrap()] {
        for (number, text) in texts.iter().enumerate() {
            assert_eq!(find(&keyring, text).unwrap().record.name, format!("key-{number}"));
        }
        assert!(find(&keyring, &KeyText::generate().unwrap()).is_none());
    }
}

#[test]
fn a_digest_that_begins_as_another_one_is_not_taken_for_it() {
    let key = |end: u8| {
        let mut digest = [9; 32];
        digest[31] = end;
        let record = KeyRecord {
            name: format!("k{end}"),
            scope: Scope::Read,
            digest: Digest::from_bytes(digest),
            created: UnixNanos::new(1),
            revoked: None,
        };
        (record.digest, Arc::new(Key { record, bucket: Bucket::default() }))
    };
    let (digests, keys): (Vec<_>, Vec<_>) = [1, 2, 3].map(key).into_iter().unzip();
    let table = KeyTable::new(keys[..2].to_vec());
    assert_eq!(table.find(&digests[0]).unwrap().record.name, "k1");
    assert_eq!(table.find(&digests[1]).unwrap().record.name, "k2");
    assert!(table.find(&digests[2]).is_none());
}

#[test]
fn a_revoked_key_stays_listed_and_its_name_taken() {
    let disk = disk();
    let keyring = open(&disk).unwrap();
    let (_, text) = keyring.add("ci", Scope::Admin).unwrap();
    assert!(keyring.table().has_admin());
    let first = keyring.revoke("ci").unwrap().revoked.expect("a time");
    assert_eq!(keyring.revoke("ci").unwrap().revoked, Some(first), "once");
    for keyring in [keyring, open(&disk).unwrap()] {
        assert!(find(&keyring, &text).unwrap().record.revoked.is_some());
        assert!(!keyring.table().is_empty() && !keyring.table().has_admin());
        assert!(matches!(keyring.add("ci", Scope::Read), Err(KeysError::Taken { .. })));
        assert!(matches!(keyring.revoke("other"), Err(KeysError::Missing { .. })));
    }
}

#[test]
fn a_change_that_was_answered_survives_every_crash_and_another_one_is_whole_or_absent() {
    for crash_at in 1.. {
        let disk = disk();
        let keyring = open(&disk).unwrap();
        let (_, old) = keyring.add("old", Scope::Write).unwrap();
        disk.crash_at(disk.ops() + crash_at);
        let added = keyring.add("new", Scope::Read);
        let revoked = keyring.revoke("old");
        for seed in 0..20 {
            let reopened = open(&Arc::new(disk.reboot(seed))).unwrap();
            let old = find(&reopened, &old).expect("it was there before");
            match &added {
                Ok((_, text)) => assert!(find(&reopened, text).is_some(), "crash at {crash_at}"),
                Err(_) => assert!(reopened.table().keys().len() <= 2),
            }
            if revoked.is_ok() {
                assert!(old.record.revoked.is_some(), "back from the dead, crash at {crash_at}");
            }
        }
        if revoked.is_ok() {
            assert!(crash_at > 8, "the operations of both changes were counted");
            return;
        }
    }
}

#[test]
fn what_could_not_be_stored_is_not_in_force() {
    let disk = disk();
    let keyring = open(&disk).unwrap();
    let (_, text) = keyring.add("ci", Scope::Write).unwrap();
    disk.set_capacity(Some(disk.used_bytes()));
    assert!(matches!(
        keyring.add("more", Scope::Write),
        Err(KeysError::File(FileError::Io { .. }))
    ));
    assert!(matches!(keyring.revoke("ci"), Err(KeysError::File(FileError::Io { .. }))));
    assert_eq!(keyring.table().keys().len(), 1);
    assert!(find(&keyring, &text).unwrap().record.revoked.is_none());
    disk.set_capacity(None);
    keyring.revoke("ci").unwrap();
    assert!(find(&keyring, &text).unwrap().record.revoked.is_some());
}

#[test]
fn a_damaged_file_and_one_of_a_later_release_open_nothing() {
    let disk = disk();
    open(&disk).unwrap().add("ci", Scope::Write).unwrap();
    let path = Path::new(DIR).join(FILE_NAME);
    let mut bytes = read_file(&*disk, &path, FILE_BYTES_MAX).unwrap();
    bytes[30] ^= 1;
    replace_file(&*disk, &path, &bytes).unwrap();
    assert!(matches!(open(&disk), Err(KeysError::File(FileError::Damaged { .. }))));
    bytes[8] = 9;
    replace_file(&*disk, &path, &bytes).unwrap();
    assert!(matches!(
        open(&disk),
        Err(KeysError::File(FileError::Newer { found: 9, known: 1, .. }))
    ));
}
