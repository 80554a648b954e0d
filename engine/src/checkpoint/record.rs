//! What the log says of a checkpoint: the hashes that a replay must come to.

use tidewatch_metrics::fields::{FieldReader, FieldWriter};
use tidewatch_metrics::series::SLOTS;
use tidewatch_metrics::{Lsn, Slot};
use tidewatch_operators::OutputHash;

use crate::checkpoint::index::SlotEntry;

/// The state of every slot, each at its own record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointRecord {
    /// The checkpoint.
    pub number: u64,
    /// By slot.
    pub slots: Vec<SlotMark>,
    /// The windows of percentiles, where any are counted.
    pub windows: Option<WindowsMark>,
}

/// What the windows of percentiles had come to at a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowsMark {
    /// The tick.
    pub lsn: Lsn,
    /// Hash of all windows.
    pub state_hash: u64,
}

/// What the operators had come to in a slot when it had all rows up to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotMark {
    /// The slot.
    pub slot: Slot,
    /// The record.
    pub lsn: Lsn,
    /// Hash of the slot's state.
    pub state_hash: u64,
    /// What was put out for its series.
    pub output: OutputHash,
}

impl CheckpointRecord {
    /// Of the slots of a checkpoint, in their order, and its windows.
    pub(crate) fn new(number: u64, slots: &[SlotEntry], windows: Option<&SlotEntry>) -> Self {
        let slots = (0..=u8::MAX).map(Slot).zip(slots).map(|(slot, entry)| SlotMark {
            slot,
            lsn: entry.lsn,
            state_hash: entry.state_hash,
            output: entry.output,
        });
        let windows = windows.map(|entry| {
            let SlotEntry { lsn, state_hash, .. } = *entry;
            WindowsMark { lsn, state_hash }
        });
        Self { number, slots: slots.collect(), windows }
    }

    /// The payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = FieldWriter::with_capacity(8 + SLOTS * 40);
        out.u64(self.number);
        for mark in &self.slots {
            for number in [
                mark.lsn.get(),
                mark.state_hash,
                mark.output.samples,
                mark.output.severities,
                mark.output.alerts,
            ] {
                out.u64(number);
            }
        }
        if let Some(windows) = &self.windows {
            out.u64(windows.lsn.get());
            out.u64(windows.state_hash);
        }
        out.into_bytes()
    }

    pub(crate) fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        let number = fields.u64()?;
        let slots = (0..=u8::MAX).map(Slot).map(|slot| {
            Some(SlotMark {
                slot,
                lsn: Lsn::new(fields.u64()?),
                state_hash: fields.u64()?,
                output: OutputHash {
                    samples: fields.u64()?,
                    severities: fields.u64()?,
                    alerts: fields.u64()?,
                },
            })
        });
        let slots = slots.collect::<Option<_>>()?;
        let windows = if fields.remaining() > 0 {
            Some(WindowsMark { lsn: Lsn::new(fields.u64()?), state_hash: fields.u64()? })
        } else {
            None
        };
        Some(Self { number, slots, windows })
    }
}
