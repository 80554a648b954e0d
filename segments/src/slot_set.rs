//! A set of slots.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tidewatch_metrics::Slot;
use tidewatch_metrics::series::SLOTS;

/// A set of slots: one bit each. In JSON 64 hex digits, slot 255 first.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotSet([u128; 2]);

const _: () = assert!(SLOTS == 256);

impl SlotSet {
    /// Every slot.
    pub const ALL: Self = Self([u128::MAX; 2]);

    /// Adds a slot.
    pub fn insert(&mut self, slot: Slot) {
        self.0[usize::from(slot.0 >> 7)] |= 1 << (slot.0 & 127);
    }

    /// Whether the slot is in the set.
    #[must_use]
    pub fn contains(&self, slot: Slot) -> bool {
        self.0[usize::from(slot.0 >> 7)] >> (slot.0 & 127) & 1 == 1
    }

    /// Whether no slot is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 2]
    }

    /// The slots in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        (0..=u8::MAX).map(Slot).filter(|slot| self.contains(*slot))
    }
}

impl FromIterator<Slot> for SlotSet {
    fn from_iter<I: IntoIterator<Item = Slot>>(slots: I) -> Self {
        let mut set = Self::default();
        slots.into_iter().for_each(|slot| set.insert(slot));
        set
    }
}

impl fmt::Display for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}{:032x}", self.0[1], self.0[0])
    }
}

impl fmt::Debug for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SlotSet({self})")
    }
}

impl Serialize for SlotSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SlotSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let halves = text.split_at_checked(32).filter(|(_, low)| low.len() == 32);
        let (high, low) = halves.ok_or_else(|| D::Error::custom("a slot set has 64 hex digits"))?;
        let high = u128::from_str_radix(high, 16).map_err(D::Error::custom)?;
        let low = u128::from_str_radix(low, 16).map_err(D::Error::custom)?;
        Ok(Self([low, high]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_comes_back_from_json() {
        for slots in [vec![], vec![0], vec![127, 128, 255], (0..=255).collect()] {
            let set: SlotSet = slots.iter().copied().map(Slot).collect();
            assert_eq!(set.iter().map(|slot| slot.0).collect::<Vec<_>>(), slots);
            let text = serde_json::to_string(&set).unwrap();
            assert_eq!(serde_json::from_str::<SlotSet>(&text).unwrap(), set);
        }
        assert!(serde_json::from_str::<SlotSet>("\"00\"").is_err());
        assert!(serde_json::from_str::<SlotSet>(&format!("\"{}\"", "x".repeat(64))).is_err());
    }
}
