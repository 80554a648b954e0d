//! The schemas of a registry, as far as messages have named them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::decode::record::message::split_head;
use crate::decode::record::schema::RecordSchema;

/// Schemas that are kept.
const SCHEMAS_MAX: usize = 4_096;
/// Bytes of their texts, with what they refer to.
const SCHEMAS_BYTES_MAX: usize = 64 << 20;
/// What was refused is asked for again after this.
const REFUSED_FOR: Duration = Duration::from_secs(5);
/// After a question without an answer the next one waits for so long, and twice as long after each further one.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Questions at a time.
const ASKED_MAX: usize = 64;
/// Whoever asks waits no longer, but for the last question.
const ASKING_MAX: Duration = Duration::from_secs(1);

/// Where schemas come from.
pub trait SchemaSource: fmt::Debug + Send + Sync {
    /// The schema with this id, or why there is none.
    ///
    /// # Errors
    /// Where it is not known whether there is one.
    fn fetch(&self, id: u32) -> Result<Result<FetchedSchema, SchemaRefusal>, SchemaTrouble>;
}

/// A schema that was fetched.
#[derive(Clone, Debug)]
pub struct FetchedSchema {
    /// What it says.
    pub schema: RecordSchema,
    /// Bytes of its text, with what it refers to.
    pub bytes: usize,
}

/// Why there is no schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaRefusal {
    /// The registry does not know its id.
    Unknown,
    /// Nothing can be read with it.
    Unusable(String),
}

/// A registry does not answer, or not what it is asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("schema registry {url}: {problem}")]
pub struct SchemaTrouble {
    /// Its address.
    pub url: String,
    /// What is wrong.
    pub problem: String,
}

/// What is known of an id.
#[derive(Clone, Debug)]
pub(super) enum Known {
    Ready(Arc<RecordSchema>),
    Unknown,
    Unusable,
}

#[derive(Debug)]
enum Entry {
    Ready { schema: Arc<RecordSchema>, bytes: usize },
    Refused { refusal: SchemaRefusal, until: Duration },
}

/// Schemas by their ids. Readers and replays share one.
#[derive(Debug)]
pub struct Schemas {
    source: Box<dyn SchemaSource>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<u32, Entry>,
    bytes: usize,
    outage: Option<Outage>,
}

/// The source has not answered.
#[derive(Clone, Debug)]
struct Outage {
    trouble: SchemaTrouble,
    until: Duration,
    pause: Duration,
}

impl Schemas {
    /// None yet.
    #[must_use]
    pub fn new(source: Box<dyn SchemaSource>) -> Self {
        Self { source, state: Mutex::default() }
    }

    /// How many of the first `payloads` can be decoded, once what their schemas are was asked for where it is not known.
    ///
    /// Few questions are put at a time, so it may be fewer than could be.
    ///
    /// # Errors
    /// Where the first of them has to wait, because the source does not answer.
    pub(crate) fn ready<'a>(
        &self,
        payloads: impl Iterator<Item = &'a [u8]>,
        now: &dyn Fn() -> Duration,
    ) -> Result<usize, SchemaTrouble> {
        let begin = now();
        let (mut last, mut asked, mut count) = (None, 0, 0);
        let mut used = BTreeSet::new();
        for payload in payloads {
            let id = split_head(payload).map(|(id, _)| id).filter(|id| last != Some(*id));
            if let Some(id) = id {
                if !self.is_known(id, now()) {
                    let is_enough = asked >= ASKED_MAX || now() >= begin + ASKING_MAX;
                    if asked > 0 && is_enough {
                        break;
                    }
                    asked += 1;
                    match self.ask(id, &used, now) {
                        Ok(true) => {}
                        Ok(false) => break,
                        Err(trouble) if count == 0 => return Err(trouble),
                        Err(_told_to_the_next_who_asks) => break,
                    }
                }
                used.insert(id);
                last = Some(id);
            }
            count += 1;
        }
        Ok(count)
    }

    /// What is known of an id; `None` before it was asked for.
    pub(super) fn known(&self, id: u32) -> Option<Known> {
        self.lock().entries.get(&id).map(|entry| match entry {
            Entry::Ready { schema, .. } => Known::Ready(Arc::clone(schema)),
            Entry::Refused { refusal: SchemaRefusal::Unknown, .. } => Known::Unknown,
            Entry::Refused { refusal: SchemaRefusal::Unusable(_), .. } => Known::Unusable,
        })
    }

    /// Why nothing can be read with a schema, if that is so.
    pub(crate) fn why_unusable(&self, id: u32) -> Option<String> {
        match self.lock().entries.get(&id) {
            Some(Entry::Refused { refusal: SchemaRefusal::Unusable(why), .. }) => Some(why.clone()),
            _ => None,
        }
    }

    fn is_known(&self, id: u32, now: Duration) -> bool {
        match self.lock().entries.get(&id) {
            Some(Entry::Ready { .. }) => true,
            Some(Entry::Refused { until, .. }) => now < *until,
            None => false,
        }
    }

    /// Asks for a schema; `false` where there is no room for it beside those in use.
    fn ask(
        &self,
        id: u32,
        used: &BTreeSet<u32>,
        now: &dyn Fn() -> Duration,
    ) -> Result<bool, SchemaTrouble> {
        if let Some(outage) = &self.lock().outage
            && now() < outage.until
        {
            return Err(outage.trouble.clone());
        }
        // Others go on with what is known meanwhile.
        let fetched = self.source.fetch(id);
        let mut state = self.lock();
        match fetched {
            Ok(fetched) => {
                state.outage = None;
                Ok(state.keep(id, fetched, used, now() + REFUSED_FOR))
            }
            Err(trouble) => {
                let doubled = state.outage.as_ref().map(|outage| outage.pause * 2);
                let pause = doubled.unwrap_or(PAUSE_MIN).min(PAUSE_MAX);
                let outage = Outage { trouble: trouble.clone(), until: now() + pause, pause };
                state.outage = Some(outage);
                Err(trouble)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn keep(
        &mut self,
        id: u32,
        fetched: Result<FetchedSchema, SchemaRefusal>,
        used: &BTreeSet<u32>,
        until: Duration,
    ) -> bool {
        self.forget(id);
        let entry = match fetched {
            Ok(FetchedSchema { schema, bytes }) => Entry::Ready { schema: Arc::new(schema), bytes },
            Err(refusal) => Entry::Refused { refusal, until },
        };
        let bytes = entry.bytes();
        let is_full = |state: &Self| {
            state.entries.len() >= SCHEMAS_MAX || state.bytes + bytes > SCHEMAS_BYTES_MAX
        };
        if is_full(self) {
            self.entries.retain(|id, _| used.contains(id));
            self.bytes = self.entries.values().map(Entry::bytes).sum();
        }
        if is_full(self) && !used.is_empty() {
            return false;
        }
        self.bytes += bytes;
        self.entries.insert(id, entry);
        true
    }

    fn forget(&mut self, id: u32) {
        if let Some(entry) = self.entries.remove(&id) {
            self.bytes -= entry.bytes();
        }
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        match self {
            Self::Ready { bytes, .. } => *bytes,
            Self::Refused { refusal: SchemaRefusal::Unusable(why), .. } => why.len(),
            Self::Refused { refusal: SchemaRefusal::Unknown, .. } => 0,
        }
    }
}

#[cfg(test)]
#[path = "schemas_tests.rs"]
mod tests;
