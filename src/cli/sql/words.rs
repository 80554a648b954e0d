//! Words of SQL, and what stands before the cursor.

/// Keywords and functions that are completed.
pub(crate) const WORDS: &[&str] = &[
    "ALL",
    "AND",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "CROSS JOIN",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "ELSE",
    "END",
    "EXCEPT",
    "EXISTS",
    "EXPLAIN",
    "FALSE",
    "FILTER",
    "FROM",
    "FULL JOIN",
    "GROUP BY",
    "HAVING",
    "ILIKE",
    "IN",
    "INNER JOIN",
    "INTERSECT",
    "INTERVAL",
    "IS",
    "JOIN",
    "LEFT JOIN",
    "LIKE",
    "LIMIT",
    "NOT",
    "NULL",
    "NULLS LAST",
    "OFFSET",
    "ON",
    "OR",
    "ORDER BY",
    "OVER",
    "PARTITION BY",
    "RIGHT JOIN",
    "SELECT",
    "SHOW TABLES",
    "THEN",
    "TRUE",
    "UNION",
    "USING",
    "VALUES",
    "WHEN",
    "WHERE",
    "WITH",
    "WITHIN GROUP",
    "abs(",
    "approx_percentile_cont(",
    "avg(",
    "coalesce(",
    "count(",
    "date_bin(",
    "date_trunc(",
    "extract(",
    "first_value(",
    "lag(",
    "last_value(",
    "lead(",
    "max(",
    "merge_percentile(",
    "min(",
    "now()",
    "round(",
    "row_number()",
    "stddev(",
    "sum(",
];

/// Words behind which a table stands.
const BEFORE_TABLES: [&str; 5] = ["FROM", "JOIN", "DESCRIBE", "\\d", "\\dt"];

/// Where the word before the cursor begins. A word may hold dots and quotation marks.
pub(crate) fn word_start(text: &str, at: usize) -> usize {
    let before = text.get(..at).unwrap_or_default();
    let is_inside = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '"' | '\\');
    let begin = before.char_indices().rev().take_while(|(_, c)| is_inside(*c)).last();
    begin.map_or(before.len(), |(at, _)| at)
}

/// Whether a table is expected behind `before`.
pub(crate) fn wants_table(before: &str) -> bool {
    let Some(word) = before.split_whitespace().next_back() else { return false };
    before.ends_with(char::is_whitespace)
        && BEFORE_TABLES.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// The tables of a statement, as they are named, each once.
pub(crate) fn tables(text: &str) -> Vec<&str> {
    let is_between = |c: char| c.is_whitespace() || matches!(c, '(' | ')' | ',' | ';');
    let mut tables = Vec::new();
    let mut is_table = false;
    for word in text.split(is_between).filter(|word| !word.is_empty()) {
        if is_table && !word.eq_ignore_ascii_case("SELECT") && !tables.contains(&word) {
            tables.push(word);
        }
        is_table = ["FROM", "JOIN"].iter().any(|known| known.eq_ignore_ascii_case(word));
    }
    tables
}

/// A name as it stands in a statement: in quotes where it must be.
pub(crate) fn quoted(name: &str) -> String {
    let mut chars = name.chars();
    let begins = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    match begins && chars.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// The keywords that begin with `typed`, in its case.
pub(crate) fn keywords(typed: &str) -> impl Iterator<Item = String> {
    let is_lower = typed.starts_with(char::is_lowercase);
    let upper = typed.to_uppercase();
    let words = WORDS.iter().filter(move |word| word.to_uppercase().starts_with(&upper));
    words.map(move |word| if is_lower { word.to_lowercase() } else { (*word).to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_may_be_a_quoted_name_with_its_schema() {
        for (text, expected) in
            [("SELECT val", "val"), ("FROM \"o\".\"ht", "\"o\".\"ht"), ("x(", ""), ("\\d", "\\d")]
        {
            assert_eq!(text.get(word_start(text, text.len())..).unwrap(), expected);
        }
        assert!(wants_table("SELECT * from ") && wants_table("\\d "));
        assert!(!wants_table("SELECT ") && !wants_table("FROM"));
    }

    #[test]
    fn tables_are_found_and_quoted() {
        let text = "SELECT x FROM cpu JOIN \"o\".\"m\" ON a = b WHERE y IN (SELECT 1 FROM (SELECT 2 FROM cpu));";
        assert_eq!(tables(text), ["cpu", "\"o\".\"m\""]);
        assert_eq!(quoted("cpu_1"), "cpu_1");
        assert_eq!(quoted("http.requests"), "\"http.requests\"");
        assert_eq!(quoted("1\"x"), "\"1\"\"x\"");
    }

    #[test]
    fn keywords_come_in_the_case_that_is_typed() {
        assert_eq!(keywords("gro").collect::<Vec<_>>(), ["group by"]);
        assert_eq!(keywords("GRO").collect::<Vec<_>>(), ["GROUP BY"]);
        assert_eq!(keywords("appr").collect::<Vec<_>>(), ["approx_percentile_cont("]);
    }
}
