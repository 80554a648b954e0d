//! The bytes of one file, with what a power loss would leave of them.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::rng::Rng;
use crate::sim_disk::pages::Pages;

/// What the device writes as one: smaller parts are never torn.
pub const SECTOR_BYTES: usize = 512;

/// A file's bytes as they are read, and for every sector that differs from the device, what the
/// device holds.
///
/// Invariant: a sector without an entry in `volatile` is the same on the device, and lies within
/// both lengths.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {
    bytes: Pages,
    volatile: BTreeMap<usize, Volatile>,
    durable_len: usize,
}

#[derive(Clone, Debug)]
struct Volatile {
    /// What the device holds; `None` means zeros, as where it never held anything.
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
        self.bytes.read(buf, offset)
    }

    pub(crate) fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if end > self.bytes.len() {
            self.set_len(end);
        }
        self.touch(offset..end);
        self.bytes.write(bytes, offset);
    }

    pub(crate) fn set_len(&mut self, len: usize) {
        let old = self.bytes.len();
        self.touch(old.min(len)..old.max(len));
        self.bytes.set_len(len);
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
                self.bytes.put_sector(index, sector.durable.as_deref());
            }
        }
    }

    /// What is left after a power loss; of four unsynced sectors, `survival` survive on average.
    pub(crate) fn after_power_loss(&self, rng: &mut Rng, survival: u64) -> Self {
        let mut bytes = self.bytes.clone();
        if self.volatile.is_empty() && self.durable_len == bytes.len() {
            return Self { durable_len: bytes.len(), bytes, volatile: BTreeMap::new() };
        }
        let target = if rng.below(4) < survival { self.bytes.len() } else { self.durable_len };
        bytes.set_len(self.bytes.len().max(self.durable_len));
        let last = self.volatile.keys().next_back().copied();
        for (&index, sector) in &self.volatile {
            let gone = sector.dropped || index * SECTOR_BYTES >= self.bytes.len();
            if gone || rng.below(4) >= survival {
                bytes.put_sector(index, sector.durable.as_deref());
            } else if Some(index) == last && rng.below(2) == 0 {
                tear(&mut bytes, index, sector, rng);
            }
        }
        bytes.set_len(target);
        Self { durable_len: target, bytes, volatile: BTreeMap::new() }
    }

    /// Notes, before a change in `range`, what the device holds there.
    fn touch(&mut self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        for index in range.start / SECTOR_BYTES..=(range.end - 1) / SECTOR_BYTES {
            let known = index * SECTOR_BYTES < self.durable_len;
            let bytes = &self.bytes;
            let entry = self.volatile.entry(index).or_insert_with(|| Volatile {
                durable: if known { bytes.sector(index).map(Box::new) } else { None },
                dropped: false,
            });
            entry.dropped = false;
        }
    }
}

/// The device stopped inside the sector: the bytes before the tear are new, the others old.
fn tear(bytes: &mut Pages, index: usize, sector: &Volatile, rng: &mut Rng) {
    let tear = usize::try_from(rng.below(SECTOR_BYTES as u64)).expect("below 512");
    let mut torn = bytes.sector(index).unwrap_or([0; SECTOR_BYTES]);
    let old = sector.durable.as_deref().unwrap_or(&[0; SECTOR_BYTES]);
    torn[tear..].copy_from_slice(&old[tear..]);
    bytes.put_sector(index, Some(&torn));
}
