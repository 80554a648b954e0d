//! Columns of tables, made from the rows of a scan.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, StringViewBuilder,
    TimestampNanosecondArray, UInt32Array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::error::Result;
use tidewatch_metrics::{Flags, Severity};

use crate::scan::{Columns, Rows, RowsToBatch};
use crate::tables::labels::MetricLabels;
use crate::tables::partials::Partial;
use crate::tables::series_names::SeriesNames;

/// The zone of all times.
pub(crate) const UTC: &str = "UTC";

/// A column of a metric's table or of `tidewatch.samples`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Time,
    Value,
    Severity,
    Score,
    Label(usize),
    SeriesId,
    Db,
    Metric,
    OnsetSeverity,
    Channel,
    Late,
    /// Of rows that stand for several.
    Partial(Partial),
}

/// What is known of the series, by place.
#[derive(Clone, Debug)]
pub(crate) enum SeriesColumns {
    /// Of one metric.
    Metric(Arc<MetricLabels>),
    /// Of several metrics.
    Names(Arc<SeriesNames>),
}

/// Makes batches of these columns.
#[derive(Debug)]
pub(crate) struct TableColumns {
    pub(crate) schema: SchemaRef,
    pub(crate) columns: Vec<Column>,
    pub(crate) series: SeriesColumns,
}

impl Column {
    /// The columns that a scan must read for these.
    pub(crate) fn needed(columns: &[Self]) -> Columns {
        let any = |needs: &[Self]| columns.iter().any(|column| needs.contains(column));
        let partial = |needs: fn(Partial) -> bool| {
            columns.iter().any(|column| matches!(column, Self::Partial(of) if needs(*of)))
        };
        Columns {
            time: any(&[Self::Time]) || partial(Partial::is_time),
            value: any(&[Self::Value]) || partial(Partial::is_of_values),
            severity: any(&[Self::Severity, Self::Score, Self::OnsetSeverity]),
            flags: any(&[Self::OnsetSeverity, Self::Channel, Self::Late]),
        }
    }
}

impl RowsToBatch for TableColumns {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn batch(&self, rows: &Rows) -> Result<RecordBatch> {
        let columns = self.columns.iter().map(|column| self.column(*column, rows));
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let schema = Arc::clone(&self.schema);
        Ok(RecordBatch::try_new_with_options(schema, columns.collect::<Result<_>>()?, &options)?)
    }
}

impl TableColumns {
    fn column(&self, column: Column, rows: &Rows) -> Result<ArrayRef> {
        let severities = || rows.severities.iter().map(|steps| Severity::from_steps(*steps));
        let flags = || rows.flags.iter().map(|bits| Flags::from_bits(*bits));
        Ok(match column {
            Column::Time => times(rows.times.clone()),
            Column::Value => values(rows.values.clone()),
            Column::Severity => {
                Arc::new(Float32Array::from_iter_values(severities().map(Severity::to_f32)))
            }
            Column::Score => {
                Arc::new(Float32Array::from_iter_values(severities().map(Severity::score)))
            }
            Column::OnsetSeverity => {
                let onsets = severities().zip(flags()).map(|(severity, flags)| {
                    if flags.is_onset() { severity.to_f32() } else { 0.0 }
                });
                Arc::new(Float32Array::from_iter_values(onsets))
            }
            Column::Channel => {
                let mut channels = StringViewBuilder::with_capacity(rows.len());
                flags().for_each(|flags| channels.append_value(flags.channel().name()));
                Arc::new(channels.finish())
            }
            Column::Late => {
                let late = BooleanBuffer::collect_bool(rows.len(), |row| {
                    Flags::from_bits(rows.flags[row]).is_late()
                });
                Arc::new(BooleanArray::new(late, None))
            }
            Column::Partial(partial) => partial.array(rows),
            Column::Label(_) | Column::SeriesId | Column::Db | Column::Metric => {
                self.of_series(column, rows)?
            }
        })
    }

    fn of_series(&self, column: Column, rows: &Rows) -> Result<ArrayRef> {
        match (&self.series, column) {
            (SeriesColumns::Metric(labels), Column::Label(label)) => {
                let places = UInt32Array::from(rows.places.clone());
                Ok(take(labels.table.column(label), &places, None)?)
            }
            (SeriesColumns::Names(names), column) => names.column(column, &rows.places),
            (SeriesColumns::Metric(_), _) => {
                datafusion::common::internal_err!("a metric's table has no column {column:?}")
            }
        }
    }
}

/// A column of times in nanoseconds.
pub(crate) fn times(times: ScalarBuffer<i64>) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::new(times, None).with_timezone(UTC))
}

/// A column of values; NaN is read as NULL.
pub(crate) fn values(values: ScalarBuffer<f64>) -> ArrayRef {
    let valid = values.iter().any(|value| value.is_nan()).then(|| {
        NullBuffer::new(BooleanBuffer::collect_bool(values.len(), |row| !values[row].is_nan()))
    });
    Arc::new(Float64Array::new(values, valid))
}

/// The field of a time.
pub(crate) fn time_field(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Nanosecond, Some(UTC.into())), nullable)
}

/// The field of a text.
pub(crate) fn text_field(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Utf8View, nullable)
}
