//! Bytes in pages that copies share until one of them is changed.
//!
//! A laboratory copies its disk thousands of times, and hardly any of its bytes differ.

use std::sync::Arc;

use crate::sim_disk::contents::SECTOR_BYTES;

const PAGE_BYTES: usize = 4096;
const SECTORS: usize = PAGE_BYTES / SECTOR_BYTES;

type Page = [u8; PAGE_BYTES];

/// A run of bytes that is cheap to copy, and cheap where it is zeros.
///
/// Invariant: `pages` has just as many pages as `len` needs, and bytes behind `len` are zeros. A page
/// that is `None` is all zeros.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pages {
    pages: Arc<Vec<Option<Arc<Page>>>>,
    len: usize,
}

impl Pages {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Copies what lies at `offset`, as far as there is any; the number of bytes.
    pub(crate) fn read(&self, buf: &mut [u8], offset: usize) -> usize {
        let count = self.len.saturating_sub(offset).min(buf.len());
        let mut done = 0;
        while done < count {
            let (page, from) = place(offset + done);
            let step = (PAGE_BYTES - from).min(count - done);
            let target = &mut buf[done..done + step];
            match self.pages.get(page).and_then(Option::as_deref) {
                Some(page) => target.copy_from_slice(&page[from..from + step]),
                None => target.fill(0),
            }
            done += step;
        }
        count
    }

    /// Changes bytes within the length.
    pub(crate) fn write(&mut self, bytes: &[u8], offset: usize) {
        assert!(offset + bytes.len() <= self.len, "writes lie within the length");
        let pages = Arc::make_mut(&mut self.pages);
        let mut done = 0;
        while done < bytes.len() {
            let (page, from) = place(offset + done);
            let step = (PAGE_BYTES - from).min(bytes.len() - done);
            let part = &bytes[done..done + step];
            if pages[page].is_some() || part.iter().any(|byte| *byte != 0) {
                own(&mut pages[page])[from..from + step].copy_from_slice(part);
            }
            done += step;
        }
    }

    /// Cuts, or extends with zeros.
    pub(crate) fn set_len(&mut self, len: usize) {
        if len == self.len {
            return;
        }
        let pages = Arc::make_mut(&mut self.pages);
        pages.resize(len.div_ceil(PAGE_BYTES), None);
        let (page, from) = place(len);
        if from > 0
            && let Some(Some(page)) = pages.get_mut(page)
        {
            Arc::make_mut(page)[from..].fill(0);
        }
        self.len = len;
    }

    /// A sector's bytes, with zeros behind the length; `None` where all are zeros.
    pub(crate) fn sector(&self, index: usize) -> Option<[u8; SECTOR_BYTES]> {
        let page = self.pages.get(index / SECTORS)?.as_deref()?;
        let from = index % SECTORS * SECTOR_BYTES;
        let mut sector = [0; SECTOR_BYTES];
        sector.copy_from_slice(&page[from..from + SECTOR_BYTES]);
        (sector != [0; SECTOR_BYTES]).then_some(sector)
    }

    /// Changes a sector as far as it lies within the length; `None` makes it zeros.
    pub(crate) fn put_sector(&mut self, index: usize, sector: Option<&[u8; SECTOR_BYTES]>) {
        let start = (index * SECTOR_BYTES).min(self.len);
        let end = (start + SECTOR_BYTES).min(self.len);
        let bytes = sector.unwrap_or(&[0; SECTOR_BYTES]);
        self.write(&bytes[..end - start], start);
    }
}

/// The page of a byte, and its place there.
fn place(offset: usize) -> (usize, usize) {
    (offset / PAGE_BYTES, offset % PAGE_BYTES)
}

fn own(page: &mut Option<Arc<Page>>) -> &mut Page {
    Arc::make_mut(page.get_or_insert_with(|| Arc::new([0; PAGE_BYTES])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn all(pages: &Pages) -> Vec<u8> {
        let mut bytes = vec![7; pages.len() + 3];
        let count = pages.read(&mut bytes, 0);
        assert_eq!(count, pages.len());
        bytes.truncate(count);
        bytes
    }

    #[test]
    fn pages_hold_what_a_plain_vector_would_and_copies_keep_what_they_had() {
        let lot = |rng: &mut Rng, below: u64| usize::try_from(rng.below(below)).unwrap();
        for seed in 0..50 {
            let mut rng = Rng::from_seed(seed);
            let (mut pages, mut plain) = (Pages::default(), Vec::new());
            let mut copies = Vec::new();
            for _ in 0..60 {
                match rng.below(5) {
                    0 => {
                        let len = lot(&mut rng, 20_000);
                        pages.set_len(len);
                        plain.resize(len, 0);
                    }
                    1 => copies.push((pages.clone(), plain.clone())),
                    2 => {
                        let index = lot(&mut rng, 40);
                        let (start, end) = (index * SECTOR_BYTES, (index + 1) * SECTOR_BYTES);
                        let byte = (rng.below(2) == 1).then_some([9; SECTOR_BYTES]);
                        pages.put_sector(index, byte.as_ref());
                        let end = end.min(plain.len());
                        if start < end {
                            plain[start..end].fill(byte.map_or(0, |byte| byte[0]));
                        }
                    }
                    _ => {
                        let offset = lot(&mut rng, plain.len() as u64 + 1);
                        let count = lot(&mut rng, (plain.len() - offset) as u64 + 1);
                        let bytes = vec![u8::try_from(rng.below(3)).unwrap(); count];
                        pages.write(&bytes, offset);
                        plain[offset..offset + count].copy_from_slice(&bytes);
                    }
                }
                assert_eq!(all(&pages), plain, "SEED={seed}");
            }
            for (copy, plain) in copies {
                assert_eq!(all(&copy), plain, "SEED={seed}");
            }
        }
    }
}
