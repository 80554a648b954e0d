//! Who is unusual at the same time, among the series of a slot that a rule with a budget watches.

use std::collections::BTreeMap;

use tidewatch_metrics::time::NANOS_PER_SECOND;
use tidewatch_metrics::{EventTime, Slot};

use crate::budget::Company;
use crate::limits::ALLOCATION_BYTES;

/// The stretch in which severities are chances: what lies in neighbouring ones is at the same time.
const ROUND_NANOS: i64 = 300 * NANOS_PER_SECOND;
/// Before the first sample: beyond what event time comes to, in these rounds.
const NEVER: i32 = i32::MIN;
/// An entry of the index and its share of a node, half of which may be free.
const INDEX_BYTES: usize = 40;

/// Bytes of a series in a fleet at most: it may be the only one of its slot, and the only one of its round.
pub(crate) const FLEET_BYTES: usize =
    2 * size_of::<Fleet>() + ALLOCATION_BYTES + 4 * size_of::<Hot>() + INDEX_BYTES;

/// The fleets of all rules with a budget, a slot each.
///
/// A function of the watches alone: of the severity of a series' last sample, and of its [`Standing`] towards a rule. So nothing
/// of it is stored, and the order in which samples came leaves no trace in it. A slot is on one pipeline, whatever the number of shards is.
#[derive(Debug, Default)]
pub(crate) struct Fleets {
    fleets: Vec<Fleet>,
    /// By the rule's index and the slot.
    places: BTreeMap<(u32, Slot), u32>,
}

/// Of each rule and slot the series, and those that are hot by round and heat.
#[cfg(test)]
pub(crate) type Content = BTreeMap<(usize, Slot), (u32, BTreeMap<(i32, u8), u32>)>;

/// The series of a slot that a rule watches.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fleet {
    /// Those with a sample.
    series: u32,
    /// Those for which the condition holds, counted, in the order of round and heat: no more entries than series.
    ///
    /// A series that falls silent stays in the round of its last sample, which the others leave behind.
    hot: Vec<Hot>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hot {
    round: i32,
    heat: u8,
    series: u32,
}

/// What a rule with a budget knows of a series beside its alert.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// Index of the fleet.
    fleet: u32,
    /// Of the last sample for which the condition held, or of the first one.
    round: i32,
}

impl Standing {
    /// Of a series that the rule has seen nothing of, and that is in no fleet.
    pub(crate) const NEW: Self = Self { fleet: u32::MAX, round: NEVER };

    /// The bytes have the round alone.
    pub(crate) fn of_round(round: i32) -> Self {
        Self { round, ..Self::NEW }
    }

    pub(crate) fn round(&self) -> i32 {
        self.round
    }

    /// The series is known to have had a sample at `time`, before the rule was there.
    pub(crate) fn join(&mut self, time: EventTime) {
        if self.round == NEVER {
            self.round = round_of(time);
        }
    }
}

impl Fleets {
    pub(crate) fn clear(&mut self) {
        self.fleets.clear();
        self.places.clear();
    }

    /// Takes a series of `slot` that rule number `rule` watches, and whose last sample had this heat.
    pub(crate) fn enter(
        &mut self,
        (rule, slot): (usize, Slot),
        standing: &mut Standing,
        heat: Option<u8>,
    ) {
        let rule = u32::try_from(rule).expect("fewer rules than 2^32");
        let next = u32::try_from(self.fleets.len()).expect("fewer fleets than 2^32");
        standing.fleet = *self.places.entry((rule, slot)).or_insert(next);
        if standing.fleet == next {
            self.fleets.push(Fleet::default());
        }
        let fleet = self.fleet_mut(standing);
        fleet.series += u32::from(standing.round != NEVER);
        if let Some(heat) = heat {
            fleet.add(standing.round, heat);
        }
    }

    /// A series has a sample at `time`, of which the heat is `now`, and was `before` at the last one.
    #[inline]
    pub(crate) fn turn(
        &mut self,
        standing: &mut Standing,
        (before, now): (Option<u8>, Option<u8>),
        time: EventTime,
    ) {
        let is_known = standing.round != NEVER;
        if is_known && before.is_none() && now.is_none() {
            return;
        }
        let round = round_of(time);
        let fleet = self.fleet_mut(standing);
        fleet.series += u32::from(!is_known);
        if before != now || round != standing.round {
            if let Some(heat) = before {
                fleet.remove(standing.round, heat);
            }
            if let Some(heat) = now {
                fleet.add(round, heat);
            }
        }
        if !is_known || now.is_some() {
            standing.round = round;
        }
    }

    /// Who is there beside a series of this heat, whose turn it was.
    pub(crate) fn company(&self, standing: &Standing, heat: u8) -> Company {
        let fleet = &self.fleets[standing.fleet as usize];
        let mut company = Company { series: fleet.series, ..Company::default() };
        let first = fleet.place(standing.round.saturating_sub(1), 0).unwrap_or_else(|next| next);
        let last = standing.round.saturating_add(1);
        for hot in fleet.hot[first..].iter().take_while(|hot| hot.round <= last) {
            company.others[usize::from(hot.heat)] += hot.series;
        }
        company.others[usize::from(heat)] -= 1;
        company
    }

    /// Everything that is counted.
    #[cfg(test)]
    pub(crate) fn content(&self) -> Content {
        let of = |place: u32| {
            let Fleet { series, hot } = &self.fleets[place as usize];
            assert!(hot.is_sorted_by(|a, b| (a.round, a.heat) < (b.round, b.heat)), "{hot:?}");
            (*series, hot.iter().map(|hot| ((hot.round, hot.heat), hot.series)).collect())
        };
        self.places
            .iter()
            .map(|((rule, slot), place)| ((*rule as usize, *slot), of(*place)))
            .collect()
    }

    fn fleet_mut(&mut self, standing: &Standing) -> &mut Fleet {
        self.fleets.get_mut(standing.fleet as usize).expect("who is watched has entered")
    }
}

impl Fleet {
    fn place(&self, round: i32, heat: u8) -> Result<usize, usize> {
        self.hot.binary_search_by_key(&(round, heat), |hot| (hot.round, hot.heat))
    }

    fn add(&mut self, round: i32, heat: u8) {
        match self.place(round, heat) {
            Ok(place) => self.hot[place].series += 1,
            Err(place) => self.hot.insert(place, Hot { round, heat, series: 1 }),
        }
    }

    fn remove(&mut self, round: i32, heat: u8) {
        let place = self.place(round, heat).expect("who was hot was counted");
        self.hot[place].series -= 1;
        if self.hot[place].series == 0 {
            self.hot.remove(place);
        }
    }
}

/// The round of a moment; all moments have one between -2^25 and 2^25.
fn round_of(time: EventTime) -> i32 {
    i32::try_from(time.nanos().div_euclid(ROUND_NANOS)).expect("63 bits of nanoseconds")
}
