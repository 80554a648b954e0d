//! A column of a batch, ready to be written cell by cell.

use arrow::array::{Array, ArrayRef, AsArray, GenericListArray, OffsetSizeTrait, StructArray};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::error::Result;

use crate::output::time::{write_date, write_text, write_time};

const DAY_MILLIS: i64 = 86_400_000;

/// A column of a batch, looked at once.
pub(crate) struct Column<'a> {
    pub(crate) array: &'a ArrayRef,
    kind: Kind<'a>,
}

/// How the cells of a column are written.
enum Kind<'a> {
    Null,
    Boolean,
    /// A whole number.
    Integer(Box<dyn Fn(usize) -> i128 + 'a>),
    Single,
    Double,
    Text(Box<dyn Fn(usize) -> &'a str + 'a>),
    /// Seconds and nanoseconds.
    Time(Box<dyn Fn(usize) -> (i64, u32) + 'a>),
    /// Days.
    Date(Box<dyn Fn(usize) -> i64 + 'a>),
    /// Elements of each row.
    List(Box<dyn Fn(usize) -> ArrayRef + 'a>),
    Struct(&'a StructArray),
    /// What is rare, as text.
    Other(Box<ArrayFormatter<'a>>),
}

impl<'a> Column<'a> {
    pub(crate) fn new(array: &'a ArrayRef) -> Result<Self> {
        Ok(Self { array, kind: kind(array)? })
    }

    /// Writes the cell as a JSON value.
    pub(crate) fn write_json(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        if self.array.is_null(row) {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        match &self.kind {
            Kind::Null => out.extend_from_slice(b"null"),
            Kind::Boolean | Kind::Integer(_) => self.write_plain(row, out)?,
            Kind::Single => match self.array.as_primitive::<Float32Type>().value(row) {
                number if number.is_finite() => json(out, &number),
                _ => out.extend_from_slice(b"null"),
            },
            Kind::Double => match self.array.as_primitive::<Float64Type>().value(row) {
                number if number.is_finite() => json(out, &number),
                _ => out.extend_from_slice(b"null"),
            },
            Kind::Text(text) => json(out, text(row)),
            Kind::Time(_) | Kind::Date(_) => {
                out.push(b'"');
                self.write_plain(row, out)?;
                out.push(b'"');
            }
            Kind::List(elements) => write_list(&elements(row), out)?,
            Kind::Struct(fields) => write_struct(fields, row, out)?,
            Kind::Other(text) => json(out, &text.value(row).to_string()),
        }
        Ok(())
    }

    /// Writes the cell as plain text; NULL is empty.
    pub(crate) fn write_plain(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        if self.array.is_null(row) {
            return Ok(());
        }
        match &self.kind {
            Kind::Null => {}
            Kind::Boolean => {
                let value = self.array.as_boolean().value(row);
                out.extend_from_slice(if value { b"true" } else { b"false" });
            }
            Kind::Integer(number) => write_text(out, format_args!("{}", number(row))),
            Kind::Single => match self.array.as_primitive::<Float32Type>().value(row) {
                number if number.is_finite() => json(out, &number),
                number => write_text(out, format_args!("{number}")),
            },
            Kind::Double => match self.array.as_primitive::<Float64Type>().value(row) {
                number if number.is_finite() => json(out, &number),
                number => write_text(out, format_args!("{number}")),
            },
            Kind::Text(text) => out.extend_from_slice(text(row).as_bytes()),
            Kind::Time(time) => {
                let (seconds, nanos) = time(row);
                write_time(out, seconds, nanos);
            }
            Kind::Date(days) => write_date(out, days(row)),
            Kind::List(_) | Kind::Struct(_) => self.write_json(row, out)?,
            Kind::Other(text) => write_text(out, format_args!("{}", text.value(row))),
        }
        Ok(())
    }
}

/// Writes what JSON has a form for.
fn json<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("memory takes all bytes");
}

fn kind(array: &ArrayRef) -> Result<Kind<'_>> {
    macro_rules! integer {
        ($type:ty) => {{
            let numbers = array.as_primitive::<$type>();
            Kind::Integer(Box::new(|row| i128::from(numbers.value(row))))
        }};
    }
    macro_rules! time {
        ($type:ty, $per_second:expr) => {{
            let times = array.as_primitive::<$type>();
            Kind::Time(Box::new(|row| split(times.value(row), $per_second)))
        }};
    }
    Ok(match array.data_type() {
        DataType::Null => Kind::Null,
        DataType::Boolean => Kind::Boolean,
        DataType::Int8 => integer!(Int8Type),
        DataType::Int16 => integer!(Int16Type),
        DataType::Int32 => integer!(Int32Type),
        DataType::Int64 => integer!(Int64Type),
        DataType::UInt8 => integer!(UInt8Type),
        DataType::UInt16 => integer!(UInt16Type),
        DataType::UInt32 => integer!(UInt32Type),
        DataType::UInt64 => integer!(UInt64Type),
        DataType::Float32 => Kind::Single,
        DataType::Float64 => Kind::Double,
        DataType::Utf8 => Kind::Text(Box::new(|row| array.as_string::<i32>().value(row))),
        DataType::LargeUtf8 => Kind::Text(Box::new(|row| array.as_string::<i64>().value(row))),
        DataType::Utf8View => Kind::Text(Box::new(|row| array.as_string_view().value(row))),
        DataType::Timestamp(TimeUnit::Second, _) => time!(TimestampSecondType, 1),
        DataType::Timestamp(TimeUnit::Millisecond, _) => time!(TimestampMillisecondType, 1_000),
        DataType::Timestamp(TimeUnit::Microsecond, _) => time!(TimestampMicrosecondType, 1_000_000),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            time!(TimestampNanosecondType, 1_000_000_000)
        }
        DataType::Date32 => {
            let days = array.as_primitive::<Date32Type>();
            Kind::Date(Box::new(|row| i64::from(days.value(row))))
        }
        DataType::Date64 => {
            let millis = array.as_primitive::<Date64Type>();
            Kind::Date(Box::new(|row| millis.value(row).div_euclid(DAY_MILLIS)))
        }
        DataType::List(_) => list(array.as_list::<i32>()),
        DataType::LargeList(_) => list(array.as_list::<i64>()),
        DataType::Struct(_) => Kind::Struct(array.as_struct()),
        _ => {
            const OPTIONS: FormatOptions<'static> = FormatOptions::new();
            Kind::Other(Box::new(ArrayFormatter::try_new(array, &OPTIONS)?))
        }
    })
}

fn list<O: OffsetSizeTrait>(lists: &GenericListArray<O>) -> Kind<'_> {
    Kind::List(Box::new(|row| lists.value(row)))
}

/// Seconds and nanoseconds of a time in parts of a second.
fn split(time: i64, per_second: i64) -> (i64, u32) {
    let nanos = time.rem_euclid(per_second) * (1_000_000_000 / per_second);
    let nanos = u32::try_from(nanos).expect("a second has fewer nanoseconds");
    (time.div_euclid(per_second), nanos)
}

fn write_list(elements: &ArrayRef, out: &mut Vec<u8>) -> Result<()> {
    let column = Column::new(elements)?;
    out.push(b'[');
    for row in 0..elements.len() {
        if row > 0 {
            out.push(b',');
        }
        column.write_json(row, out)?;
    }
    out.push(b']');
    Ok(())
}

fn write_struct(fields: &StructArray, row: usize, out: &mut Vec<u8>) -> Result<()> {
    out.push(b'{');
    for (at, (field, column)) in fields.fields().iter().zip(fields.columns()).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        json(out, field.name());
        out.push(b':');
        Column::new(column)?.write_json(row, out)?;
    }
    out.push(b'}');
    Ok(())
}
