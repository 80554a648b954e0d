//! A result in cells: read from CSV, shown as a table or a line per column.

use unicode_width::UnicodeWidthStr;

/// A result in cells; each row has a cell per column. NULL is an empty cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grid {
    /// Names of the columns.
    pub(crate) columns: Vec<String>,
    /// The rows.
    pub(crate) rows: Vec<Vec<String>>,
}

impl Grid {
    /// Reads CSV as the server writes it: a header, quotes only where they must be, lines ended by a
    /// line feed. A row that is shorter than the header is filled with empty cells.
    pub(crate) fn from_csv(text: &str) -> Self {
        let mut lines = Vec::new();
        let mut row = Vec::new();
        let mut cell = String::new();
        let mut is_quoted = false;
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match (c, is_quoted) {
                ('"', true) if chars.next_if_eq(&'"').is_some() => cell.push('"'),
                ('"', _) => is_quoted = !is_quoted,
                (',', false) => row.push(std::mem::take(&mut cell)),
                ('\n', false) => {
                    row.push(std::mem::take(&mut cell));
                    lines.push(std::mem::take(&mut row));
                }
                (c, _) => cell.push(c),
            }
        }
        let mut lines = lines.into_iter();
        let columns = lines.next().unwrap_or_default();
        let mut rows: Vec<Vec<String>> = lines.collect();
        for row in &mut rows {
            row.resize(columns.len(), String::new());
        }
        Self { columns, rows }
    }

    /// The place of a column.
    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }

    /// The cells of a column.
    pub(crate) fn cells(&self, column: usize) -> impl Iterator<Item = &str> {
        self.rows.iter().map(move |row| row.get(column).map_or("", String::as_str))
    }

    /// Whether a column has numbers, and nothing else.
    pub(crate) fn is_number(&self, column: usize) -> bool {
        let mut cells = self.cells(column).filter(|cell| !cell.is_empty()).peekable();
        cells.peek().is_some() && cells.all(|cell| cell.parse::<f64>().is_ok())
    }

    /// As a table, as wide as it must be.
    pub(crate) fn table(&self) -> String {
        let is_number: Vec<bool> = (0..self.columns.len()).map(|at| self.is_number(at)).collect();
        let names: Vec<String> = self.columns.iter().map(|name| shown(name)).collect();
        let rows: Vec<Vec<String>> =
            self.rows.iter().map(|row| row.iter().map(|cell| shown(cell)).collect()).collect();
        let mut widths: Vec<usize> = names.iter().map(|name| name.width()).collect();
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.width().max(*width);
            }
        }
        let mut rule: String =
            widths.iter().map(|width| format!("+{}", "-".repeat(width + 2))).collect();
        rule.push_str("+\n");
        let line = |cells: &[String]| {
            let mut line = String::new();
            for ((cell, width), is_number) in cells.iter().zip(&widths).zip(&is_number) {
                let space = " ".repeat(width - cell.width());
                line.push_str(&match is_number {
                    true => format!("| {space}{cell} "),
                    false => format!("| {cell}{space} "),
                });
            }
            line.push_str("|\n");
            line
        };
        let mut text = format!("{rule}{}{rule}", line(&names));
        for row in &rows {
            text.push_str(&line(row));
        }
        if !rows.is_empty() {
            text.push_str(&rule);
        }
        text
    }

    /// A line per column, and a head per row.
    pub(crate) fn expanded(&self) -> String {
        let width = self.columns.iter().map(|name| shown(name).width()).max().unwrap_or(0);
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            text.push_str(&format!("-[ {} ]{}\n", number + 1, "-".repeat(width.max(8))));
            for (name, cell) in self.columns.iter().zip(row) {
                let name = shown(name);
                let space = " ".repeat(width - name.width());
                text.push_str(format!("{name}{space} | {}", shown(cell)).trim_end());
                text.push('\n');
            }
        }
        text
    }

    /// `(3 rows)`.
    pub(crate) fn count(&self) -> String {
        match self.rows.len() {
            1 => "(1 row)".to_owned(),
            rows => format!("({rows} rows)"),
        }
    }
}

/// Line breaks and other control characters would tear the table, or steer the terminal.
fn shown(cell: &str) -> String {
    match cell.contains(char::is_control) {
        true => cell.escape_debug().to_string(),
        false => cell.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: &str =
        "host,value,note\na,1.5,\"x, \"\"y\"\"\"\n\"日本\",-20,\"two\nlines\"\nc,,\"\"\n";

    #[test]
    fn a_table_has_numbers_at_the_right_and_no_torn_lines() {
        let table = Grid::from_csv(CSV).table();
        let expected = "\
+------+-------+------------+
| host | value | note       |
+------+-------+------------+
| a    |   1.5 | x, \"y\"     |
| 日本 |   -20 | two\\nlines |
| c    |       |            |
+------+-------+------------+
";
        assert_eq!(table, expected);
    }

    #[test]
    fn a_row_of_one_null_is_a_row() {
        let grid = Grid::from_csv("x\n\n1\n");
        assert_eq!((grid.rows.len(), grid.count()), (2, "(2 rows)".to_owned()));
        let empty = Grid::from_csv("x,y\n");
        assert_eq!(empty.table(), "+---+---+\n| x | y |\n+---+---+\n");
    }

    #[test]
    fn expanded_rows_have_a_line_per_column() {
        let text = Grid::from_csv("host,v\na,1\n\u{1b}[2J,\n").expanded();
        let expected =
            "-[ 1 ]--------\nhost | a\nv    | 1\n-[ 2 ]--------\nhost | \\u{1b}[2J\nv    |\n";
        assert_eq!(text, expected);
    }
}
