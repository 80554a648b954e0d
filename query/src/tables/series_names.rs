//! Series of several metrics, by place.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringViewArray, StringViewBuilder, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use datafusion::catalog::Session;
use datafusion::common::internal_err;
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use tidewatch_metrics::{MetricView, SeriesId, SeriesRef};
use tidewatch_segments::MetricName;

use crate::scan::SeriesIndex;
use crate::tables::columns::{Column, text_field};
use crate::tables::context::QueryContext;
use crate::tables::predicate::matching;

/// Columns that say which series a row is of.
pub(crate) const SERIES_COLUMNS: [&str; 3] = ["series_id", "db", "metric"];

/// Series of several metrics, by place: in the order of database, metric and reference, which is
/// the order of segments too, so that rows of a segment come in the order of places.
#[derive(Debug)]
pub(crate) struct SeriesNames {
    /// The metrics, in order.
    pub(crate) views: Vec<Arc<MetricView>>,
    /// The metric and the position in it, by place.
    pub(crate) series: Vec<(u32, u32)>,
    dbs: ArrayRef,
    metrics: ArrayRef,
}

impl SeriesNames {
    /// The series that pass `filters`, which name [`SERIES_COLUMNS`] only.
    pub(crate) fn matching(
        context: &QueryContext,
        state: &dyn Session,
        filters: &[Expr],
    ) -> Result<Self> {
        let (of_series, of_metrics): (Vec<Expr>, Vec<Expr>) = filters
            .iter()
            .cloned()
            .partition(|filter| filter.column_refs().iter().any(|c| c.name() == "series_id"));
        let catalog = &context.snapshot.catalog;
        let names: Vec<(String, String)> = catalog
            .databases()
            .into_iter()
            .flat_map(|db| catalog.metrics(&db).into_iter().map(move |metric| (db.clone(), metric)))
            .collect();
        let dbs: StringViewArray = names.iter().map(|(db, _)| Some(db)).collect();
        let metrics: StringViewArray = names.iter().map(|(_, metric)| Some(metric)).collect();
        let schema = Schema::new(vec![text_field("db", false), text_field("metric", false)]);
        let table = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(dbs), Arc::new(metrics)])?;
        let mut views = Vec::new();
        for row in matching(state, &of_metrics, &table, &context.progress)? {
            if let Some((db, metric)) = names.get(row as usize) {
                views.extend(catalog.metric(db, metric));
            }
        }
        let series = (0_u32..).zip(&views).flat_map(|(metric, view)| {
            (0_u32..).take(view.series.len()).map(move |position| (metric, position))
        });
        let all = Self::new(views.clone(), series.collect());
        if of_series.is_empty() {
            return Ok(all);
        }
        let mut kept = Vec::new();
        for row in all.filter(state, &of_series, context)? {
            kept.extend(all.series.get(row as usize).copied());
        }
        Ok(Self::new(views, kept))
    }

    fn new(views: Vec<Arc<MetricView>>, series: Vec<(u32, u32)>) -> Self {
        let dbs: StringViewArray = views.iter().map(|view| Some(view.db.as_str())).collect();
        let metrics: StringViewArray =
            views.iter().map(|view| Some(view.metric.as_str())).collect();
        Self { views, series, dbs: Arc::new(dbs), metrics: Arc::new(metrics) }
    }

    fn filter(
        &self,
        state: &dyn Session,
        filters: &[Expr],
        context: &QueryContext,
    ) -> Result<Vec<u32>> {
        let fields = SERIES_COLUMNS.map(|name| text_field(name, false));
        let schema = Arc::new(Schema::new(fields.to_vec()));
        let places = self.places();
        let columns = [Column::SeriesId, Column::Db, Column::Metric];
        let columns = columns.map(|column| self.column(column, &places));
        let columns = columns.into_iter().collect::<Result<_>>()?;
        let table = RecordBatch::try_new(schema, columns)?;
        matching(state, filters, &table, &context.progress)
    }

    /// The index of all places.
    pub(crate) fn index(&self) -> Arc<SeriesIndex> {
        self.index_of(&self.places())
    }

    /// The index of these places.
    pub(crate) fn index_of(&self, places: &[u32]) -> Arc<SeriesIndex> {
        let pairs = places.iter().filter_map(|place| {
            let (metric, position) = self.series.get(*place as usize)?;
            Some((self.views.get(*metric as usize)?.series.get(*position as usize)?.0, *place))
        });
        Arc::new(SeriesIndex::new(pairs.collect::<Vec<(SeriesRef, u32)>>()))
    }

    /// The metrics that have places.
    pub(crate) fn metric_names(&self) -> BTreeSet<MetricName> {
        self.metrics_of(&self.places())
    }

    /// The metrics of these places.
    pub(crate) fn metrics_of(&self, places: &[u32]) -> BTreeSet<MetricName> {
        let used = places.iter().filter_map(|place| Some(self.series.get(*place as usize)?.0));
        let used: BTreeSet<u32> = used.collect();
        let views = used.iter().filter_map(|metric| self.views.get(*metric as usize));
        views.map(|v| MetricName { db: v.db.clone(), metric: v.metric.clone() }).collect()
    }

    /// All places.
    pub(crate) fn places(&self) -> Vec<u32> {
        (0_u32..).take(self.series.len()).collect()
    }

    /// The identity of the series at a place.
    pub(crate) fn id(&self, place: u32) -> Option<SeriesId> {
        let (metric, position) = self.series.get(place as usize)?;
        let view = self.views.get(*metric as usize)?;
        view.series.get(*position as usize).map(|(_, entry)| entry.id)
    }

    /// A column of [`SERIES_COLUMNS`] for these places.
    pub(crate) fn column(&self, column: Column, places: &[u32]) -> Result<ArrayRef> {
        let of_metric = |values: &ArrayRef| {
            let metrics = places.iter().map(|p| self.series.get(*p as usize).map(|at| at.0));
            take(values, &metrics.collect::<UInt32Array>(), None)
        };
        Ok(match column {
            Column::Db => of_metric(&self.dbs)?,
            Column::Metric => of_metric(&self.metrics)?,
            Column::SeriesId => {
                let mut ids = StringViewBuilder::with_capacity(places.len());
                for place in places {
                    match self.id(*place) {
                        Some(id) => append_hex(&mut ids, id),
                        None => ids.append_null(),
                    }
                }
                Arc::new(ids.finish())
            }
            other => return internal_err!("no column {other:?} of series"),
        })
    }
}

/// Appends the 32 digits of an identity.
fn append_hex(to: &mut StringViewBuilder, id: SeriesId) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 32];
    for (digit, shift) in text.iter_mut().rev().zip((0_u32..).step_by(4)) {
        *digit = DIGITS[((id.get() >> shift) & 15) as usize];
    }
    to.append_value(std::str::from_utf8(&text).expect("digits are ASCII"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_written_as_they_are_everywhere() {
        let mut to = StringViewBuilder::new();
        let ids = [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0000_1111_2222_3333].map(SeriesId::new);
        ids.iter().for_each(|id| append_hex(&mut to, *id));
        let texts = to.finish();
        for (text, id) in texts.iter().zip(ids) {
            assert_eq!(text, Some(id.to_string().as_str()));
        }
    }
}
