//! Hashes that replay compares: sums over series and samples, which no order or sharding changes.

use tidewatch_metrics::{AlertKey, EventTime, Flags, GroupId, Lsn, SeriesId, Severity, Transition};
use twox_hash::{XxHash3_64, XxHash3_128};

/// Odd constants of a good bit mixture (those of SplitMix64 and of xxh3).
const MIX: [u64; 3] = [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb];

/// What was put out since the log began, as wrapping sums: equal sums, equal output.
///
/// Sums of several pipelines add up to what one pipeline over all of their series would have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputHash {
    /// Number of rows.
    pub samples: u64,
    /// Sum over rows of a mixture of series, time, severity and flags.
    pub severities: u64,
    /// Sum over transitions of a mixture of alert key, kind, event time and severity.
    pub alerts: u64,
}

impl OutputHash {
    /// What both have put out.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            samples: self.samples.wrapping_add(other.samples),
            severities: self.severities.wrapping_add(other.severities),
            alerts: self.alerts.wrapping_add(other.alerts),
        }
    }
}

/// A row's part of [`OutputHash::severities`], for a series with this [`seed`].
#[inline]
pub(crate) fn row_part(seed: u64, time: EventTime, severity: Severity, flags: Flags) -> u64 {
    let word = u64::from(severity.steps()) | (u64::from(flags.bits()) << 16);
    let mut h = seed ^ time.nanos().cast_unsigned().wrapping_mul(MIX[0]);
    h = (h ^ (h >> 32)).wrapping_mul(MIX[1]) ^ word.wrapping_mul(MIX[0]);
    h = (h ^ (h >> 29)).wrapping_mul(MIX[2]);
    h ^ (h >> 32)
}

/// A transition's part of [`OutputHash::alerts`].
pub(crate) fn transition_part(transition: &Transition) -> u64 {
    let mut bytes = [0; 27];
    bytes[..16].copy_from_slice(&transition.key.0.to_le_bytes());
    bytes[16..24].copy_from_slice(&transition.event.nanos().to_le_bytes());
    bytes[24..26].copy_from_slice(&transition.severity.steps().to_le_bytes());
    bytes[26] = transition.kind.code();
    XxHash3_64::oneshot(&bytes)
}

/// 64 bits of a series' identity, kept beside its state for [`row_part`].
pub(crate) fn seed(id: SeriesId) -> u64 {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = id.get().to_le_bytes();
    let low = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let high = u64::from_le_bytes([i, j, k, l, m, n, o, p]);
    low ^ high.rotate_left(32)
}

/// Names an alert: xxh3-128 of the database, the rule's canonical text, the series and the onset.
pub(crate) fn alert_key(db: &str, rule: u128, series: SeriesId, onset: EventTime) -> AlertKey {
    let mut bytes = Vec::with_capacity(db.len() + 48);
    // Fixed widths first, so that no two different inputs give the same bytes.
    bytes.extend_from_slice(&rule.to_le_bytes());
    bytes.extend_from_slice(&series.get().to_le_bytes());
    bytes.extend_from_slice(&onset.nanos().to_le_bytes());
    bytes.extend_from_slice(db.as_bytes());
    AlertKey(XxHash3_128::oneshot(&bytes))
}

/// Names an alert of a group: xxh3-128 of the database, the rule's canonical text, the group, the onset, and the
/// record `born` since which the group is counted.
///
/// A group that is forgotten and met again may see the same windows once more: `born` tells their alerts apart.
/// No series' alert has the same bytes, since no rule is about both.
pub(crate) fn group_alert_key(
    db: &str,
    rule: u128,
    (group, born): (GroupId, Lsn),
    onset: EventTime,
) -> AlertKey {
    let mut bytes = Vec::with_capacity(db.len() + 56);
    bytes.extend_from_slice(&rule.to_le_bytes());
    bytes.extend_from_slice(&group.0.to_le_bytes());
    bytes.extend_from_slice(&onset.nanos().to_le_bytes());
    bytes.extend_from_slice(&born.get().to_le_bytes());
    bytes.extend_from_slice(db.as_bytes());
    AlertKey(XxHash3_128::oneshot(&bytes))
}

/// Collects the bits of a series' state in a fixed order and width.
#[derive(Debug, Default)]
pub(crate) struct Digest(Vec<u8>);

impl Digest {
    pub(crate) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u128(&mut self, value: u128) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn f64(&mut self, value: f64) {
        self.u64(value.to_bits());
    }

    pub(crate) fn f32(&mut self, value: f32) {
        self.0.extend_from_slice(&value.to_bits().to_le_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The hash of what was collected; the collection starts anew.
    pub(crate) fn finish(&mut self) -> u64 {
        let hash = XxHash3_64::oneshot(&self.0);
        self.0.clear();
        hash
    }
}
