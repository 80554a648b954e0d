//! A metric as a table.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use tidewatch_metrics::MetricView;
use tidewatch_segments::{FileMeta, LateHours, MetricName};

use crate::scan::{
    Latest, RollupExec, RowsToBatch, Scan, ScanRequest, SeriesIndex, Superseded, scan_exec,
    whole_hours,
};
use crate::tables::columns::{Column, SeriesColumns, TableColumns, text_field, time_field};
use crate::tables::context::QueryContext;
use crate::tables::labels::{METRIC_COLUMNS, labels_schema};
use crate::tables::partials::PartialsTable;
use crate::tables::predicate::{matching, push_down, sort};

/// A metric as a table: `time`, `value`, `severity`, `score`, and a column per label.
#[derive(Debug)]
pub(crate) struct MetricTable {
    context: Arc<QueryContext>,
    view: Arc<MetricView>,
    schema: SchemaRef,
}

/// What is read of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Every row.
    Rows,
    /// Rows of rollups where they can stand for others.
    Partials,
    /// The same, without those that cannot be the latest of their series.
    Latest,
}

impl MetricTable {
    pub(crate) fn new(context: Arc<QueryContext>, view: Arc<MetricView>) -> Self {
        let mut fields = vec![
            time_field("time", false),
            Field::new("value", DataType::Float64, true),
            Field::new("severity", DataType::Float32, false),
            Field::new("score", DataType::Float32, false),
        ];
        let labels = labels_schema(&view);
        fields.extend(labels.fields().iter().map(|field| text_field(field.name(), true)));
        Self { context, view, schema: Arc::new(Schema::new(fields)) }
    }

    /// Whether a column is a label.
    pub(crate) fn is_label(&self, name: &str) -> bool {
        !METRIC_COLUMNS.contains(&name) && self.schema.index_of(name).is_ok()
    }

    fn columns(&self, projection: Option<&Vec<usize>>) -> Result<(SchemaRef, Vec<Column>)> {
        let all = (0..self.schema.fields().len()).collect();
        let projection = projection.unwrap_or(&all);
        let columns = projection.iter().map(|column| match column {
            0 => Column::Time,
            1 => Column::Value,
            2 => Column::Severity,
            3 => Column::Score,
            label => Column::Label(label - METRIC_COLUMNS.len()),
        });
        Ok((Arc::new(self.schema.project(projection)?), columns.collect()))
    }
}

#[async_trait]
impl TableProvider for MetricTable {
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
        Ok(push_down(filters, |name| self.is_label(name)))
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (schema, columns) = self.columns(projection)?;
        let scan = self.plan(state, &columns, filters, Reading::Rows)?;
        let series = SeriesColumns::Metric(self.context.labels.get(&self.view));
        let to_batch: Arc<dyn RowsToBatch> = Arc::new(TableColumns { schema, columns, series });
        scan_exec(scan, &to_batch, limit)
    }
}

impl MetricTable {
    /// The metric as a table of partials.
    pub(crate) fn partials(&self) -> PartialsTable {
        PartialsTable::new(Self::new(Arc::clone(&self.context), Arc::clone(&self.view)))
    }

    /// Whether anything but every row may be read.
    pub(crate) fn takes_partials(&self) -> bool {
        self.context.progress.uses_rollups()
    }

    /// Whether a rollup may answer whole hours that `filters` take.
    pub(crate) fn has_rollups(&self, filters: &[Expr]) -> Result<bool> {
        let filters = sort(filters, |name| self.is_label(name))?;
        let hours = whole_hours(&filters.times);
        let may_answer = |meta: &FileMeta| {
            let (first, last) =
                (LateHours::hour_of(meta.time_min), LateHours::hour_of(meta.time_max));
            meta.rollup_rows > 0 && first <= *hours.end() && *hours.start() <= last
        };
        let mut segments = self.context.snapshot.segments.iter();
        Ok(!hours.is_empty() && segments.any(|segment| may_answer(segment.meta())))
    }

    /// The leaf that reads these columns of rows that may stand for several.
    pub(crate) fn scan_partials(
        &self,
        state: &dyn Session,
        (schema, columns): (SchemaRef, Vec<Column>),
        filters: &[Expr],
        reading: Reading,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let scan = self.plan(state, &columns, filters, reading)?;
        let rows: u64 = scan.parts.iter().map(|part| part.rows).sum();
        let rollup_rows = scan.rollup_rows;
        let series = SeriesColumns::Metric(self.context.labels.get(&self.view));
        let to_batch: Arc<dyn RowsToBatch> = Arc::new(TableColumns { schema, columns, series });
        let exec = scan_exec(scan, &to_batch, None)?;
        let sample_rows = rows.saturating_sub(rollup_rows);
        let is_latest = reading == Reading::Latest;
        Ok(Arc::new(RollupExec::new(exec, (rollup_rows, sample_rows), is_latest)))
    }

    fn plan(
        &self,
        state: &dyn Session,
        columns: &[Column],
        filters: &[Expr],
        reading: Reading,
    ) -> Result<Scan> {
        let context = &self.context;
        let filters = sort(filters, |name| self.is_label(name))?;
        let labels = context.labels.get(&self.view);
        let index = if filters.series.is_empty() {
            Arc::clone(&labels.index)
        } else {
            let places = matching(state, &filters.series, &labels.table, &context.progress)?;
            let pairs = places
                .into_iter()
                .filter_map(|place| Some((self.view.series.get(place as usize)?.0, place)));
            Arc::new(SeriesIndex::new(pairs.collect()))
        };
        context.detections.read(&index);
        let metric = MetricName { db: self.view.db.clone(), metric: self.view.metric.clone() };
        let mut columns = Column::needed(columns);
        columns.time |= reading == Reading::Latest;
        let latest = || Arc::new(Latest::new(self.view.series.len()));
        let request = ScanRequest {
            index,
            metrics: Some([metric].into()),
            times: filters.times,
            columns,
            superseded: Superseded::Hidden,
            rollups: reading != Reading::Rows,
            latest: (reading == Reading::Latest).then(latest),
            threads: context.threads,
        };
        Ok(Scan::plan(&context.snapshot, request, Arc::clone(&context.progress))?)
    }
}
