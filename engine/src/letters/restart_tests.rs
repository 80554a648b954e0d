//! Letters across checkpoints, truncation and restarts, on a simulated disk.

use std::sync::Arc;
use std::time::Duration;

use tidewatch_connectors::decode::{Incoming, MessageBatch, MessageForm, Messages};
use tidewatch_env::{SimClock, SimDisk};
use tidewatch_metrics::{Lsn, UnixNanos};
use tidewatch_segments::FileKind;
use tidewatch_wal::WalConfig;

use crate::EngineError;
use crate::config::EngineConfig;
use crate::idempotency::crash_tests::Node;
use crate::ingest_messages::{OnBad, SourceWrite};
use crate::sources::{SourceOffsets, SourcePartition};

fn config() -> EngineConfig {
    let mut config = EngineConfig::new("/data".into());
    config.shards = 2;
    config.wal = WalConfig { segment_bytes_max: 1 << 20, frame_bytes_max: 900 << 10 };
    config.replay.keep = Duration::ZERO;
    config
}

/// Stores one message that cannot be read.
pub(crate) fn store_bad(node: &mut Node, offset: u64) -> Result<(), EngineError> {
    let mut batch = MessageBatch::new(MessageForm::Json);
    batch.push(offset, Incoming { payload: b"rubbish", ..Incoming::default() });
    let partition = SourcePartition::new("main", "metrics", 3).unwrap();
    let offsets = SourceOffsets::new(partition, 7, (offset, offset)).unwrap();
    let (claim, bad) =
        (node.sources.claim(offsets).unwrap(), OnBad::Keep(Arc::clone(&node.letters)));
    node.write_messages(|ingest| SourceWrite {
        db: "default",
        messages: Messages { batch: &batch, count: 1 },
        permit: ingest.admit(1).unwrap(),
        claim,
        bad,
    })
}

/// Offsets of the letters that no file has.
fn in_memory(node: &Node) -> Vec<u64> {
    let manifest = node.published.manifest();
    let tail = node.letters.tail(manifest.letters_lsn(), Lsn::new(u64::MAX)).unwrap();
    tail.rows.iter().map(|row| row.letter.offset).collect()
}

#[test]
fn a_letter_that_no_file_has_keeps_its_record_in_the_log_through_checkpoints() {
    let disk = SimDisk::new(9);
    let clock = Arc::new(SimClock::new(UnixNanos::new(1_700_000_000_000_000_000)));
    let mut node = Node::start_as(&disk, &clock, &config()).unwrap();
    let mut kept = Vec::new();
    for round in 0..6 {
        // Without samples there is nothing to flush, and so few letters make no file of their own.
        store_bad(&mut node, round).unwrap();
        kept.push(round);
        node.checkpoint().unwrap();
        node.checkpoint().unwrap();
        assert_eq!(in_memory(&node), kept);
        drop(node);
        node = Node::start_as(&disk.reboot(round), &clock, &config()).unwrap();
        assert_eq!(in_memory(&node), kept, "after the start of round {round}");
        drop(node);
        node = Node::start_as(&disk, &clock, &config()).unwrap();
    }
    // The next flush takes them along, and then the log may be cut behind them.
    node.fill();
    node.checkpoint().unwrap();
    node.checkpoint().unwrap();
    assert_eq!(in_memory(&node), [0; 0]);
    let manifest = node.published.manifest();
    let letters: u64 = manifest.files_of(FileKind::DeadLetters).map(|file| file.rows).sum();
    assert_eq!(letters, 6);
    assert!(node.first_lsn() > Lsn::new(1), "the log was cut");
}
