//! How much is read.

/// Rows of one series: they are held in memory, with what the detector says of them some 100 bytes each.
pub const ROWS_MAX: usize = 10_000_000;
/// Bytes of a time as it is written.
pub const TIME_BYTES_MAX: usize = 64;
/// Bytes of one row of a KPI file, its line end included.
pub const KPI_LINE_BYTES_MAX: usize = 1_024;
/// Bytes of the file of labels.
pub const LABELS_BYTES_MAX: u64 = 64 << 20;
/// Files of one corpus.
pub const FILES_MAX: usize = 100_000;
/// Random halves that can be asked for.
pub const SPLITS_MAX: u32 = 10_000;
