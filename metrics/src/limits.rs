//! What a series, a batch and a name may measure at most. Bytes unless the name says otherwise.

/// Labels of one series.
pub const SERIES_LABELS_MAX: usize = 64;
/// Label keys of one metric, over all of its series.
pub const METRIC_LABEL_KEYS_MAX: usize = 128;
/// A database's name.
pub const DATABASE_BYTES_MAX: usize = 128;
/// A metric's name, measurement and field together.
pub const METRIC_BYTES_MAX: usize = 1_024;
/// A label's key.
pub const LABEL_KEY_BYTES_MAX: usize = 256;
/// A label's value.
pub const LABEL_VALUE_BYTES_MAX: usize = 4_096;
/// All of a series' names, keys and values in canonical form.
pub const SERIES_KEY_BYTES_MAX: usize = 32 * 1_024;
/// Rows of one batch.
pub const BATCH_ROWS_MAX: usize = 1_000_000;
/// Integers beyond this magnitude have no exact `f64`.
pub const EXACT_INTEGER_MAX: u64 = 1 << 53;

// Lengths are stored as u16.
const _: () = assert!(METRIC_BYTES_MAX < u16::MAX as usize);
const _: () = assert!(LABEL_VALUE_BYTES_MAX < u16::MAX as usize);
const _: () =
    assert!(SERIES_KEY_BYTES_MAX > METRIC_BYTES_MAX + DATABASE_BYTES_MAX + LABEL_VALUE_BYTES_MAX);
