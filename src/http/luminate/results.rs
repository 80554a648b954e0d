//! The rows of a statement in Luminate's shapes.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::limits::GROUPS_MAX;
use super::question::{Kind, Question};

/// An answer, with its members in Luminate's order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    query_type: &'static str,
    results: Results,
    execution_time_ms: u64,
    points_scanned: u64,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Results {
    Range(Vec<Sample>),
    Aggregate(Vec<Group>),
    Rate(Vec<Bucket>),
}

/// A sample. A value that is no number is `null` in JSON.
#[derive(Debug, Serialize)]
struct Sample {
    timestamp: String,
    value: f64,
    dimensions: BTreeMap<String, String>,
}

/// A group of an aggregate.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    group_key: BTreeMap<String, String>,
    value: f64,
    count: u64,
}

/// A bucket of a group.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Bucket {
    timestamp: String,
    rate: f64,
    /// Where it was asked for groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    group_key: Option<BTreeMap<String, String>>,
}

/// Why rows do not become an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// There are more groups than an answer may have.
    Groups(u64),
    /// They are not what the statement promised: a defect.
    Rows,
}

/// What it took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    /// Milliseconds.
    pub(super) ms: u64,
    /// Rows that were read.
    pub(super) points: u64,
}

impl Answer {
    /// The answer without a row.
    pub(super) fn empty(kind: Kind) -> Self {
        let results = Results::of(kind, &[], &Names::default()).expect("no row, so none is unfit");
        Self { query_type: kind.name(), results, execution_time_ms: 0, points_scanned: 0 }
    }

    /// The answer of a statement whose rows are `body`, one JSON object per line, on a metric with these
    /// dimensions.
    ///
    /// # Errors
    /// Where there are too many groups.
    pub(super) fn of(
        question: &Question,
        dimensions: &[String],
        body: &[u8],
        cost: Cost,
    ) -> Result<Self, Unfit> {
        let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let rows: Result<Vec<Map<String, Value>>, _> = lines.map(serde_json::from_slice).collect();
        let rows = rows.map_err(|_not_json| Unfit::Rows)?;
        if let Some(groups) = rows.first().and_then(|row| row.get("groups")?.as_u64())
            && groups > GROUPS_MAX
        {
            return Err(Unfit::Groups(groups));
        }
        let kind = question.kind;
        let names = match kind {
            Kind::Range => Names { keys: dimensions, absent: Absent::LeftOut },
            Kind::Aggregate(_) | Kind::Rate { .. } => {
                Names { keys: &question.group_by, absent: Absent::Empty }
            }
        };
        let results = Results::of(kind, &rows, &names).ok_or(Unfit::Rows)?;
        let query_type = kind.name();
        Ok(Self { query_type, results, execution_time_ms: cost.ms, points_scanned: cost.points })
    }
}

/// What the columns `l0`, `l1`, … are called.
#[derive(Debug, Default)]
struct Names<'a> {
    keys: &'a [String],
    absent: Absent,
}

/// How a dimension is shown that a series does not have.
#[derive(Debug, Default)]
enum Absent {
    #[default]
    LeftOut,
    /// As the empty text, which means the same everywhere.
    Empty,
}

impl Names<'_> {
    fn of(&self, row: &Map<String, Value>) -> BTreeMap<String, String> {
        let named = (0_usize..).zip(self.keys).filter_map(|(place, key)| {
            let value = row.get(&format!("l{place}")).and_then(Value::as_str);
            match (value, &self.absent) {
                (Some(value), _) => Some((key.clone(), value.to_owned())),
                (None, Absent::Empty) => Some((key.clone(), String::new())),
                (None, Absent::LeftOut) => None,
            }
        });
        named.collect()
    }
}

impl Results {
    fn of(kind: Kind, rows: &[Map<String, Value>], names: &Names<'_>) -> Option<Self> {
        let time = |row: &Map<String, Value>| Some(row.get("time")?.as_str()?.to_owned());
        Some(match kind {
            Kind::Range => {
                let samples = rows.iter().map(|row| {
                    let dimensions = names.of(row);
                    Some(Sample { timestamp: time(row)?, value: number(row)?, dimensions })
                });
                Self::Range(samples.collect::<Option<_>>()?)
            }
            Kind::Aggregate(_) => {
                let groups = rows.iter().map(|row| {
                    let count = row.get("count")?.as_u64()?;
                    Some(Group { group_key: names.of(row), value: number(row)?, count })
                });
                Self::Aggregate(groups.collect::<Option<_>>()?)
            }
            Kind::Rate { .. } => {
                let buckets = rows.iter().map(|row| {
                    let group_key = (!names.keys.is_empty()).then(|| names.of(row));
                    Some(Bucket { timestamp: time(row)?, rate: number(row)?, group_key })
                });
                Self::Rate(buckets.collect::<Option<_>>()?)
            }
        })
    }
}

/// The number of a row. It came as text, which reads back to its bits.
fn number(row: &Map<String, Value>) -> Option<f64> {
    row.get("value")?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::super::question::Aggregation;
    use super::*;

    fn question(kind: Kind, group_by: &[&str]) -> Question {
        Question {
            kind,
            metric: "m".to_owned(),
            times: 0..=1,
            filters: BTreeMap::new(),
            group_by: group_by.iter().map(|key| (*key).to_owned()).collect(),
            limit: 10,
            timeout: Duration::from_secs(1),
        }
    }

    fn shaped(question: &Question, body: &str) -> Result<String, Unfit> {
        let dimensions = ["dc".to_owned(), "host".to_owned()];
        let answer = Answer::of(question, &dimensions, body.as_bytes(), Cost { ms: 2, points: 3 });
        answer.map(|answer| serde_json::to_string(&answer).unwrap())
    }

    #[test]
    fn samples_keep_their_bits_and_absent_dimensions_are_left_out() {
        let body = "{\"time\":\"T\",\"value\":\"0.30000000000000004\",\"l0\":null,\"l1\":\"a\"}\n\
                    {\"time\":\"U\",\"value\":\"inf\",\"l0\":\"x\",\"l1\":null}\n";
        assert_eq!(
            shaped(&question(Kind::Range, &[]), body).unwrap(),
            r#"{"queryType":"range","results":[{"timestamp":"T","value":0.30000000000000004,"dimensions":{"host":"a"}},{"timestamp":"U","value":null,"dimensions":{"dc":"x"}}],"executionTimeMs":2,"pointsScanned":3}"#
        );
    }

    #[test]
    fn more_groups_than_an_answer_may_have_are_none() {
        let kind = Kind::Aggregate(Aggregation::Avg);
        let row = |groups: u64| {
            json!({"value": "1.5", "count": 2, "l0": "a", "groups": groups}).to_string()
        };
        let question = question(kind, &["host", "nothing"]);
        assert_eq!(
            shaped(&question, &row(GROUPS_MAX)).unwrap(),
            r#"{"queryType":"aggregate","results":[{"groupKey":{"host":"a","nothing":""},"value":1.5,"count":2}],"executionTimeMs":2,"pointsScanned":3}"#
        );
        let refused = shaped(&question, &row(GROUPS_MAX + 1));
        assert_eq!(refused.unwrap_err(), Unfit::Groups(GROUPS_MAX + 1));
    }
}
