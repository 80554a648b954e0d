//! The reader of a partition: it goes on where the engine says, and stores one batch at a time.

use std::sync::Arc;

use tidewatch_connectors::decode::{Incoming, MessageBatch, MessageForm, Messages, Precision};

use super::Process;
use crate::EngineError;
use crate::ingest::{Done, Durability, LineWrite};
use crate::ingest_messages::{OnBad, SourceWrite};
use crate::lab::finding::Layer;
use crate::lab::source;
use crate::lab::world::Fed;
use crate::sources::Sources;

/// Where the engine says that the partition goes on.
pub(super) fn next_of(sources: &Sources) -> u64 {
    let stored =
        sources.offsets().into_iter().find(|stored| stored.partition == source::partition());
    stored.map_or(0, |stored| stored.next_offset())
}

impl Process {
    /// So many messages more are read and stored.
    pub(in crate::lab) fn read(&mut self, count: u64) -> Result<(), EngineError> {
        self.machine.phase("read");
        let messages = self.read_to..self.read_to + count;
        self.check_stored(messages.start);
        let claim = self.sources.claim(source::offsets(&messages))?;
        if !matches!(self.sources.claim(source::offsets(&messages)), Err(EngineError::SourceInHand))
        {
            let told = format!("messages {messages:?} may be stored twice at the same time");
            self.machine.world.lock().break_promise(Layer::Ledger, told);
        }
        let mut batch = MessageBatch::with_keys(MessageForm::LineProtocol);
        for offset in messages.clone() {
            if self.machine.offsets_first {
                batch.pass(offset);
            } else {
                let payload = source::message(offset);
                let message = Incoming { payload: payload.as_bytes(), ..Incoming::default() };
                batch.push(offset, message);
            }
        }
        let bytes = u64::try_from(batch.bytes().len()).unwrap_or(u64::MAX);
        let write = SourceWrite {
            db: "default",
            messages: Messages { batch: &batch, count: batch.len() },
            permit: self.ingest.admit(bytes)?,
            claim,
            bad: OnBad::Keep(Arc::clone(&self.shared.letters)),
        };
        self.ingest.write_source(write, self.stored(messages.end))?;
        self.commit()?;
        if self.machine.offsets_first {
            let body: String = messages.clone().map(source::message).collect();
            self.write_without_offsets(body.as_bytes())?;
        }
        let fed = self.machine.world.lock().fed.last().map_or(0, |fed| fed.next);
        if fed == messages.end {
            self.read_to = messages.end;
        }
        Ok(())
    }

    /// Where the engine says that the partition goes on.
    pub(in crate::lab) fn next_offset(&self) -> u64 {
        next_of(&self.sources)
    }

    /// What is stored already is refused.
    fn check_stored(&self, next: u64) {
        if next == 0 {
            return;
        }
        let claim = self.sources.claim(source::offsets(&(next - 1..next + 1)));
        let refused =
            matches!(claim, Err(EngineError::OffsetsStored { next: told, .. }) if told == next);
        if !refused {
            let told = format!("message {} may be stored twice: {claim:?}", next - 1);
            self.machine.world.lock().break_promise(Layer::Ledger, told);
        }
    }

    fn stored(&self, next: u64) -> Done {
        let world = self.machine.world.clone();
        Box::new(move |ack| match ack {
            Ok(crate::Ack { lsn }) => world.lock().fed.push(Fed { lsn, next }),
            Err(error) => world.lock().refuse_messages(&error),
        })
    }

    /// What the planted bug does once the offsets are durable.
    fn write_without_offsets(&mut self, body: &[u8]) -> Result<(), EngineError> {
        let write = LineWrite {
            db: "default",
            body,
            precision: Precision::Nanoseconds,
            accept_partial: true,
            durability: Durability::Synced,
            permit: self.ingest.admit(u64::try_from(body.len()).unwrap_or(u64::MAX))?,
            client: None,
            claim: None,
        };
        self.ingest.write_lines(write, Box::new(drop))?;
        self.commit()
    }
}
