//! One rule on one group: its alert, and the windows that it was told from.

#![deny(clippy::indexing_slicing)]

use std::collections::BTreeMap;

use tidewatch_metrics::fields::{FieldReader, FieldWriter};
use tidewatch_metrics::{EventTime, TransitionKind};

use crate::alert::{Alert, Change};
use crate::gist::Gist;
use crate::limits::{GROUPS_MAX, WINDOW_RULES_MAX, WINDOWS_BYTES_MAX};
use crate::percentile::ClosedWindow;
use crate::percentile::site::{Site, Telling};
use crate::quantile::QuantileCondition;
use crate::reason::{amendment_reason, window_reason};
use crate::rule::Rule;

/// Bytes of a watch, and of a window that it was told from, as they are counted: two entries of a tree each.
const WATCH_BYTES: usize = 2 * size_of::<(usize, GroupWatch)>();
const TOLD_BYTES: usize = 2 * size_of::<(i64, Told)>();

// Also where every rule has an alert on each of its groups.
const _: () = assert!(WINDOW_RULES_MAX * GROUPS_MAX * WATCH_BYTES < WINDOWS_BYTES_MAX);

/// One rule on one group.
#[derive(Debug)]
pub(crate) struct GroupWatch {
    alert: Alert,
    /// The end of the last window that was looked at, and its percentile.
    seen: EventTime,
    value: f64,
    /// The windows of alerts that are held, by the first pane: what they were when the rule looked at them last.
    told: BTreeMap<i64, Told>,
}

/// A window of an alert: from the one that began it to the one that resolved it.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// Of the alert.
    onset: EventTime,
    /// Of the alert.
    historical: bool,
    value: f64,
}

impl GroupWatch {
    /// A rule that has not looked at the group.
    pub(crate) fn new() -> Self {
        let (alert, told) = (Alert::default(), BTreeMap::new());
        Self { alert, seen: EventTime::MIN, value: f64::NAN, told }
    }

    /// Whether there is nothing to remember.
    pub(crate) fn is_idle(&self) -> bool {
        self.alert == Alert::Inactive && self.told.is_empty()
    }

    /// A window is held no longer.
    pub(crate) fn forget(&mut self, start: i64) {
        self.told.remove(&start);
    }

    /// Bytes that it takes, as they are counted.
    pub(crate) fn bytes(&self) -> usize {
        WATCH_BYTES + self.told.len() * TOLD_BYTES
    }

    /// Takes a window later than all before it.
    pub(crate) fn observe(
        &mut self,
        site: &Site<'_>,
        (rule, condition): (&Rule, &QuantileCondition),
        (start, window): (i64, &ClosedWindow),
        found: f64,
    ) -> Option<Telling> {
        let waited = window.end.nanos().saturating_add(site.percentiles.lateness_nanos);
        let is_old = site.now.saturating_sub(waited) > site.alerts_max_age_nanos;
        let holds = condition.bound.holds(found);
        let change = self.alert.observe(rule, (window.end, holds), is_old);
        (self.seen, self.value) = (window.end, found);
        let of_alert = match (self.alert, &change) {
            (Alert::Firing { onset, historical, .. }, _) => Some((onset, historical)),
            (Alert::Pending { onset }, _) => Some((onset, is_old)),
            (Alert::Inactive, Some(Change { onset, historical, .. })) => {
                Some((*onset, *historical))
            }
            (Alert::Inactive, None) => None,
        };
        if let Some((onset, historical)) = of_alert {
            self.told.insert(start, Told { onset, historical, value: found });
        }
        let Change { kind, onset, historical } = change?;
        let reason = window_reason((rule, condition), kind, found, window);
        let (event, value) = (window.end, found);
        Some(Telling { kind, onset, historical, event, value, revision: 0, reason })
    }

    /// Takes a window that closes again, or behind later ones: it changes no alert, and amends the one that it is of.
    pub(crate) fn amend(
        &mut self,
        condition: &QuantileCondition,
        (start, window): (i64, &ClosedWindow),
        found: f64,
    ) -> Option<Telling> {
        let before = self.told.get(&start).map(|told| told.value);
        if before.is_some_and(|before| before.to_bits() == found.to_bits()) {
            return None;
        }
        let of_alert = self.told.get(&start).or_else(|| self.around(start))?;
        let Told { onset, historical, .. } = *of_alert;
        self.told.insert(start, Told { onset, historical, value: found });
        Some(Telling {
            kind: TransitionKind::Amended,
            onset,
            historical,
            event: window.end,
            value: found,
            revision: window.revision,
            reason: amendment_reason(condition, before, found, window),
        })
    }

    /// The window before this one, if it and the one behind are of one alert.
    fn around(&self, start: i64) -> Option<&Told> {
        let (_, before) = self.told.range(..start).next_back()?;
        let (_, behind) = self.told.range(start..).next()?;
        (before.onset == behind.onset).then_some(before)
    }

    /// The resolution of what fires, as of the last window.
    pub(crate) fn end(&self, reason: &str) -> Option<Telling> {
        let Change { kind, onset, historical } = self.alert.end()?;
        let (event, value, reason) = (self.seen, self.value, reason.to_owned());
        Some(Telling { kind, onset, historical, event, value, revision: 0, reason })
    }

    /// Appends all of it.
    pub(crate) fn encode(&self, out: &mut FieldWriter) {
        self.alert.encode(Gist::NONE, out);
        out.i64(self.seen.nanos());
        out.f64(self.value);
        out.count(self.told.len());
        for (start, told) in &self.told {
            out.i64(*start);
            out.i64(told.onset.nanos());
            out.u8(u8::from(told.historical));
            out.f64(told.value);
        }
    }

    /// What [`GroupWatch::encode`] wrote, if the windows told are all held.
    pub(crate) fn decode(
        is_held: impl Fn(i64) -> bool,
        fields: &mut FieldReader<'_>,
    ) -> Option<Self> {
        // Nothing is said of what a group's alert is about.
        let (alert, _) = Alert::decode(fields).filter(|(_, gist)| gist.is_none())?;
        let (seen, value) = (EventTime::new(fields.i64()?), fields.f64()?);
        let mut told = BTreeMap::new();
        for _ in 0..fields.count()? {
            let start = Some(fields.i64()?).filter(|start| is_held(*start))?;
            if told.last_key_value().is_some_and(|(last, _)| *last >= start) {
                return None;
            }
            let onset = EventTime::new(fields.i64()?);
            let historical = match fields.u8()? {
                0 => false,
                1 => true,
                _ => return None,
            };
            told.insert(start, Told { onset, historical, value: fields.f64()? });
        }
        let watch = Self { alert, seen, value, told };
        (!watch.is_idle()).then_some(watch)
    }
}
