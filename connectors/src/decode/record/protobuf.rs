//! Messages of Protobuf, walked by the file that describes them.
//!
//! Fields that nobody asks for are passed over as they are. A field without presence that is not there has its default, as in
//! every other reader. Groups, which `proto2` had before messages, are not read.
#![deny(clippy::indexing_slicing)]

use tidewatch_metrics::EventTime;

use crate::decode::json::JsonMap;
use crate::decode::line_batch::Span;
use crate::decode::record::found::Found;
use crate::decode::record::schema::Misfit;
use crate::decode::wire::{Field, Value, Wire};

const NANOS_PER_SECOND: i64 = 1_000_000_000;
/// Of an entry of a map.
const KEY: u32 = 1;
/// Of an entry of a map, and of messages that are a scalar which may be missing.
const VALUE_OF_ENTRY: u32 = 2;

/// The type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// A number.
    Double,
    /// A number.
    Float,
    /// `int32`.
    Int32,
    /// `int64`.
    Int64,
    /// `uint32`.
    Uint32,
    /// `uint64`.
    Uint64,
    /// `sint32`.
    Sint32,
    /// `sint64`.
    Sint64,
    /// `fixed32`.
    Fixed32,
    /// `fixed64`.
    Fixed64,
    /// `sfixed32`.
    Sfixed32,
    /// `sfixed64`.
    Sfixed64,
    /// True or false.
    Bool,
    /// A text.
    Text,
    /// Bytes that mean nothing here.
    Bytes,
    /// A symbol of the enumeration at this place of [`ProtobufSchema::enums`].
    Enum(u32),
    /// The message at this place of [`ProtobufSchema::messages`].
    Message(u32),
}

/// How often a field is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldShape {
    /// Once, or not at all.
    Optional,
    /// Once; where it is not there, it has its default.
    Implicit,
    /// Any number of times.
    Repeated,
    /// As a map, whose entries are messages with a key and a value.
    Map,
}

/// A field of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtobufField {
    /// Its number.
    pub number: u32,
    /// Its name, as the file has it.
    pub name: String,
    /// Its type.
    pub kind: FieldKind,
    /// How often it is there.
    pub shape: FieldShape,
}

/// What a message means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// Its fields.
    Plain,
    /// `google.protobuf.Timestamp`.
    Timestamp,
    /// One of `google/protobuf/wrappers.proto`: a scalar that may be missing.
    Wrapper,
}

/// A type of messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtobufMessage {
    /// What it means.
    pub kind: MessageKind,
    /// Its fields, by their numbers.
    pub fields: Vec<ProtobufField>,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtobufSchema {
    /// All messages that it has or refers to.
    pub messages: Vec<ProtobufMessage>,
    /// All enumerations: numbers and their symbols.
    pub enums: Vec<Vec<(i32, String)>>,
    /// The messages of the file itself: indices from the outside inwards, and the place in `messages`.
    pub places: Vec<(Vec<i64>, u32)>,
}

impl ProtobufMessage {
    fn field(&self, number: u64) -> Option<&ProtobufField> {
        let number = u32::try_from(number).ok()?;
        let at = self.fields.binary_search_by_key(&number, |field| field.number).ok()?;
        self.fields.get(at)
    }
}

impl ProtobufSchema {
    fn message(&self, of: u32) -> Result<&ProtobufMessage, Misfit> {
        let message = usize::try_from(of).ok().and_then(|of| self.messages.get(of));
        message.ok_or(Misfit)
    }

    /// The message at a place of the file.
    pub(super) fn at(&self, place: &[i64]) -> Option<u32> {
        self.places.iter().find(|(indices, _)| indices == place).map(|(_, message)| *message)
    }

    /// The symbol of an enumeration.
    pub(super) fn symbol(&self, of: u32, index: u32) -> &str {
        let symbols = usize::try_from(of).ok().and_then(|of| self.enums.get(of));
        let index = usize::try_from(index).ok();
        let symbol = symbols.zip(index).and_then(|(symbols, index)| symbols.get(index));
        symbol.map_or("", |(_, symbol)| symbol)
    }

    /// Hands out the fields of the message in `within`, or the entries of this field of it.
    pub(super) fn members(
        &self,
        bytes: &[u8],
        (of, within): (u32, Span),
        entries: Option<u32>,
        each: &mut dyn FnMut(&[u8], Found),
    ) -> Result<(), Misfit> {
        let message = self.message(of)?;
        let mut wire = wire(bytes, within)?;
        let mut name = Vec::new();
        while let Some(field) = wire.next().map_err(|_malformed| Misfit)? {
            let Some(known) = message.field(field.number) else { continue };
            match entries {
                Some(number) if number == known.number => {
                    let (key, value) = self.entry(bytes, known, &field)?;
                    match key {
                        Found::Text(text) => each(text.of(bytes), value),
                        other => {
                            name.clear();
                            other.print(bytes, &mut name).ok_or(Misfit)?;
                            each(&name, value);
                        }
                    }
                }
                Some(_) => {}
                None if matches!(known.shape, FieldShape::Repeated | FieldShape::Map) => {
                    each(known.name.as_bytes(), Found::Other);
                }
                None => each(known.name.as_bytes(), self.scalar(bytes, known.kind, &field)?),
            }
        }
        Ok(())
    }

    /// Notes what of the message in `within`, which `node` of the map is, counts.
    pub(super) fn walk(
        &self,
        bytes: &[u8],
        (of, within): (u32, Span),
        (map, node): (&JsonMap, usize),
        found: &mut [Found],
    ) -> Result<(), Misfit> {
        let message = self.message(of)?;
        let mut wire = wire(bytes, within)?;
        while let Some(field) = wire.next().map_err(|_malformed| Misfit)? {
            let Some(known) = message.field(field.number) else { continue };
            let Some(child) = map.child_named(node, known.name.as_bytes()) else {
                known.check(&field)?;
                continue;
            };
            let value = match known.shape {
                FieldShape::Repeated => {
                    known.check(&field)?;
                    Found::Other
                }
                FieldShape::Map => {
                    self.walk_entry(bytes, (known, &field), (map, child), found)?;
                    Found::Entries { of, field: known.number, within }
                }
                FieldShape::Optional | FieldShape::Implicit => {
                    self.walk_field(bytes, (known, &field), (map, child), found)?
                }
            };
            put(found, child, value);
        }
        self.put_defaults(message, (map, node), found);
        Ok(())
    }

    /// A field that is there once, and what counts within it.
    fn walk_field(
        &self,
        bytes: &[u8],
        (known, field): (&ProtobufField, &Field),
        (map, node): (&JsonMap, usize),
        found: &mut [Found],
    ) -> Result<Found, Misfit> {
        if let (FieldKind::Message(of), true) = (known.kind, map.end_of(node) > node + 1) {
            self.walk(bytes, (of, blob(field)?), (map, node), found)?;
        }
        self.scalar(bytes, known.kind, field)
    }

    fn walk_entry(
        &self,
        bytes: &[u8],
        (known, field): (&ProtobufField, &Field),
        (map, node): (&JsonMap, usize),
        found: &mut [Found],
    ) -> Result<(), Misfit> {
        if map.end_of(node) == node + 1 {
            return known.check(field);
        }
        let (key, value) = self.entry(bytes, known, field)?;
        let child = match key {
            Found::Text(text) => map.child_named(node, text.of(bytes)),
            other => {
                let mut name = Vec::new();
                other.print(bytes, &mut name).ok_or(Misfit)?;
                map.child_named(node, &name)
            }
        };
        let Some(child) = child else { return Ok(()) };
        if let (Found::Members { of, within }, true) = (value, map.end_of(child) > child + 1) {
            self.walk(bytes, (of, within), (map, child), found)?;
        }
        put(found, child, value);
        Ok(())
    }

    /// Key and value of an entry of a map.
    fn entry(
        &self,
        bytes: &[u8],
        known: &ProtobufField,
        field: &Field,
    ) -> Result<(Found, Found), Misfit> {
        let FieldKind::Message(of) = known.kind else { return Err(Misfit) };
        let entry = self.message(of)?;
        let mut wire = wire(bytes, blob(field)?)?;
        let default = |number: u32| {
            let field = entry.field(u64::from(number)).ok_or(Misfit)?;
            Ok(self.default_of(field.kind))
        };
        let (mut key, mut value) = (default(KEY)?, default(VALUE_OF_ENTRY)?);
        while let Some(part) = wire.next().map_err(|_malformed| Misfit)? {
            let Some(known) = entry.field(part.number) else { continue };
            let found = self.scalar(bytes, known.kind, &part)?;
            if known.number == KEY { key = found } else { value = found }
        }
        Ok((key, value))
    }

    /// Notes the defaults of fields that were not there.
    fn put_defaults(
        &self,
        message: &ProtobufMessage,
        (map, node): (&JsonMap, usize),
        found: &mut [Found],
    ) {
        for (child, name) in map.children(node) {
            if found.get(child) != Some(&Found::Nothing) {
                continue;
            }
            let field = message.fields.iter().find(|field| field.name == name);
            if let Some(field) = field.filter(|field| field.shape == FieldShape::Implicit) {
                put(found, child, self.default_of(field.kind));
            }
        }
    }

    /// What a field without presence is where it is not there.
    fn default_of(&self, kind: FieldKind) -> Found {
        match kind {
            FieldKind::Double | FieldKind::Float => Found::Double(0.0),
            FieldKind::Bool => Found::Flag(false),
            FieldKind::Text => Found::Text(Span::default()),
            FieldKind::Bytes => Found::Other,
            FieldKind::Enum(of) => self.symbol_of(of, 0),
            FieldKind::Message(_) => Found::Nothing,
            _ => Found::Signed(0),
        }
    }

    fn symbol_of(&self, of: u32, number: i32) -> Found {
        let symbols = usize::try_from(of).ok().and_then(|of| self.enums.get(of));
        let at = symbols.and_then(|all| all.iter().position(|(known, _)| *known == number));
        let index = at.and_then(|at| u32::try_from(at).ok());
        index.map_or(Found::Signed(i64::from(number)), |index| Found::Symbol { of, index })
    }

    /// A field of this type.
    fn scalar(&self, bytes: &[u8], kind: FieldKind, field: &Field) -> Result<Found, Misfit> {
        let found = match (kind, field.value) {
            (FieldKind::Double, Value::Fixed64(bits)) => Found::Double(f64::from_bits(bits)),
            (FieldKind::Float, Value::Fixed32) => {
                Found::Single(f32::from_bits(fixed32(bytes, field)?))
            }
            (FieldKind::Int32, Value::Varint(bits)) => Found::Signed(i64::from(low_half(bits))),
            (FieldKind::Int64, Value::Varint(bits)) => Found::Signed(bits.cast_signed()),
            (FieldKind::Uint32, Value::Varint(bits)) => Found::Unsigned(bits & 0xffff_ffff),
            (FieldKind::Uint64, Value::Varint(bits)) => Found::Unsigned(bits),
            (FieldKind::Sint32, Value::Varint(bits)) => Found::Signed(unzigzag(bits & 0xffff_ffff)),
            (FieldKind::Sint64, Value::Varint(bits)) => Found::Signed(unzigzag(bits)),
            (FieldKind::Fixed32, Value::Fixed32) => {
                Found::Unsigned(u64::from(fixed32(bytes, field)?))
            }
            (FieldKind::Sfixed32, Value::Fixed32) => {
                Found::Signed(i64::from(fixed32(bytes, field)?.cast_signed()))
            }
            (FieldKind::Fixed64, Value::Fixed64(bits)) => Found::Unsigned(bits),
            (FieldKind::Sfixed64, Value::Fixed64(bits)) => Found::Signed(bits.cast_signed()),
            (FieldKind::Bool, Value::Varint(bits)) => Found::Flag(bits != 0),
            (FieldKind::Enum(of), Value::Varint(bits)) => self.symbol_of(of, low_half(bits)),
            (FieldKind::Text, Value::Bytes(start)) => Found::Text(field.span(start)),
            (FieldKind::Bytes, Value::Bytes(_)) => Found::Other,
            (FieldKind::Message(of), Value::Bytes(start)) => {
                let within = field.span(start);
                match self.message(of)?.kind {
                    MessageKind::Plain => Found::Members { of, within },
                    MessageKind::Timestamp => timestamp(bytes, within)?,
                    MessageKind::Wrapper => self.wrapped(bytes, (of, within))?,
                }
            }
            _ => return Err(Misfit),
        };
        Ok(found)
    }

    /// The scalar that a message of `google/protobuf/wrappers.proto` is.
    fn wrapped(&self, bytes: &[u8], (of, within): (u32, Span)) -> Result<Found, Misfit> {
        let only = self.message(of)?.field(1).ok_or(Misfit)?;
        if matches!(only.kind, FieldKind::Message(_)) {
            return Err(Misfit);
        }
        let mut found = self.default_of(only.kind);
        let mut wire = wire(bytes, within)?;
        while let Some(field) = wire.next().map_err(|_malformed| Misfit)? {
            if field.number == 1 {
                found = self.scalar(bytes, only.kind, &field)?;
            }
        }
        Ok(found)
    }
}

impl ProtobufField {
    /// Whether a field that nobody asks for can be this one.
    fn check(&self, field: &Field) -> Result<(), Misfit> {
        let is_packed = self.shape == FieldShape::Repeated;
        let fits = match field.value {
            Value::Bytes(_) => {
                is_packed
                    || matches!(
                        self.kind,
                        FieldKind::Text | FieldKind::Bytes | FieldKind::Message(_)
                    )
            }
            Value::Fixed64(_) => {
                matches!(self.kind, FieldKind::Double | FieldKind::Fixed64 | FieldKind::Sfixed64)
            }
            Value::Fixed32 => {
                matches!(self.kind, FieldKind::Float | FieldKind::Fixed32 | FieldKind::Sfixed32)
            }
            Value::Varint(_) => matches!(
                self.kind,
                FieldKind::Int32
                    | FieldKind::Int64
                    | FieldKind::Uint32
                    | FieldKind::Uint64
                    | FieldKind::Sint32
                    | FieldKind::Sint64
                    | FieldKind::Bool
                    | FieldKind::Enum(_)
            ),
        };
        if fits { Ok(()) } else { Err(Misfit) }
    }
}

fn put(found: &mut [Found], node: usize, value: Found) {
    if let Some(place) = found.get_mut(node) {
        *place = value;
    }
}

fn wire(bytes: &[u8], within: Span) -> Result<Wire<'_>, Misfit> {
    let end = within.start as usize + within.len as usize;
    Ok(Wire::within(bytes.get(..end).ok_or(Misfit)?, within.start as usize))
}

fn blob(field: &Field) -> Result<Span, Misfit> {
    match field.value {
        Value::Bytes(start) => Ok(field.span(start)),
        _ => Err(Misfit),
    }
}

fn fixed32(bytes: &[u8], field: &Field) -> Result<u32, Misfit> {
    let chunk = bytes.get(..field.end).and_then(<[u8]>::last_chunk::<4>);
    chunk.map(|chunk| u32::from_le_bytes(*chunk)).ok_or(Misfit)
}

/// Numbers of 32 bits are written in up to ten bytes; the upper half does not count.
fn low_half(bits: u64) -> i32 {
    let low = u32::try_from(bits & 0xffff_ffff).expect("32 bits are left");
    low.cast_signed()
}

fn unzigzag(bits: u64) -> i64 {
    let half = (bits >> 1).cast_signed();
    if bits & 1 == 0 { half } else { !half }
}

/// `google.protobuf.Timestamp`: seconds and nanoseconds since 1970.
fn timestamp(bytes: &[u8], within: Span) -> Result<Found, Misfit> {
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    let mut wire = wire(bytes, within)?;
    while let Some(field) = wire.next().map_err(|_malformed| Misfit)? {
        match (field.number, field.value) {
            (1, Value::Varint(bits)) => seconds = bits.cast_signed(),
            (2, Value::Varint(bits)) => nanos = i64::from(low_half(bits)),
            (1 | 2, _) => return Err(Misfit),
            _ => {}
        }
    }
    if !(0..NANOS_PER_SECOND).contains(&nanos) {
        return Ok(Found::TimeBeyond);
    }
    let time = seconds.checked_mul(NANOS_PER_SECOND).and_then(|whole| whole.checked_add(nanos));
    let time = time.filter(|time| *time > EventTime::MIN.nanos());
    Ok(time.map_or(Found::TimeBeyond, |time| Found::Time(EventTime::new(time))))
}
