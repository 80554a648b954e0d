use std::sync::Arc;

use crossbeam::channel::{Receiver, bounded};
use tidewatch_connectors::decode::{Incoming, MessageBatch, MessageForm};
use tidewatch_env::SimClock;
use tidewatch_metrics::SeriesCatalog;
use tidewatch_segments::{LetterEnd, LetterId};

use super::*;
use crate::committer::CommitterMessage;
use crate::config::EngineConfig;
use crate::record::{LogRecord, SamplesRecord, decode};
use crate::sources::{SourceOffsets, SourcePartition, Sources};

struct House {
    ingest: Ingest,
    sources: Arc<Sources>,
    records: Receiver<CommitterMessage>,
}

fn house() -> House {
    let (queue, records) = bounded(16);
    let clock = Arc::new(SimClock::new(UnixNanos::new(1_700_000_000_000_000_000)));
    let config = EngineConfig::new("unused".into()).ingest;
    let catalog = Arc::new(SeriesCatalog::new(64));
    let ingest = Ingest::new(catalog, queue, clock, 2, config);
    House { ingest, sources: Arc::default(), records }
}

impl House {
    fn write(&self, batch: &MessageBatch, count: usize, bad: OnBad) -> SourceReport {
        let partition = SourcePartition::new("main", "metrics", 3).unwrap();
        let offsets = batch.offsets_of(count).unwrap();
        let claim = self.sources.claim(SourceOffsets::new(partition, 7, offsets).unwrap());
        let write = SourceWrite {
            db: "default",
            messages: Messages { batch, count },
            permit: self.ingest.admit(1).unwrap(),
            claim: claim.unwrap(),
            bad,
        };
        self.ingest.write_source(write, Box::new(drop)).unwrap()
    }

    /// The only record that was handed over.
    fn record(&self) -> Option<SamplesRecord> {
        let CommitterMessage::Append(append) = self.records.try_recv().ok()? else {
            panic!("no record")
        };
        assert!(self.records.is_empty());
        match decode(append.kind, &append.payload) {
            Some(LogRecord::Samples(samples)) => Some(samples),
            other => panic!("{other:?}"),
        }
    }
}

fn batch(form: MessageForm, messages: &[&str]) -> MessageBatch {
    let mut batch = MessageBatch::new(form);
    for (offset, message) in (100..).zip(messages) {
        let message = Incoming { payload: message.as_bytes(), ..Incoming::default() };
        batch.push(offset, message);
    }
    batch
}

fn offsets(record: &SamplesRecord) -> (u64, u64) {
    let source = record.source.as_ref().unwrap();
    (source.first(), source.last())
}

fn rows(record: &SamplesRecord) -> usize {
    record.parts.iter().map(SampleBatch::len).sum()
}

const GOOD: &str = "{\"metric\":\"m\",\"time\":1700000000,\"value\":1}";

#[test]
fn a_record_has_the_samples_and_the_offsets_of_its_messages_in_every_form() {
    let line = "m,host=a v=1,w=2 1700000000000000000";
    for (form, message, samples) in
        [(MessageForm::Json, GOOD, 3), (MessageForm::LineProtocol, line, 6)]
    {
        let house = house();
        let mut batch = batch(form, &[message, message, message]);
        batch.pass(110);
        let report = house.write(&batch, 3, OnBad::Skip);
        let expected =
            SourceReport { messages: 3, samples, appended: true, ..SourceReport::default() };
        assert_eq!(report, expected);
        let record = house.record().unwrap();
        assert_eq!(offsets(&record), (100, 110));
        assert_eq!(u64::try_from(rows(&record)).unwrap(), samples);
    }
}

#[test]
fn bad_messages_are_counted_once_and_their_offsets_are_stored_with_the_others() {
    let house = house();
    let huge = format!("{{\"metric\":\"{}\",\"time\":1700000000,\"value\":1}}", "x".repeat(5_000));
    let twice_bad = "[{\"metric\":\"m\",\"value\":1},{\"metric\":\"m\",\"value\":1}]";
    let batch = batch(MessageForm::Json, &[GOOD, twice_bad, &huge, "rubbish"]);
    let report = house.write(&batch, 4, OnBad::Skip);
    assert_eq!((report.samples, report.bad.len(), report.appended), (1, 3, true));
    let first = &report.bad[0];
    assert_eq!((first.message, &*first.reason), (1, "timestamp is missing"));
    let record = house.record().unwrap();
    assert_eq!((offsets(&record), rows(&record)), ((100, 103), 1));
    // Messages without any sample have a record, too: they are not to be read again.
    let house = self::house();
    let report = house.write(&self::batch(MessageForm::Json, &["rubbish"]), 1, OnBad::Skip);
    assert_eq!((report.samples, report.bad.len(), report.appended), (0, 1, true));
    assert_eq!(offsets(&house.record().unwrap()), (100, 100));
}

#[test]
fn with_only_good_ones_nothing_is_stored_beside_a_bad_message_and_those_before_can_be() {
    let house = house();
    let batch = batch(MessageForm::Json, &[GOOD, GOOD, "rubbish", GOOD]);
    let report = house.write(&batch, 4, OnBad::Refuse);
    assert!(!report.appended && house.record().is_none());
    let bad = &report.bad[0];
    assert_eq!((bad.message, &*bad.reason), (2, "not valid JSON"));
    let report = house.write(&batch, bad.message, OnBad::Refuse);
    assert_eq!((report.messages, report.samples, report.appended), (2, 2, true));
    assert_eq!(offsets(&house.record().unwrap()), (100, 101));
}

#[test]
fn what_is_too_much_for_a_record_is_left_to_the_next_one() {
    let house = house();
    let many = format!("[{}]", vec![GOOD; 40_000].join(","));
    let batch = batch(MessageForm::Json, &[&many, &many, &many]);
    let report = house.write(&batch, 3, OnBad::Skip);
    assert_eq!((report.messages, report.samples), (2, 80_000));
    let record = house.record().unwrap();
    assert_eq!((offsets(&record), rows(&record)), ((100, 101), 80_000));
}

#[test]
fn a_bad_message_is_kept_whole_with_its_reason_in_the_record_of_its_offset() {
    let house = house();
    let mut batch = MessageBatch::with_keys(MessageForm::Json);
    let twice_bad = format!("[{GOOD},{{\"metric\":\"m\",\"value\":1}},7]");
    for (offset, payload) in [(100, GOOD), (105, &twice_bad), (110, "rubbish")] {
        let key = (offset == 110).then_some(&b"k"[..]);
        let time = (offset == 110).then(|| EventTime::new(5));
        batch.push(offset, Incoming { payload: payload.as_bytes(), key, time, labels: None });
    }
    let report = house.write(&batch, 3, OnBad::Keep(Arc::default()));
    assert_eq!((report.samples, report.bad.len(), report.appended), (2, 2, true));
    let record = house.record().unwrap();
    assert_eq!((offsets(&record), rows(&record)), ((100, 110), 2));
    let [first, second] = &*record.letters else { panic!("{:?}", record.letters) };
    assert_eq!((first.offset, &*first.payload), (105, twice_bad.as_bytes()));
    assert_eq!((&*first.reason, first.key.as_deref()), ("timestamp is missing", None));
    assert_eq!((second.offset, &*second.payload, second.bytes), (110, &b"rubbish"[..], 7));
    assert_eq!(
        (second.key.as_deref(), second.time.map(|time| time.nanos())),
        (Some(&b"k"[..]), Some(5))
    );
}

#[test]
fn a_large_letter_is_cut_and_letters_that_are_too_much_for_a_record_make_the_next_one() {
    let house = house();
    let large = "x".repeat(LETTER_BYTES_MAX + 9);
    let batch = batch(MessageForm::Json, &[&*large; 12]);
    let report = house.write(&batch, 12, OnBad::Keep(Arc::default()));
    assert_eq!((report.messages, report.bad.len()), (7, 7));
    let record = house.record().unwrap();
    assert_eq!((offsets(&record), record.letters.len()), ((100, 106), 7));
    let letter = &record.letters[6];
    assert_eq!((letter.payload.len(), letter.bytes), (LETTER_BYTES_MAX, large.len() as u64));
    assert!(letter.is_cut());
}

#[test]
fn letters_end_in_the_record_of_their_samples_and_one_that_is_still_bad_stores_nothing() {
    let house = house();
    let letters: Arc<Letters> = Arc::default();
    let id = |offset| LetterId { lsn: tidewatch_metrics::Lsn::new(3), offset };
    let write = |payloads: &[&str]| {
        let ids: Vec<_> = (0..payloads.len() as u64).map(id).collect();
        let (claim, refused) = letters.claim(&ids, LetterEnd::Replayed);
        assert_eq!((claim.marks().len(), refused), (ids.len(), vec![]));
        let batch = batch(MessageForm::Json, payloads);
        let messages = Messages { batch: &batch, count: payloads.len() };
        let permit = house.ingest.admit(1).unwrap();
        let write = LetterWrite { db: "default", messages, permit, claim };
        house.ingest.write_letters(write, Box::new(drop)).unwrap()
    };
    let report = write(&[GOOD, "rubbish"]);
    assert_eq!((report.appended, report.bad[0].message), (false, 1));
    assert!(house.record().is_none());
    let report = write(&[GOOD, GOOD]);
    assert_eq!((report.appended, report.samples), (true, 2));
    let record = house.record().unwrap();
    assert_eq!((rows(&record), record.source, record.letters.len()), (2, None, 0));
    let ended: Vec<_> = record.marks.iter().map(|mark| (mark.id, mark.end)).collect();
    assert_eq!(ended, [0, 1].map(|offset| (id(offset), LetterEnd::Replayed)));
    // Nobody made the record durable, so the letters are free again.
    let many = format!("[{}]", vec![GOOD; 40_000].join(","));
    assert_eq!(write(&[&many, &many, &many]).messages, 2);
    assert_eq!(house.record().unwrap().marks.len(), 2, "the third one is left to the next record");
}
