//! Measures a statement as text, in one pass and without recursion.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::guard::Refusal;
use crate::limits::{
    DEPTH_MAX, OPERATORS_MAX, SET_OPERATIONS_MAX, STATEMENT_BYTES_MAX, TOKENS_MAX,
};

/// Refuses a statement that is too long, too deep or too much of a chain to be parsed and planned.
///
/// Text that has no tokens (an open quote, say) passes: the parser says better what is wrong.
pub(crate) fn check_tokens(sql: &str) -> Result<(), Refusal> {
    if sql.len() > STATEMENT_BYTES_MAX {
        return Err(Refusal::Bytes { bytes: sql.len() });
    }
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize() else {
        return Ok(());
    };
    let mut count = 0_usize;
    let mut operators = 0_usize;
    let mut set_operations = 0_usize;
    let mut depth = 0_usize;
    for token in &tokens {
        match token {
            Token::Whitespace(_) => continue,
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::RParen | Token::RBracket | Token::RBrace => depth = depth.saturating_sub(1),
            Token::Word(word) => match word.keyword {
                Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT | Keyword::MINUS => {
                    set_operations += 1;
                }
                keyword if is_operator_word(keyword) => operators += 1,
                _ => {}
            },
            Token::Number(..)
            | Token::Char(_)
            | Token::SingleQuotedString(_)
            | Token::Comma
            | Token::Period
            | Token::SemiColon
            | Token::EOF => {}
            // Whatever is left joins operands or changes one; quoted texts of other dialects too.
            _ => operators += 1,
        }
        count += 1;
        if depth > DEPTH_MAX {
            return Err(Refusal::Depth);
        }
    }
    if count > TOKENS_MAX {
        Err(Refusal::Tokens)
    } else if operators > OPERATORS_MAX {
        Err(Refusal::Operators)
    } else if set_operations > SET_OPERATIONS_MAX {
        Err(Refusal::SetOperations)
    } else {
        Ok(())
    }
}

/// Words that make an expression or a plan one level deeper.
fn is_operator_word(keyword: Keyword) -> bool {
    matches!(
        keyword,
        Keyword::AND
            | Keyword::OR
            | Keyword::XOR
            | Keyword::NOT
            | Keyword::IS
            | Keyword::LIKE
            | Keyword::ILIKE
            | Keyword::SIMILAR
            | Keyword::RLIKE
            | Keyword::REGEXP
            | Keyword::BETWEEN
            | Keyword::DIV
            | Keyword::COLLATE
            | Keyword::AT
            | Keyword::JOIN
            | Keyword::CASE
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_unions_and_nests_are_measured() {
        let sum = |terms: usize| format!("SELECT {}", vec!["1"; terms].join("+"));
        assert_eq!(check_tokens(&sum(OPERATORS_MAX + 1)), Ok(()));
        assert_eq!(check_tokens(&sum(OPERATORS_MAX + 2)), Err(Refusal::Operators));
        let arms = |arms: usize| vec!["SELECT 1"; arms].join(" UNION ALL ");
        assert_eq!(check_tokens(&arms(SET_OPERATIONS_MAX + 1)), Ok(()));
        assert_eq!(check_tokens(&arms(SET_OPERATIONS_MAX + 2)), Err(Refusal::SetOperations));
        let nest = |depth: usize| format!("SELECT {}1{}", "(".repeat(depth), ")".repeat(depth));
        assert_eq!(check_tokens(&nest(DEPTH_MAX)), Ok(()));
        assert_eq!(check_tokens(&nest(DEPTH_MAX + 1)), Err(Refusal::Depth));
    }

    #[test]
    fn long_lists_of_values_are_no_chains() {
        let values: Vec<String> = (0..4_000).map(|i| format!("'host-{i}'")).collect();
        let sql = format!("SELECT * FROM cpu WHERE host IN ({})", values.join(","));
        assert_eq!(check_tokens(&sql), Ok(()));
    }

    #[test]
    fn the_length_and_the_number_of_tokens_are_limited() {
        let long = format!("SELECT '{}'", "x".repeat(STATEMENT_BYTES_MAX));
        assert!(matches!(check_tokens(&long), Err(Refusal::Bytes { .. })));
        let many = format!("SELECT {}", vec!["1"; TOKENS_MAX].join(","));
        assert_eq!(check_tokens(&many), Err(Refusal::Tokens));
    }
}
