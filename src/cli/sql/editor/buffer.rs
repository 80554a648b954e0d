//! Text with a cursor.

use unicode_segmentation::UnicodeSegmentation;

use crate::cli::sql::editor::TEXT_BYTES_MAX;

/// Text with a cursor, which stands between two characters as people see them.
///
/// Invariant: `at` is a boundary of `text`, which has at most [`TEXT_BYTES_MAX`] bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Buffer {
    text: String,
    at: usize,
    /// What was cut last.
    cut: String,
}

impl Buffer {
    /// The text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The cursor: bytes before it.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Other text, with the cursor at its end.
    pub(crate) fn set(&mut self, text: &str) {
        self.text.clear();
        self.at = 0;
        self.insert(text);
    }

    /// The text, whose place is left empty.
    pub(crate) fn take(&mut self) -> String {
        self.at = 0;
        std::mem::take(&mut self.text)
    }

    /// Puts text before the cursor, as far as there is room.
    pub(crate) fn insert(&mut self, text: &str) {
        if self.text.len() + text.len() <= TEXT_BYTES_MAX {
            self.text.insert_str(self.at, text);
            self.at += text.len();
        }
    }

    /// Replaces what stands between `start` and the cursor.
    pub(crate) fn replace_from(&mut self, start: usize, text: &str) {
        if self.text.is_char_boundary(start) && start <= self.at {
            self.text.replace_range(start..self.at, "");
            self.at = start;
            self.insert(text);
        }
    }

    /// What stands before the cursor.
    pub(crate) fn before(&self) -> &str {
        self.text.get(..self.at).expect("the cursor is a boundary")
    }

    /// What stands behind the cursor.
    pub(crate) fn after(&self) -> &str {
        self.text.get(self.at..).expect("the cursor is a boundary")
    }

    pub(crate) fn left(&mut self) {
        self.at -= self.before().graphemes(true).next_back().map_or(0, str::len);
    }

    pub(crate) fn right(&mut self) {
        self.at += self.after().graphemes(true).next().map_or(0, str::len);
    }

    pub(crate) fn word_left(&mut self) {
        self.at = self.word_start();
    }

    pub(crate) fn word_right(&mut self) {
        let mut words = self.after().split_word_bound_indices();
        let word = words.find(|(_, word)| word.contains(char::is_alphanumeric));
        let length = word.map_or(self.after().len(), |(from, word)| from + word.len());
        self.at += length;
    }

    /// To the begin of the line.
    pub(crate) fn home(&mut self) {
        self.at = self.line_start();
    }

    /// To the end of the line.
    pub(crate) fn end(&mut self) {
        self.at += self.after().find('\n').unwrap_or(self.after().len());
    }

    /// A line up; `false` on the first one.
    pub(crate) fn up(&mut self) -> bool {
        let start = self.line_start();
        let Some(end) = start.checked_sub(1) else { return false };
        let column = self.before().get(start..).map_or(0, |text| text.graphemes(true).count());
        self.at = end;
        self.at = self.line_start();
        self.seek_column(column);
        true
    }

    /// A line down; `false` on the last one.
    pub(crate) fn down(&mut self) -> bool {
        let Some(length) = self.after().find('\n') else { return false };
        let start = self.line_start();
        let column = self.before().get(start..).map_or(0, |text| text.graphemes(true).count());
        self.at += length + 1;
        self.seek_column(column);
        true
    }

    /// Removes the character before the cursor.
    pub(crate) fn backspace(&mut self) {
        let end = self.at;
        self.left();
        self.text.replace_range(self.at..end, "");
    }

    /// Removes the character behind the cursor.
    pub(crate) fn delete(&mut self) {
        let start = self.at;
        self.right();
        self.text.replace_range(start..self.at, "");
        self.at = start;
    }

    /// Cuts to the end of the line.
    pub(crate) fn cut_to_end(&mut self) {
        let start = self.at;
        self.end();
        self.cut_between(start, self.at);
    }

    /// Cuts from the begin of the line.
    pub(crate) fn cut_to_start(&mut self) {
        self.cut_between(self.line_start(), self.at);
    }

    /// Cuts from the begin of the word.
    pub(crate) fn cut_word(&mut self) {
        self.cut_between(self.word_start(), self.at);
    }

    /// Puts in what was cut last.
    pub(crate) fn paste(&mut self) {
        let cut = self.cut.clone();
        self.insert(&cut);
    }

    fn cut_between(&mut self, start: usize, end: usize) {
        if start < end {
            self.cut = self.text.drain(start..end).collect();
            self.at = start;
        }
    }

    fn line_start(&self) -> usize {
        self.before().rfind('\n').map_or(0, |line_end| line_end + 1)
    }

    fn word_start(&self) -> usize {
        let words = self.before().split_word_bound_indices();
        let word = words.rev().find(|(_, word)| word.contains(char::is_alphanumeric));
        word.map_or(0, |(from, _)| from)
    }

    /// To a place in the line that the cursor is at the begin of.
    fn seek_column(&mut self, column: usize) {
        let line = self.after().split('\n').next().unwrap_or_default();
        self.at += line.graphemes(true).take(column).map(str::len).sum::<usize>();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(before: &str, after: &str) -> Buffer {
        Buffer { text: format!("{before}{after}"), at: before.len(), cut: String::new() }
    }

    /// What is done, with what stands before and behind the cursor, and what then stands before it.
    type Move = (fn(&mut Buffer), &'static str, &'static str, &'static str);

    #[test]
    fn the_cursor_goes_by_characters_words_and_lines() {
        let moves: [Move; 9] = [
            (Buffer::left, "ae\u{301}", "x", "a"),
            (Buffer::right, "a", "e\u{301}x", "ae\u{301}"),
            (Buffer::right, "a", "", "a"),
            (Buffer::word_left, "SELECT host, ", "x", "SELECT "),
            (Buffer::word_right, "SELECT", " host, x", "SELECT host"),
            (Buffer::home, "one\ntwo", "x", "one\n"),
            (Buffer::end, "one\nt", "wo\nx", "one\ntwo"),
            (|buffer| assert!(buffer.up()), "one\nlonger", "", "one"),
            (|buffer| assert!(buffer.down()), "日本", "\n日本語", "日本\n日本"),
        ];
        for (action, before, after, expected) in moves {
            let mut buffer = buffer(before, after);
            action(&mut buffer);
            assert_eq!(buffer.before(), expected, "{before}|{after}");
            assert_eq!(buffer.text(), format!("{before}{after}"));
        }
        assert!(!buffer("a", "b").up() && !buffer("a", "b").down());
    }

    #[test]
    fn what_is_cut_can_be_put_elsewhere() {
        let mut buffer = buffer("SELECT time", ", value");
        buffer.cut_word();
        assert_eq!((buffer.text(), buffer.before()), ("SELECT , value", "SELECT "));
        buffer.end();
        buffer.paste();
        assert_eq!(buffer.text(), "SELECT , valuetime");
        buffer.cut_to_start();
        assert_eq!(buffer.text(), "");
        buffer.paste();
        buffer.home();
        buffer.cut_to_end();
        assert_eq!((buffer.text(), buffer.cut.as_str()), ("", "SELECT , valuetime"));
    }

    #[test]
    fn text_is_bounded() {
        let mut buffer = Buffer::default();
        buffer.insert(&"x".repeat(TEXT_BYTES_MAX));
        buffer.insert("y");
        assert_eq!(buffer.text().len(), TEXT_BYTES_MAX);
        buffer.backspace();
        buffer.delete();
        buffer.insert("y");
        assert!(buffer.text().ends_with("xy"));
    }
}
