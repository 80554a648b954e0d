//! All rules on one group.

#![deny(clippy::indexing_slicing)]

use std::collections::BTreeMap;

use tidewatch_metrics::fields::{FieldReader, FieldWriter};
use tidewatch_metrics::{Lsn, Sketch, Transition};

use crate::RuleSet;
use crate::percentile::ClosedWindow;
use crate::percentile::group_watch::GroupWatch;
use crate::percentile::site::Site;
use crate::sparkline::{self, Sparkline};

/// The rules on one group. A rule takes memory only while it has an alert, or windows of one.
#[derive(Debug)]
pub(crate) struct GroupWatches {
    /// The record at which the group was met, or the first rule on it came into force; 0 without such rules.
    born: Lsn,
    /// Windows up to the one that begins with this pane were looked at, or came too late for it.
    newest: i64,
    /// By the index of the rule.
    watches: BTreeMap<usize, GroupWatch>,
}

impl GroupWatches {
    /// Of a group that was met at the record `born`; windows up to the one that begins with the pane `newest`
    /// have closed before.
    pub(crate) fn new(born: Lsn, newest: i64) -> Self {
        Self { born, newest, watches: BTreeMap::new() }
    }

    /// Shows the rules a window that has closed; `start` is its first pane, and `panes` are all that are held.
    pub(crate) fn show(
        &mut self,
        site: &Site<'_>,
        (start, window): (i64, &ClosedWindow),
        panes: &BTreeMap<i64, Sketch>,
        out: &mut Vec<Transition>,
    ) {
        if site.rules.watching(site.index).is_empty() {
            return;
        }
        let in_order = start > self.newest;
        self.newest = start.max(self.newest);
        for (index, rule, condition) in site.rules_on() {
            // A window without numbers: the condition neither holds nor does not.
            let Some(found) = window.sketch.quantile(condition.quantile) else { continue };
            let watch = self.watches.entry(index).or_insert_with(GroupWatch::new);
            let telling = if in_order {
                watch.observe(site, (rule, condition), (start, window), found)
            } else {
                watch.amend(condition, (start, window), found)
            };
            if let Some(telling) = telling {
                let mut transition = site.transition(rule, self.born, telling);
                let end = start.saturating_add(site.percentiles.panes());
                transition.sparkline = picture(panes.range(..end), condition.quantile);
                out.push(transition);
            }
            if watch.is_idle() {
                self.watches.remove(&index);
            }
        }
    }

    /// A window is held no longer.
    pub(crate) fn forget(&mut self, start: i64) {
        self.watches.retain(|_, watch| {
            watch.forget(start);
            !watch.is_idle()
        });
    }

    /// Ends what fires, for this reason; the rules are forgotten.
    pub(crate) fn end(&mut self, site: &Site<'_>, reason: &str, out: &mut Vec<Transition>) {
        self.keep(site, &BTreeMap::new(), reason, out);
    }

    /// Rules go on that are in `kept`, from old to new index. What others have raised ends, for this reason.
    pub(crate) fn keep(
        &mut self,
        site: &Site<'_>,
        kept: &BTreeMap<usize, usize>,
        reason: &str,
        out: &mut Vec<Transition>,
    ) {
        for (index, watch) in std::mem::take(&mut self.watches) {
            if let Some(index) = kept.get(&index) {
                self.watches.insert(*index, watch);
            } else if let Some(telling) = watch.end(reason) {
                let rule = site.rules.rules().get(index).expect("watches are of rules in force");
                out.push(site.transition(rule, self.born, telling));
            }
        }
    }

    /// Bytes that all of this takes, as they are counted.
    pub(crate) fn bytes(&self) -> usize {
        self.watches.values().map(GroupWatch::bytes).sum()
    }

    /// Appends all of it; rules are told by their hashes.
    pub(crate) fn encode(&self, rules: &RuleSet, out: &mut FieldWriter) {
        out.u64(self.born.get());
        out.i64(self.newest);
        out.count(self.watches.len());
        for (index, watch) in &self.watches {
            let rule = rules.rules().get(*index).expect("watches are of rules in force");
            out.u128(rule.hash);
            watch.encode(out);
        }
    }

    /// What [`GroupWatches::encode`] wrote, where `is_held` tells which windows are held.
    pub(crate) fn decode(
        site: &Site<'_>,
        is_held: impl Fn(i64) -> bool,
        fields: &mut FieldReader<'_>,
    ) -> Option<Self> {
        let mut decoded = Self::new(Lsn::new(fields.u64()?), fields.i64()?);
        let mut rules = site.rules_on();
        for _ in 0..fields.count()? {
            let hash = fields.u128()?;
            let (index, ..) = rules.find(|(_, rule, _)| rule.hash == hash)?;
            let watch = GroupWatch::decode(&is_held, fields)?;
            decoded.watches.insert(index, watch);
        }
        Some(decoded)
    }
}

/// The quantile of the last panes as a small picture: of each slide, since windows that overlap would say less.
fn picture<'a>(
    panes: impl DoubleEndedIterator<Item = (&'a i64, &'a Sketch)>,
    quantile: f64,
) -> String {
    let newest = panes.rev().take(sparkline::VALUES_MAX);
    let mut values: Vec<f64> = newest.filter_map(|(_, pane)| pane.quantile(quantile)).collect();
    values.reverse();
    let mut picture = Sparkline::default();
    values.into_iter().for_each(|value| picture.push(value));
    picture.draw()
}

#[cfg(test)]
#[path = "group_watches_tests.rs"]
mod tests;
