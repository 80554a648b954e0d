//! Severity: how unlikely a sample is, in the one resolution that everything shares.

/// Steps of one unit of severity.
const STEPS: f32 = 64.0;
/// What lies below this is noise and becomes 0.
const FLOOR: f32 = 0.5;

/// Severity of a sample in steps of 1/64: about -log10 of the chance of a value at least this extreme.
///
/// Rounded once, when an operator emits it, so that rules, heads, segments and replay hold one
/// number. Values below 0.5 (and NaN) are 0; values beyond 1023.98 saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Severity(u16);

impl Severity {
    /// Nothing unusual, or not scored.
    pub const ZERO: Self = Self(0);

    /// The stored form of `severity`.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float-to-integer cast saturates, and the value is positive here"
    )]
    pub fn from_f32(severity: f32) -> Self {
        if severity >= FLOOR { Self((severity * STEPS + 0.5) as u16) } else { Self::ZERO }
    }

    /// The severity of these many steps of 1/64.
    #[must_use]
    pub const fn from_steps(steps: u16) -> Self {
        Self(steps)
    }

    /// Steps of 1/64.
    #[must_use]
    pub const fn steps(self) -> u16 {
        self.0
    }

    /// The severity as a number.
    #[must_use]
    pub fn to_f32(self) -> f32 {
        f32::from(self.0) / STEPS
    }

    /// The same on a scale from 0 to 1: `severity / (severity + 4)`.
    #[must_use]
    pub fn score(self) -> f32 {
        let severity = self.to_f32();
        severity / (severity + 4.0)
    }
}

/// What is known of a row beside its severity.
///
/// ```text
/// bit 0     late: not later than the greatest time that the series ever had; stored, not scored
/// bit 1     onset: this row's severity counts in the de-duplicated `onset_severity`
/// bits 2-3  the low bits of the code of the anomaly's kind, see `AnomalyKind`
/// bits 4-6  the channel that fired, see `Channel`
/// bit 7     the high bit of that code
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Flags(u8);

impl Flags {
    /// No bit set.
    pub const NONE: Self = Self(0);
    /// A late row.
    pub const LATE: Self = Self(1);
    /// A row whose severity is an onset.
    pub const ONSET: Self = Self(2);
    const CHANNEL_SHIFT: u32 = 4;
    const KIND_SHIFT: u32 = 2;
    /// From its place in a code to its place in the flags.
    const KIND_HIGH_SHIFT: u32 = 5;

    /// The flags with these bits.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Both sets of bits.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These flags with a channel.
    #[must_use]
    pub const fn with_channel(self, channel: crate::Channel) -> Self {
        Self(self.0 | (channel.code() << Self::CHANNEL_SHIFT))
    }

    /// These flags with what a sample's anomaly looks like; nothing of a kind that no sample can be.
    #[must_use]
    pub const fn with_kind(self, kind: crate::AnomalyKind) -> Self {
        let code = kind.code();
        let bits = ((code & 3) << Self::KIND_SHIFT) | ((code & 4) << Self::KIND_HIGH_SHIFT);
        Self(self.0 | bits)
    }

    /// Whether the row is late.
    #[must_use]
    pub const fn is_late(self) -> bool {
        self.0 & Self::LATE.0 != 0
    }

    /// Whether the row's severity is an onset.
    #[must_use]
    pub const fn is_onset(self) -> bool {
        self.0 & Self::ONSET.0 != 0
    }

    /// The channel that fired.
    #[must_use]
    pub const fn channel(self) -> crate::Channel {
        crate::Channel::from_code((self.0 >> Self::CHANNEL_SHIFT) & 7)
    }

    /// What the anomaly looks like that the row is of.
    #[must_use]
    pub const fn kind(self) -> crate::AnomalyKind {
        let (low, high) = (self.0 >> Self::KIND_SHIFT, self.0 >> Self::KIND_HIGH_SHIFT);
        crate::AnomalyKind::from_code((low & 3) | (high & 4))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severity_is_rounded_floored_and_saturated() {
        assert_eq!(Severity::from_f32(0.49), Severity::ZERO);
        assert_eq!(Severity::from_f32(f32::NAN), Severity::ZERO);
        assert_eq!(Severity::from_f32(-3.0), Severity::ZERO);
        assert_eq!(Severity::from_f32(0.5).steps(), 32);
        assert_eq!(Severity::from_f32(6.01).to_f32().to_bits(), (385.0_f32 / 64.0).to_bits());
        assert_eq!(Severity::from_f32(f32::INFINITY).steps(), u16::MAX);
        assert!((Severity::from_f32(4.0).score() - 0.5).abs() < 1e-6);
    }

    #[test]
    fn flags_carry_every_channel() {
        for code in 0..8 {
            let channel = Channel::from_code(code);
            let flags = Flags::ONSET.with_channel(channel);
            assert_eq!(flags.channel(), channel);
            assert!(flags.is_onset() && !flags.is_late());
        }
    }

    #[test]
    fn flags_carry_every_kind_of_a_sample_beside_everything_else() {
        let others = Flags::ONSET.with_channel(Channel::Range);
        for kind in AnomalyKind::OF_SAMPLES {
            let flags = others.with_kind(kind);
            assert_eq!(flags.kind(), kind);
            assert_eq!(flags.channel(), Channel::Range);
            assert!(flags.is_onset() && !flags.is_late());
            assert_eq!(flags.with(Flags::LATE).kind(), kind);
        }
        assert_eq!(others.with_kind(AnomalyKind::StoppedReporting), others);
        assert_eq!(Flags::NONE.with_channel(Channel::Range).kind(), AnomalyKind::None);
    }

    use crate::{AnomalyKind, Channel};
}
