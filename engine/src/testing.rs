//! What tests of the whole engine share: a machine, lives of a node on it, what they told, and the replay of their log.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidewatch_env::{Disk, Rng, SimClock, SimDisk};
use tidewatch_metrics::{AlertKey, Lsn, Transition, TransitionKind, UnixNanos};

use crate::config::EngineConfig;
use crate::idempotency::crash_tests::Node;
use crate::{EngineError, Verdict, VerifyConfig, VerifyReport, verify};

pub(crate) const SECOND: i64 = 1_000_000_000;
/// The second at which a machine begins.
pub(crate) const START: i64 = 1_700_000_000;

/// What was told, by alert and kind.
pub(crate) type Told = BTreeMap<(AlertKey, TransitionKind), Transition>;

pub(crate) fn machine(seed: u64) -> (SimDisk, Arc<SimClock>) {
    (SimDisk::new(seed), Arc::new(SimClock::new(UnixNanos::new(START * SECOND))))
}

/// Adds what the log has been told of alerts.
pub(crate) fn note(node: &mut Node, told: &mut Told) -> Result<(), EngineError> {
    node.note()?;
    for alert in node.outbox.tail(Lsn::ZERO).alerts {
        let Transition { key, kind, .. } = alert.transition;
        let known = told.entry((key, kind)).or_insert_with(|| alert.transition.clone());
        assert_eq!(format!("{known:?}"), format!("{:?}", alert.transition), "told twice");
    }
    Ok(())
}

/// Lives of so many seconds, each with its own configuration; the rest of what happens may not show: starts, and where
/// `stores_one_in` is given, a flush and a checkpoint in so many seconds. `write` is told the second since the first start.
pub(crate) fn play(
    seed: u64,
    lives: &[EngineConfig],
    seconds: i64,
    stores_one_in: Option<u64>,
    mut write: impl FnMut(&mut Node, i64),
) -> (SimDisk, Told) {
    let (disk, clock) = machine(seed);
    let (mut told, mut second) = (Told::new(), 0);
    let mut luck = Rng::from_seed(seed ^ 0xff);
    for config in lives {
        let mut node = Node::start_as(&disk, &clock, config).unwrap();
        for _ in 0..seconds {
            clock.advance(Duration::from_secs(1));
            write(&mut node, second);
            second += 1;
            note(&mut node, &mut told).unwrap();
            match stores_one_in.map(|seconds| luck.below(seconds)) {
                Some(0) => node.flush().unwrap(),
                Some(1) => node.checkpoint().unwrap(),
                _ => {}
            }
        }
    }
    (disk, told)
}

/// Replays the whole log, which has to come to the same.
pub(crate) fn replay(disk: &SimDisk, shards: usize, rechunk: Option<u64>) -> VerifyReport {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let config = VerifyConfig { shards, rechunk };
    let report = verify(&disk, Path::new("/data"), config, |_| {}).unwrap();
    assert_eq!(report.result, Verdict::Identical, "{report:?}");
    report
}
