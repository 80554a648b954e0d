//! From text to one statement that only reads and stays within its limits.

use datafusion::error::DataFusionError;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::ParserError;

use crate::error::QueryError;
use crate::guard::Refusal;
use crate::guard::growth::check_growth;
use crate::guard::read_only::check_read_only;
use crate::guard::tokens::check_tokens;
use crate::limits::DEPTH_MAX;

/// The one statement of `sql`, if it may be planned. Needs a large stack.
pub(crate) fn parse(sql: &str) -> Result<Statement, QueryError> {
    check_tokens(sql)?;
    let mut statements = DFParserBuilder::new(sql)
        .with_dialect(&GenericDialect {})
        .with_recursion_limit(2 * DEPTH_MAX)
        .build()
        .and_then(|mut parser| parser.parse_statements())
        .map_err(refused)?;
    let count = statements.len();
    let statement = match (statements.pop_front(), count) {
        (Some(statement), 1) => statement,
        _ => return Err(Refusal::Statements { count }.into()),
    };
    let query = check_read_only(&statement)?;
    if let Some(query) = query {
        check_growth(query)?;
    }
    Ok(statement)
}

fn refused(error: DataFusionError) -> QueryError {
    match &error {
        DataFusionError::SQL(parser, _)
            if matches!(**parser, ParserError::RecursionLimitExceeded) =>
        {
            Refusal::Depth.into()
        }
        _ => QueryError::of(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::QueryErrorKind;

    fn kind(sql: &str) -> Option<QueryErrorKind> {
        parse(sql).err().map(|error| error.kind())
    }

    #[test]
    fn what_reads_passes() {
        for sql in [
            "SELECT 1",
            "SELECT host, avg(value) FROM cpu WHERE time > now() - INTERVAL '1 hour' GROUP BY host",
            "WITH a AS (SELECT 1 AS x), b AS (SELECT * FROM a) SELECT * FROM a JOIN b USING (x);",
            "VALUES (1), (2)",
            "EXPLAIN SELECT 1",
            "EXPLAIN ANALYZE SELECT 1",
            "SHOW TABLES",
            "DESCRIBE cpu",
            "SELECT * FROM cpu WHERE host IN (SELECT host FROM mem) ORDER BY time LIMIT 5",
        ] {
            assert_eq!(parse(sql).err().map(|e| e.to_string()), None, "{sql}");
        }
    }

    #[test]
    fn what_changes_something_is_forbidden() {
        for sql in [
            "COPY (SELECT 1) TO '/tmp/x.csv'",
            "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
            "CREATE TABLE t AS SELECT 1",
            "CREATE VIEW v AS SELECT 1",
            "SET datafusion.execution.batch_size = 1",
            "RESET datafusion.execution.batch_size",
            "PREPARE p AS SELECT 1",
            "EXECUTE p",
            "INSERT INTO cpu VALUES (1)",
            "UPDATE cpu SET value = 1",
            "DELETE FROM cpu",
            "TRUNCATE TABLE cpu",
            "DROP TABLE cpu",
            "BEGIN",
            "EXPLAIN ANALYZE INSERT INTO cpu VALUES (1)",
            "SELECT 1 INTO x",
        ] {
            assert_eq!(kind(sql), Some(QueryErrorKind::Forbidden), "{sql}");
        }
    }

    #[test]
    fn exactly_one_statement_is_taken() {
        assert_eq!(parse("").unwrap_err().kind(), QueryErrorKind::Invalid);
        let two = parse("SELECT 1; SELECT 2").unwrap_err();
        assert_eq!(two.to_string(), "exactly one statement is taken, not 2");
    }

    #[test]
    fn what_cannot_be_bounded_is_not_offered() {
        let sql =
            "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT * FROM t";
        assert_eq!(kind(sql), Some(QueryErrorKind::Invalid));
    }

    #[test]
    fn a_wrong_statement_says_where_it_is_wrong() {
        let error = parse("SELECT 1 + FROM cpu WHERE").unwrap_err();
        assert_eq!(error.kind(), QueryErrorKind::Invalid);
        assert!(error.to_string().contains("Expected"), "{error}");
    }
}
