//! Which samples begin something, for peers that do not tell.

use tidewatch_metrics::{Flags, Severity};
use tidewatch_operators::Judgement;

/// Samples for which an onset must be exceeded: what our detectors have.
const HOLD_SAMPLES: u32 = 100;

/// Marks the severities that are greater than all in the 100 samples since the last one that was marked.
///
/// It is what `light` and the published models do. Without it each alarm in a long anomaly, and in what follows it, would count as
/// another one, which costs peers on NAB.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Onset {
    hold: Severity,
    age: u32,
}

impl Onset {
    /// What is said of the next sample.
    pub(crate) fn judge(&mut self, severity: Severity) -> Judgement {
        self.age = self.age.saturating_add(1);
        if self.age > HOLD_SAMPLES {
            self.hold = Severity::ZERO;
        }
        let begins = severity > self.hold;
        if begins {
            (self.hold, self.age) = (severity, 0);
        }
        let flags = if begins { Flags::ONSET } else { Flags::NONE };
        Judgement { severity, flags, ..Judgement::NOT_SCORED }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_onset_is_greater_than_all_since_the_last_one_until_a_hundred_samples_have_passed() {
        let mut onset = Onset::default();
        let mut begins = |severity: f32| onset.judge(Severity::from_f32(severity)).flags.is_onset();
        assert!(!begins(0.0) && begins(5.0) && !begins(5.0) && begins(6.0));
        for _ in 0..100 {
            assert!(!begins(5.0));
        }
        assert!(begins(5.0) && !begins(0.0));
    }
}
