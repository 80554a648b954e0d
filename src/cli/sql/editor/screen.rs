//! How the line that is typed looks: prompts, breaks and the place of the cursor.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// Cells of a tab.
const TAB: &str = "    ";

/// The line as rows of the terminal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Picture {
    /// The rows, the first one first; each is narrower than the terminal.
    pub(crate) rows: Vec<String>,
    /// The cursor's row.
    pub(crate) row: usize,
    /// Cells before the cursor.
    pub(crate) column: usize,
}

/// Lays text out; its first line follows `prompt`, the others follow `more`, which is as wide.
///
/// Of a text that is higher than the terminal only the rows around the cursor are given.
pub(crate) fn picture(
    (prompt, more): (&str, &str),
    (text, at): (&str, usize),
    (columns, height): (usize, usize),
) -> Picture {
    let columns = columns.max(prompt.width() + 2);
    let mut picture = Picture { rows: vec![prompt.to_owned()], row: 0, column: prompt.width() };
    let mut width = prompt.width();
    for (from, sign) in text.grapheme_indices(true) {
        if from == at {
            (picture.row, picture.column) = (picture.rows.len() - 1, width);
        }
        if sign.contains('\n') {
            picture.rows.push(more.to_owned());
            width = more.width();
            continue;
        }
        let shown = match sign {
            "\t" => TAB,
            sign if sign.contains(char::is_control) => "?",
            sign => sign,
        };
        // The last cell stays free: there, terminals differ in where the cursor is.
        if width + shown.width() >= columns {
            picture.rows.push(String::new());
            width = 0;
            if from == at {
                (picture.row, picture.column) = (picture.rows.len() - 1, 0);
            }
        }
        width += shown.width();
        if let Some(row) = picture.rows.last_mut() {
            row.push_str(shown);
        }
    }
    if at >= text.len() {
        (picture.row, picture.column) = (picture.rows.len() - 1, width);
    }
    let height = height.max(1);
    if picture.rows.len() > height {
        let first = picture.row.saturating_sub(height - 1);
        picture.rows.drain(..first);
        picture.rows.truncate(height);
        picture.row -= first;
    }
    picture
}

/// Words in columns, as many as fit; how many there are beyond `lines`.
pub(crate) fn columns(words: &[String], width: usize, lines: usize) -> String {
    let cell = words.iter().map(|word| word.width()).max().unwrap_or(0) + 2;
    let across = (width / cell).max(1);
    let mut text = String::new();
    for row in words.chunks(across).take(lines) {
        let row: String =
            row.iter().map(|word| format!("{word}{}", " ".repeat(cell - word.width()))).collect();
        text.push_str(row.trim_end());
        text.push_str("\r\n");
    }
    let left_out = words.len().saturating_sub(across * lines);
    if left_out > 0 {
        text.push_str(&format!("… and {left_out} more\r\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(text: &str, at: usize, size: (usize, usize)) -> (Vec<String>, usize, usize) {
        let Picture { rows, row, column } = picture(("> ", "- "), (text, at), size);
        (rows, row, column)
    }

    fn rows(rows: &[&str]) -> Vec<String> {
        rows.iter().map(|row| (*row).to_owned()).collect()
    }

    #[test]
    fn long_lines_break_and_the_cursor_is_where_it_is_seen() {
        assert_eq!(drawn("", 0, (10, 5)), (rows(&["> "]), 0, 2));
        assert_eq!(drawn("ab\nc", 4, (10, 5)), (rows(&["> ab", "- c"]), 1, 3));
        assert_eq!(drawn("ab\nc", 2, (10, 5)), (rows(&["> ab", "- c"]), 0, 4));
        assert_eq!(drawn("123456789", 9, (10, 5)), (rows(&["> 1234567", "89"]), 1, 2));
        assert_eq!(drawn("123456789", 7, (10, 5)), (rows(&["> 1234567", "89"]), 1, 0));
        assert_eq!(drawn("日本語日", 12, (10, 5)), (rows(&["> 日本語", "日"]), 1, 2));
        assert_eq!(drawn("a\tb\u{7}", 2, (20, 5)), (rows(&["> a    b?"]), 0, 7));
    }

    #[test]
    fn a_text_higher_than_the_terminal_is_shown_around_the_cursor() {
        let text = "1\n2\n3\n4\n5";
        assert_eq!(drawn(text, 9, (10, 2)), (rows(&["- 4", "- 5"]), 1, 3));
        assert_eq!(drawn(text, 0, (10, 2)), (rows(&["> 1", "- 2"]), 0, 2));
    }

    #[test]
    fn choices_stand_in_columns() {
        let words = rows(&["cpu", "memory", "disk", "net", "load"]);
        assert_eq!(columns(&words, 20, 2), "cpu     memory\r\ndisk    net\r\n… and 1 more\r\n");
        assert_eq!(columns(&words, 3, 9).lines().count(), 5);
    }
}
