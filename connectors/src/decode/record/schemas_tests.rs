//! What is asked for, when, and what waits for it.

use std::cell::Cell;

use super::*;
use crate::decode::record::{AvroSchema, AvroType};

/// Answers as it is told to; remembers what it was asked.
#[derive(Debug, Default)]
struct Registry {
    asked: Mutex<Vec<u32>>,
    is_down: Mutex<bool>,
}

#[derive(Debug)]
struct Asked(Arc<Registry>);

/// Ids of schemas so long that two of them are too much.
const LONG: u32 = 1_000_000;
/// Ids from here on are not known.
const UNKNOWN: u32 = 2_000_000;

impl SchemaSource for Asked {
    fn fetch(&self, id: u32) -> Result<Result<FetchedSchema, SchemaRefusal>, SchemaTrouble> {
        self.0.asked.lock().unwrap().push(id);
        if *self.0.is_down.lock().unwrap() {
            return Err(SchemaTrouble { url: "http://r".to_owned(), problem: "down".to_owned() });
        }
        if id >= UNKNOWN {
            return Ok(Err(SchemaRefusal::Unknown));
        }
        let schema = RecordSchema::Avro(AvroSchema { types: vec![AvroType::Null], root: 0 });
        let bytes = if id >= LONG { SCHEMAS_BYTES_MAX / 2 + 1 } else { 100 };
        Ok(Ok(FetchedSchema { schema, bytes }))
    }
}

/// A registry, its schemas, and what time it is.
struct Set {
    registry: Arc<Registry>,
    schemas: Schemas,
    now: Cell<Duration>,
}

impl Set {
    fn new() -> Self {
        let registry = Arc::new(Registry::default());
        let schemas = Schemas::new(Box::new(Asked(Arc::clone(&registry))));
        Self { registry, schemas, now: Cell::new(Duration::from_secs(100)) }
    }

    /// How many messages of these schemas are ready; nothing where the first one waits.
    fn ready(&self, ids: impl IntoIterator<Item = u32>) -> Option<usize> {
        let payloads: Vec<_> = ids
            .into_iter()
            .map(|id| [vec![0], id.to_le_bytes().into_iter().rev().collect()].concat())
            .collect();
        self.schemas.ready(payloads.iter().map(Vec::as_slice), &|| self.now.get()).ok()
    }

    fn asked(&self) -> Vec<u32> {
        std::mem::take(&mut self.registry.asked.lock().unwrap())
    }

    fn set_down(&self, is_down: bool) {
        *self.registry.is_down.lock().unwrap() = is_down;
    }

    fn pass(&self, millis: u64) {
        self.now.set(self.now.get() + Duration::from_millis(millis));
    }
}

#[test]
fn each_schema_is_asked_for_once_and_what_names_none_needs_none() {
    let set = Set::new();
    assert_eq!(set.ready([5, 5, 6, 5, 6, 6]), Some(6));
    assert_eq!(set.asked(), [5, 6]);
    set.pass(1_000_000);
    assert_eq!(set.ready([6, 5]), Some(2));
    let none: [&[u8]; 3] = [b"", b"\x00\x00", b"\x01\x00\x00\x00\x09"];
    assert_eq!(set.schemas.ready(none.into_iter(), &|| set.now.get()), Ok(3));
    assert!(set.asked().is_empty());
    assert!(
        matches!(set.schemas.known(5), Some(Known::Ready(_))) && set.schemas.known(9).is_none()
    );
}

#[test]
fn an_id_that_is_not_known_is_asked_for_again_after_seconds_and_not_per_message() {
    let set = Set::new();
    for _ in 0..3 {
        assert_eq!(set.ready([UNKNOWN, 1, UNKNOWN]), Some(3));
        set.pass(1_600);
    }
    assert_eq!(set.asked(), [UNKNOWN, 1]);
    set.pass(1_000);
    assert_eq!(set.ready([UNKNOWN]), Some(1));
    assert_eq!(set.asked(), [UNKNOWN]);
    assert!(matches!(set.schemas.known(UNKNOWN), Some(Known::Unknown)));
}

#[test]
fn while_nobody_answers_messages_wait_and_questions_become_rare() {
    let set = Set::new();
    assert_eq!(set.ready([1]), Some(1));
    set.set_down(true);
    assert_eq!(set.ready([1, 1, 2, 1]), Some(2), "what can be decoded is");
    assert_eq!(set.asked(), [1, 2]);
    let mut asked = 0;
    for _ in 0..600 {
        assert_eq!(set.ready([2, 1]), None);
        set.pass(100);
        asked += set.asked().len();
    }
    assert!((6..=10).contains(&asked), "{asked} questions in a minute");
    set.set_down(false);
    set.pass(10_000);
    assert_eq!(set.ready([2, 1]), Some(2));
    assert_eq!(set.asked(), [2]);
}

#[test]
fn an_id_that_is_not_known_waits_too_while_nobody_answers() {
    let set = Set::new();
    assert_eq!(set.ready([UNKNOWN]), Some(1));
    set.set_down(true);
    set.pass(10_000);
    assert_eq!(set.ready([UNKNOWN]), None);
}

#[test]
fn few_questions_are_put_at_a_time() {
    let set = Set::new();
    assert_eq!(set.ready(UNKNOWN..UNKNOWN + 1_000), Some(ASKED_MAX));
    assert_eq!(set.asked().len(), ASKED_MAX);
}

#[test]
fn schemas_are_bounded_in_number_and_bytes_and_the_message_in_hand_has_its_own() {
    let set = Set::new();
    assert_eq!(set.ready([LONG, LONG + 1]), Some(1), "there is no room for both");
    assert!(set.schemas.known(LONG).is_some());
    assert_eq!(set.ready([LONG + 1]), Some(1));
    assert!(set.schemas.known(LONG).is_none() && set.schemas.known(LONG + 1).is_some());
    for id in 0..u32::try_from(SCHEMAS_MAX).unwrap() + 10 {
        assert_eq!(set.ready([id]), Some(1));
        let state = set.schemas.lock();
        assert!(state.entries.len() <= SCHEMAS_MAX && state.bytes <= SCHEMAS_BYTES_MAX);
        assert_eq!(state.bytes, state.entries.values().map(Entry::bytes).sum::<usize>());
    }
}
