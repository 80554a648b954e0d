//! Why a statement is refused as it stands.

use crate::error::QueryErrorKind;
use crate::limits::{
    DEPTH_MAX, EXPANSION_MAX, GROUPING_SETS_MAX, OPERATORS_MAX, RELATIONS_MAX, SET_OPERATIONS_MAX,
    STATEMENT_BYTES_MAX, TOKENS_MAX,
};

/// Why a statement is refused as it stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Too long.
    #[error("the statement has {bytes} bytes, at most {STATEMENT_BYTES_MAX} are taken")]
    Bytes {
        /// Bytes of the statement.
        bytes: usize,
    },
    /// Too many tokens.
    #[error("the statement has more than {TOKENS_MAX} tokens")]
    Tokens,
    /// Too many operators.
    #[error(
        "the statement has more than {OPERATORS_MAX} operators; use IN (…) for long lists of values"
    )]
    Operators,
    /// Too many unions.
    #[error("the statement has more than {SET_OPERATIONS_MAX} of UNION, INTERSECT and EXCEPT")]
    SetOperations,
    /// Nested too deeply.
    #[error("the statement is nested more than {DEPTH_MAX} levels deep")]
    Depth,
    /// Reads too many tables once common table expressions are put in place.
    #[error(
        "the statement reads more than {RELATIONS_MAX} tables, each use of a common table \
         expression counted with all tables in it"
    )]
    Relations,
    /// An expression grows too much once columns of subqueries are put in place.
    #[error(
        "the statement would grow to more than {EXPANSION_MAX} terms when the columns of its \
         subqueries are put in place"
    )]
    Expansion,
    /// Groups in too many ways.
    #[error("CUBE, ROLLUP and GROUPING SETS make more than {GROUPING_SETS_MAX} grouping sets")]
    GroupingSets,
    /// None, or several.
    #[error("exactly one statement is taken, not {count}")]
    Statements {
        /// Number of statements.
        count: usize,
    },
    /// Would change something.
    #[error("{statement} is not allowed: queries only read")]
    Forbidden {
        /// The statement's first words.
        statement: String,
    },
    /// Not offered, since it cannot be bounded.
    #[error("{what} is not offered")]
    NotOffered {
        /// What.
        what: &'static str,
    },
}

impl Refusal {
    /// What the caller can do.
    #[must_use]
    pub const fn kind(&self) -> QueryErrorKind {
        match self {
            Self::Forbidden { .. } => QueryErrorKind::Forbidden,
            Self::Statements { .. } | Self::NotOffered { .. } => QueryErrorKind::Invalid,
            Self::Bytes { .. }
            | Self::Tokens
            | Self::Operators
            | Self::SetOperations
            | Self::Depth
            | Self::Relations
            | Self::Expansion
            | Self::GroupingSets => QueryErrorKind::LimitExceeded,
        }
    }
}
