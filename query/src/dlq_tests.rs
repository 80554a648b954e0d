//! `tidewatch.dlq`, from memory and from files.

use tidewatch_metrics::EventTime;
use tidewatch_segments::{Letter, LetterEnd, LetterId};

use crate::fixtures::{Asked, World};

fn letter(offset: u64, payload: &[u8]) -> Letter {
    Letter {
        offset,
        time: (offset != 9).then(|| EventTime::new(1_600_000_000_000_000_000)),
        reason: "not valid JSON".into(),
        payload: payload.into(),
        key: (offset == 9).then(|| b"k".as_slice().into()),
        bytes: u64::try_from(payload.len()).unwrap(),
    }
}

#[test]
fn each_letter_is_shown_once_with_its_state_from_memory_and_from_files() {
    let world = World::new(1);
    let asked = Asked::new(&world);
    let lsn = world.keep(&[letter(8, b"{"), letter(9, b"\xff\x00")]);
    world.end(LetterId { lsn, offset: 9 }, LetterEnd::Replayed);
    let sql = "SELECT source, topic, partition, topic_id, \"offset\", time, reason, \
               encode(payload, 'hex') AS payload, encode(key, 'hex') AS key, bytes, state, lsn \
               FROM tidewatch.dlq ORDER BY lsn, \"offset\"";
    let expected = format!(
        "source,topic,partition,topic_id,offset,time,reason,payload,key,bytes,state,lsn\n\
         main,metrics,3,{id},8,2020-09-13T12:26:40Z,not valid JSON,7b,,1,open,1\n\
         main,metrics,3,{id},9,,not valid JSON,ff00,6b,2,replayed,1\n",
        id = "00000000000000000000000000000007"
    );
    assert_eq!(asked.csv(sql).unwrap(), expected, "from memory");
    let series = world.series("default", "m", &[]);
    world.write(&[crate::fixtures::Arrival { series, time: 1, value: 1.0, severity: 0.0 }]);
    world.flush(0);
    assert_eq!(asked.csv(sql).unwrap(), expected, "from a file");
    world.keep(&[letter(1, b"")]);
    let counted = "SELECT state, count(*) AS n FROM tidewatch.dlq GROUP BY state ORDER BY state";
    assert_eq!(asked.csv(counted).unwrap(), "state,n\nopen,2\nreplayed,1\n", "from both");
}
