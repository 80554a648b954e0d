//! `tidewatch.sources`: the partitions that are read now, and how that goes.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringViewArray, UInt32Array, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::TableProvider;
use datafusion::error::Result;

use crate::source::SourceRow;
use crate::tables::columns::text_field;
use crate::tables::files::table;

/// A row per partition.
pub(crate) fn sources(rows: &[SourceRow]) -> Result<Arc<dyn TableProvider>> {
    let count = |name| Field::new(name, DataType::UInt64, false);
    let schema = Schema::new(vec![
        text_field("source", false),
        text_field("topic", false),
        Field::new("partition", DataType::UInt32, false),
        text_field("state", false),
        count("next_offset"),
        count("end_offset"),
        count("lag_messages"),
        Field::new("lag_seconds", DataType::Float64, false),
        count("messages"),
        count("bytes"),
        count("samples"),
        count("bad_messages"),
        count("gap_messages"),
        text_field("trouble", true),
    ]);
    let texts = |get: fn(&SourceRow) -> Option<&str>| -> ArrayRef {
        Arc::new(rows.iter().map(get).collect::<StringViewArray>())
    };
    let counts = |get: fn(&SourceRow) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(get)))
    };
    table(
        schema,
        vec![
            texts(|row| Some(&row.source)),
            texts(|row| Some(&row.topic)),
            Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.partition))),
            texts(|row| Some(row.state)),
            counts(|row| row.next_offset),
            counts(|row| row.end_offset),
            counts(|row| row.lag_messages),
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.lag_seconds))),
            counts(|row| row.messages),
            counts(|row| row.bytes),
            counts(|row| row.samples),
            counts(|row| row.bad_messages),
            counts(|row| row.gap_messages),
            texts(|row| row.trouble.as_deref()),
        ],
    )
}
