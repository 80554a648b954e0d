//! Where in a statement an error is.

/// The line of `sql` that `message` is about, and a sign below the place; `None` where it tells none.
pub(crate) fn pointed(message: &str, sql: &str) -> Option<String> {
    let (line, column) = told(message).or_else(|| named(message, sql))?;
    let text = sql.lines().nth(line.checked_sub(1)?)?;
    let blanks: String = text
        .chars()
        .take(column.checked_sub(1)?)
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .collect();
    Some(format!("{text}\n{blanks}^"))
}

/// `Line: 1, Column: 8`, as the parser has it; both count from 1.
fn told(message: &str) -> Option<(usize, usize)> {
    let rest = message.rsplit_once("Line: ")?.1;
    let (line, rest) = rest.split_once(',')?;
    let column: String = rest.chars().filter(|c| !c.is_whitespace()).collect();
    let column = column.trim_start_matches("Column:");
    let digits = column.find(|c: char| !c.is_ascii_digit()).unwrap_or(column.len());
    Some((line.trim().parse().ok()?, column.get(..digits)?.parse().ok()?))
}

/// The first place of a name that is not known: of a column, a table or a function.
fn named(message: &str, sql: &str) -> Option<(usize, usize)> {
    let name = ["No field named ", "Invalid function '", "table '"]
        .iter()
        .find_map(|words| Some(message.split_once(words)?.1))?;
    let end = name.find(['\'', ' ', '\n']).unwrap_or(name.len());
    let name = name.get(..end)?.trim_end_matches('.');
    let name = name.rsplit('.').next()?.trim_matches('"');
    let at = sql.match_indices(name).map(|(at, _)| at).find(|at| {
        let is_apart = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let (before, rest) = sql.split_at(*at);
        is_apart(before.chars().next_back()) && is_apart(rest.chars().nth(name.chars().count()))
    });
    let before = sql.get(..at.filter(|_| !name.is_empty())?)?;
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Some((line, column))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_shown_below_its_line() {
        for (message, sql, expected) in [
            (
                "INVALID_QUERY: Expected: end of statement, found: cpu at Line: 2, Column: 6",
                "SELECT *\nFRM  cpu",
                Some("FRM  cpu\n     ^"),
            ),
            (
                "No field named valu. Valid fields are x.",
                "SELECT value,\n\tvalu FROM cpu",
                Some("\tvalu FROM cpu\n\t^"),
            ),
            ("No field named c.\"http.x\".", "SELECT 1", None),
            (
                "table 'tidewatch.default.cp' not found",
                "SELECT * FROM cp",
                Some("SELECT * FROM cp\n              ^"),
            ),
            ("something else", "SELECT 1", None),
            ("at Line: 7, Column: 1", "SELECT 1", None),
        ] {
            assert_eq!(pointed(message, sql).as_deref(), expected, "{message}");
        }
    }
}
