//! What a statement grows to when it is planned.
//!
//! DataFusion puts a common table expression in place of each of its names, and an expression of a
//! subquery in place of each of its column's names when it pushes a predicate down. Both multiply:
//! thirty lines that each use the line before twice are 2^30 tables or terms. So both are bounded
//! from above here:
//!
//! ```text
//! relations(table)     = 1, as that of a select without a table
//! relations(name)      = relations(common table expression)
//! relations(query)     = sum over all tables and subqueries that it reads
//! expansion(table)     = 1
//! expansion(select)    = greatest number of column names in one of its expressions
//!                        * greatest expansion of what it reads
//! ```

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, Query, Select, SetExpr, TableFactor, TableWithJoins, Visit, Visitor,
};

use crate::guard::Refusal;
use crate::limits::{EXPANSION_MAX, GROUPING_SETS_MAX, RELATIONS_MAX};

/// An upper bound of what a query becomes.
#[derive(Clone, Copy, Debug)]
struct Growth {
    relations: u64,
    expansion: u64,
}

/// The common table expressions that can be seen, by name. A name that stands twice keeps the
/// greater growth, so that no scope has to be kept.
#[derive(Debug, Default)]
struct Names(BTreeMap<String, Growth>);

/// Refuses a query that becomes too large.
pub(crate) fn check_growth(query: &Query) -> Result<(), Refusal> {
    Names::default().query(query).map(|_growth| ())
}

impl Growth {
    const NONE: Self = Self { relations: 0, expansion: 1 };
    const TABLE: Self = Self { relations: 1, expansion: 1 };

    fn beside(self, other: Self) -> Self {
        Self {
            relations: self.relations.saturating_add(other.relations),
            expansion: self.expansion.max(other.expansion),
        }
    }

    fn checked(self) -> Result<Self, Refusal> {
        if self.relations > RELATIONS_MAX {
            Err(Refusal::Relations)
        } else if self.expansion > EXPANSION_MAX {
            Err(Refusal::Expansion)
        } else {
            Ok(self)
        }
    }
}

impl Names {
    fn query(&mut self, query: &Query) -> Result<Growth, Refusal> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            let growth = self.query(&cte.query)?;
            let known = self.0.entry(cte.alias.name.value.to_lowercase()).or_insert(growth);
            *known = Growth {
                relations: known.relations.max(growth.relations),
                expansion: known.expansion.max(growth.expansion),
            };
        }
        let mut growth = self.body(&query.body)?;
        if let Some(order_by) = &query.order_by {
            growth = growth.beside(self.subqueries(order_by)?);
        }
        if let Some(limit) = &query.limit_clause {
            growth = growth.beside(self.subqueries(limit)?);
        }
        growth.checked()
    }

    fn body(&mut self, body: &SetExpr) -> Result<Growth, Refusal> {
        match body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::Query(query) => self.query(query),
            SetExpr::SetOperation { left, right, .. } => {
                self.body(left)?.beside(self.body(right)?).checked()
            }
            SetExpr::Table(table) => {
                Ok(self.table(table.table_name.as_deref().unwrap_or_default()))
            }
            SetExpr::Values(values) => self.subqueries(values),
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                Ok(Growth::NONE)
            }
        }
    }

    fn select(&mut self, select: &Select) -> Result<Growth, Refusal> {
        let mut from = Growth::NONE;
        for table in &select.from {
            from = from.beside(self.joins(table)?).checked()?;
        }
        check_grouping(&select.group_by)?;
        let mut terms = 1;
        for item in &select.projection {
            terms = terms.max(columns(item));
        }
        // A select without a table is a plan of its own too.
        let mut growth = Growth {
            relations: from.relations.max(1),
            expansion: from.expansion.saturating_mul(terms),
        };
        // Subqueries of FROM are in `from` already; those of all other clauses stand beside it.
        growth = growth.beside(self.subqueries(&select.projection)?);
        growth = growth.beside(self.subqueries(&select.selection)?);
        growth = growth.beside(self.subqueries(&select.group_by)?);
        growth = growth.beside(self.subqueries(&select.having)?);
        growth = growth.beside(self.subqueries(&select.qualify)?);
        growth = growth.beside(self.subqueries(&select.named_window)?);
        growth.checked()
    }

    fn joins(&mut self, table: &TableWithJoins) -> Result<Growth, Refusal> {
        let mut growth = self.factor(&table.relation)?;
        for join in &table.joins {
            growth = growth.beside(self.factor(&join.relation)?);
            growth = growth.beside(self.subqueries(&join.join_operator)?).checked()?;
        }
        Ok(growth)
    }

    fn factor(&mut self, factor: &TableFactor) -> Result<Growth, Refusal> {
        match factor {
            TableFactor::Table { name, args: None, .. } => {
                let name = name.0.last().and_then(|part| part.as_ident());
                Ok(self.table(name.map_or("", |ident| &ident.value)))
            }
            TableFactor::Derived { subquery, .. } => self.query(subquery),
            TableFactor::NestedJoin { table_with_joins, .. } => self.joins(table_with_joins),
            TableFactor::Pivot { table, .. } | TableFactor::Unpivot { table, .. } => {
                self.factor(table)
            }
            // Functions and UNNEST: their arguments may hold subqueries.
            other => Ok(Growth::TABLE.beside(self.subqueries(other)?)),
        }
    }

    fn table(&self, name: &str) -> Growth {
        self.0.get(&name.to_lowercase()).copied().unwrap_or(Growth::TABLE)
    }

    /// The growth of the outermost queries within expressions.
    fn subqueries<T: Visit>(&mut self, part: &T) -> Result<Growth, Refusal> {
        let mut within = Subqueries { names: self, depth: 0, growth: Growth::NONE };
        match part.visit(&mut within) {
            ControlFlow::Continue(()) => within.growth.checked(),
            ControlFlow::Break(refusal) => Err(refusal),
        }
    }
}

/// Adds up outermost queries; what is inside of them, [`Names::query`] has looked at.
struct Subqueries<'a> {
    names: &'a mut Names,
    depth: usize,
    growth: Growth,
}

impl Visitor for Subqueries<'_> {
    type Break = Refusal;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Refusal> {
        if self.depth == 0 {
            match self.names.query(query) {
                Ok(growth) => self.growth = self.growth.beside(growth),
                Err(refusal) => return ControlFlow::Break(refusal),
            }
        }
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<Refusal> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}

/// Refuses groupings that multiply beyond bounds.
fn check_grouping(group_by: &GroupByExpr) -> Result<(), Refusal> {
    let GroupByExpr::Expressions(expressions, modifiers) = group_by else { return Ok(()) };
    let powers = |of: usize| u32::try_from(of).map_or(u64::MAX, |of| 2_u64.saturating_pow(of));
    let mut sets = if modifiers.is_empty() { 1 } else { powers(expressions.len()) };
    for expression in expressions {
        sets = sets.saturating_mul(match expression {
            Expr::Cube(of) => powers(of.len()),
            Expr::Rollup(of) => of.len() as u64 + 1,
            Expr::GroupingSets(of) => of.len() as u64,
            _ => 1,
        });
    }
    if sets > GROUPING_SETS_MAX { Err(Refusal::GroupingSets) } else { Ok(()) }
}

/// How many column names an expression has.
fn columns<T: Visit>(part: &T) -> u64 {
    struct Columns(u64);
    impl Visitor for Columns {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) {
                self.0 += 1;
            }
            ControlFlow::Continue(())
        }
    }
    let mut columns = Columns(0);
    match part.visit(&mut columns) {
        ControlFlow::Continue(()) | ControlFlow::Break(()) => columns.0,
    }
}

#[cfg(test)]
mod tests {
    use crate::error::QueryError;
    use crate::guard::{Refusal, parse};

    fn refusal(sql: &str) -> Option<Refusal> {
        match parse(sql) {
            Ok(_) => None,
            Err(QueryError::Refused(refusal)) => Some(refusal),
            Err(other) => panic!("{other}"),
        }
    }

    fn chain(lines: usize, line: impl Fn(usize) -> String) -> String {
        let lines: Vec<String> = (1..=lines).map(|i| format!("t{i} AS ({})", line(i))).collect();
        format!("WITH t0 AS (SELECT 1 AS a), {} SELECT * FROM t{}", lines.join(", "), lines.len())
    }

    #[test]
    fn names_that_double_are_refused_before_they_are_planned() {
        let doubled = |i: usize| format!("SELECT x.a FROM t{0} x, t{0} y", i - 1);
        assert_eq!(refusal(&chain(5, doubled)), None);
        assert_eq!(refusal(&chain(30, doubled)), Some(Refusal::Relations));
        let hidden =
            |i: usize| format!("SELECT (SELECT max(a) FROM t{0}) + a AS a FROM t{0}", i - 1);
        assert_eq!(refusal(&chain(30, hidden)), Some(Refusal::Relations));
    }

    #[test]
    fn columns_that_double_are_refused_before_they_are_planned() {
        let doubled = |i: usize| format!("SELECT a + a AS a FROM t{}", i - 1);
        assert_eq!(refusal(&chain(10, doubled)), None);
        assert_eq!(refusal(&chain(40, doubled)), Some(Refusal::Expansion));
        let nested = (0..40).fold("SELECT 1 AS a".to_owned(), |inner, _| {
            format!("SELECT a + a AS a FROM ({inner})")
        });
        assert_eq!(refusal(&nested), Some(Refusal::Expansion));
    }

    #[test]
    fn groupings_that_multiply_are_refused() {
        let cube = |columns: usize| {
            let columns: Vec<String> = (0..columns).map(|i| format!("c{i}")).collect();
            format!("SELECT count(*) FROM cpu GROUP BY CUBE ({})", columns.join(", "))
        };
        assert_eq!(refusal(&cube(9)), None);
        assert_eq!(refusal(&cube(10)), Some(Refusal::GroupingSets));
        let twice = "SELECT 1 FROM cpu GROUP BY CUBE (a, b, c, d, e), CUBE (f, g, h, i, j)";
        assert_eq!(refusal(twice), Some(Refusal::GroupingSets));
    }

    #[test]
    fn a_long_honest_pipeline_passes() {
        let line = |i: usize| {
            format!("SELECT a, b, a + b AS c, round(a, 2) AS d FROM t{} WHERE a > 0", i - 1)
        };
        assert_eq!(refusal(&chain(12, line)), None);
    }
}
