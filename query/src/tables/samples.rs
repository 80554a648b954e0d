//! `tidewatch.samples` and `tidewatch.arrivals`: all metrics in one table.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::scan::{RowsToBatch, Scan, ScanRequest, Superseded, scan_exec};
use crate::tables::columns::{Column, SeriesColumns, TableColumns, text_field, time_field};
use crate::tables::context::QueryContext;
use crate::tables::predicate::{push_down, sort};
use crate::tables::series_names::{SERIES_COLUMNS, SeriesNames};

const COLUMNS: [Column; 10] = [
    Column::Time,
    Column::SeriesId,
    Column::Db,
    Column::Metric,
    Column::Value,
    Column::Severity,
    Column::OnsetSeverity,
    Column::Score,
    Column::Channel,
    Column::Late,
];

/// All metrics in one table, with or without superseded rows.
#[derive(Debug)]
pub(crate) struct SamplesTable {
    context: Arc<QueryContext>,
    superseded: Superseded,
    schema: SchemaRef,
}

impl SamplesTable {
    pub(crate) fn new(context: Arc<QueryContext>, superseded: Superseded) -> Self {
        let schema = Schema::new(vec![
            time_field("time", false),
            text_field("series_id", false),
            text_field("db", false),
            text_field("metric", false),
            Field::new("value", DataType::Float64, true),
            Field::new("severity", DataType::Float32, false),
            Field::new("onset_severity", DataType::Float32, false),
            Field::new("score", DataType::Float32, false),
            text_field("channel", false),
            Field::new("late", DataType::Boolean, false),
        ]);
        Self { context, superseded, schema: Arc::new(schema) }
    }
}

/// Whether a column tells which series a row is of.
pub(crate) fn is_series(name: &str) -> bool {
    SERIES_COLUMNS.contains(&name)
}

#[async_trait]
impl TableProvider for SamplesTable {
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
        Ok(push_down(filters, is_series))
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let context = &self.context;
        let all = (0..COLUMNS.len()).collect();
        let projection = projection.unwrap_or(&all);
        let schema = Arc::new(self.schema.project(projection)?);
        let columns: Vec<Column> =
            projection.iter().filter_map(|column| COLUMNS.get(*column).copied()).collect();
        let is_filtered = !filters.is_empty();
        let filters = sort(filters, is_series)?;
        let names = Arc::new(SeriesNames::matching(context, state, &filters.series)?);
        let index = names.index();
        context.detections.read(&index);
        let request = ScanRequest {
            index,
            metrics: is_filtered.then(|| names.metric_names()),
            times: filters.times,
            columns: Column::needed(&columns),
            superseded: self.superseded,
            rollups: false,
            latest: None,
            threads: context.threads,
        };
        let scan = Scan::plan(&context.snapshot, request, Arc::clone(&context.progress))?;
        let series = SeriesColumns::Names(names);
        let to_batch: Arc<dyn RowsToBatch> = Arc::new(TableColumns { schema, columns, series });
        scan_exec(scan, &to_batch, limit)
    }
}
