//! A row on its way to a topic.
//!
//! In checkpoints, fields as in [`record`](crate::record):
//! ```text
//! row     kind u8
//!   0 scored  series u32, time i64, value f64, severity u16, flags u8
//!   1 told    has key u8 (0, 1), key where it has one, value, headers u32, each: name text, value text
//! ```
#![deny(clippy::indexing_slicing)]

use std::sync::Arc;

use tidewatch_metrics::fields::{FieldReader, FieldWriter};
use tidewatch_metrics::{EventTime, Flags, SeriesRef, Severity};
use tidewatch_sinks::FeedRecord;

const SCORED: u8 = 0;
const TOLD: u8 = 1;
/// What a row takes in memory beside its bytes.
const ROW_BYTES: usize = 64;

/// A row as it waits. Scored samples are many: they are written out when they are sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FeedRow {
    Scored(ScoredRow),
    Told(Arc<FeedRecord>),
}

/// A sample with what the operators say of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ScoredRow {
    pub(crate) series: SeriesRef,
    pub(crate) time: EventTime,
    pub(crate) value: f64,
    pub(crate) severity: Severity,
    pub(crate) flags: Flags,
}

impl FeedRow {
    /// Bytes that it takes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        let Self::Told(record) = self else { return ROW_BYTES };
        let headers = record.headers.iter().map(|(name, text)| ROW_BYTES + name.len() + text.len());
        let key = record.key.as_ref().map_or(0, |key| key.len());
        2 * ROW_BYTES + key + record.value.len() + headers.sum::<usize>()
    }

    pub(crate) fn put(&self, out: &mut FieldWriter) {
        match self {
            Self::Scored(row) => {
                out.u8(SCORED);
                out.u32(row.series.0);
                out.i64(row.time.nanos());
                out.f64(row.value);
                out.u16(row.severity.steps());
                out.u8(row.flags.bits());
            }
            Self::Told(record) => {
                out.u8(TOLD);
                out.u8(u8::from(record.key.is_some()));
                if let Some(key) = &record.key {
                    out.blob(key);
                }
                out.blob(&record.value);
                out.count(record.headers.len());
                for (name, text) in &record.headers {
                    out.text(name);
                    out.text(text);
                }
            }
        }
    }

    pub(crate) fn take(fields: &mut FieldReader<'_>) -> Option<Self> {
        match fields.u8()? {
            SCORED => Some(Self::Scored(ScoredRow {
                series: SeriesRef(fields.u32()?),
                time: EventTime::new(fields.i64()?),
                value: fields.f64()?,
                severity: Severity::from_steps(fields.u16()?),
                flags: Flags::from_bits(fields.u8()?),
            })),
            TOLD => {
                let key = match fields.u8()? {
                    0 => None,
                    1 => Some(fields.blob()?.into()),
                    _ => return None,
                };
                let value = fields.blob()?.into();
                let mut headers = Vec::new();
                for _ in 0..fields.count()? {
                    headers.push((fields.text()?.into(), fields.text()?));
                }
                Some(Self::Told(Arc::new(FeedRecord { key, value, headers })))
            }
            _ => None,
        }
    }
}
