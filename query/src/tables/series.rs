//! `tidewatch.series`: every series with its names and its extent.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, StringViewBuilder, TimestampNanosecondArray, UInt64Array, new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::limits::BATCH_ROWS;
use crate::scan::{Columns, PartRows, Rows, Scan, ScanRequest, Superseded};
use crate::tables::columns::{Column, UTC, text_field, time_field};
use crate::tables::context::QueryContext;
use crate::tables::detections::Detections;
use crate::tables::leaf::{Batches, MakeBatches, leaf_exec};
use crate::tables::predicate::{push_down, sort};
use crate::tables::samples::is_series;
use crate::tables::series_names::SeriesNames;

/// Columns for which the rows themselves must be read.
const EXTENT_COLUMNS: Range<usize> = 6..9;

/// Every series with its names and its extent.
#[derive(Debug)]
pub(crate) struct SeriesTable {
    context: Arc<QueryContext>,
    schema: SchemaRef,
}

/// The rows of the table that a statement asks for.
#[derive(Debug)]
struct SeriesRows {
    schema: SchemaRef,
    names: Arc<SeriesNames>,
    context: Arc<QueryContext>,
    /// The scan that finds out the extents, if they are asked for.
    scan: Option<Arc<Scan>>,
}

/// First and last time and number of rows, by place.
struct Extents {
    first: Vec<i64>,
    last: Vec<i64>,
    rows: Vec<u64>,
    _memory: MemoryReservation,
}

impl SeriesTable {
    pub(crate) fn new(context: Arc<QueryContext>) -> Self {
        let schema = Schema::new(vec![
            text_field("series_id", false),
            text_field("db", false),
            text_field("metric", false),
            text_field("measurement", false),
            text_field("field", false),
            text_field("labels", false),
            time_field("first_time", true),
            time_field("last_time", true),
            Field::new("rows", DataType::UInt64, true),
            text_field("tier", false),
        ]);
        Self { context, schema: Arc::new(schema) }
    }
}

#[async_trait]
impl TableProvider for SeriesTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let none = TableProviderFilterPushDown::Unsupported;
        // There is no column `time` here, so only filters on the series can be taken over.
        let taken = push_down(filters, is_series).into_iter().zip(filters);
        let taken = taken.map(|(taken, filter)| {
            let of_series = filter.column_refs().iter().all(|column| is_series(column.name()));
            if of_series { taken } else { none.clone() }
        });
        Ok(taken.collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let context = &self.context;
        let is_filtered = !filters.is_empty();
        let filters = sort(filters, is_series)?;
        let names = Arc::new(SeriesNames::matching(context, state, &filters.series)?);
        let with_extents =
            projection.is_none_or(|columns| columns.iter().any(|c| EXTENT_COLUMNS.contains(c)));
        let scan = if with_extents {
            let request = ScanRequest {
                index: names.index(),
                metrics: is_filtered.then(|| names.metric_names()),
                times: i64::MIN..=i64::MAX,
                columns: Columns { time: true, ..Columns::default() },
                superseded: Superseded::Hidden,
                rollups: false,
                latest: None,
                threads: 1,
            };
            let progress = Arc::clone(&context.progress);
            Some(Arc::new(Scan::plan(&context.snapshot, request, progress)?))
        } else {
            None
        };
        let schema = Arc::clone(&self.schema);
        let context = Arc::clone(context);
        leaf_exec(Arc::new(SeriesRows { schema, names, context, scan }), projection)
    }
}

impl MakeBatches for SeriesRows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn batches(&self, context: Arc<TaskContext>) -> Batches {
        let (schema, names) = (Arc::clone(&self.schema), Arc::clone(&self.names));
        let extents = self.scan.as_ref().map(|scan| Extents::read(scan, &names, &context));
        let extents = match extents.transpose() {
            Ok(extents) => extents,
            Err(error) => return Box::new(std::iter::once(Err(error))),
        };
        let starts = (0..names.series.len()).step_by(BATCH_ROWS);
        let of_query = Arc::clone(&self.context);
        Box::new(starts.map(move |start| {
            let places = start..(start + BATCH_ROWS).min(names.series.len());
            batch(&schema, (&names, &of_query.detections), extents.as_ref(), places)
        }))
    }
}

impl Extents {
    fn read(scan: &Arc<Scan>, names: &SeriesNames, context: &TaskContext) -> Result<Self> {
        let memory = MemoryConsumer::new("series").register(context.memory_pool());
        let series = names.series.len();
        memory.try_grow(series * 24)?;
        let mut extents = Self {
            first: vec![i64::MAX; series],
            last: vec![i64::MIN; series],
            rows: vec![0; series],
            _memory: memory,
        };
        for part in 0..scan.parts.len() {
            let mut rows = PartRows::new(Arc::clone(scan), part, context);
            while let Some(rows) = rows.next()? {
                extents.add(&rows);
            }
        }
        Ok(extents)
    }

    fn add(&mut self, rows: &Rows) {
        for (place, time) in rows.places.iter().zip(rows.times.iter()) {
            let place = *place as usize;
            self.first[place] = self.first[place].min(*time);
            self.last[place] = self.last[place].max(*time);
            self.rows[place] += 1;
        }
    }

    /// The columns [`EXTENT_COLUMNS`]; a series without rows has no times.
    fn columns(&self, places: Range<usize>) -> [ArrayRef; 3] {
        let times = |of: &[i64]| -> ArrayRef {
            let times = places.clone().map(|p| (self.rows[p] > 0).then(|| of[p]));
            let times: TimestampNanosecondArray = times.collect();
            Arc::new(times.with_timezone(UTC))
        };
        let rows = UInt64Array::from(self.rows[places.clone()].to_vec());
        [times(&self.first), times(&self.last), Arc::new(rows)]
    }
}

fn batch(
    schema: &SchemaRef,
    (names, detections): (&SeriesNames, &Detections),
    extents: Option<&Extents>,
    range: Range<usize>,
) -> Result<RecordBatch> {
    let rows = range.len();
    let places: Vec<u32> =
        range.clone().map(|p| u32::try_from(p).expect("references are u32")).collect();
    let mut texts = [(); 4].map(|()| StringViewBuilder::with_capacity(rows));
    for (metric, position) in &names.series[range.clone()] {
        let entry = &names.views[*metric as usize].series[*position as usize].1;
        let key = entry.key();
        let [measurement, field, labels, tier] = &mut texts;
        measurement.append_value(key.measurement());
        field.append_value(key.field());
        labels.append_value(labels_json(key.labels()));
        tier.append_value(detections.of(entry).model.name());
    }
    let [measurement, field, labels, tier] =
        texts.map(|mut b| -> ArrayRef { Arc::new(b.finish()) });
    let null = |column: usize| new_null_array(schema.field(column).data_type(), rows);
    let [first, last, counts] = match extents {
        Some(extents) => extents.columns(range),
        None => [null(6), null(7), null(8)],
    };
    let of_series = |column| names.column(column, &places);
    let columns = vec![
        of_series(Column::SeriesId)?,
        of_series(Column::Db)?,
        of_series(Column::Metric)?,
        measurement,
        field,
        labels,
        first,
        last,
        counts,
        tier,
    ];
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// The labels as a JSON object, in byte order of the keys.
fn labels_json(labels: &[(String, String)]) -> String {
    let text = |text: &String| serde_json::Value::from(text.as_str()).to_string();
    let pairs = labels.iter().map(|(key, value)| format!("{}:{}", text(key), text(value)));
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
}
