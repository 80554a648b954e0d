//! What a source knows of one partition.

use std::sync::Arc;

use tidewatch_connectors::decode::{Incoming, MessageBatch};

use crate::EngineError;
use crate::limits::SOURCE_RECORD_BYTES_MAX;
use crate::sources::{SourceOffsets, SourcePartition};

/// One partition: what of it is stored, on its way, and gathered.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) name: SourcePartition,
    /// 0 where the brokers do not tell.
    pub(crate) topic_id: u128,
    /// The offset behind the last one that is stored, or where reading began.
    pub(crate) stored: u64,
    /// The offset behind the last one that was fetched.
    pub(crate) next: u64,
    /// The offset behind the last one that the brokers had when they last told.
    pub(crate) end: u64,
    /// The offset that the group was told last, 0 for none; `None` while that is not known, and without a group.
    pub(crate) committed: Option<u64>,
    pub(crate) gathered: MessageBatch,
    /// Tombstones among what is gathered.
    pub(crate) tombstones: u64,
    pub(crate) on_its_way: Option<OnItsWay>,
    pub(crate) state: State,
    /// Whether it came after the source: it has nothing that is older.
    pub(crate) joins_late: bool,
}

/// Whether a partition is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It is.
    Reading,
    /// Where it goes on is to be found out, once what was gathered before is stored.
    Lost,
    /// Its log ends before what is stored.
    Ahead(String),
    /// The topic was made anew, without it.
    Gone,
    /// Another member of the group has it, or nobody.
    Unassigned,
    /// The group wants it back: it goes once its record has an outcome.
    Leaving,
    /// So many messages of what is gathered are stored, and then it stops.
    Ending { messages: usize, why: Arc<str> },
    /// It is not read any more.
    Stopped(Arc<str>),
}

/// What is counted of a record once it is durable.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OnItsWay {
    /// The offset behind the record's last one.
    pub(crate) next: u64,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) samples: u64,
    pub(crate) bad: u64,
    pub(crate) tombstones: u64,
}

impl Partition {
    pub(crate) fn new(name: SourcePartition, topic_id: u128, gathered: MessageBatch) -> Self {
        Self {
            name,
            topic_id,
            stored: 0,
            next: 0,
            end: 0,
            committed: None,
            gathered,
            tombstones: 0,
            on_its_way: None,
            state: State::Lost,
            joins_late: false,
        }
    }

    /// How many of the gathered messages the next record may have.
    pub(crate) fn ready(&self) -> usize {
        let first = self.gathered.first_within(SOURCE_RECORD_BYTES_MAX);
        match self.state {
            State::Ending { messages, .. } => first.min(messages),
            _ => first,
        }
    }

    /// Which messages the next record has; `None` where there is nothing to store now.
    pub(crate) fn offsets(&self) -> Option<Result<SourceOffsets, EngineError>> {
        let may = matches!(self.state, State::Reading | State::Lost | State::Ending { .. });
        if self.on_its_way.is_some() || !may {
            return None;
        }
        let (first, last) = self.gathered.offsets_of(self.ready())?;
        // What was never there between the last record's messages and these leaves no break.
        let offsets = (first.min(self.stored), last);
        Some(SourceOffsets::new(self.name.clone(), self.topic_id, offsets))
    }

    /// Takes a message that has come, or the offset of one without a value.
    pub(crate) fn take(&mut self, offset: u64, message: Option<Incoming<'_>>) {
        let is_others = matches!(self.state, State::Unassigned | State::Leaving);
        if is_others || offset < self.next {
            return;
        }
        self.next = offset + 1;
        match message {
            Some(message) => self.gathered.push(offset, message),
            None => self.tombstones += u64::from(self.gathered.pass(offset)),
        }
    }

    /// Whether it is this member's, or there is no group.
    pub(crate) fn is_ours(&self) -> bool {
        self.state != State::Unassigned
    }

    /// Another member reads it from here on.
    pub(crate) fn unassign(&mut self) {
        self.forget();
        self.state = State::Unassigned;
        self.end = 0;
    }

    /// Whether where it goes on can be found out: what is in hand decides that.
    pub(crate) fn is_to_be_found(&self) -> bool {
        matches!(self.state, State::Lost | State::Ahead(_))
            && self.on_its_way.is_none()
            && self.gathered.is_empty()
    }

    /// Begins anew at `offset`.
    pub(crate) fn restart(&mut self, offset: u64) {
        self.forget();
        self.stored = offset;
        self.next = offset;
    }

    /// Forgets what is gathered.
    pub(crate) fn forget(&mut self) {
        self.gathered.clear();
        self.tombstones = 0;
    }

    /// Messages that are not stored yet.
    pub(crate) fn lag(&self) -> u64 {
        if self.is_ours() { self.end.saturating_sub(self.stored) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use tidewatch_connectors::decode::MessageForm;

    use super::*;

    fn partition() -> Partition {
        let name = SourcePartition::new("main", "metrics", 3).unwrap();
        let mut partition = Partition::new(name, 7, MessageBatch::new(MessageForm::Json));
        partition.restart(10);
        partition.state = State::Reading;
        partition
    }

    fn message(payload: &[u8]) -> Option<Incoming<'_>> {
        Some(Incoming { payload, ..Incoming::default() })
    }

    fn offsets(partition: &Partition) -> Option<(u64, u64)> {
        partition.offsets().map(|offsets| offsets.unwrap()).map(|one| (one.first(), one.last()))
    }

    #[test]
    fn what_is_in_hand_of_a_lost_partition_is_stored_before_it_is_found_again() {
        let mut partition = partition();
        partition.take(10, message(b"[]"));
        partition.take(11, None);
        partition.state = State::Lost;
        assert_eq!(offsets(&partition), Some((10, 11)));
        assert!(!partition.is_to_be_found());
        partition.gathered.drop_first(1);
        partition.on_its_way = Some(OnItsWay::default());
        assert!(!partition.is_to_be_found());
        partition.on_its_way = None;
        assert!(partition.is_to_be_found() && offsets(&partition).is_none());
        for state in [State::Stopped("why".into()), State::Gone, State::Unassigned, State::Leaving]
        {
            partition.state = state;
            assert!(!partition.is_to_be_found());
        }
    }

    #[test]
    fn what_comes_of_a_partition_that_is_others_is_left_to_them() {
        let mut partition = partition();
        partition.take(10, message(b"[]"));
        partition.state = State::Leaving;
        partition.forget();
        partition.take(11, message(b"[]"));
        assert_eq!(offsets(&partition), None);
        partition.unassign();
        partition.take(12, message(b"[]"));
        assert!(partition.gathered.is_empty() && partition.lag() == 0 && !partition.is_ours());
    }

    #[test]
    fn a_record_has_some_of_many_messages_and_a_great_one_alone() {
        let mut partition = partition();
        let great = vec![b' '; SOURCE_RECORD_BYTES_MAX / 2];
        for offset in 10..14 {
            partition.take(offset, message(&great));
        }
        assert_eq!((partition.ready(), offsets(&partition)), (1, Some((10, 10))));
        partition.gathered.clear();
        for offset in 20..24 {
            partition.take(offset, message(&great[2..]));
        }
        assert_eq!((partition.ready(), offsets(&partition)), (2, Some((10, 21))));
        partition.state = State::Ending { messages: 1, why: "why".into() };
        assert_eq!((partition.ready(), offsets(&partition)), (1, Some((10, 20))));
        partition.gathered.clear();
        partition.take(30, message(&[great.as_slice(); 3].concat()));
        partition.state = State::Reading;
        assert_eq!(offsets(&partition), Some((10, 30)));
    }

    #[test]
    fn messages_are_taken_once_in_order_and_again_after_a_restart() {
        let mut partition = partition();
        for offset in [10, 12, 12, 11, 13] {
            partition.take(offset, message(b"[]"));
        }
        assert_eq!((partition.gathered.len(), offsets(&partition)), (3, Some((10, 13))));
        partition.on_its_way = Some(OnItsWay::default());
        assert_eq!(offsets(&partition), None, "one record at a time");
        partition.on_its_way = None;
        partition.restart(12);
        assert_eq!(offsets(&partition), None);
        partition.take(12, None);
        assert_eq!((partition.tombstones, offsets(&partition)), (1, Some((12, 12))));
    }
}
