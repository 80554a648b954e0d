//! An operator that passes batches on and watches what the operator above would make of them.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use datafusion::common::internal_err;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::StreamExt;

use crate::error::QueryError;
use crate::limits::{UNNEST_BYTES_MAX, WIDE_ROW_BYTES_MAX};
use crate::scan::Progress;

/// What a guard sees to, beside stopping a query that was cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Nothing else.
    Stop,
    /// Rows are narrow: an operator above may copy each of them thousands of times.
    Narrow,
    /// The memory of all batches is accounted for: an operator above keeps them, with so many bytes
    /// that it adds to each row.
    Hold(usize),
    /// Batches are so small that the lists in these columns stay bounded when they are unnested.
    Split(Vec<usize>),
}

/// Passes batches on, stops a cancelled query, and does its duty.
#[derive(Debug)]
pub(crate) struct GuardExec {
    input: Arc<dyn ExecutionPlan>,
    duty: Duty,
    progress: Arc<Progress>,
}

impl GuardExec {
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>, duty: Duty, progress: Arc<Progress>) -> Self {
        Self { input, duty, progress }
    }
}

impl DisplayAs for GuardExec {
    fn fmt_as(&self, _form: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let duty = match self.duty {
            Duty::Stop => "stop",
            Duty::Narrow => "narrow",
            Duty::Hold(_) => "hold",
            Duty::Split(_) => "split",
        };
        write!(f, "GuardExec: {duty}")
    }
}

impl ExecutionPlan for GuardExec {
    fn name(&self) -> &str {
        "GuardExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.len()) {
            (Some(input), 0) => {
                Ok(Arc::new(Self::new(input, self.duty.clone(), Arc::clone(&self.progress))))
            }
            _ => internal_err!("a guard has one input"),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let memory = MemoryConsumer::new("guard").register(context.memory_pool());
        let input = self.input.execute(partition, context)?;
        let (duty, progress) = (self.duty.clone(), Arc::clone(&self.progress));
        let schema = input.schema();
        let guarded = input.flat_map(move |batch| {
            let parts = batch.and_then(|batch| {
                progress.check()?;
                duty.apply(batch, &memory)
            });
            futures::stream::iter(match parts {
                Ok(parts) => parts.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            })
        });
        Ok(Box::pin(cooperative(RecordBatchStreamAdapter::new(schema, guarded))))
    }
}

impl Duty {
    fn apply(&self, batch: RecordBatch, memory: &MemoryReservation) -> Result<Vec<RecordBatch>> {
        match self {
            Self::Stop => {}
            Self::Narrow => check_narrow(&batch, &[])?,
            Self::Hold(added) => {
                check_narrow(&batch, &[])?;
                let added = batch.num_rows().saturating_mul(*added);
                memory.try_grow(batch.get_array_memory_size().saturating_add(added))?;
            }
            Self::Split(lists) => return split(&batch, lists),
        }
        Ok(vec![batch])
    }
}

/// Refuses rows whose variable part, but for the columns left out, is too wide to be multiplied.
fn check_narrow(batch: &RecordBatch, left_out: &[usize]) -> Result<()> {
    let widths = widths(batch, left_out);
    match widths.iter().max() {
        Some(widest) if *widest > WIDE_ROW_BYTES_MAX => Err(QueryError::Limit {
            what: "the width in bytes of one row that goes into a join, a window or unnest",
            max: WIDE_ROW_BYTES_MAX as u64,
            hint: "join narrow rows first and build long texts or lists afterwards",
        }
        .into()),
        _ => Ok(()),
    }
}

/// Bytes of the variable part of each row.
fn widths(batch: &RecordBatch, left_out: &[usize]) -> Vec<usize> {
    let mut widths = vec![0_usize; batch.num_rows()];
    for (at, column) in batch.columns().iter().enumerate() {
        if left_out.contains(&at) || column.data_type().is_primitive() {
            continue;
        }
        add_widths(column, &mut widths);
    }
    widths
}

fn add_widths(column: &ArrayRef, widths: &mut [usize]) {
    let mut add = |width: &dyn Fn(usize) -> usize| {
        for (row, sum) in widths.iter_mut().enumerate() {
            *sum = sum.saturating_add(width(row));
        }
    };
    match column.data_type() {
        DataType::Null | DataType::Boolean => {}
        DataType::Utf8 => add(&|row| length(column.as_string::<i32>().value_length(row).into())),
        DataType::Binary => add(&|row| length(column.as_binary::<i32>().value_length(row).into())),
        DataType::LargeUtf8 => add(&|row| length(column.as_string::<i64>().value_length(row))),
        DataType::LargeBinary => add(&|row| length(column.as_binary::<i64>().value_length(row))),
        // A copy of a view does not copy what it points to.
        DataType::Utf8View | DataType::BinaryView => add(&|_row| size_of::<u128>()),
        DataType::List(_) => {
            let lists = column.as_list::<i32>();
            let element = element_bytes(lists.values());
            add(&|row| length(lists.value_length(row).into()).saturating_mul(element));
        }
        DataType::LargeList(_) => {
            let lists = column.as_list::<i64>();
            let element = element_bytes(lists.values());
            add(&|row| length(lists.value_length(row)).saturating_mul(element));
        }
        _ => {
            let average = element_bytes(column);
            add(&|_row| average);
        }
    }
}

fn length(length: i64) -> usize {
    usize::try_from(length).unwrap_or(0)
}

fn element_bytes(elements: &ArrayRef) -> usize {
    match elements.data_type().primitive_width() {
        Some(width) => width,
        None => elements.get_array_memory_size() / elements.len().max(1) + 1,
    }
}

/// Cuts a batch so that no part of it becomes too large when its lists are unnested.
fn split(batch: &RecordBatch, lists: &[usize]) -> Result<Vec<RecordBatch>> {
    check_narrow(batch, lists)?;
    // 16 bytes hold any fixed part of a cell.
    let fixed = batch.num_columns() * 16;
    let widths = widths(batch, lists);
    let mut parts = Vec::new();
    let (mut start, mut sum) = (0, 0_usize);
    for (row, width) in widths.iter().enumerate() {
        let copies = lists.iter().map(|at| elements(batch.column(*at), row)).max();
        let bytes = copies.unwrap_or(1).max(1).saturating_mul(width + fixed);
        if bytes > UNNEST_BYTES_MAX {
            return Err(QueryError::Limit {
                what: "the bytes that unnest makes of one row",
                max: UNNEST_BYTES_MAX as u64,
                hint: "unnest shorter lists, or fewer columns beside them",
            }
            .into());
        }
        if sum.saturating_add(bytes) > UNNEST_BYTES_MAX && row > start {
            parts.push(batch.slice(start, row - start));
            (start, sum) = (row, 0);
        }
        sum += bytes;
    }
    parts.push(batch.slice(start, batch.num_rows() - start));
    Ok(parts)
}

/// Elements of the list in a row.
fn elements(column: &ArrayRef, row: usize) -> usize {
    match column.data_type() {
        DataType::List(_) => length(column.as_list::<i32>().value_length(row).into()),
        DataType::LargeList(_) => length(column.as_list::<i64>().value_length(row)),
        DataType::FixedSizeList(_, size) => length((*size).into()),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ListArray, StringArray};
    use arrow::datatypes::Int64Type;

    use super::*;

    fn batch(lists: &[usize], text_bytes: usize) -> RecordBatch {
        let rows = lists.iter().map(|n| Some(vec![Some(7_i64); *n]));
        let lists_of = ListArray::from_iter_primitive::<Int64Type, _, _>(rows);
        let texts = StringArray::from(vec!["x".repeat(text_bytes); lists.len()]);
        RecordBatch::try_from_iter([
            ("l", Arc::new(lists_of) as ArrayRef),
            ("t", Arc::new(texts) as ArrayRef),
        ])
        .unwrap()
    }

    #[test]
    fn long_lists_beside_long_texts_are_cut_into_parts() {
        let lists = [10_000, 10_000, 10, 10_000];
        let parts = split(&batch(&lists, 2_000), &[0]).unwrap();
        let rows: Vec<usize> = parts.iter().map(RecordBatch::num_rows).collect();
        assert_eq!(rows, [1, 2, 1]);
        let short = split(&batch(&[3; 1_000], 10), &[0]).unwrap();
        assert_eq!(short.len(), 1);
    }

    #[test]
    fn a_row_that_would_become_too_large_is_refused() {
        assert!(split(&batch(&[100_000], 2_000), &[0]).is_err());
        assert!(split(&batch(&[1], WIDE_ROW_BYTES_MAX + 1), &[0]).is_err());
        assert!(check_narrow(&batch(&[1], WIDE_ROW_BYTES_MAX + 1), &[]).is_err());
        assert!(check_narrow(&batch(&[WIDE_ROW_BYTES_MAX / 8 + 1], 1), &[]).is_err());
        assert!(check_narrow(&batch(&[10], 1_000), &[]).is_ok());
    }
}
