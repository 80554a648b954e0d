//! A window of a file of the log.

#![deny(clippy::indexing_slicing)]

use std::io;

use crate::limits::{BLOCK_BYTES, GROWING_BLOCK_BYTES};
use crate::source::Source;

/// A window of a file, at least as large as the largest frame seen so far.
#[derive(Debug, Default)]
pub(crate) struct Block {
    bytes: Vec<u8>,
    start: u64,
    /// The next bytes come from where a log grows: few, for they are read again when it has grown.
    at_end: bool,
}

impl Block {
    /// The `want` bytes at `offset`, or what the file has of them.
    pub(crate) fn slice(
        &mut self,
        source: &mut Source,
        offset: u64,
        want: usize,
    ) -> io::Result<&[u8]> {
        let end = self.start + self.bytes.len() as u64;
        if offset < self.start || offset.saturating_add(want as u64) > end {
            let bytes = if self.at_end { GROWING_BLOCK_BYTES } else { BLOCK_BYTES };
            self.at_end = false;
            self.fill(source, offset, want.max(bytes))?;
        }
        Ok(self.held(offset, want))
    }

    /// Those of the `want` bytes at `offset` that are held.
    pub(crate) fn held(&self, offset: u64, want: usize) -> &[u8] {
        let rest = offset.checked_sub(self.start).and_then(|at| self.bytes.get(index(at)..));
        let rest = rest.unwrap_or_default();
        rest.get(..want).unwrap_or(rest)
    }

    /// Lets the next slice come from the file.
    pub(crate) fn forget(&mut self) {
        self.bytes.clear();
        self.start = 0;
    }

    /// As [`forget`](Self::forget), where more is to be expected soon.
    pub(crate) fn forget_end(&mut self) {
        self.forget();
        self.at_end = true;
    }

    fn fill(&mut self, source: &mut Source, offset: u64, want: usize) -> io::Result<()> {
        let mut filled = 0;
        if !source.rereads() {
            filled = self.held(offset, want).len();
            let kept = self.bytes.len() - filled..;
            self.bytes.copy_within(kept, 0);
        }
        self.bytes.resize(want, 0);
        self.start = offset;
        while let Some(rest) = self.bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match source.read_at(rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.forget();
                    return Err(error);
                }
            }
        }
        self.bytes.truncate(filled);
        Ok(())
    }
}

pub(crate) fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("a file of the log is at most as long as memory is wide")
}
