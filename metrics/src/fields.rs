//! Fields of stored bytes, written and read in order: little-endian, without padding.
//!
//! ```text
//! numbers:       their width; floats with all their bits
//! count:         u32
//! blob, text:    u32 length, bytes; text is UTF-8
//! ```

#![deny(clippy::indexing_slicing)]

/// Appends fields to bytes that grow.
#[derive(Debug, Default)]
pub struct FieldWriter {
    bytes: Vec<u8>,
}

impl FieldWriter {
    /// A writer with room for `bytes`.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes) }
    }

    /// Appends 1 byte.
    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// Appends 1 byte.
    pub fn i8(&mut self, value: i8) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends 2 bytes.
    pub fn u16(&mut self, value: u16) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends 4 bytes.
    pub fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends 4 bytes.
    pub fn i32(&mut self, value: i32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends 8 bytes.
    pub fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends 8 bytes.
    pub fn i64(&mut self, value: i64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends 16 bytes.
    pub fn u128(&mut self, value: u128) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends 4 bytes: all bits, those of a NaN included.
    pub fn f32(&mut self, value: f32) {
        self.u32(value.to_bits());
    }

    /// Appends 8 bytes: all bits, those of a NaN included.
    pub fn f64(&mut self, value: f64) {
        self.u64(value.to_bits());
    }

    /// Appends a count or length.
    ///
    /// # Panics
    /// Beyond `u32`, which what is stored in one piece never reaches.
    pub fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).expect("what is stored is bounded far below 4 GiB"));
    }

    /// Appends bytes and, before them, their number.
    ///
    /// # Panics
    /// Beyond 4 GiB, see [`FieldWriter::count`].
    pub fn blob(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends a text and, before it, the number of its bytes.
    ///
    /// # Panics
    /// Beyond 4 GiB, see [`FieldWriter::count`].
    pub fn text(&mut self, text: &str) {
        self.blob(text.as_bytes());
    }

    /// Appends fixed-size fields, one after the other, at the speed of a copy.
    pub fn column<const N: usize>(&mut self, fields: impl ExactSizeIterator<Item = [u8; N]>) {
        let start = self.bytes.len();
        self.bytes.resize(start + fields.len() * N, 0);
        let room = self.bytes.get_mut(start..).unwrap_or_default();
        for (place, field) in room.chunks_exact_mut(N).zip(fields) {
            place.copy_from_slice(&field);
        }
    }

    /// What was written so far.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Ends writing.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Takes fields from bytes; every call is `None` when the bytes do not reach, and then takes nothing
/// that counts: a reader that said `None` is not used any further.
#[derive(Clone, Debug)]
pub struct FieldReader<'a> {
    bytes: &'a [u8],
}

impl<'a> FieldReader<'a> {
    /// Reads from the beginning of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*head)
    }

    /// Takes 1 byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    /// Takes 1 byte.
    pub fn i8(&mut self) -> Option<i8> {
        self.array().map(i8::from_le_bytes)
    }

    /// Takes 2 bytes.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Takes 4 bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Takes 4 bytes.
    pub fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_le_bytes)
    }

    /// Takes 8 bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Takes 8 bytes.
    pub fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    /// Takes 16 bytes.
    pub fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }

    /// Takes 4 bytes: all bits, those of a NaN included.
    pub fn f32(&mut self) -> Option<f32> {
        self.u32().map(f32::from_bits)
    }

    /// Takes 8 bytes: all bits, those of a NaN included.
    pub fn f64(&mut self) -> Option<f64> {
        self.u64().map(f64::from_bits)
    }

    /// Takes a count or length. It may be beyond what follows: nothing is allocated by its word.
    pub fn count(&mut self) -> Option<usize> {
        self.u32().and_then(|count| usize::try_from(count).ok())
    }

    /// Takes `length` bytes.
    pub fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(head)
    }

    /// Takes what [`FieldWriter::blob`] wrote.
    pub fn blob(&mut self) -> Option<&'a [u8]> {
        let length = self.count()?;
        self.slice(length)
    }

    /// Takes what [`FieldWriter::text`] wrote.
    pub fn text(&mut self) -> Option<String> {
        std::str::from_utf8(self.blob()?).ok().map(str::to_owned)
    }

    /// Takes `count` fixed-size fields.
    pub fn column<const N: usize>(
        &mut self,
        count: usize,
    ) -> Option<impl ExactSizeIterator<Item = [u8; N]> + use<'a, N>> {
        let bytes = self.slice(count.checked_mul(N)?)?;
        let (fields, _) = bytes.as_chunks::<N>();
        Some(fields.iter().copied())
    }

    /// Bytes that were not taken yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// `Some` when all bytes were taken.
    #[must_use]
    pub fn end(&self) -> Option<()> {
        self.bytes.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> Vec<u8> {
        let mut out = FieldWriter::with_capacity(64);
        out.u8(1);
        out.i8(-2);
        out.u16(0x0304);
        out.i32(-5);
        out.f32(f32::from_bits(0x7fc0_0001));
        out.f64(-0.0);
        out.u128(6);
        out.text("é");
        out.column([[7_u8, 8], [9, 10]].into_iter());
        assert_eq!(out.as_bytes().len(), 46);
        out.into_bytes()
    }

    fn read(bytes: &[u8]) -> Option<()> {
        let mut fields = FieldReader::new(bytes);
        assert_eq!((fields.u8()?, fields.i8()?, fields.u16()?), (1, -2, 0x0304));
        assert_eq!((fields.i32()?, fields.f32()?.to_bits()), (-5, 0x7fc0_0001));
        assert_eq!((fields.f64()?.to_bits(), fields.u128()?), (1 << 63, 6));
        assert_eq!(fields.text()?, "é");
        assert_eq!(fields.remaining(), bytes.len() - 42);
        assert_eq!(fields.column::<2>(2)?.collect::<Vec<_>>(), [[7, 8], [9, 10]]);
        fields.end()
    }

    #[test]
    fn fields_come_back_bit_by_bit_and_cut_bytes_give_none() {
        let bytes = written();
        assert_eq!(
            bytes[..8],
            [1, 0xfe, 4, 3, 0xfb, 0xff, 0xff, 0xff],
            "little-endian, no padding"
        );
        assert_eq!(read(&bytes), Some(()));
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes[..cut]), None, "cut at {cut}");
        }
        assert_eq!(read(&[&bytes[..], &[0]].concat()), None, "one byte too many");
    }
}
