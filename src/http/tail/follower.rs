//! Takes fresh rows from the engine and writes those that are meant.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::json;
use tidewatch_engine::Engine;
use tidewatch_metrics::{Lsn, SeriesRef, Severity};
use tidewatch_segments::{HeadColumns, TailPlace, TailRows};

use crate::http::tail::filter::Filter;

/// Rows that are looked at in one step; of more, the last ones are.
const STEP_ROWS_MAX: usize = 262_144;
/// Series whose names are kept ready.
const NAMED_MAX: usize = 65_536;
/// Shards show what is durable within this, or at the next step.
const VISIBLE_MAX: Duration = Duration::from_millis(100);
/// Tries to find out where to begin.
const BEGIN_ATTEMPTS: u32 = 50;

/// How a line is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrapping {
    /// A JSON document per line.
    Lines,
    /// An event of `text/event-stream` per document.
    Events,
}

/// Follows the engine's heads for one client.
#[derive(Debug)]
pub(crate) struct Follower {
    engine: Arc<Engine>,
    filter: Filter,
    wrapping: Wrapping,
    place: TailPlace,
    /// What was durable at the last step; none before the first one.
    seen: Option<Lsn>,
    /// Rows that the client had no room for, and that it has not been told of.
    untold: u64,
    /// By reference: what lines of the series begin with; none where it is not meant.
    named: BTreeMap<u32, Option<String>>,
    columns: HeadColumns,
}

/// What one step gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Step {
    /// Lines.
    pub(crate) text: Vec<u8>,
    /// Rows in them.
    pub(crate) rows: u64,
    /// Rows that are not in them: too many were meant, or too many came.
    pub(crate) skipped: u64,
}

impl Follower {
    /// One that begins with what becomes visible after its first step.
    pub(crate) fn new(engine: Arc<Engine>, filter: Filter, wrapping: Wrapping) -> Self {
        Self {
            engine,
            filter,
            wrapping,
            place: TailPlace::default(),
            seen: None,
            untold: 0,
            named: BTreeMap::new(),
            columns: HeadColumns::default(),
        }
    }

    /// Finds out where it begins; `false` where the shards are too far behind to tell.
    pub(crate) fn begin(&mut self) -> bool {
        for _attempt in 0..BEGIN_ATTEMPTS {
            let durable = self.engine.durable();
            if self.engine.tail(&mut self.place, VISIBLE_MAX).is_some() {
                self.seen = Some(durable);
                return true;
            }
        }
        false
    }

    /// The client had no room for so many rows: it is told with the next ones.
    pub(crate) fn missed(&mut self, rows: u64) {
        self.untold += rows;
    }

    /// Writes what has become visible, `rows_max` rows at most. May block for a moment.
    pub(crate) fn step(&mut self, rows_max: usize) -> Step {
        let mut step = Step::default();
        let durable = self.engine.durable();
        if self.seen == Some(durable) {
            return step;
        }
        let Some(rows) = self.engine.tail(&mut self.place, VISIBLE_MAX) else { return step };
        self.seen = Some(durable);
        let unseen = self.copy(&rows);
        if rows.is_torn {
            let reason = "rows were stored in files meanwhile";
            self.put(&json!({ "skipped": null, "reason": reason }), &mut step);
        }
        // From here on nothing is held that a flush or a merge waits for.
        drop(rows);
        self.write(rows_max, &mut step);
        step.skipped += unseen + std::mem::take(&mut self.untold);
        if step.skipped > 0 {
            let reason = "more rows than asked for, or than can be looked at or taken";
            self.put(&json!({ "skipped": step.skipped, "reason": reason }), &mut step);
        }
        self.columns.clear();
        step
    }

    /// Copies the rows, so that nothing waits for the client; gives how many were left out.
    fn copy(&mut self, rows: &TailRows) -> u64 {
        let surplus = rows.len().saturating_sub(STEP_ROWS_MAX);
        let mut left_out = surplus;
        for (view, from) in &rows.heads {
            let mut at = 0;
            let skipped = left_out.min(view.rows() - from);
            left_out -= skipped;
            for chunk in view.chunks() {
                let fresh = (from + skipped).saturating_sub(at).min(chunk.rows());
                chunk.copy(fresh..chunk.rows(), &mut self.columns);
                at += chunk.rows();
            }
        }
        u64::try_from(surplus).unwrap_or(u64::MAX)
    }

    fn write(&mut self, rows_max: usize, step: &mut Step) {
        let columns = std::mem::take(&mut self.columns);
        let mut meant = Vec::new();
        if self.named.len() >= NAMED_MAX {
            self.named.clear();
        }
        let severities = columns.severities.iter().map(|steps| Severity::from_steps(*steps));
        for (row, (series, severity)) in columns.series.iter().zip(severities).enumerate() {
            if self.filter.is_severe(severity) && self.is_meant(*series) {
                if meant.len() < rows_max {
                    meant.push((columns.times.get(row).copied(), row));
                } else {
                    step.skipped += 1;
                }
            }
        }
        // Rows of several shards; those of a series keep their order.
        meant.sort_by_key(|(time, _)| *time);
        for (time, row) in meant {
            let (Some(time), Some(value), Some(steps), Some(series)) = (
                time,
                columns.values.get(row),
                columns.severities.get(row),
                columns.series.get(row),
            ) else {
                continue;
            };
            let time = DateTime::<Utc>::from_timestamp_nanos(time);
            let time = time.to_rfc3339_opts(SecondsFormat::AutoSi, true);
            let severity = json!(Severity::from_steps(*steps).to_f32());
            let Some(Some(named)) = self.named.get(series) else { continue };
            let value = json!(value);
            let line = format!(
                "{{\"time\":\"{time}\",{named},\"value\":{value},\"severity\":{severity}}}"
            );
            self.put_text(&line, &mut step.text);
            step.rows += 1;
        }
        self.columns = columns;
    }

    /// Whether rows of the series are meant; remembers its names.
    fn is_meant(&mut self, series: u32) -> bool {
        if let Some(named) = self.named.get(&series) {
            return named.is_some();
        }
        let key = self.engine.catalog().get(SeriesRef(series)).map(|entry| entry.key());
        let named = key.filter(|key| self.filter.is_about(key)).map(|key| {
            let labels: serde_json::Map<_, _> =
                key.labels().iter().map(|(label, text)| (label.clone(), json!(text))).collect();
            let (db, metric, labels) = (json!(key.db()), json!(key.metric()), json!(labels));
            format!("\"db\":{db},\"metric\":{metric},\"labels\":{labels}")
        });
        let is_meant = named.is_some();
        self.named.insert(series, named);
        is_meant
    }

    fn put(&self, document: &serde_json::Value, step: &mut Step) {
        self.put_text(&document.to_string(), &mut step.text);
    }

    fn put_text(&self, document: &str, out: &mut Vec<u8>) {
        let (before, after) = match self.wrapping {
            Wrapping::Lines => ("", "\n"),
            Wrapping::Events => ("data: ", "\n\n"),
        };
        for part in [before, document, after] {
            out.extend_from_slice(part.as_bytes());
        }
    }
}
