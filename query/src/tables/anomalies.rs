//! `tidewatch.anomalies`: runs of samples whose severity is high.

use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, StringViewBuilder, TimestampNanosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::limits::BATCH_ROWS;
use crate::tables::columns::{Column, UTC, text_field, time_field, times};
use crate::tables::context::QueryContext;
use crate::tables::leaf::{Batches, MakeBatches, leaf_exec};
use crate::tables::predicate::{both, push_down, sort, time_range};
use crate::tables::run::{Run, runs};
use crate::tables::samples::is_series;
use crate::tables::series_names::SeriesNames;
use crate::tables::stretch::ScoredRows;

/// A row per run of samples of one series whose severity is high.
#[derive(Debug)]
pub(crate) struct AnomaliesTable {
    context: Arc<QueryContext>,
    schema: SchemaRef,
}

/// The anomalies that a statement asks for.
#[derive(Clone, Debug)]
struct AnomalyRows {
    context: Arc<QueryContext>,
    schema: SchemaRef,
    names: Arc<SeriesNames>,
    /// When they begin.
    started: RangeInclusive<i64>,
}

impl AnomaliesTable {
    pub(crate) fn new(context: Arc<QueryContext>) -> Self {
        let schema = Schema::new(vec![
            text_field("series_id", false),
            text_field("metric", false),
            time_field("started", false),
            time_field("ended", true),
            time_field("peak_time", false),
            Field::new("peak_severity", DataType::Float32, false),
            text_field("kind", true),
            text_field("channel", false),
        ]);
        Self { context, schema: Arc::new(schema) }
    }
}

/// The times at which a run that passes `filter` may begin.
///
/// A run begins before it has its peak and before it ends, so that an end of those is one of its
/// start as well.
fn started(filter: &Expr) -> Option<RangeInclusive<i64>> {
    let later = ["peak_time", "ended"].iter().find_map(|column| time_range(filter, column));
    let upto = |later: RangeInclusive<i64>| i64::MIN..=*later.end();
    time_range(filter, "started").or(later.map(upto))
}

#[async_trait]
impl TableProvider for AnomaliesTable {
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
        let taken = push_down(filters, is_series).into_iter().zip(filters);
        let taken = taken.map(|(of_series, filter)| match started(filter) {
            Some(_) => TableProviderFilterPushDown::Inexact,
            None => of_series,
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
        let context = Arc::clone(&self.context);
        let (times, of_series): (Vec<Expr>, Vec<Expr>) =
            filters.iter().cloned().partition(|filter| started(filter).is_some());
        let all = i64::MIN..=i64::MAX;
        let started = times.iter().filter_map(started).fold(all, |one, other| both(&one, &other));
        let series = sort(&of_series, is_series)?.series;
        let names = Arc::new(SeriesNames::matching(&context, state, &series)?);
        let schema = Arc::clone(&self.schema);
        leaf_exec(Arc::new(AnomalyRows { context, schema, names, started }), projection)
    }
}

impl MakeBatches for AnomalyRows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn batches(&self, context: Arc<TaskContext>) -> Batches {
        let rows = self.clone();
        Box::new(std::iter::once_with(move || rows.read(&context)).flatten())
    }
}

impl AnomalyRows {
    /// Finds all anomalies, and makes batches of them one after the other.
    fn read(self, task: &TaskContext) -> Batches {
        let rows = ScoredRows { context: &self.context, names: &self.names, task };
        let found = match runs(&rows, &self.started) {
            Ok(found) => found,
            Err(error) => return Box::new(std::iter::once(Err(error))),
        };
        let firsts = (0..found.len()).step_by(BATCH_ROWS);
        Box::new(firsts.map(move |first| self.batch(found.part(first, BATCH_ROWS))))
    }

    fn batch(&self, runs: &[Run]) -> Result<RecordBatch> {
        let places: Vec<u32> = runs.iter().map(|run| run.place).collect();
        let ended: TimestampNanosecondArray = runs.iter().map(|run| run.ended).collect();
        let severities = runs.iter().map(|run| run.peak.severity.to_f32());
        let mut channels = StringViewBuilder::with_capacity(runs.len());
        runs.iter().for_each(|run| channels.append_value(run.peak.flags.channel().name()));
        let mut kinds = StringViewBuilder::with_capacity(runs.len());
        runs.iter().for_each(|run| kinds.append_option(run.kind.name()));
        let columns: Vec<ArrayRef> = vec![
            self.names.column(Column::SeriesId, &places)?,
            self.names.column(Column::Metric, &places)?,
            times(runs.iter().map(|run| run.started).collect()),
            Arc::new(ended.with_timezone(UTC)),
            times(runs.iter().map(|run| run.peak.time).collect()),
            Arc::new(Float32Array::from_iter_values(severities)),
            Arc::new(kinds.finish()),
            Arc::new(channels.finish()),
        ];
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}
