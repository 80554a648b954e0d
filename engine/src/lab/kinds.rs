//! What the laboratory calls the files and directories of a data directory.

use std::path::Path;

/// The kind of a file or directory, by its name; a file that gets another name may change it.
pub(super) fn kind_of(path: &Path) -> &'static str {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name.contains(".arc") {
        return "archive file";
    }
    let kinds = [
        ("archive", "archive directory"),
        ("wal-", "log file"),
        ("spare-", "log spare"),
        ("samples-00000000000000000000", "merge file"),
        ("samples-", "samples file"),
        ("series-", "series file"),
        ("alerts-", "alerts file"),
        ("deliveries-", "deliveries file"),
        ("keys-", "keys file"),
        ("percentiles-", "percentiles file"),
        ("dead_letters-", "dead letters file"),
        ("letter_marks-", "letter marks file"),
        ("0", "manifest file"),
        ("slots-", "slots file"),
        ("checkpoint-", "checkpoint file"),
        ("checkpoints", "checkpoints directory"),
        ("wal", "log directory"),
        ("segments", "segments directory"),
        ("manifest", "manifest directory"),
    ];
    let kind = kinds.iter().find(|(start, _)| name.starts_with(start));
    kind.map_or("data directory", |(_, kind)| kind)
}
