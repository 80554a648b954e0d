//! What a call of a function will build, worked out from its arguments.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, IntervalMonthDayNanoType, TimeUnit};
use datafusion::error::Result;
use datafusion::logical_expr::ColumnarValue;

/// Bytes of one element of a list of numbers.
const NUMBER_BYTES: usize = 8;
const HOUR_NANOS: i128 = 3_600_000_000_000;

/// How the result of a function grows with its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Cost {
    /// Argument 0, as often as argument 1 says.
    Repeat,
    /// As many characters as argument 1 says.
    Pad,
    /// All arguments together.
    Sum,
    /// Arguments 1 and on, with argument 0 between them.
    Join,
    /// Argument 0 with argument 2 in place of each argument 1.
    Replace,
    /// Argument 0 with argument 2 in place of each match of argument 1.
    RegexReplace,
    /// A list with as many fillers (argument 2) as argument 1 says.
    Resize,
    /// The elements of argument 0 as text, with the other arguments between them.
    ListText,
    /// A list in which elements are replaced by the last argument.
    ReplaceElements,
    /// Every number or time from argument 0 to argument 1.
    Series,
    /// Steps, not bytes: each byte of argument 0 with each of argument 1.
    Work,
}

impl Cost {
    /// Bytes (of [`Cost::Work`]: steps) that a call with these arguments takes.
    pub(crate) fn of(self, args: &[ColumnarValue], rows: usize) -> Result<usize> {
        let bytes = |index: usize| args.get(index).map_or(Ok(Sizes::One(0)), sizes);
        let count = |index: usize| args.get(index).map_or(Ok(Sizes::One(0)), counts);
        let rows =
            if args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_))) { 1 } else { rows };
        Ok(match self {
            Self::Repeat => {
                let (text, times) = (bytes(0)?, count(1)?);
                total(rows, |row| (text.at(row) + NUMBER_BYTES).saturating_mul(times.at(row)))
            }
            Self::Pad => {
                let chars = count(1)?;
                total(rows, |row| chars.at(row).saturating_mul(4))
            }
            Self::Sum => self.sum(args, rows)?,
            Self::Join => {
                let separator = bytes(0)?;
                let between = args.len().saturating_sub(2);
                let sum = Self::Sum.sum(args, rows)?;
                sum.saturating_add(total(rows, |row| separator.at(row).saturating_mul(between)))
            }
            Self::Replace => {
                let (text, from, to) = (bytes(0)?, bytes(1)?, bytes(2)?);
                total(rows, |row| {
                    let places = text.at(row) / from.at(row).max(1) + 1;
                    places.saturating_mul(to.at(row)).saturating_add(text.at(row))
                })
            }
            Self::RegexReplace => {
                let (text, to) = (bytes(0)?, bytes(2)?);
                total(rows, |row| (text.at(row) + 1).saturating_mul(to.at(row) + 1))
            }
            Self::Resize => {
                let (length, filler) = (count(1)?, bytes(2)?);
                let fill = |row| length.at(row).saturating_mul(filler.at(row) + NUMBER_BYTES);
                total(rows, fill).saturating_add(Self::Sum.sum(args, rows)?)
            }
            Self::ListText | Self::ReplaceElements => {
                let list = bytes(0)?;
                let rest = Self::Sum.sum(args.get(1..).unwrap_or_default(), 1)?;
                // An element of a list takes a byte at least, and 25 as text.
                total(rows, |row| list.at(row).saturating_mul(rest.saturating_add(25)))
            }
            Self::Series => series(args, rows)?,
            Self::Work => {
                let (left, right) = (bytes(0)?, bytes(1)?);
                total(rows, |row| left.at(row).saturating_mul(right.at(row)))
            }
        })
    }

    fn sum(self, args: &[ColumnarValue], rows: usize) -> Result<usize> {
        let mut sum = 0_usize;
        for arg in args {
            let arg = sizes(arg)?;
            sum = sum.saturating_add(total(rows, |row| arg.at(row)));
        }
        Ok(sum)
    }
}

/// A number for each row, or one for all.
enum Sizes {
    One(usize),
    Rows(Vec<usize>),
}

impl Sizes {
    fn at(&self, row: usize) -> usize {
        match self {
            Self::One(size) => *size,
            Self::Rows(sizes) => sizes.get(row).copied().unwrap_or(0),
        }
    }

    fn of(arg: &ColumnarValue, each: impl Fn(&ArrayRef) -> Result<Vec<usize>>) -> Result<Self> {
        Ok(match arg {
            ColumnarValue::Scalar(scalar) => {
                Self::One(each(&scalar.to_array()?)?.first().copied().unwrap_or(0))
            }
            ColumnarValue::Array(array) => Self::Rows(each(array)?),
        })
    }
}

fn total(rows: usize, of: impl Fn(usize) -> usize) -> usize {
    (0..rows).fold(0, |sum, row| sum.saturating_add(of(row)))
}

fn sizes(arg: &ColumnarValue) -> Result<Sizes> {
    Sizes::of(arg, |array| Ok(row_bytes(array)))
}

/// Whole numbers; NULL and negative ones count as 0.
fn counts(arg: &ColumnarValue) -> Result<Sizes> {
    Sizes::of(arg, |array| {
        let numbers = cast(array, &DataType::Int64)?;
        let numbers = numbers.as_primitive::<Int64Type>();
        Ok(numbers.iter().map(|n| usize::try_from(n.unwrap_or(0)).unwrap_or(0)).collect())
    })
}

/// Bytes of each value of an array.
pub(crate) fn row_bytes(array: &ArrayRef) -> Vec<usize> {
    let differences = |offsets: &[i32]| {
        let pairs = offsets.windows(2);
        pairs.map(|p| usize::try_from(p[1] - p[0]).unwrap_or(0)).collect::<Vec<_>>()
    };
    match array.data_type() {
        DataType::Utf8 => differences(array.as_string::<i32>().value_offsets()),
        DataType::Binary => differences(array.as_binary::<i32>().value_offsets()),
        DataType::Utf8View => array.as_string_view().lengths().map(|n| n as usize).collect(),
        DataType::BinaryView => array.as_binary_view().lengths().map(|n| n as usize).collect(),
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let element = average_bytes(list.values());
            differences(list.value_offsets()).into_iter().map(|n| n * element).collect()
        }
        _ => vec![average_bytes(array); array.len()],
    }
}

fn average_bytes(array: &ArrayRef) -> usize {
    match array.data_type().primitive_width() {
        Some(width) => width,
        None => array.get_array_memory_size() / array.len().max(1) + 1,
    }
}

/// Bytes of all numbers or times of a range.
fn series(args: &[ColumnarValue], rows: usize) -> Result<usize> {
    let positions = |index: usize| -> Result<Vec<i128>> {
        let Some(arg) = args.get(index) else { return Ok(Vec::new()) };
        let array = arg.to_array(if matches!(arg, ColumnarValue::Scalar(_)) { 1 } else { rows })?;
        positions(&array)
    };
    let (first, second, step) = (positions(0)?, positions(1)?, positions(2)?);
    let at = |of: &[i128], row: usize| of.get(row).or(of.last()).copied();
    Ok(total(rows, |row| {
        let (start, stop) = match (at(&first, row), at(&second, row)) {
            (Some(start), Some(stop)) => (start, stop),
            (Some(stop), None) => (0, stop),
            _ => (0, 0),
        };
        let step = at(&step, row).unwrap_or(1).abs().max(1);
        let elements = (stop - start).abs() / step + 1;
        usize::try_from(elements).unwrap_or(usize::MAX).saturating_mul(NUMBER_BYTES)
    }))
}

/// Numbers as they are, times in nanoseconds, steps as the least that they can be.
fn positions(array: &ArrayRef) -> Result<Vec<i128>> {
    let scale = match array.data_type() {
        DataType::Date32 => 24 * HOUR_NANOS,
        DataType::Date64 | DataType::Timestamp(TimeUnit::Millisecond, _) => 1_000_000,
        DataType::Timestamp(TimeUnit::Second, _) => 1_000_000_000,
        DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000,
        DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano) => {
            let steps = array.as_primitive::<IntervalMonthDayNanoType>();
            return Ok(steps.iter().map(|step| step.map_or(1, least_nanos)).collect());
        }
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => {
            let nanos = DataType::Timestamp(TimeUnit::Nanosecond, None);
            return positions(&cast(array, &nanos)?);
        }
        _ => 1,
    };
    let numbers = match array.data_type() {
        DataType::Date32 => cast(&cast(array, &DataType::Int32)?, &DataType::Int64)?,
        _ => cast(array, &DataType::Int64)?,
    };
    let numbers = numbers.as_primitive::<Int64Type>();
    Ok(numbers.iter().map(|n| i128::from(n.unwrap_or(0)) * scale).collect())
}

/// The least time that an interval can be; parts of different signs may cancel out.
fn least_nanos(step: arrow::datatypes::IntervalMonthDayNano) -> i128 {
    let parts = [
        i128::from(step.months) * 28 * 24 * HOUR_NANOS,
        i128::from(step.days) * 23 * HOUR_NANOS,
        i128::from(step.nanoseconds),
    ];
    let mixed = parts.iter().any(|p| *p < 0) && parts.iter().any(|p| *p > 0);
    if mixed { 1 } else { parts.iter().sum::<i128>().abs().max(1) }
}
