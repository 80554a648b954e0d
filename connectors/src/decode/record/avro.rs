//! Avro's binary encoding, walked by the schema of its writer.
//!
//! ```text
//! int, long = zigzag varint        string, bytes = length long, bytes        float, double = IEEE, LE
//! union = index long, value        array, map = block … 0                    block = items long [bytes long if items < 0], …
//! ```
//!
//! Source: the specification of Apache Avro 1.12, "Binary encoding".
#![deny(clippy::indexing_slicing)]

use tidewatch_metrics::EventTime;

use crate::decode::json::JsonMap;
use crate::decode::line_batch::Span;
use crate::decode::precision::Precision;
use crate::decode::record::found::Found;
use crate::decode::record::schema::Misfit;

/// Values within values; Avro's schemas may contain themselves.
const DEPTH_MAX: usize = 64;
/// Values that a byte may stand for: some take no byte, and a list of them would have no end.
const VALUES_PER_BYTE_MAX: usize = 256;
const SECONDS_PER_DAY: i64 = 86_400;

/// A type of a schema, which refers to others by their places in [`AvroSchema::types`].
#[derive(Clone, Debug, PartialEq)]
pub enum AvroType {
    /// Nothing, in no byte.
    Null,
    /// True or false.
    Boolean,
    /// A number of 32 bits.
    Int,
    /// A number of 64 bits.
    Long,
    /// A number.
    Float,
    /// A number.
    Double,
    /// Bytes that mean nothing here.
    Bytes,
    /// A text.
    Text,
    /// A long that is a time in this unit.
    Time(Precision),
    /// An int that is a number of days.
    Date,
    /// A decimal in bytes, or in so many ones.
    Decimal {
        /// Digits behind the point.
        scale: u32,
        /// Its bytes, if their number is fixed.
        bytes: Option<usize>,
    },
    /// One of these symbols.
    Enum(Vec<String>),
    /// So many bytes, which mean nothing here.
    Fixed(usize),
    /// A list of this type.
    Array(u32),
    /// Texts, each with a value of this type.
    Map(u32),
    /// One of these types.
    Union(Vec<u32>),
    /// A record.
    Record(Vec<AvroField>),
}

/// A field of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct AvroField {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: u32,
}

/// The schema of a writer.
#[derive(Clone, Debug, PartialEq)]
pub struct AvroSchema {
    /// All types; one that is not there fits no bytes.
    pub types: Vec<AvroType>,
    /// The type of a message.
    pub root: u32,
}

impl AvroSchema {
    pub(super) fn kind(&self, kind: u32) -> Option<&AvroType> {
        self.types.get(usize::try_from(kind).ok()?)
    }

    /// The symbol of an enumeration.
    pub(super) fn symbol(&self, of: u32, index: u32) -> &str {
        match self.kind(of) {
            Some(AvroType::Enum(symbols)) => {
                let symbol = usize::try_from(index).ok().and_then(|index| symbols.get(index));
                symbol.map_or("", String::as_str)
            }
            _ => "",
        }
    }

    /// Hands out the members of a record or a map that stands in `within`.
    pub(super) fn members(
        &self,
        bytes: &[u8],
        (of, within): (u32, Span),
        each: &mut dyn FnMut(&[u8], Found),
    ) -> Result<(), Misfit> {
        let end = within.start as usize + within.len as usize;
        let bytes = bytes.get(..end).ok_or(Misfit)?;
        let mut walk = AvroWalk::new((self, None), bytes, within.start as usize);
        match self.kind(of) {
            Some(AvroType::Record(fields)) => {
                for field in fields {
                    let found = walk.value(field.kind, Target::none(), 1)?;
                    each(field.name.as_bytes(), found);
                }
                Ok(())
            }
            Some(AvroType::Map(kind)) => walk.blocks(&mut |walk| {
                let key = walk.blob()?;
                let found = walk.value(*kind, Target::none(), 1)?;
                each(key.of(bytes), found);
                Ok(())
            }),
            _ => Err(Misfit),
        }
    }
}

/// Where what is found goes: to the node of a map, and those within it.
pub(super) struct Target<'t> {
    node: Option<usize>,
    found: &'t mut [Found],
}

impl<'t> Target<'t> {
    /// Nowhere.
    fn none() -> Self {
        Self { node: None, found: &mut [] }
    }

    /// To all nodes, from the outermost on.
    pub(super) fn all(found: &'t mut [Found]) -> Self {
        Self { node: Some(0), found }
    }

    /// To a node within it.
    fn within(&mut self, node: Option<usize>) -> Target<'_> {
        Target { node, found: &mut *self.found }
    }

    fn put(&mut self, node: Option<usize>, found: Found) {
        if let Some(place) = node.and_then(|node| self.found.get_mut(node)) {
            *place = found;
        }
    }
}

/// Walks a message.
pub(super) struct AvroWalk<'a> {
    schema: &'a AvroSchema,
    map: Option<&'a JsonMap>,
    bytes: &'a [u8],
    pos: usize,
    /// Values that may still come.
    values_left: usize,
}

impl<'a> AvroWalk<'a> {
    /// From `start` to the end of `bytes`.
    pub(super) fn new(
        (schema, map): (&'a AvroSchema, Option<&'a JsonMap>),
        bytes: &'a [u8],
        start: usize,
    ) -> Self {
        let length = bytes.len().saturating_sub(start);
        let values_left = (length + 1).saturating_mul(VALUES_PER_BYTE_MAX);
        Self { schema, map, bytes, pos: start, values_left: values_left.max(schema.types.len()) }
    }

    /// Whether all bytes were walked.
    pub(super) fn is_at_end(&self) -> bool {
        self.pos == self.bytes.len()
    }

    /// Hands out the type of the message's record, or of each record of an array, in front of which the walk then is, and
    /// whether it must be the last thing in the message.
    pub(super) fn each_record(
        &mut self,
        each: &mut dyn FnMut(&mut Self, u32, bool) -> Result<(), Misfit>,
    ) -> Result<(), Misfit> {
        let kind = self.chosen(self.schema.root)?;
        match self.schema.kind(kind) {
            Some(AvroType::Array(items)) => self.blocks(&mut |walk| {
                let kind = walk.chosen(*items)?;
                each(walk, kind, false)
            }),
            _ => each(self, kind, true),
        }
    }

    /// The type that a union here says, or the one that is none.
    fn chosen(&mut self, mut kind: u32) -> Result<u32, Misfit> {
        for _ in 0..DEPTH_MAX {
            let Some(AvroType::Union(kinds)) = self.schema.kind(kind) else { return Ok(kind) };
            let index = usize::try_from(self.long()?).map_err(|_negative| Misfit)?;
            kind = *kinds.get(index).ok_or(Misfit)?;
        }
        Err(Misfit)
    }

    /// A value of this type; what of it counts goes to `target`.
    pub(super) fn value(
        &mut self,
        kind: u32,
        mut target: Target<'_>,
        depth: usize,
    ) -> Result<Found, Misfit> {
        self.values_left = self.values_left.checked_sub(1).ok_or(Misfit)?;
        if depth > DEPTH_MAX {
            return Err(Misfit);
        }
        let start = self.pos;
        let found = match self.schema.kind(kind).ok_or(Misfit)? {
            AvroType::Null => Found::Nothing,
            AvroType::Boolean => match self.fixed::<1>()? {
                [0] => Found::Flag(false),
                [1] => Found::Flag(true),
                _ => return Err(Misfit),
            },
            AvroType::Int => Found::Signed(self.int()?),
            AvroType::Long => Found::Signed(self.long()?),
            AvroType::Float => Found::Single(f32::from_le_bytes(*self.fixed()?)),
            AvroType::Double => Found::Double(f64::from_le_bytes(*self.fixed()?)),
            AvroType::Text => Found::Text(self.blob()?),
            AvroType::Time(unit) => time(*unit, self.long()?),
            AvroType::Date => time(Precision::Seconds, self.int()? * SECONDS_PER_DAY),
            AvroType::Decimal { scale, bytes } => {
                let whole = match bytes {
                    Some(bytes) => self.skip(*bytes)?,
                    None => self.blob()?,
                };
                Found::Decimal { whole, scale: *scale }
            }
            AvroType::Enum(symbols) => {
                let index = u32::try_from(self.long()?).map_err(|_negative| Misfit)?;
                usize::try_from(index).ok().filter(|at| *at < symbols.len()).ok_or(Misfit)?;
                Found::Symbol { of: kind, index }
            }
            AvroType::Bytes => self.blob().map(|_bytes| Found::Other)?,
            AvroType::Fixed(bytes) => self.skip(*bytes).map(|_bytes| Found::Other)?,
            AvroType::Union(_) => {
                let chosen = self.chosen(kind)?;
                return self.value(chosen, target, depth + 1);
            }
            AvroType::Array(items) => {
                self.blocks(&mut |walk| walk.value(*items, Target::none(), depth + 1).map(drop))?;
                Found::Other
            }
            AvroType::Map(values) => {
                self.blocks(&mut |walk| {
                    let key = walk.blob()?;
                    let child = walk.child(&target, key.of(walk.bytes));
                    let found = walk.value(*values, target.within(child), depth + 1)?;
                    target.put(child, found);
                    Ok(())
                })?;
                Found::Members { of: kind, within: Span::between(start, self.pos) }
            }
            AvroType::Record(fields) => {
                for field in fields {
                    let child = self.child(&target, field.name.as_bytes());
                    let found = self.value(field.kind, target.within(child), depth + 1)?;
                    target.put(child, found);
                }
                Found::Members { of: kind, within: Span::between(start, self.pos) }
            }
        };
        Ok(found)
    }

    /// The node that a member's name leads to.
    fn child(&self, target: &Target<'_>, name: &[u8]) -> Option<usize> {
        self.map?.child_named(target.node?, name)
    }

    /// Hands out the items of an array or a map. A block that says its length must have it.
    fn blocks(
        &mut self,
        each: &mut dyn FnMut(&mut Self) -> Result<(), Misfit>,
    ) -> Result<(), Misfit> {
        loop {
            self.values_left = self.values_left.checked_sub(1).ok_or(Misfit)?;
            let count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            let bytes = if count < 0 { Some(self.long()?) } else { None };
            let start = self.pos;
            for _ in 0..count.unsigned_abs() {
                each(self)?;
            }
            let length = i64::try_from(self.pos - start).map_err(|_long| Misfit)?;
            if bytes.is_some_and(|bytes| bytes != length) {
                return Err(Misfit);
            }
        }
    }

    fn int(&mut self) -> Result<i64, Misfit> {
        let number = self.long()?;
        i32::try_from(number).map(i64::from).map_err(|_too_large| Misfit)
    }

    #[inline]
    fn long(&mut self) -> Result<i64, Misfit> {
        let (number, end) = zigzag(self.bytes, self.pos).ok_or(Misfit)?;
        self.pos = end;
        Ok(number)
    }

    #[inline]
    fn blob(&mut self) -> Result<Span, Misfit> {
        let length = usize::try_from(self.long()?).map_err(|_negative| Misfit)?;
        self.skip(length)
    }

    #[inline]
    fn skip(&mut self, bytes: usize) -> Result<Span, Misfit> {
        let start = self.pos;
        let end = start.checked_add(bytes).filter(|end| *end <= self.bytes.len()).ok_or(Misfit)?;
        self.pos = end;
        Ok(Span::between(start, end))
    }

    #[inline]
    fn fixed<const N: usize>(&mut self) -> Result<&'a [u8; N], Misfit> {
        let chunk = self.bytes.get(self.pos..).and_then(<[u8]>::first_chunk::<N>).ok_or(Misfit)?;
        self.pos += N;
        Ok(chunk)
    }
}

fn time(unit: Precision, number: i64) -> Found {
    let time: Option<EventTime> = unit.scale(number);
    time.map_or(Found::TimeBeyond, Found::Time)
}

/// The zigzag varint at `start`, and the position behind it.
#[inline]
pub(super) fn zigzag(bytes: &[u8], start: usize) -> Option<(i64, usize)> {
    let (mut number, mut pos) = (0_u64, start);
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(pos)?;
        pos += 1;
        if shift == 63 && byte > 1 {
            return None;
        }
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            let half = i64::try_from(number >> 1).ok()?;
            return Some((if number & 1 == 0 { half } else { !half }, pos));
        }
    }
    None
}
