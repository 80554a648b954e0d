//! Questions as SQL.
//!
//! Everything that a client names stands in quotes that [`identifier`] and [`literal`] make, or is a number
//! that was parsed. Columns of the metric's table are qualified by `m`, so that no alias of ours can be
//! taken for a dimension. Numbers leave as text: the shortest that reads back to the same bits.

use super::question::{Aggregation, Kind, Question};

/// The dimensions of a metric.
#[derive(Clone, Debug)]
pub(super) struct Dimensions {
    /// Their names, in byte order.
    pub(super) keys: Vec<String>,
    /// The columns that hold them.
    pub(super) columns: Vec<String>,
}

impl Dimensions {
    fn place(&self, key: &str) -> Option<usize> {
        self.keys.iter().position(|known| known == key)
    }

    /// All of them, quoted.
    fn quoted(&self) -> impl Iterator<Item = String> {
        self.columns.iter().map(|column| format!("m.{}", identifier(column)))
    }
}

/// The statement that answers a question on a metric of `db` that has `dimensions`; `None` where no series
/// can pass the filters.
///
/// Its columns: `value`, the number as text; `l0`, `l1`, … the dimensions, all of them or those that are grouped
/// by, by their places there, absent ones left out; and `time`, or `count` and `groups`, how many there are.
pub(super) fn statement(question: &Question, db: &str, dimensions: &Dimensions) -> Option<String> {
    let parts = Parts {
        source: source(question, db, dimensions)?,
        groups: groups(question, dimensions),
        dimensions,
        limit: question.limit,
    };
    Some(match question.kind {
        Kind::Range => parts.range(),
        Kind::Aggregate(aggregation) => parts.aggregate(aggregation),
        Kind::Rate { interval } => parts.rate(interval),
    })
}

/// What statements are put together from.
struct Parts<'a> {
    /// `FROM … WHERE …`
    source: String,
    /// What is grouped by.
    groups: Vec<Group>,
    dimensions: &'a Dimensions,
    limit: u64,
}

/// A dimension that is grouped by.
struct Group {
    /// Its name in the statement: its place in the question.
    alias: String,
    /// Its place among the metric's dimensions.
    place: usize,
    /// Its column, quoted.
    column: String,
}

impl Parts<'_> {
    fn range(&self) -> String {
        let columns: Vec<String> = self.dimensions.quoted().collect();
        let shown = (0..).zip(&columns).map(|(place, column)| format!(", {column} AS l{place}"));
        let order = columns.iter().map(|column| format!(", {column}"));
        format!(
            "SELECT m.\"time\" AS \"time\", CAST(m.\"value\" AS VARCHAR) AS value{} {} \
             AND m.\"value\" IS NOT NULL ORDER BY m.\"time\"{} LIMIT {}",
            shown.collect::<String>(),
            self.source,
            order.collect::<String>(),
            self.limit,
        )
    }

    fn aggregate(&self, aggregation: Aggregation) -> String {
        let groups = match aggregation {
            Aggregation::Avg => self.function("avg(m.\"value\")"),
            Aggregation::Sum => self.function("sum(m.\"value\")"),
            Aggregation::Count => self.function("CAST(count(m.\"value\") AS DOUBLE)"),
            Aggregation::Min => self.function("min(m.\"value\")"),
            Aggregation::Max => self.function("max(m.\"value\")"),
            Aggregation::Percentile(percent) => self.percentile(percent),
            Aggregation::Integral => self.integral(),
        };
        let aliases = self.aliases(", ");
        format!(
            "SELECT CAST(v AS VARCHAR) AS value, n AS \"count\"{aliases}, count(*) OVER () AS \"groups\" \
             FROM ({groups}) AS g ORDER BY v DESC{aliases} LIMIT {}",
            self.limit
        )
    }

    /// A number per group, straight from the metric's table, so that rollups can answer it.
    fn function(&self, function: &str) -> String {
        let shown: String = self.columns(|group| format!(", {} AS {}", group.column, group.alias));
        let by: Vec<String> = self.groups.iter().map(|group| group.column.clone()).collect();
        let by = group_by(&by);
        format!(
            "SELECT {function} AS v, count(m.\"value\") AS n{shown} {}{by} HAVING count(m.\"value\") > 0",
            self.source
        )
    }

    /// The value whose rank among `n` is `ceil(percent / 100 * n)`, in whole numbers.
    fn percentile(&self, percent: u8) -> String {
        let shown: String = self.columns(|group| format!(", {} AS {}", group.column, group.alias));
        let by = self.groups.iter().map(|group| group.column.as_str()).collect::<Vec<_>>();
        let by =
            if by.is_empty() { String::new() } else { format!("PARTITION BY {}", by.join(", ")) };
        let aliases = self.aliases(", ");
        format!(
            "SELECT v, n{aliases} FROM (SELECT m.\"value\" AS v, count(*) OVER ({by}) AS n, \
             row_number() OVER ({by} ORDER BY m.\"value\") AS rank{shown} {} \
             AND m.\"value\" IS NOT NULL) AS ranked WHERE rank = (n * {percent} + 99) / 100",
            self.source
        )
    }

    /// The integral of each series, summed up per group.
    fn integral(&self) -> String {
        let columns: Vec<String> = self.dimensions.quoted().collect();
        let shown = (0..).zip(&columns).map(|(place, column)| format!(", {column} AS s{place}"));
        let by = group_by(&columns);
        let each = format!(
            "SELECT integral(m.\"value\", m.\"time\") AS v, count(m.\"value\") AS n{} {}{by} \
             HAVING count(m.\"value\") > 0",
            shown.collect::<String>(),
            self.source,
        );
        let shown = self.columns(|group| format!(", s{} AS {}", group.place, group.alias));
        let by: Vec<String> = self.groups.iter().map(|group| format!("s{}", group.place)).collect();
        format!(
            "SELECT coalesce(sum(v), 0.0) AS v, sum(n) AS n{shown} FROM ({each}) AS each_series{} \
             HAVING count(*) > 0",
            group_by(&by)
        )
    }

    /// Per bucket and series, what it has grown by over the time since the samples before; then the sum of
    /// that over the series of a group. What is less than before has begun again at zero.
    fn rate(&self, interval: i64) -> String {
        let series = self.dimensions.keys.len();
        let series: String = (0..series).map(|place| format!(", s{place}")).collect();
        let steps = self.steps();
        let bucket = format!("t - ((t % {interval}) + {interval}) % {interval}");
        let grown = format!(
            "SELECT {bucket} AS b, CASE WHEN v0 IS NULL THEN 0.0 WHEN v >= v0 THEN v - v0 \
             WHEN v > 0 THEN v ELSE 0.0 END AS dv, coalesce(t - t0, 0) AS dt{series} FROM ({steps}) AS steps"
        );
        let rates = format!(
            "SELECT b, CASE WHEN sum(dt) > 0 THEN sum(dv) / (CAST(sum(dt) AS DOUBLE) / 1e9) ELSE 0.0 END AS r\
             {series} FROM ({grown}) AS grown GROUP BY b{series}"
        );
        let shown = self.columns(|group| format!(", s{} AS {}", group.place, group.alias));
        let by = self.columns(|group| format!(", s{}", group.place));
        let order = self.aliases(", ");
        format!(
            "SELECT to_timestamp_nanos(b) AS \"time\", CAST(sum(r) AS VARCHAR) AS value{shown} \
             FROM ({rates}) AS rates GROUP BY b{by} ORDER BY \"time\"{order} LIMIT {}",
            self.limit
        )
    }

    /// Each sample with the one before it of its series: `t`, `v`, `t0`, `v0`, and the dimensions `s0`, `s1`, …
    ///
    /// A series of a metric is all of its dimensions.
    fn steps(&self) -> String {
        let columns: Vec<String> = self.dimensions.quoted().collect();
        let shown = (0..).zip(&columns).map(|(place, column)| format!(", {column} AS s{place}"));
        let by = if columns.is_empty() {
            String::new()
        } else {
            format!("PARTITION BY {} ", columns.join(", "))
        };
        let over = format!("OVER ({by}ORDER BY m.\"time\")");
        format!(
            "SELECT CAST(m.\"time\" AS BIGINT) AS t, m.\"value\" AS v, \
             lag(CAST(m.\"time\" AS BIGINT)) {over} AS t0, lag(m.\"value\") {over} AS v0{} {} \
             AND m.\"value\" IS NOT NULL",
            shown.collect::<String>(),
            self.source,
        )
    }

    fn columns(&self, column: impl Fn(&Group) -> String) -> String {
        self.groups.iter().map(column).collect()
    }

    fn aliases(&self, before: &str) -> String {
        self.columns(|group| format!("{before}{}", group.alias))
    }
}

/// ` GROUP BY …`, if there is anything to group by.
fn group_by(columns: &[String]) -> String {
    if columns.is_empty() { String::new() } else { format!(" GROUP BY {}", columns.join(", ")) }
}

fn groups(question: &Question, dimensions: &Dimensions) -> Vec<Group> {
    let known = (0_usize..).zip(&question.group_by).filter_map(|(asked, key)| {
        let place = dimensions.place(key)?;
        let column = format!("m.{}", identifier(dimensions.columns.get(place)?));
        Some(Group { alias: format!("l{asked}"), place, column })
    });
    known.collect()
}

fn source(question: &Question, db: &str, dimensions: &Dimensions) -> Option<String> {
    let (start, end) = (question.times.start(), question.times.end());
    let mut text = format!(
        "FROM {}.{} AS m WHERE m.\"time\" >= to_timestamp_nanos({start}) \
         AND m.\"time\" <= to_timestamp_nanos({end})",
        identifier(db),
        identifier(&question.metric)
    );
    for (key, value) in &question.filters {
        let column = dimensions.place(key).and_then(|place| dimensions.columns.get(place));
        match (column, value.is_empty()) {
            (Some(column), true) => {
                text.push_str(&format!(" AND m.{} IS NULL", identifier(column)));
            }
            (Some(column), false) => {
                text.push_str(&format!(" AND m.{} = {}", identifier(column), literal(value)));
            }
            (None, true) => {}
            (None, false) => return None,
        }
    }
    Some(text)
}

/// A name in SQL: whatever it is, nothing else.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in SQL: whatever it is, nothing else.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;

    /// A statement with `"` and `'` for whole identifiers and texts, as SQL reads them.
    fn shape(sql: &str) -> String {
        let mut shape = String::new();
        let mut inside = None;
        let mut signs = sql.chars().peekable();
        while let Some(sign) = signs.next() {
            match inside {
                None => {
                    inside = ['"', '\''].into_iter().find(|quote| *quote == sign);
                    shape.push(sign);
                }
                Some(quote) if sign == quote => {
                    // Doubled, it stands for itself.
                    if signs.next_if_eq(&quote).is_none() {
                        inside = None;
                    }
                }
                Some(_) => {}
            }
        }
        assert_eq!(inside, None, "a quote stays open: {sql}");
        shape
    }

    fn asked(kind: Kind, name: &str) -> String {
        let question = Question {
            kind,
            metric: name.to_owned(),
            times: -5..=5,
            filters: BTreeMap::from([(name.to_owned(), name.to_owned())]),
            group_by: vec![name.to_owned(), "absent".to_owned()],
            limit: 7,
            timeout: Duration::from_secs(1),
        };
        let keys = vec![name.to_owned(), format!("{name}2")];
        let dimensions = Dimensions { columns: keys.clone(), keys };
        statement(&question, name, &dimensions).unwrap()
    }

    #[test]
    fn names_never_leave_their_quotes() {
        let kinds = [
            Kind::Range,
            Kind::Aggregate(Aggregation::Avg),
            Kind::Aggregate(Aggregation::Percentile(95)),
            Kind::Aggregate(Aggregation::Integral),
            Kind::Rate { interval: 60 },
        ];
        for kind in kinds {
            let tame = shape(&asked(kind, "tame"));
            for name in
                ["\"", "'", "\"\"", "''", "a\"b'c", "x\" OR '1'='1", "\\\"\\'", "m\"; --", "'\""]
            {
                assert_eq!(shape(&asked(kind, name)), tame, "{kind:?} {name}");
            }
        }
    }
}
