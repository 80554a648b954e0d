use std::sync::Arc;

use tidewatch_env::SimDisk;
use tidewatch_metrics::UnixNanos;

use super::*;
use crate::lab::process::{Machine, Process};
use crate::lab::script::Life;
use crate::lab::world::World;

#[test]
fn a_partition_goes_on_behind_its_last_message_at_every_start_also_behind_one_that_is_no_line() {
    let begin = UnixNanos::new(BEGIN_NANOS);
    let machine = Machine::new(Arc::new(SimDisk::new(4)), begin, World::default(), 4);
    let mut messages = 0;
    for shards in [1, 3, 2, 1] {
        let mut process =
            Process::start(&machine, Life { shards, rules: 0, windows: true }, false).unwrap();
        assert_eq!(process.next_offset(), messages, "{shards} shards");
        // Among them a batch of nothing but message 4, which is no line.
        for _ in 0..5 {
            process.read(1).unwrap();
            messages += 1;
            assert_eq!(process.next_offset(), messages);
        }
        // Two checkpoints give up the log before them; what comes later only the log has.
        process.checkpoint(&[]).unwrap();
        process.checkpoint(&[]).unwrap();
        process.read(2).unwrap();
        messages += 2;
    }
    let process =
        Process::start(&machine, Life { shards: 2, rules: 0, windows: true }, false).unwrap();
    assert_eq!((process.next_offset(), messages), (28, 28));
    let world = machine.world.lock();
    assert_eq!((world.fed.len(), &world.broken), (24, &None));
}
