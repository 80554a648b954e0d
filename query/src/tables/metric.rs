//! A metric as a table.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use tidewatch_metrics::MetricView;
use tidewatch_segments::MetricName;

use crate::scan::{RowsToBatch, Scan, ScanRequest, SeriesIndex, Superseded, scan_exec};
use crate::tables::columns::{Column, SeriesColumns, TableColumns, text_field, time_field};
use crate::tables::context::QueryContext;
use crate::tables::labels::{METRIC_COLUMNS, labels_schema};
use crate::tables::predicate::{matching, push_down, sort};

/// A metric as a table: `time`, `value`, `severity`, `score`, and a column per label.
#[derive(Debug)]
pub(crate) struct MetricTable {
    context: Arc<QueryContext>,
    view: Arc<MetricView>,
    schema: SchemaRef,
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

    fn is_label(&self, name: &str) -> bool {
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
        let (schema, columns) = self.columns(projection)?;
        let metric = MetricName { db: self.view.db.clone(), metric: self.view.metric.clone() };
        let request = ScanRequest {
            index,
            metrics: Some([metric].into()),
            times: filters.times,
            columns: Column::needed(&columns),
            superseded: Superseded::Hidden,
            threads: context.threads,
        };
        let scan = Scan::plan(&context.snapshot, request, Arc::clone(&context.progress))?;
        let series = SeriesColumns::Metric(labels);
        let to_batch: Arc<dyn RowsToBatch> = Arc::new(TableColumns { schema, columns, series });
        scan_exec(scan, &to_batch, limit)
    }
}
