//! Rows of a metric added up in part: by series and hour where a rollup has them, else one by one.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use tidewatch_segments::RollupColumns;

use crate::scan::Rows;
use crate::tables::columns::{Column, time_field, times, values};
use crate::tables::labels::METRIC_COLUMNS;
use crate::tables::metric::{MetricTable, Reading};

/// What a row of a [`PartialsTable`] says of the rows that it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Partial {
    /// How many there are.
    Rows,
    /// How many of them have a value.
    Values,
    /// The sum of their values.
    Sum,
    /// The least value.
    Min,
    /// The greatest value.
    Max,
    /// The value of the earliest.
    First,
    /// The value of the latest.
    Last,
    /// The time of the earliest.
    FirstTime,
    /// The time of the latest.
    LastTime,
}

/// A metric as a table of rows that each stand for one or several rows of a series within an hour:
/// `time` (that of the earliest), the labels, and a column per [`Partial`].
///
/// Aggregates of these columns are those of the rows, if hours are not divided.
#[derive(Debug)]
pub(crate) struct PartialsTable {
    metric: MetricTable,
    schema: SchemaRef,
    labels: usize,
    /// Precedes the names of partials, so that no label has one of them.
    prefix: String,
    reading: Reading,
}

impl Partial {
    const ALL: [Self; 9] = [
        Self::Rows,
        Self::Values,
        Self::Sum,
        Self::Min,
        Self::Max,
        Self::First,
        Self::Last,
        Self::FirstTime,
        Self::LastTime,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Values => "values",
            Self::Sum => "sum",
            Self::Min => "min",
            Self::Max => "max",
            Self::First => "first",
            Self::Last => "last",
            Self::FirstTime => "first_time",
            Self::LastTime => "last_time",
        }
    }

    fn field(self, prefix: &str) -> Field {
        let name = format!("{prefix}{}", self.name());
        match self {
            Self::Rows | Self::Values => Field::new(name, DataType::Int64, false),
            Self::Sum | Self::Min | Self::Max | Self::First | Self::Last => {
                Field::new(name, DataType::Float64, true)
            }
            Self::FirstTime | Self::LastTime => time_field(&name, false),
        }
    }
}

impl Partial {
    /// Whether it is a time.
    pub(crate) fn is_time(self) -> bool {
        matches!(self, Self::FirstTime | Self::LastTime)
    }

    /// Whether it depends on values.
    pub(crate) fn is_of_values(self) -> bool {
        !self.is_time() && self != Self::Rows
    }

    /// The column of these rows; a row that is none of a rollup stands for itself.
    pub(crate) fn array(self, rows: &Rows) -> ArrayRef {
        match &rows.rolled {
            Some(rolled) => self.of_rolled(rolled),
            None => self.of_samples(rows),
        }
    }

    fn of_samples(self, rows: &Rows) -> ArrayRef {
        match self {
            Self::Rows => Arc::new(Int64Array::from(vec![1; rows.len()])),
            Self::Values => {
                let ones = rows.values.iter().map(|value| i64::from(!value.is_nan()));
                Arc::new(Int64Array::from_iter_values(ones))
            }
            Self::Sum | Self::Min | Self::Max | Self::First | Self::Last => {
                values(rows.values.clone())
            }
            Self::FirstTime | Self::LastTime => times(rows.times.clone()),
        }
    }

    fn of_rolled(self, rows: &RollupColumns) -> ArrayRef {
        let number = |column: &[i64]| Arc::new(Int64Array::from(column.to_vec()));
        // A sum may be NaN, of infinities; it is not read as NULL.
        let of_values = |column: &[f64]| {
            let valid = rows.values.iter().map(|values| *values > 0).collect();
            Arc::new(Float64Array::new(column.to_vec().into(), Some(NullBuffer::new(valid))))
        };
        match self {
            Self::Rows => number(&rows.rows),
            Self::Values => number(&rows.values),
            Self::Sum => of_values(&rows.sums),
            Self::Min => of_values(&rows.mins),
            Self::Max => of_values(&rows.maxs),
            Self::First => values(rows.firsts.clone().into()),
            Self::Last => values(rows.lasts.clone().into()),
            Self::FirstTime => times(rows.first_times.clone().into()),
            Self::LastTime => times(rows.last_times.clone().into()),
        }
    }
}

impl PartialsTable {
    pub(crate) fn new(metric: MetricTable) -> Self {
        let of_metric = metric.schema();
        let labels = of_metric.fields().iter().skip(METRIC_COLUMNS.len());
        let mut prefix = "#".to_owned();
        while labels.clone().any(|label| label.name().starts_with(&prefix)) {
            prefix.push('#');
        }
        let mut fields = vec![time_field("time", false)];
        fields.extend(labels.clone().map(|label| Field::clone(label)));
        fields.extend(Partial::ALL.iter().map(|partial| partial.field(&prefix)));
        let labels = labels.len();
        let (schema, reading) = (Arc::new(Schema::new(fields)), Reading::Partials);
        Self { metric, schema, labels, prefix, reading }
    }

    /// The same table, of which only the latest row of each series counts.
    pub(crate) fn of_latest(self) -> Self {
        Self { reading: Reading::Latest, ..self }
    }

    /// The name of a column.
    pub(crate) fn name(&self, partial: Partial) -> String {
        format!("{}{}", self.prefix, partial.name())
    }

    fn column(&self, at: usize) -> Option<Column> {
        match at.checked_sub(1) {
            None => Some(Column::Time),
            Some(label) if label < self.labels => Some(Column::Label(label)),
            Some(partial) => Partial::ALL.get(partial - self.labels).copied().map(Column::Partial),
        }
    }
}

#[async_trait]
impl TableProvider for PartialsTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all = (0..self.schema.fields().len()).collect();
        let projection = projection.unwrap_or(&all);
        let schema = Arc::new(self.schema.project(projection)?);
        let columns = projection.iter().filter_map(|at| self.column(*at)).collect();
        self.metric.scan_partials(state, (schema, columns), filters, self.reading)
    }
}
