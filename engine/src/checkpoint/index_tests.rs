use tidewatch_metrics::{TransitionKind, TransitionTimes};

use super::*;
use crate::outbox::tests::transition;

pub(crate) fn index(number: u64) -> CheckpointIndex {
    let slots = (0..=u8::MAX).map(|slot| SlotEntry {
        lsn: Lsn::new(100 + u64::from(slot) % 7),
        offset: 24 + u64::from(slot) * 3,
        bytes: 3,
        crc32c: crc32c::crc32c(&state_of(slot)),
        series: 5,
        state_hash: u64::from(slot) * 17,
        output: OutputHash { samples: u64::from(slot), severities: !u64::from(slot), alerts: 1 },
    });
    let message = |key| Message {
        transition: transition(key, TransitionKind::Firing),
        times: TransitionTimes::default(),
    };
    CheckpointIndex {
        number,
        operators: 1,
        replay_from: Lsn::new(42),
        slots: slots.collect(),
        position: (
            Lsn::new(110),
            LogPosition { rows: 7_000, hashed_rows: 5_000, tick: UnixNanos::new(1_700) },
        ),
        start: (
            Lsn::new(9),
            StartRecord {
                version: "0.1.0".to_owned(),
                operators: 1,
                time: UnixNanos::new(1_600),
                alerts_max_age_nanos: 3_600,
                rules: "rules".to_owned(),
                sinks: vec!["pager".to_owned()],
            },
        ),
        outbox: OutboxEntry {
            lsn: Lsn::new(111),
            undelivered: vec![(Lsn::new(90), message(1)), (Lsn::new(95), message(2))],
            sinks: vec![
                SinkEntry { name: "pager".to_owned(), since: Lsn::new(9), undelivered: vec![0, 1] },
                SinkEntry { name: "file".to_owned(), since: Lsn::new(80), undelivered: vec![1] },
            ],
        },
        manifest: 12,
        offsets: vec![
            stored("kafka", 0, 1 << 100 | 5),
            stored("kafka", 1, 1 << 100 | 5),
            stored("other", 0, 0),
        ],
        windows: None,
        feeds: vec![feed("severities:scores"), feed("dead_letters:lost")],
    }
}

fn feed(tag: &str) -> FeedEntry {
    let [since, upto, letters] = [9, 77, 81].map(Lsn::new);
    let rows = crate::feeds::tests::rows();
    FeedEntry { tag: tag.to_owned(), since, upto, letters, rows }
}

fn stored(source: &str, partition: u32, topic_id: u128) -> StoredOffsets {
    let next_offset = 7 + u64::from(partition);
    let partition = crate::SourcePartition::new(source, "metrics", partition).unwrap();
    StoredOffsets::with_end(partition, topic_id, next_offset)
}

/// The state of a slot that [`index`] tells of: three bytes.
pub(crate) fn state_of(slot: u8) -> [u8; 3] {
    [slot, !slot, 7]
}

#[test]
fn an_index_comes_back() {
    let decoded = CheckpointIndex::decode(&index(3).encode()).unwrap();
    assert_eq!(decoded, index(3));
    assert_eq!((decoded.least_lsn(), decoded.greatest_lsn()), (Lsn::new(100), Lsn::new(106)));
}

#[test]
fn every_cut_and_every_flip_is_found() {
    let bytes = index(3).encode();
    for cut in 0..bytes.len() {
        assert!(CheckpointIndex::decode(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        assert!(CheckpointIndex::decode(&flipped).is_err(), "byte {at}");
    }
}

#[test]
fn an_index_tells_where_its_windows_are() {
    let windows = SlotEntry { lsn: Lsn::new(120), offset: 792, bytes: 9, ..SlotEntry::default() };
    let with = CheckpointIndex { windows: Some(windows), ..index(3) };
    assert_eq!(CheckpointIndex::decode(&with.encode()).unwrap(), with);
}

#[test]
fn an_index_of_a_later_format_is_told() {
    let mut bytes = index(3).encode();
    bytes.truncate(bytes.len() - 4);
    bytes[8] = 7;
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    assert_eq!(CheckpointIndex::decode(&bytes), Err(BadIndex::Newer(7)));
}
