//! Lets aggregates of a metric be answered from rollups.
//!
//! An aggregate stands directly on a metric's table, and the table has taken all filters over. If its
//! groups divide no hour, and its functions can be had from what rows of hours come to, then it is
//! planned anew on such rows ([`PartialsTable`]):
//!
//! ```text
//! count(*)                        sum(rows)
//! count(value)                    sum(values)
//! sum(value)                      sum(sum)
//! avg(value)                      sum(sum) / sum(values)
//! min(value), max(value)          min(min), max(max)
//! min(time), max(time)            min(first_time), max(last_time)
//! last_value(value ORDER BY time) last_value(last ORDER BY last_time)
//! last_value(label ORDER BY time) last_value(label ORDER BY last_time)
//! ```
//!
//! Where nothing but `last_value` by time and `max(time)` is asked for, and groups are made of labels alone, then
//! only the latest row of each series counts: the scan reads the newest files first, and leaves out what is
//! older than a row that it has given. `DISTINCT ON (label) … ORDER BY label, time DESC` is such an aggregate.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, TableReference};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::error::Result;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::expr::{
    AggregateFunction, AggregateFunctionParams, NullTreatment, Sort,
};
use datafusion::logical_expr::{
    Aggregate, Expr, LogicalPlan, Projection, SubqueryAlias, TableScan, TableScanBuilder, cast,
    lit, when,
};

use crate::plan::whole_hours::divides_no_hour;
use crate::tables::{MetricTable, Partial, PartialsTable};

/// Plans aggregates on rollups where they can be had from them.
pub(crate) fn answer_from_rollups(plan: LogicalPlan) -> Result<LogicalPlan> {
    let answered = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Aggregate(aggregate) = &node else { return Ok(Transformed::no(node)) };
        Ok(match rolled_up(aggregate)? {
            Some(rolled) => Transformed::yes(rolled),
            None => Transformed::no(node),
        })
    })?;
    Ok(answered.data)
}

/// The same aggregate on partials; `None` where it cannot be had from them, or nothing is gained.
fn rolled_up(aggregate: &Aggregate) -> Result<Option<LogicalPlan>> {
    let (scan, alias) = match &*aggregate.input {
        LogicalPlan::TableScan(scan) => (scan, None),
        LogicalPlan::SubqueryAlias(alias) => match &*alias.input {
            LogicalPlan::TableScan(scan) => (scan, Some(&alias.alias)),
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    let provider = source_as_provider(&scan.source)?;
    let Some(metric) = provider.downcast_ref::<MetricTable>() else { return Ok(None) };
    let groups_fit = aggregate
        .group_expr
        .iter()
        .all(|group| divides_no_hour(group, |name| metric.is_label(name)));
    if scan.fetch.is_some() || !groups_fit {
        return Ok(None);
    }
    if !metric.takes_partials() {
        return Ok(None);
    }
    let table = metric.partials();
    let relation = alias.unwrap_or(&scan.table_name).clone();
    let rewrite = Rewrite { table: &table, metric, relation, groups: &aggregate.group_expr };
    let Some(answers) = rewrite.answers(&aggregate.aggr_expr)? else { return Ok(None) };
    let table = if rewrite.asks_for_latest(&answers) {
        table.of_latest()
    } else if metric.has_rollups(&scan.filters)? {
        table
    } else {
        return Ok(None);
    };
    let input = input(scan, alias, table, aggregate, &answers)?;
    plan(aggregate, input, answers)
}

/// What takes the place of one function: aggregates of partials, and what is made of them.
struct Answer {
    aggregates: Vec<Expr>,
    /// From references to the aggregates.
    result: fn(Vec<Expr>) -> Result<Expr>,
    /// Whether only the latest row of each series counts.
    is_latest: bool,
}

struct Rewrite<'a> {
    table: &'a PartialsTable,
    metric: &'a MetricTable,
    groups: &'a [Expr],
    /// How columns are qualified.
    relation: TableReference,
}

impl Rewrite<'_> {
    /// What takes the place of all functions; `None` if there is none for one of them.
    fn answers(&self, functions: &[Expr]) -> Result<Option<Vec<Answer>>> {
        let each = functions.iter().map(|function| match function.clone().unalias() {
            Expr::AggregateFunction(function) => self.answer(&function),
            _ => None,
        });
        Ok(each.collect())
    }

    /// Whether only the latest row of each series counts for all of this.
    fn asks_for_latest(&self, answers: &[Answer]) -> bool {
        let of_labels = self.groups.iter().all(|group| {
            group.column_refs().iter().all(|column| self.metric.is_label(column.name()))
        });
        of_labels && !answers.is_empty() && answers.iter().all(|answer| answer.is_latest)
    }

    fn answer(&self, function: &AggregateFunction) -> Option<Answer> {
        let AggregateFunctionParams { args, distinct, filter, order_by, null_treatment } =
            &function.params;
        if *distinct || filter.is_some() || *null_treatment == Some(NullTreatment::IgnoreNulls) {
            return None;
        }
        let [argument] = &args[..] else { return None };
        let asks = self.asks(argument)?;
        let single = |partial| Some(Answer::of(self.same(function, partial)));
        match (function.func.name(), asks, &order_by[..]) {
            ("count", Asks::Rows | Asks::Time, []) => Some(self.count(Partial::Rows)),
            ("count", Asks::Value, []) => Some(self.count(Partial::Values)),
            ("sum", Asks::Value, []) => single(Partial::Sum),
            ("avg", Asks::Value, []) => Some(Answer {
                aggregates: vec![self.sum(Partial::Sum), self.sum(Partial::Values)],
                result: |mut sums| {
                    let values = cast(sums.remove(1), DataType::Float64);
                    Ok(sums.remove(0) / values)
                },
                is_latest: false,
            }),
            ("min", Asks::Value, []) => single(Partial::Min),
            ("max", Asks::Value, []) => single(Partial::Max),
            ("min", Asks::Time, []) => single(Partial::FirstTime),
            ("max", Asks::Time, []) => {
                let latest = self.same(function, Partial::LastTime);
                Some(Answer { is_latest: true, ..Answer::of(latest) })
            }
            ("first_value" | "last_value", Asks::Value | Asks::Time | Asks::Label, order) => {
                self.at_an_end(function, asks, order)
            }
            _ => None,
        }
    }

    /// The first or the last of something in the order of time.
    fn at_an_end(
        &self,
        function: &AggregateFunction,
        asks: Asks,
        order: &[Sort],
    ) -> Option<Answer> {
        // What is the same in all of a group orders nothing there.
        let mut order = order.iter().filter(|order| !self.groups.contains(&order.expr));
        let (Some(order), None) = (order.next(), order.next()) else { return None };
        (self.asks(&order.expr)? == Asks::Time).then_some(())?;
        let is_first = order.asc == (function.func.name() == "first_value");
        let (value, time) = if is_first {
            (Partial::First, Partial::FirstTime)
        } else {
            (Partial::Last, Partial::LastTime)
        };
        let mut end = function.clone();
        end.params.order_by = vec![Sort { expr: self.column(time), ..order.clone() }];
        match asks {
            Asks::Time => end.params.args = vec![self.column(time)],
            Asks::Value => end.params.args = vec![self.column(value)],
            // The table has it under the same name.
            Asks::Label | Asks::Rows => {}
        }
        Some(Answer { is_latest: !is_first, ..Answer::of(Expr::AggregateFunction(end)) })
    }

    fn asks(&self, argument: &Expr) -> Option<Asks> {
        match argument {
            Expr::Literal(value, _) if !value.is_null() => Some(Asks::Rows),
            Expr::Column(column) if column.name() == "value" => Some(Asks::Value),
            Expr::Column(column) if column.name() == "time" => Some(Asks::Time),
            Expr::Column(column) if self.metric.is_label(column.name()) => Some(Asks::Label),
            _ => None,
        }
    }

    fn count(&self, partial: Partial) -> Answer {
        Answer {
            aggregates: vec![self.sum(partial)],
            // Of no row at all the sum is NULL, but the count is 0.
            result: |mut sums| {
                let sum = sums.remove(0);
                when(sum.clone().is_not_null(), sum).otherwise(lit(0_i64))
            },
            is_latest: false,
        }
    }

    fn sum(&self, partial: Partial) -> Expr {
        sum_udaf().call(vec![self.column(partial)])
    }

    /// The same function of a partial.
    fn same(&self, function: &AggregateFunction, partial: Partial) -> Expr {
        let mut function = function.clone();
        function.params.args = vec![self.column(partial)];
        Expr::AggregateFunction(function)
    }

    fn column(&self, partial: Partial) -> Expr {
        Expr::Column(Column::new(Some(self.relation.clone()), self.table.name(partial)))
    }
}

impl Answer {
    /// One aggregate as it is.
    fn of(aggregate: Expr) -> Self {
        Self { aggregates: vec![aggregate], result: |mut all| Ok(all.remove(0)), is_latest: false }
    }
}

/// What the argument of a function asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    Rows,
    Value,
    Time,
    Label,
}

/// The scan of the partials that are asked for, under the name of the metric's scan.
fn input(
    scan: &TableScan,
    alias: Option<&TableReference>,
    table: PartialsTable,
    aggregate: &Aggregate,
    answers: &[Answer],
) -> Result<LogicalPlan> {
    let mut names = BTreeSet::new();
    let aggregates = answers.iter().flat_map(|answer| &answer.aggregates);
    for expr in aggregate.group_expr.iter().chain(aggregates) {
        expr.apply(|expr| {
            if let Expr::Column(column) = expr {
                names.insert(column.name.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    let table: Arc<dyn datafusion::catalog::TableProvider> = Arc::new(table);
    let fields = table.schema();
    let fields = fields.fields().iter().enumerate();
    let projection = fields.filter(|(_, field)| names.contains(field.name())).map(|(at, _)| at);
    let scan = TableScanBuilder::new(scan.table_name.clone(), provider_as_source(table))
        .with_projection(Some(projection.collect()))
        .with_filters(scan.filters.clone())
        .build()?;
    let scan = LogicalPlan::TableScan(scan);
    Ok(match alias {
        None => scan,
        Some(alias) => {
            LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(scan), alias.clone())?)
        }
    })
}

/// The aggregate on `input`, with the columns that it had.
fn plan(
    aggregate: &Aggregate,
    input: LogicalPlan,
    answers: Vec<Answer>,
) -> Result<Option<LogicalPlan>> {
    // Two functions may need the same aggregate, which a plan may have once only.
    let mut aggregates: Vec<Expr> = Vec::new();
    for expr in answers.iter().flat_map(|answer| &answer.aggregates) {
        if !aggregates.contains(expr) {
            aggregates.push(expr.clone());
        }
    }
    let groups = aggregate.group_expr.clone();
    let rolled = Aggregate::try_new(Arc::new(input), groups, aggregates.clone())?;
    let columns: Vec<Expr> = rolled.schema.columns().into_iter().map(Expr::Column).collect();
    let (of_groups, of_aggregates) = columns.split_at(columns.len() - aggregates.len());
    let reference = |expr: Expr| {
        let at = aggregates.iter().position(|other| *other == expr);
        of_aggregates[at.expect("every aggregate was put there")].clone()
    };
    let mut results = of_groups.to_vec();
    for (answer, column) in
        answers.into_iter().zip(aggregate.schema.columns().split_off(of_groups.len()))
    {
        let references = answer.aggregates.into_iter().map(reference).collect();
        let result = (answer.result)(references)?;
        results.push(result.alias_qualified(column.relation, column.name));
    }
    let plan = Projection::try_new(results, Arc::new(LogicalPlan::Aggregate(rolled)))?;
    // What stands above relies on names, types and what may be NULL.
    let is_same = plan.schema.inner().fields() == aggregate.schema.inner().fields();
    Ok(is_same.then_some(LogicalPlan::Projection(plan)))
}
