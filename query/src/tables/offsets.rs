//! `tidewatch.offsets`: how far partitions of sources are stored.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringViewArray, UInt32Array, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::TableProvider;
use datafusion::error::Result;

use crate::source::OffsetRow;
use crate::tables::columns::text_field;
use crate::tables::files::table;

/// A row per partition.
pub(crate) fn offsets(rows: &[OffsetRow]) -> Result<Arc<dyn TableProvider>> {
    let schema = Schema::new(vec![
        text_field("source", false),
        text_field("topic", false),
        Field::new("partition", DataType::UInt32, false),
        text_field("topic_id", true),
        Field::new("next_offset", DataType::UInt64, false),
    ]);
    let texts = |get: fn(&OffsetRow) -> &str| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(get(row))).collect::<StringViewArray>())
    };
    let id = |row: &OffsetRow| (row.topic_id != 0).then(|| format!("{:032x}", row.topic_id));
    table(
        schema,
        vec![
            texts(|row| &row.source),
            texts(|row| &row.topic),
            Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.partition))),
            Arc::new(rows.iter().map(id).collect::<StringViewArray>()),
            Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.next_offset))),
        ],
    )
}
