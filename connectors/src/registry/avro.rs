//! Schemas of Avro.

use std::collections::BTreeMap;

use apache_avro::Schema;
use apache_avro::schema::{InnerDecimalSchema, Name, UuidSchema};

use crate::decode::Precision;
use crate::decode::record::{AvroField, AvroSchema, AvroType};

/// Types of one schema.
const TYPES_MAX: usize = 65_536;

/// The schema that a text is, with those that it refers to.
///
/// # Errors
/// Why nothing can be read with it.
pub(super) fn compile(text: &str, references: &[String]) -> Result<AvroSchema, String> {
    let parsed = Schema::parse_str_with_list(text, references);
    let (schema, references) = parsed.map_err(|error| error.to_string())?;
    let mut types = Types::default();
    for one in references.iter().chain([&schema]) {
        types.declare(one, None)?;
    }
    for one in &references {
        types.add(one, None)?;
    }
    let root = types.add(&schema, None)?;
    let named = |kind: Option<AvroType>| kind.ok_or("a type is named and not defined");
    let all: Result<Vec<_>, _> = types.types.into_iter().map(named).collect();
    Ok(AvroSchema { types: all?, root })
}

/// Types in the making; those with names have their places before they are there.
#[derive(Debug, Default)]
struct Types {
    types: Vec<Option<AvroType>>,
    names: BTreeMap<String, u32>,
}

impl Types {
    /// Gives all types with names a place.
    fn declare(&mut self, schema: &Schema, space: Option<&str>) -> Result<(), String> {
        match schema {
            Schema::Array(array) => self.declare(&array.items, space),
            Schema::Map(map) => self.declare(&map.types, space),
            Schema::Union(union) => {
                union.variants().iter().try_for_each(|one| self.declare(one, space))
            }
            Schema::Record(record) => {
                if !self.declare_name(&record.name, space)? {
                    return Ok(());
                }
                let name = record.name.fully_qualified_name(space).into_owned();
                let mut fields = record.fields.iter();
                fields.try_for_each(|field| self.declare(&field.schema, name.namespace()))
            }
            Schema::Enum(one) => self.declare_name(&one.name, space).map(drop),
            Schema::Fixed(fixed) | Schema::Duration(fixed) => {
                self.declare_name(&fixed.name, space).map(drop)
            }
            Schema::Decimal(decimal) => match &decimal.inner {
                InnerDecimalSchema::Fixed(fixed) => self.declare_name(&fixed.name, space).map(drop),
                InnerDecimalSchema::Bytes => Ok(()),
            },
            Schema::Uuid(UuidSchema::Fixed(fixed)) => {
                self.declare_name(&fixed.name, space).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// `false` where the name has a place already.
    fn declare_name(&mut self, name: &Name, space: Option<&str>) -> Result<bool, String> {
        let name = name.fullname(space);
        if self.names.contains_key(&name) {
            return Ok(false);
        }
        let place = self.push(None)?;
        self.names.insert(name, place);
        Ok(true)
    }

    fn push(&mut self, kind: Option<AvroType>) -> Result<u32, String> {
        if self.types.len() >= TYPES_MAX {
            return Err(format!("it has more than {TYPES_MAX} types"));
        }
        self.types.push(kind);
        Ok(u32::try_from(self.types.len() - 1).unwrap_or(u32::MAX))
    }

    /// The place of a type, which is there then, with all that is within it.
    fn add(&mut self, schema: &Schema, space: Option<&str>) -> Result<u32, String> {
        let kind = match schema {
            Schema::Ref { name } => {
                let name = name.fullname(space);
                let place = self.names.get(&name).copied();
                return place.ok_or_else(|| format!("it refers to {name}, which is not there"));
            }
            Schema::Record(record) => return self.add_record(record, space),
            Schema::Enum(one) => {
                let kind = AvroType::Enum(one.symbols.clone());
                return self.put(&one.name, space, kind);
            }
            Schema::Fixed(fixed)
            | Schema::Duration(fixed)
            | Schema::Uuid(UuidSchema::Fixed(fixed)) => {
                return self.put(&fixed.name, space, AvroType::Fixed(fixed.size));
            }
            Schema::Decimal(decimal) => {
                let scale = u32::try_from(decimal.scale)
                    .map_err(|_large| "a decimal has a scale beyond all bounds")?;
                match &decimal.inner {
                    InnerDecimalSchema::Bytes => AvroType::Decimal { scale, bytes: None },
                    InnerDecimalSchema::Fixed(fixed) => {
                        let kind = AvroType::Decimal { scale, bytes: Some(fixed.size) };
                        return self.put(&fixed.name, space, kind);
                    }
                }
            }
            Schema::Array(array) => AvroType::Array(self.add(&array.items, space)?),
            Schema::Map(map) => AvroType::Map(self.add(&map.types, space)?),
            Schema::Union(union) => {
                let variants = union.variants().iter().map(|one| self.add(one, space));
                AvroType::Union(variants.collect::<Result<_, _>>()?)
            }
            other => plain(other),
        };
        self.push(Some(kind))
    }

    fn add_record(
        &mut self,
        record: &apache_avro::schema::RecordSchema,
        space: Option<&str>,
    ) -> Result<u32, String> {
        let name = record.name.fully_qualified_name(space).into_owned();
        let fields = record.fields.iter().map(|field| {
            let kind = self.add(&field.schema, name.namespace())?;
            Ok(AvroField { name: field.name.clone(), kind })
        });
        let fields: Result<Vec<_>, String> = fields.collect();
        self.put(&record.name, space, AvroType::Record(fields?))
    }

    /// Puts a type with a name to its place.
    fn put(&mut self, name: &Name, space: Option<&str>, kind: AvroType) -> Result<u32, String> {
        let name = name.fullname(space);
        let place = self.names.get(&name).copied().ok_or("a type has no place")?;
        let slot = usize::try_from(place).ok().and_then(|place| self.types.get_mut(place));
        *slot.ok_or("a type has no place")? = Some(kind);
        Ok(place)
    }
}

/// A type without a name and without others in it.
fn plain(schema: &Schema) -> AvroType {
    match schema {
        Schema::Boolean => AvroType::Boolean,
        Schema::Int | Schema::TimeMillis => AvroType::Int,
        Schema::Long | Schema::TimeMicros => AvroType::Long,
        Schema::Float => AvroType::Float,
        Schema::Double => AvroType::Double,
        Schema::String | Schema::Uuid(UuidSchema::String) => AvroType::Text,
        Schema::Date => AvroType::Date,
        Schema::TimestampMillis | Schema::LocalTimestampMillis => {
            AvroType::Time(Precision::Milliseconds)
        }
        Schema::TimestampMicros | Schema::LocalTimestampMicros => {
            AvroType::Time(Precision::Microseconds)
        }
        Schema::TimestampNanos | Schema::LocalTimestampNanos => {
            AvroType::Time(Precision::Nanoseconds)
        }
        Schema::Bytes | Schema::BigDecimal | Schema::Uuid(UuidSchema::Bytes) => AvroType::Bytes,
        _ => AvroType::Null,
    }
}
