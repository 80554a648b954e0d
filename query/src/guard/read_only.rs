//! Only statements that read are let through.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Query, Select, SetExpr, Statement as SqlStatement, Visit, Visitor,
};

use crate::guard::Refusal;

/// Refuses what does not merely read. Gives the query to measure, if the statement holds one.
pub(crate) fn check_read_only(statement: &Statement) -> Result<Option<&Query>, Refusal> {
    match statement {
        Statement::Statement(sql) => check_sql(sql),
        Statement::Explain(explain) => check_read_only(&explain.statement),
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => {
            Err(forbidden(&statement.to_string()))
        }
    }
}

fn check_sql(statement: &SqlStatement) -> Result<Option<&Query>, Refusal> {
    match statement {
        SqlStatement::Query(query) => match query.visit(&mut ReadOnly) {
            ControlFlow::Continue(()) => Ok(Some(query)),
            ControlFlow::Break(refusal) => Err(refusal),
        },
        SqlStatement::Explain { statement, .. } => check_sql(statement),
        SqlStatement::ExplainTable { .. }
        | SqlStatement::ShowTables { .. }
        | SqlStatement::ShowColumns { .. }
        | SqlStatement::ShowFunctions { .. }
        | SqlStatement::ShowVariable { .. } => Ok(None),
        _ => Err(forbidden(&statement.to_string())),
    }
}

/// Looks for parts of a query that would write.
struct ReadOnly;

impl Visitor for ReadOnly {
    type Break = Refusal;

    fn pre_visit_statement(&mut self, statement: &SqlStatement) -> ControlFlow<Refusal> {
        ControlFlow::Break(forbidden(&statement.to_string()))
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Refusal> {
        if query.with.as_ref().is_some_and(|with| with.recursive) {
            return ControlFlow::Break(Refusal::NotOffered { what: "WITH RECURSIVE" });
        }
        match &*query.body {
            SetExpr::Insert(statement)
            | SetExpr::Update(statement)
            | SetExpr::Delete(statement)
            | SetExpr::Merge(statement) => ControlFlow::Break(forbidden(&statement.to_string())),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Refusal> {
        match select.into {
            Some(_) => ControlFlow::Break(forbidden("SELECT INTO")),
            None => ControlFlow::Continue(()),
        }
    }
}

/// Names a statement by its first words.
fn forbidden(statement: &str) -> Refusal {
    let words = statement.split_whitespace().take(2);
    Refusal::Forbidden { statement: words.collect::<Vec<_>>().join(" ") }
}
