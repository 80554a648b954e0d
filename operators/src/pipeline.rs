//! Conducts the operators: order, detector, rules, counts.

use std::sync::Arc;

use tidewatch_metrics::catalog::SeriesEntry;
use tidewatch_metrics::series::SLOTS;
use tidewatch_metrics::{EventTime, Flags, Lsn, SeriesRef, Severity, Slot, Transition, UnixNanos};

use crate::alert::Observation;
use crate::detect::{Detectors, Sample};
use crate::hash::{Digest, row_part};
use crate::light::{Expectation, Explanation, Light};
use crate::order::{Order, Place, Placed};
use crate::percentile::Tally;
use crate::slot_outputs::SlotOutputs;
use crate::state::{COUNTED, SeriesState, TUNED, WATCHED};
use crate::watch::Watches;
use crate::{Counts, Emitted, OutputHash, PipelineConfig, Rows, RuleSet};

/// Rows that are placed before the first of them is scored: the misses of their states overlap.
const CHUNK: usize = 64;

/// All operators of one shard's series.
///
/// A function of the series, rules, rows and ticks it was given, in their order, and of nothing else.
#[derive(Debug)]
pub struct Pipeline {
    pub(crate) entries: Vec<Arc<SeriesEntry>>,
    pub(crate) refs: Vec<SeriesRef>,
    /// The slot of each series, narrow, so that those of one slot are found by one quick pass.
    pub(crate) slots: Vec<Slot>,
    pub(crate) states: Vec<SeriesState>,
    pub(crate) order: Order,
    pub(crate) light: Light,
    pub(crate) detectors: Detectors,
    pub(crate) watches: Watches,
    tally: Tally,
    /// Rows of records up to this one have been counted before.
    counted: Lsn,
    /// The time of the log's last tick; none before the first one.
    pub(crate) now: Option<UnixNanos>,
    /// Since the log began.
    pub(crate) outputs: SlotOutputs,
    /// The slots that were restored.
    pub(crate) restored: Box<[bool; SLOTS]>,
    #[cfg(feature = "planted-fault")]
    scored: u64,
}

impl Pipeline {
    /// A pipeline without series and rules.
    #[must_use]
    pub fn new(config: PipelineConfig) -> Self {
        Self {
            entries: Vec::new(),
            refs: Vec::new(),
            slots: Vec::new(),
            states: Vec::new(),
            order: Order::default(),
            light: Light::default(),
            detectors: Detectors::default(),
            watches: Watches::new(config),
            tally: Tally::default(),
            counted: Lsn::ZERO,
            now: None,
            outputs: SlotOutputs::default(),
            restored: Box::new([false; SLOTS]),
            #[cfg(feature = "planted-fault")]
            scored: 0,
        }
    }

    /// Alerts whose event is older than this at their reception are historical from here on. Nanoseconds.
    pub fn set_alerts_max_age(&mut self, nanos: i64) {
        self.watches.set_config(PipelineConfig { alerts_max_age_nanos: nanos });
    }

    /// Rows of records up to this one are in the windows of a checkpoint, and are not counted again.
    pub fn set_counted(&mut self, upto: Lsn) {
        self.counted = upto;
    }

    /// Takes a series and returns its dense index: 0, 1, 2 and so on.
    ///
    /// # Panics
    /// With the 2^32nd series, which no limit allows.
    pub fn add_series(&mut self, series: SeriesRef, entry: Arc<SeriesEntry>) -> u32 {
        let mut state = SeriesState::new(entry.id);
        if self.watches.add_series(&entry) {
            state.marks |= WATCHED;
        }
        let beginning = self.detectors.begin(&entry);
        if self.detectors.add_series(&entry, beginning) {
            state.marks |= TUNED;
        }
        self.push_series(series, entry, state)
    }

    /// The next series, whose watch and detector were taken already; returns its dense index.
    pub(crate) fn push_series(
        &mut self,
        series: SeriesRef,
        entry: Arc<SeriesEntry>,
        mut state: SeriesState,
    ) -> u32 {
        if self.tally.add_series(&entry) {
            state.marks |= COUNTED;
        }
        let local = u32::try_from(self.states.len()).expect("fewer than 2^32 series");
        self.slots.push(state.slot());
        self.states.push(state);
        self.refs.push(series);
        self.entries.push(entry);
        local
    }

    /// Puts rules in force from a record received at `received`.
    ///
    /// A series that another model scores from here on, or one that tells hours by other clocks, begins with a new state of it.
    /// A rule whose canonical text is gone resolves its firing alerts with the reason
    /// `rule_changed`, in the order of series and rule name; rules with the same text keep their state.
    /// What was counted under the old rules must have been [taken](Self::take_counts).
    pub fn set_rules(&mut self, rules: Arc<RuleSet>, received: UnixNanos, out: &mut Emitted) {
        let explain = |local: usize| explain(&self.states, &self.detectors, local);
        self.tally.set_rules(&rules, &self.entries);
        let ended = self.watches.set_rules(Arc::clone(&rules), &self.entries, &explain, received);
        self.watches.listen_anew(self.heard(received), &self.entries);
        let last_time = |local: usize| Some(self.states[local].last_time);
        let known = |local| last_time(local).filter(|time| *time != EventTime::MIN);
        self.watches.count_anew(&self.entries, &known);
        self.set_detection(rules);
        let mark = |is: bool, mark: u8| if is { mark } else { 0 };
        let tuned = self.detectors.all_tuned().chain(std::iter::repeat(false));
        let marks = self.watches.watched().zip(self.tally.counted()).zip(tuned);
        for (state, ((watched, counted), tuned)) in self.states.iter_mut().zip(marks) {
            state.marks &= !(WATCHED | COUNTED | TUNED);
            state.marks |= mark(watched, WATCHED) | mark(counted, COUNTED) | mark(tuned, TUNED);
        }
        for transition in &ended {
            self.outputs.add_transition(transition);
        }
        out.transitions.extend(ended);
    }

    /// Scores rows and drives the rules; appends to `out` one severity and one flag per row.
    ///
    /// # Panics
    /// Where `rows` breaks its invariant or names a series that was not added: a bug of the caller.
    pub fn apply(&mut self, rows: &Rows<'_>, out: &mut Emitted) {
        let count = rows.series.len();
        assert!(rows.times.len() == count && rows.values.len() == count, "equal columns");
        let emitted = out.severities.len();
        assert!(out.flags.len() == emitted, "one flag per severity");
        out.severities.resize(emitted + count, Severity::ZERO);
        out.flags.resize(emitted + count, Flags::NONE);
        let mut placed = [Placed::default(); CHUNK];
        let mut runs = rows.runs.iter();
        let mut run = runs.next();
        for start in (0..count).step_by(CHUNK) {
            let end = count.min(start + CHUNK);
            let series = &rows.series[start..end];
            let times = &rows.times[start..end];
            for ((place, &local), &time) in placed.iter_mut().zip(series).zip(times) {
                let state = &mut self.states[local as usize];
                *place = self.order.observe(state, local, time, self.now);
            }
            let values = &rows.values[start..end];
            let columns = series.iter().zip(times).zip(values).zip(&placed);
            for (index, (((&local, &time), &value), &placed)) in (start..).zip(columns) {
                while run.is_some_and(|run| run.end <= index) {
                    run = runs.next();
                }
                let run = run.expect("the runs cover all rows");
                if self.states[local as usize].is(COUNTED) && run.lsn > self.counted {
                    self.tally.add(local, time, value);
                }
                let received = run.received;
                let row = Row { local, time, value, placed, received };
                let (severity, flags) = self.apply_row(row, &mut out.transitions);
                out.severities[emitted + index] = severity;
                out.flags[emitted + index] = flags;
            }
        }
    }

    /// Takes the log's clock forward, and looks at the silences that have waited for it; appends to `out` what
    /// that does to alerts. Time never goes back.
    pub fn tick(&mut self, now: UnixNanos, out: &mut Emitted) {
        let now = self.heard(now);
        self.now = Some(now);
        let from = out.transitions.len();
        self.watches.tick(now, &self.entries, &mut out.transitions);
        for transition in out.transitions.iter().skip(from) {
            self.outputs.add_transition(transition);
        }
    }

    /// Log time from which on a tick has something to look at, if no row comes.
    #[must_use]
    pub fn next_deadline(&self) -> Option<UnixNanos> {
        self.watches.next_deadline()
    }

    /// Log time, or the time of a record where that is later.
    fn heard(&self, time: UnixNanos) -> UnixNanos {
        self.now.map_or(time, |now| now.max(time))
    }

    /// What was counted for percentiles since the last call; belongs to a tick, or to a change of rules.
    #[must_use]
    pub fn take_counts(&mut self) -> Counts {
        self.tally.take()
    }

    /// What the detector expects of a series, by its dense index.
    ///
    /// # Panics
    /// Where no such series was added.
    #[must_use]
    pub fn explain(&self, local: u32) -> Explanation {
        explain(&self.states, &self.detectors, local as usize)
    }

    /// How many series have the light detector because there was no room for the one that a `[[detect]]` asks for.
    #[must_use]
    pub fn turned_away(&self) -> u32 {
        self.detectors.turned_away()
    }

    /// What was put out since the log began, restored slots included.
    #[must_use]
    pub fn output_hash(&self) -> OutputHash {
        self.outputs.sum()
    }

    /// The sum over all series of a hash of the identity and of every bit of state, rules included.
    #[must_use]
    pub fn state_hash(&self) -> u64 {
        let mut digest = Digest::default();
        let mut sum = 0_u64;
        for (local, _) in (0_u32..).zip(&self.states) {
            sum = sum.wrapping_add(self.series_hash(local, &mut digest));
        }
        sum
    }

    /// One series' part of [`Pipeline::state_hash`].
    pub(crate) fn series_hash(&self, local: u32, digest: &mut Digest) -> u64 {
        let state = &self.states[local as usize];
        digest.u128(self.entries[local as usize].id.get());
        state.digest(digest);
        self.order.digest(local, digest);
        if let Some(profile) = self.light.profile(state) {
            profile.digest(digest);
        }
        self.detectors.digest(local, digest);
        self.watches.digest(local, digest);
        digest.finish()
    }

    /// Puts the detection of the rules in force, once alerts that end have told what was expected.
    fn set_detection(&mut self, rules: Arc<RuleSet>) {
        let changed = self.detectors.set_rules(rules, &self.entries, &self.refs);
        for local in &changed {
            let state = &mut self.states[*local];
            state.begin_anew();
            if state.last_time != EventTime::MIN {
                self.detectors.lack_history(*local);
            }
        }
        if !changed.is_empty() {
            self.light.retain_profiles(&mut self.states);
        }
    }

    #[inline]
    fn apply_row(&mut self, row: Row, transitions: &mut Vec<Transition>) -> (Severity, Flags) {
        let state = &mut self.states[row.local as usize];
        let mut severity = Severity::ZERO;
        let mut flags = Flags::NONE;
        let place = row.placed.place();
        if place != Place::Refused && row.value.is_finite() {
            let step = place.step();
            let verdict = if state.is(TUNED) {
                let sample = Sample { time: row.time, value: row.value, step };
                self.detectors.judge(row.local, state, &mut self.light, &sample)
            } else {
                self.light.judge(state, row.time, row.value, step)
            };
            (severity, flags) = (verdict.severity, verdict.flags);
            #[cfg(feature = "planted-fault")]
            {
                self.scored += 1;
                if self.scored.is_multiple_of(1_000) {
                    severity = Severity::from_steps(severity.steps() ^ 1);
                }
            }
            if let Some(expectation) = verdict.expectation.filter(|_| state.is(WATCHED)) {
                let observation = Observation {
                    time: row.time,
                    value: row.value,
                    severity,
                    channel: flags.channel(),
                    kind: flags.kind(),
                    expectation,
                    received: row.received,
                    heard: self.now.map_or(row.received, |now| now.max(row.received)),
                };
                let from = transitions.len();
                let entry = &self.entries[row.local as usize];
                self.watches.observe(row.local, entry, &observation, transitions);
                for transition in transitions.iter().skip(from) {
                    self.outputs.add_transition(transition);
                }
            }
        }
        if row.placed.late {
            flags = flags.with(Flags::LATE);
        }
        let part = row_part(state.seed, row.time, severity, flags);
        self.outputs.add_row(state.slot(), part);
        (severity, flags)
    }
}

/// What the detector of a series expects at the time of its last row.
fn explain(states: &[SeriesState], detectors: &Detectors, local: usize) -> Explanation {
    let state = &states[local];
    let index = u32::try_from(local).expect("fewer than 2^32 series");
    let local = detectors.time_zone(index).local(state.last_time);
    let explanation = Light::explain(state, local);
    let Some(full) = detectors.full(index) else { return explanation };
    let Expectation { expected, lower, upper } = full.expect(state.last_time, local);
    let last_value = full.last_of_counter().unwrap_or(explanation.last_value);
    Explanation { expected, lower, upper, last_value, ..explanation }
}

/// One row with its place in its series.
#[derive(Clone, Copy, Debug)]
struct Row {
    local: u32,
    time: EventTime,
    value: f64,
    placed: Placed,
    received: UnixNanos,
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
