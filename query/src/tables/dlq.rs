//! `tidewatch.dlq`: dead letters of files, then those that no file holds yet, each with its state.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use arrow::record_batch::RecordBatch;
use datafusion::common::internal_datafusion_err;
use datafusion::error::Result;
use tidewatch_metrics::Lsn;
use tidewatch_segments::{
    LetterEnd, LetterId, LettersInMemory, letter_groups, letters_batch, letters_schema,
};

use crate::error::QueryError;
use crate::tables::context::QueryContext;
use crate::tables::filed::{FiledRows, Tail};
use crate::tables::leaf::LeafTable;

/// The state of a letter with which nothing was done.
const OPEN: &str = "open";

/// Letters that no file holds, and what was done with any.
#[derive(Debug)]
struct LetterTail {
    schema: SchemaRef,
    memory: LettersInMemory,
}

/// A row per letter.
pub(crate) fn dlq(context: &QueryContext) -> Result<LeafTable> {
    let snapshot = &context.snapshot;
    // Files follow each other within seconds, and a query makes its tables at once.
    let memory = context.source.letters(snapshot.manifest.letters_lsn(), snapshot.lsn);
    let memory = memory.ok_or(QueryError::NotReady)?;
    let schema = schema();
    Ok(LeafTable::new(FiledRows {
        schema: Arc::clone(&schema),
        files: snapshot.letters.clone().into(),
        tail: Arc::new(LetterTail { schema, memory }),
        progress: Arc::clone(&context.progress),
    }))
}

/// The columns of files, and before the last one the state.
fn schema() -> SchemaRef {
    let filed = letters_schema();
    let mut fields: Vec<_> = filed.fields().iter().cloned().collect();
    fields.insert(fields.len() - 1, Arc::new(Field::new("state", DataType::Utf8, false)));
    Arc::new(Schema::new(fields))
}

impl Tail for LetterTail {
    fn name(&self) -> &'static str {
        "letters"
    }

    fn batch(&self, from: usize) -> Option<(RecordBatch, usize)> {
        let letters = letter_groups(self.memory.rows.get(from..)?).next()?;
        Some((letters_batch(letters), letters.len()))
    }

    fn shaped(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let numbers = |name: &str| {
            let column = batch.column_by_name(name);
            let column = column.and_then(|column| column.as_primitive_opt::<UInt64Type>());
            column.ok_or_else(|| internal_datafusion_err!("a file of letters has no column {name}"))
        };
        let ids = numbers("lsn")?.values().iter().zip(numbers("offset")?.values());
        let states = ids.map(|(lsn, offset)| {
            let id = LetterId { lsn: Lsn::new(*lsn), offset: *offset };
            self.memory.ends.get(&id).copied().map_or(OPEN, LetterEnd::name)
        });
        let states: ArrayRef = Arc::new(StringArray::from_iter_values(states));
        let mut columns = batch.columns().to_vec();
        columns.insert(columns.len() - 1, states);
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}
