//! Fields of protobuf messages, where they stand.
//!
//! ```text
//! field  = tag value          tag = varint: field number * 8 + wire type
//! value  = 0: varint | 1: 8 bytes | 2: length varint, bytes | 5: 4 bytes
//! ```
//!
//! Groups (3, 4), which protobuf gave up, are refused.
#![deny(clippy::indexing_slicing)]

use crate::decode::line_batch::Span;

/// No message, as seen at this position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) at: usize,
}

/// A message within a body: gives its fields one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wire<'a> {
    /// The body up to the message's end.
    bytes: &'a [u8],
    pos: usize,
}

/// A field: where its tag begins, where it ends, and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) at: usize,
    pub(crate) end: usize,
    pub(crate) number: u64,
    pub(crate) value: Value,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Varint(u64),
    Fixed64(u64),
    /// Begins here and ends with the field.
    Bytes(usize),
    Fixed32,
}

impl Field {
    /// The bytes that the field holds, as a piece of the body.
    #[inline]
    pub(crate) fn span(&self, start: usize) -> Span {
        Span::between(start, self.end)
    }
}

impl<'a> Wire<'a> {
    /// The message that is `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, pos: 0 }
    }

    /// The message that begins at `start` and ends with `bytes`.
    pub(crate) fn within(bytes: &'a [u8], start: usize) -> Self {
        Self { bytes, pos: start }
    }

    /// The message in the field whose bytes begin at `start`.
    #[inline]
    pub(crate) fn inner(&self, start: usize, field: &Field) -> Self {
        Self { bytes: self.bytes.get(..field.end).unwrap_or_default(), pos: start }
    }

    /// A piece of the body within the message.
    #[inline]
    pub(crate) fn between(&self, start: usize, end: usize) -> &'a [u8] {
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// The next field; `None` at the message's end.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Field>, Malformed> {
        let at = self.pos;
        if at >= self.bytes.len() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(*self.fixed::<8>()?)),
            2 => {
                let length = self.varint()?;
                let start = self.pos;
                let length = usize::try_from(length).map_err(|_too_long| Malformed { at })?;
                let end = start.checked_add(length).filter(|end| *end <= self.bytes.len());
                self.pos = end.ok_or(Malformed { at })?;
                Value::Bytes(start)
            }
            5 => {
                self.fixed::<4>()?;
                Value::Fixed32
            }
            _ => return Err(Malformed { at }),
        };
        let number = tag >> 3;
        // Field numbers are 1 to 2^29 - 1.
        if number == 0 || number >> 29 != 0 {
            return Err(Malformed { at });
        }
        Ok(Some(Field { at, end: self.pos, number, value }))
    }

    /// The next number of a packed field; `None` at its end.
    #[inline]
    pub(crate) fn next_packed(&mut self) -> Result<Option<u64>, Malformed> {
        if self.pos >= self.bytes.len() { Ok(None) } else { self.varint().map(Some) }
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        let first = *self.bytes.get(self.pos).ok_or(Malformed { at: self.pos })?;
        if first < 0x80 {
            self.pos += 1;
            return Ok(u64::from(first));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let at = self.pos;
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.pos).ok_or(Malformed { at })?;
            self.pos += 1;
            // Of the tenth byte there is room for one bit.
            if shift == 63 && byte > 1 {
                return Err(Malformed { at });
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed { at })
    }

    #[inline]
    fn fixed<const N: usize>(&mut self) -> Result<&'a [u8; N], Malformed> {
        let at = self.pos;
        let chunk = self.bytes.get(at..).and_then(<[u8]>::first_chunk::<N>);
        self.pos += N;
        chunk.ok_or(Malformed { at })
    }
}
