//! From the raw bytes of a protocol line to its series, without computing the canonical form again.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use tidewatch_connectors::decode::{LineBatch, series_labels, unescape_field};
use tidewatch_metrics::{MetricsError, SeriesCatalog, SeriesEntry, SeriesKey, SeriesRef, Slot};

/// Bytes of a place in the table of lines: a key with its line, and the table's note of it.
const LINE_BYTES: usize = size_of::<(u128, Line)>() + 1;
/// The part of the memory that names of fields may have.
const NAMES_SHARE: usize = 8;
/// Bytes of a name beside its text, which stands twice: two places in lists and tables that grow by
/// doubling, and what the allocator adds.
const NAME_BYTES: usize = 2 * (2 * size_of::<(Box<[u8]>, u32)>() + 16);

/// The field's name of what has no fields.
const NO_FIELD: &[u8] = b"";

/// A series as a row needs it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    name: u32,
    pub(crate) series: SeriesRef,
    pub(crate) slot: Slot,
    logged: bool,
}

/// Series that a record must register, in the order in which they were met.
pub(crate) type Registrations = Vec<(SeriesRef, Arc<SeriesEntry>)>;

/// Raw line keys seen before, each with the fields seen with it.
///
/// A line is known by the seeded 128-bit hash of its raw key, a field by its bytes. Bounded: before its
/// memory would pass the limit, everything is forgotten and learnt again. Nothing is kept of what is
/// refused.
#[derive(Debug)]
pub(crate) struct LineCache {
    catalog: Arc<SeriesCatalog>,
    lines: HashMap<u128, Line, BuildHasherDefault<KeyHasher>>,
    targets: Vec<Target>,
    names: Vec<Box<[u8]>>,
    name_of: HashMap<Box<[u8]>, u32, foldhash::fast::FixedState>,
    /// Bytes that the names take.
    names_bytes: usize,
    bytes_max: usize,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    start: u32,
    count: u32,
}

/// The key is a good hash already.
#[derive(Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        for (shift, byte) in bytes.iter().take(8).enumerate() {
            self.0 ^= u64::from(*byte) << (8 * shift);
        }
    }

    fn write_u128(&mut self, key: u128) {
        let [a, b, c, d, e, f, g, h, ..] = key.to_le_bytes();
        self.0 = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl LineCache {
    /// An empty cache that takes `bytes_max` bytes of memory at most, and in any case what one body's
    /// largest line needs.
    pub(crate) fn new(catalog: Arc<SeriesCatalog>, bytes_max: usize) -> Self {
        Self {
            catalog,
            lines: HashMap::default(),
            targets: Vec::new(),
            names: Vec::new(),
            name_of: HashMap::with_hasher(foldhash::fast::FixedState::default()),
            names_bytes: 0,
            bytes_max,
        }
    }

    /// Writes the targets of one line's samples to `out`, in their order.
    ///
    /// # Errors
    /// Why the catalog refuses one of the line's series.
    pub(crate) fn resolve(
        &mut self,
        source: &Source<'_>,
        line: usize,
        out: &mut Vec<Target>,
        fresh: &mut Registrations,
    ) -> Result<(), MetricsError> {
        out.clear();
        let Source { batch, body, .. } = *source;
        let key = batch.key_hashes()[line];
        let fields = &batch.fields()[batch.samples_of(line)];
        let known = self.lines.get(&key).copied().unwrap_or(Line { start: 0, count: 0 });
        let start = known.start as usize;
        for (position, field) in fields.iter().enumerate() {
            let name = field.of(body);
            // Fields mostly come in the order in which they came the first time.
            let guess = position < known.count as usize;
            let found =
                if guess && *self.names[self.targets[start + position].name as usize] == *name {
                    Some(start + position)
                } else {
                    (start..start + known.count as usize)
                        .find(|at| *self.names[self.targets[*at].name as usize] == *name)
                };
            match found {
                Some(at) => {
                    if !self.targets[at].logged {
                        self.check_logged(at, fresh);
                    }
                    out.push(self.targets[at]);
                }
                None => return self.learn(source, line, out, fresh),
            }
        }
        Ok(())
    }

    /// The target of the series with this hash, which is hashed with another seed than any line; `key` tells
    /// its names where it is not known.
    ///
    /// # Errors
    /// Why there is no such series, or why the catalog refuses it.
    #[inline]
    pub(crate) fn resolve_series<E: From<MetricsError>>(
        &mut self,
        hash: u128,
        fresh: &mut Registrations,
        key: impl FnOnce() -> Result<SeriesKey, E>,
    ) -> Result<Target, E> {
        let Some(known) = self.lines.get(&hash) else {
            return self.learn_series(hash, fresh, key);
        };
        let at = known.start as usize;
        if !self.targets[at].logged {
            self.check_logged(at, fresh);
        }
        Ok(self.targets[at])
    }

    #[cold]
    fn learn_series<E: From<MetricsError>>(
        &mut self,
        hash: u128,
        fresh: &mut Registrations,
        key: impl FnOnce() -> Result<SeriesKey, E>,
    ) -> Result<Target, E> {
        let (series, entry) = self.catalog.register(&key()?)?;
        self.make_room(1);
        let logged = entry.is_logged();
        let name = self.name_of.get(NO_FIELD).copied();
        let name = name.unwrap_or_else(|| self.add_name(NO_FIELD));
        let target = Target { name, series, slot: entry.id.slot(), logged };
        if !logged {
            fresh.push((series, entry));
        }
        let start = u32::try_from(self.targets.len()).expect("bounded by the memory for them");
        self.targets.push(target);
        self.lines.insert(hash, Line { start, count: 1 });
        Ok(target)
    }

    /// Registers the series of all of a line's fields, and notes them with those known of the line.
    #[cold]
    fn learn(
        &mut self,
        source: &Source<'_>,
        line: usize,
        out: &mut Vec<Target>,
        fresh: &mut Registrations,
    ) -> Result<(), MetricsError> {
        out.clear();
        let Source { batch, body, db } = *source;
        let key = batch.key_hashes()[line];
        let fields = &batch.fields()[batch.samples_of(line)];
        // ORDER: before any place in the cache is looked up, as what is forgotten has no place.
        let known = self.lines.get(&key).map_or(0, |line| line.count as usize);
        self.make_room(known + fields.len());
        let parsed = series_labels(batch.keys()[line].of(body))
            .expect("the decoder accepted the line's key");
        let known = self.lines.get(&key).copied().unwrap_or(Line { start: 0, count: 0 });
        let known = known.start as usize..(known.start + known.count) as usize;
        let mut all: Vec<Target> = self.targets[known].to_vec();
        for field in fields {
            let name = self.name_of.get(field.of(body)).copied();
            if let Some(target) = all.iter().find(|target| Some(target.name) == name) {
                out.push(*target);
                continue;
            }
            let text = unescape_field(field.of(body));
            let series = SeriesKey::new(db, &parsed.measurement, &text, parsed.labels.clone())?;
            let (series, entry) = self.catalog.register(&series)?;
            let logged = entry.is_logged();
            let name = name.unwrap_or_else(|| self.add_name(field.of(body)));
            let target = Target { name, series, slot: entry.id.slot(), logged };
            if !logged {
                fresh.push((series, entry));
            }
            all.push(target);
            out.push(target);
        }
        let line = Line {
            start: u32::try_from(self.targets.len()).expect("bounded by the memory for them"),
            count: u32::try_from(all.len()).expect("a line's fields are bounded by its bytes"),
        };
        self.targets.extend_from_slice(&all);
        self.lines.insert(key, line);
        Ok(())
    }

    /// Forgets everything where another line of so many fields could pass the limit.
    fn make_room(&mut self, fields: usize) {
        let grown = |len: usize, capacity: usize, more: usize| {
            // While a list grows, the old one is there beside the new one of twice its size.
            if len + more > capacity { capacity + (2 * capacity).max(len + more) } else { capacity }
        };
        // A table is at most 7/8 full.
        let places = grown(self.lines.len(), self.lines.capacity(), 1) * 8 / 7;
        let targets = grown(self.targets.len(), self.targets.capacity(), fields);
        let bytes = places * LINE_BYTES + targets * size_of::<Target>() + self.names_bytes;
        let is_addressable = u32::try_from(targets).is_ok();
        if bytes <= self.bytes_max
            && is_addressable
            && self.names_bytes <= self.bytes_max / NAMES_SHARE
        {
            return;
        }
        // Names are addressed by their place, so they are forgotten with the lines. Names give their
        // memory back; tables keep theirs, which was within the limit.
        self.lines.clear();
        self.targets.clear();
        self.names = Vec::new();
        self.name_of = HashMap::with_hasher(foldhash::fast::FixedState::default());
        self.names_bytes = 0;
    }

    fn add_name(&mut self, name: &[u8]) -> u32 {
        let fresh = u32::try_from(self.names.len()).expect("bounded by the memory for them");
        self.names.push(name.into());
        self.name_of.insert(name.into(), fresh);
        self.names_bytes += NAME_BYTES + 2 * name.len();
        fresh
    }

    #[cold]
    fn check_logged(&mut self, at: usize, fresh: &mut Registrations) {
        let target = &mut self.targets[at];
        let entry = self.catalog.get(target.series).expect("a target is a registered series");
        target.logged = entry.is_logged();
        if !target.logged {
            fresh.push((target.series, entry));
        }
    }
}

/// A decoded body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) batch: &'a LineBatch,
    pub(crate) body: &'a [u8],
    pub(crate) db: &'a str,
}

#[cfg(test)]
#[path = "line_cache_tests.rs"]
mod tests;
