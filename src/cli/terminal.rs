//! The terminal that results are shown in.

use console::Term;

/// Columns and rows of the terminal; usual ones where it does not tell.
pub(crate) fn size() -> (usize, usize) {
    match Term::stdout().size_checked() {
        Some((rows, columns)) if columns > 0 && rows > 0 => (columns.into(), rows.into()),
        _ => (80, 24),
    }
}
