//! `tidewatch.offsets`: which offsets of partitions of sources are stored.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringViewArray, UInt32Array, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::TableProvider;
use datafusion::error::Result;
use tidewatch_metrics::Lsn;

use crate::source::OffsetRow;
use crate::tables::columns::text_field;
use crate::tables::files::table;

/// A row per range without a break.
pub(crate) fn offsets(rows: &[OffsetRow]) -> Result<Arc<dyn TableProvider>> {
    let schema = Schema::new(vec![
        text_field("source", false),
        text_field("topic", false),
        Field::new("partition", DataType::UInt32, false),
        text_field("topic_id", true),
        Field::new("first_offset", DataType::Int64, true),
        Field::new("last_offset", DataType::Int64, true),
        Field::new("next_offset", DataType::Int64, false),
        Field::new("lsn", DataType::UInt64, true),
    ]);
    let texts = |get: fn(&OffsetRow) -> &str| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(get(row))).collect::<StringViewArray>())
    };
    let id = |row: &OffsetRow| (row.topic_id != 0).then(|| format!("{:032x}", row.topic_id));
    let known = |row: &OffsetRow| row.first_offset < row.next_offset;
    // Kafka counts so; numbers without a sign are no good to compare with.
    let offsets = |get: &dyn Fn(&OffsetRow) -> Option<u64>| -> ArrayRef {
        let offset = |row| get(row).map(|offset| i64::try_from(offset).unwrap_or(i64::MAX));
        Arc::new(rows.iter().map(offset).collect::<Int64Array>())
    };
    let lsn = |row: &OffsetRow| (row.lsn > Lsn::ZERO).then(|| row.lsn.get());
    table(
        schema,
        vec![
            texts(|row| &row.source),
            texts(|row| &row.topic),
            Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.partition))),
            Arc::new(rows.iter().map(id).collect::<StringViewArray>()),
            offsets(&|row| known(row).then_some(row.first_offset)),
            offsets(&|row| known(row).then(|| row.next_offset - 1)),
            offsets(&|row| Some(row.next_offset)),
            Arc::new(rows.iter().map(lsn).collect::<UInt64Array>()),
        ],
    )
}
