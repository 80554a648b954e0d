//! Which samples begin something, of those that are unusual.

use tidewatch_metrics::Severity;
use tidewatch_metrics::fields::{FieldReader, FieldWriter};

/// Samples for which an onset must be exceeded: the reference detector's. Eight hours at five minutes,
/// about as long as somebody who was told wants to hear of nothing less.
const HOLD_SAMPLES: u8 = 100;

/// Says of each severity whether it is an onset: greater than all in the 100 samples, or steps, since the last one.
///
/// ```text
/// age > 100:  hold = 0
/// s > hold:   onset, hold = s, age = 0
/// ```
///
/// Source: the reference detector's step 7. State: 4 bytes. Time: O(1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Onset {
    /// The greatest severity since the last onset.
    pub(crate) hold: Severity,
    /// Samples or steps since the last onset.
    pub(crate) age: u8,
}

impl Onset {
    /// Takes the severity of the next sample, and whether that is one to count.
    pub(crate) fn observe(&mut self, severity: Severity, counts: bool) -> bool {
        self.age = self.age.saturating_add(u8::from(counts));
        if severity == Severity::ZERO {
            return false;
        }
        if self.age > HOLD_SAMPLES {
            self.hold = Severity::ZERO;
        }
        let begins = severity > self.hold;
        if begins {
            self.hold = severity;
            self.age = 0;
        }
        begins
    }

    pub(crate) fn encode(self, out: &mut FieldWriter) {
        out.u16(self.hold.steps());
        out.u8(self.age);
    }

    pub(crate) fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        Some(Self { hold: Severity::from_steps(fields.u16()?), age: fields.u8()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_onset_is_greater_than_all_since_the_last_one_until_a_hundred_samples_have_passed() {
        let mut onset = Onset::default();
        let mut begins = |severity: f32| onset.observe(Severity::from_f32(severity), true);
        assert!(!begins(0.0));
        assert!(begins(5.0));
        assert!(!begins(5.0));
        assert!(begins(6.0));
        for _ in 0..100 {
            assert!(!begins(5.0));
        }
        assert!(begins(5.0));
        assert!(!begins(0.0));
    }
}
