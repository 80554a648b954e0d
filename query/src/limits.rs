//! What a statement and its answer may take at most.

use std::time::Duration;

/// Bytes of one statement.
pub const STATEMENT_BYTES_MAX: usize = 64 * 1_024;
/// Tokens of one statement, without white space and comments.
pub const TOKENS_MAX: usize = 16_384;
/// Operators (`+`, `=`, `AND`, …) of one statement: a chain of them is as deep as it is long, and
/// planning takes time with the square of its length, at worst with the cube.
pub const OPERATORS_MAX: usize = 500;
/// `UNION`, `INTERSECT` and `EXCEPT` of one statement.
pub const SET_OPERATIONS_MAX: usize = 128;
/// Nesting of parentheses, subqueries and expressions.
pub const DEPTH_MAX: usize = 64;
/// Tables that a statement reads once its common table expressions are put in place.
pub const RELATIONS_MAX: u64 = 512;
/// How large one expression can grow once the columns of subqueries are put in place.
pub const EXPANSION_MAX: u64 = 250_000;
/// Grouping sets that `CUBE`, `ROLLUP` and `GROUPING SETS` of one `GROUP BY` make together.
pub const GROUPING_SETS_MAX: u64 = 512;
/// Tables that one statement may look up in `information_schema`.
pub const LOOKUPS_MAX: usize = 10_000;
/// Bytes that one call of a function may build for one batch of rows.
pub const FUNCTION_BYTES_MAX: usize = 64 << 20;
/// Elements that one call of a function may work through for one batch of rows.
pub const FUNCTION_WORK_MAX: usize = 1 << 28;
/// Bytes of the variable part of one row that goes into a join, `unnest` or a window.
pub const WIDE_ROW_BYTES_MAX: usize = 16 << 10;
/// Bytes that `unnest` may make of the rows that it takes at once.
pub const UNNEST_BYTES_MAX: usize = 32 << 20;
/// Buckets that one call of `time_buckets` makes.
pub const TIME_BUCKETS_MAX: u32 = 1_000_000;
/// Rows of one batch.
pub const BATCH_ROWS: usize = 8_192;
/// Segments that are merged at once, unless an hour has more.
pub const MERGE_SOURCES_MAX: usize = 64;
/// Metrics whose label columns are kept between queries.
pub const LABELS_KEPT: usize = 256;
/// Stack of the threads that plan and run queries. Pages that nobody touches cost nothing.
pub const STACK_BYTES: usize = 64 << 20;
/// Longest deadline that a request can ask for.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(30);

/// What queries may take.
#[derive(Clone, Debug)]
pub struct QueryLimits {
    /// Deadline of a request that names none; at most [`TIMEOUT_MAX`].
    pub timeout: Duration,
    /// Memory of all queries together, in bytes.
    pub memory_bytes_max: usize,
    /// Memory of one query, in bytes.
    pub query_memory_bytes_max: usize,
    /// Memory of the label columns that are kept between queries, in bytes.
    pub labels_bytes_max: usize,
    /// Bytes that one query may read of segments and heads.
    pub scan_bytes_max: u64,
    /// Rows of one answer.
    pub rows_max: usize,
    /// Bytes of one answer.
    pub answer_bytes_max: usize,
    /// Queries that run at the same time.
    pub running_max: usize,
    /// Queries that wait until one of these has ended.
    pub waiting_max: usize,
    /// Threads that run queries; 0 means one per core.
    pub threads: usize,
    /// Whether aggregates may be answered from rollups; without, every row is read.
    pub rollups: bool,
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            memory_bytes_max: 512 << 20,
            query_memory_bytes_max: 256 << 20,
            labels_bytes_max: 64 << 20,
            scan_bytes_max: 64 << 30,
            rows_max: 1_000_000,
            answer_bytes_max: 64 << 20,
            running_max: 8,
            waiting_max: 64,
            threads: 0,
            rollups: true,
        }
    }
}

impl QueryLimits {
    /// The number of threads, and of partitions of a scan.
    #[must_use]
    pub fn threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }
}
