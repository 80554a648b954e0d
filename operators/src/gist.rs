//! What an alert is about, in a word.

use tidewatch_metrics::AnomalyKind;
use tidewatch_metrics::fields::{FieldReader, FieldWriter};

use crate::alert::Observation;
use crate::hash::Digest;

/// What the anomaly of an alert looks like, and what was usual before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gist {
    /// As far as it has come.
    pub(crate) kind: AnomalyKind,
    /// What was expected of the first sample of the alert; NaN where nothing was.
    pub(crate) usual: f64,
}

impl Gist {
    /// Nothing is said.
    pub(crate) const NONE: Self = Self { kind: AnomalyKind::None, usual: f64::NAN };

    /// Of an alert that begins with this sample.
    pub(crate) fn of(seen: &Observation) -> Self {
        let usual = seen.expectation.expected;
        // One NaN, so that equal state is equal bytes.
        Self { kind: seen.kind, usual: if usual.is_nan() { f64::NAN } else { usual } }
    }

    /// Takes a further sample of the alert: a later one knows more, and a calm one nothing.
    pub(crate) fn observe(&mut self, seen: &Observation) {
        if seen.kind != AnomalyKind::None {
            self.kind = seen.kind;
        }
    }

    /// Whether nothing is said.
    pub(crate) fn is_none(self) -> bool {
        self.kind == AnomalyKind::None && self.usual.is_nan()
    }

    pub(crate) fn digest(self, out: &mut Digest) {
        out.u64(u64::from(self.kind.code()));
        out.f64(self.usual);
    }

    pub(crate) fn encode(self, out: &mut FieldWriter) {
        out.u8(self.kind.code());
        out.f64(self.usual);
    }

    /// What [`Gist::encode`] wrote.
    pub(crate) fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        let code = fields.u8()?;
        let kind = AnomalyKind::from_code(code);
        let usual = fields.f64()?;
        let gist = Self { kind, usual };
        (kind.code() == code && !gist.is_none()).then_some(gist)
    }
}
