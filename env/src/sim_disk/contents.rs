//! The bytes of one file, with what a power loss would leave of them.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::rng::Rng;

/// What the device writes as one: smaller parts are never torn.
pub const SECTOR_BYTES: usize = 512;

/// A file's bytes as they are read, and for every sector that differs from the device, what the
/// device holds.
///
/// Invariant: a sector without an entry in `volatile` is the same on the device, and lies within
/// both lengths.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {
    bytes: Vec<u8>,
    volatile: BTreeMap<usize, Volatile>,
    durable_len: usize,
}

#[derive(Clone, Debug)]
struct Volatile {
    /// What the device holds; `None` means zeros, because it never held anything.
    durable: Option<Box<[u8; SECTOR_BYTES]>>,
    /// A failed sync has taken the sector for written: no later sync will write it.
    dropped: bool,
}

impl Contents {
    pub(crate) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Copies what lies at `offset`, as far as there is any.
    pub(crate) fn read(&self, buf: &mut [u8], offset: usize) -> usize {
        let rest = self.bytes.get(offset..).unwrap_or_default();
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        count
    }

    pub(crate) fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if end > self.bytes.len() {
            self.set_len(end);
        }
        self.touch(offset..end);
        self.bytes[offset..end].copy_from_slice(bytes);
    }

    pub(crate) fn set_len(&mut self, len: usize) {
        let old = self.bytes.len();
        self.touch(old.min(len)..old.max(len));
        self.bytes.resize(len, 0);
    }

    /// Everything reaches the device, except what an earlier failure has lost.
    pub(crate) fn sync(&mut self) {
        self.volatile.retain(|_, sector| sector.dropped);
        self.durable_len = self.bytes.len();
    }

    /// The device refused: what was to be written counts as written, and is not.
    pub(crate) fn fail_sync(&mut self) {
        for sector in self.volatile.values_mut() {
            sector.dropped = true;
        }
    }

    /// The cache is dropped: sectors that count as written are read from the device again.
    pub(crate) fn forget_cached(&mut self) {
        let lost: Vec<usize> =
            self.volatile.iter().filter(|(_, s)| s.dropped).map(|(&index, _)| index).collect();
        for index in lost {
            if let Some(sector) = self.volatile.remove(&index) {
                self.put_durable(index, &sector);
            }
        }
    }

    /// What is left after a power loss; of four unsynced sectors, `survival` survive on average.
    pub(crate) fn after_power_loss(&self, rng: &mut Rng, survival: u64) -> Self {
        let mut left = self.clone();
        let target = if rng.below(4) < survival { self.bytes.len() } else { self.durable_len };
        left.bytes.resize(self.bytes.len().max(self.durable_len), 0);
        let last = self.volatile.keys().next_back().copied();
        for (&index, sector) in &self.volatile {
            let gone = sector.dropped || index * SECTOR_BYTES >= self.bytes.len();
            if gone || rng.below(4) >= survival {
                left.put_durable(index, sector);
            } else if Some(index) == last && rng.below(2) == 0 {
                left.tear(index, sector, rng);
            }
        }
        left.bytes.truncate(target);
        Self { durable_len: left.bytes.len(), bytes: left.bytes, volatile: BTreeMap::new() }
    }

    /// Notes, before a change in `range`, what the device holds there.
    fn touch(&mut self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        for index in range.start / SECTOR_BYTES..=(range.end - 1) / SECTOR_BYTES {
            let sector = sector_range(index, self.bytes.len());
            let known = index * SECTOR_BYTES < self.durable_len;
            let bytes = &self.bytes;
            let entry = self.volatile.entry(index).or_insert_with(|| Volatile {
                durable: known.then(|| {
                    let mut durable = Box::new([0; SECTOR_BYTES]);
                    durable[..sector.len()].copy_from_slice(&bytes[sector]);
                    durable
                }),
                dropped: false,
            });
            entry.dropped = false;
        }
    }

    fn put_durable(&mut self, index: usize, sector: &Volatile) {
        let range = sector_range(index, self.bytes.len());
        match &sector.durable {
            Some(durable) => {
                let length = range.len();
                self.bytes[range].copy_from_slice(&durable[..length]);
            }
            None => self.bytes[range].fill(0),
        }
    }

    /// The device stopped inside the sector: the bytes before the tear are new, the others old.
    fn tear(&mut self, index: usize, sector: &Volatile, rng: &mut Rng) {
        let range = sector_range(index, self.bytes.len());
        let tear = usize::try_from(rng.below(SECTOR_BYTES as u64)).expect("below 512");
        for (at, place) in self.bytes[range].iter_mut().enumerate().skip(tear) {
            *place = sector.durable.as_ref().map_or(0, |durable| durable[at]);
        }
    }
}

/// The bytes of a sector, as far as a file of `len` bytes has them.
fn sector_range(index: usize, len: usize) -> Range<usize> {
    let start = (index * SECTOR_BYTES).min(len);
    start..(start + SECTOR_BYTES).min(len)
}
