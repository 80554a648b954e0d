//! Where a statement ends: text is cut at `;` and into commands that begin with a backslash.

/// A part of what was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A statement, without its `;`.
    Statement(String),
    /// A command, without its backslash: the rest of its line.
    Command(String),
}

/// What text begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// A piece, and how many bytes it takes with what stands before and ends it.
    Whole(Piece, usize),
    /// A statement that does not end within the text.
    Open,
    /// Blanks and comments only.
    Blank,
}

/// The first piece of `text`.
pub(crate) fn cut(text: &str) -> Cut {
    let mut scan = Scan::new(text);
    let mut begin = None;
    while let Some((at, c)) = scan.next() {
        match c {
            ';' if begin.is_none() => {}
            ';' => {
                let statement = text.get(begin.unwrap_or(at)..at).unwrap_or_default().trim_end();
                return Cut::Whole(Piece::Statement(statement.to_owned()), at + 1);
            }
            '\\' if begin.is_none() => {
                let line = text.get(at + 1..).unwrap_or_default();
                let length = line.find('\n').unwrap_or(line.len());
                let command = line.get(..length).unwrap_or_default().trim().to_owned();
                return Cut::Whole(Piece::Command(command), (at + 1 + length + 1).min(text.len()));
            }
            c if c.is_whitespace() => {}
            _ => begin = begin.or(Some(at)),
        }
    }
    match (begin, scan.is_open) {
        (None, false) => Cut::Blank,
        _ => Cut::Open,
    }
}

/// Whether no statement of `text` goes on behind it.
pub(crate) fn is_whole(mut text: &str) -> bool {
    loop {
        match cut(text) {
            Cut::Whole(_, length) => text = text.get(length..).unwrap_or_default(),
            Cut::Open => return false,
            Cut::Blank => return true,
        }
    }
}

/// The characters of SQL that stand neither in comments nor behind the first sign of a quotation.
struct Scan<'a> {
    text: &'a str,
    at: usize,
    /// A quotation or comment does not end.
    is_open: bool,
}

impl<'a> Scan<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0, is_open: false }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn next(&mut self) -> Option<(usize, char)> {
        loop {
            let rest = self.rest();
            let at = self.at;
            let c = rest.chars().next()?;
            if rest.starts_with("--") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                self.skip_comment();
            } else {
                self.at += c.len_utf8();
                if matches!(c, '\'' | '"') {
                    self.skip_past(c);
                }
                return Some((at, c));
            }
        }
    }

    /// To behind the next `quote`; a doubled one opens the next quotation at once.
    fn skip_past(&mut self, quote: char) {
        match self.rest().find(quote) {
            Some(length) => self.at += length + quote.len_utf8(),
            None => self.end_open(),
        }
    }

    fn skip_comment(&mut self) {
        let mut depth = 0;
        loop {
            let rest = self.rest();
            if rest.starts_with("/*") {
                depth += 1;
                self.at += 2;
            } else if rest.starts_with("*/") {
                depth -= 1;
                self.at += 2;
                if depth == 0 {
                    return;
                }
            } else if let Some(c) = rest.chars().next() {
                self.at += c.len_utf8();
            } else {
                return self.end_open();
            }
        }
    }

    fn end_open(&mut self) {
        self.at = self.text.len();
        self.is_open = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(mut text: &str) -> (Vec<Piece>, Cut) {
        let mut pieces = Vec::new();
        loop {
            match cut(text) {
                Cut::Whole(piece, length) => {
                    pieces.push(piece);
                    text = text.get(length..).unwrap();
                }
                end => return (pieces, end),
            }
        }
    }

    fn statement(text: &str) -> Piece {
        Piece::Statement(text.to_owned())
    }

    fn command(text: &str) -> Piece {
        Piece::Command(text.to_owned())
    }

    #[test]
    fn statements_end_at_a_semicolon_that_is_one() {
        for (text, expected, end) in [
            (
                "SELECT 1; SELECT\n2 ;\n",
                vec![statement("SELECT 1"), statement("SELECT\n2")],
                Cut::Blank,
            ),
            (
                "SELECT ';', \";\", 'it''s;' -- ;\n, 1;",
                vec![statement("SELECT ';', \";\", 'it''s;' -- ;\n, 1")],
                Cut::Blank,
            ),
            (
                "SELECT /* ; /* ; */ ; */ 1;",
                vec![statement("SELECT /* ; /* ; */ ; */ 1")],
                Cut::Blank,
            ),
            (";;-- nothing;\n /* ; */ ;", vec![], Cut::Blank),
            ("SELECT 'a;", vec![], Cut::Open),
            ("/* SELECT 1;", vec![], Cut::Open),
            ("SELECT 'ü;ü'; x", vec![statement("SELECT 'ü;ü'")], Cut::Open),
        ] {
            assert_eq!(pieces(text), (expected, end), "{text}");
        }
    }

    #[test]
    fn a_backslash_begins_a_command_only_where_a_statement_may_begin() {
        let text = "\\d cpu \nSELECT '\\d', 1 \\ 2;\n-- \\q\n\\x\\timing";
        let expected =
            vec![command("d cpu"), statement("SELECT '\\d', 1 \\ 2"), command("x\\timing")];
        assert_eq!(pieces(text), (expected, Cut::Blank));
    }
}
