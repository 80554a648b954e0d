//! Which partitions there are, and where each of them begins.

use std::time::Duration;

use tidewatch_connectors::decode::MessageBatch;
use tidewatch_connectors::kafka::{
    Begin, KafkaConfig, KafkaError, OnBadMessage, Start, TopicPartitions, begin,
};
use tracing::{info, warn};

use crate::chain;
use crate::kafka::partition::{Partition, State};
use crate::kafka::reader::Reader;
use crate::sources::{SourcePartition, StoredOffsets};

/// The brokers get so much time for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Once brokers have left one partition without an answer, no others are asked for after this: messages wait.
const FIND_MAX: Duration = Duration::from_secs(1);

impl Reader {
    /// Looks for partitions, and for those that are lost; `Err` where the brokers did not answer.
    pub(super) fn look_around(&mut self) -> Result<(), KafkaError> {
        let topics = self.client.topics(ANSWER_MAX)?;
        let stored = self.engine.offsets();
        for topic in &topics {
            self.notice(topic, &stored);
        }
        self.subscribe(&topics)?;
        self.has_looked = true;
        self.find_lost(&stored)
    }

    /// Finds out where lost partitions go on. Those whose brokers do not answer keep the others from nothing.
    fn find_lost(&mut self, stored: &[StoredOffsets]) -> Result<(), KafkaError> {
        let (count, until) = (self.partitions.len(), self.now() + FIND_MAX);
        let first = self.find_first;
        let mut found = Ok(());
        for at in (0..count).map(|step| (first + step) % count) {
            if !self.partitions[at].is_to_be_found() {
                continue;
            }
            if let Err(error) = self.find(at, stored) {
                found = found.and(Err(error));
                self.find_first = (at + 1) % count;
                if self.now() >= until {
                    break;
                }
            }
        }
        found
    }

    /// Takes up new partitions of a topic, and begins anew where it was made anew.
    fn notice(&mut self, topic: &TopicPartitions, stored: &[StoredOffsets]) {
        let joins_late =
            self.has_looked || stored.iter().any(|one| self.is_of(&one.partition, &topic.name));
        let known = self.numbers.entry(topic.name.clone()).or_default();
        for number in u32::try_from(known.len()).unwrap_or(u32::MAX)..topic.partitions {
            let Ok(name) = SourcePartition::new(&self.config.name, &topic.name, number) else {
                continue;
            };
            known.push(self.partitions.len());
            let mut partition = Partition::new(name, topic.id, empty_batch(&self.config));
            partition.joins_late = joins_late;
            partition.state = self.membership.first_state(&partition.name);
            self.partitions.push(partition);
        }
        for at in self.numbers.get(&topic.name).cloned().unwrap_or_default() {
            let partition = &mut self.partitions[at];
            let is_there = partition.name.partition() < topic.partitions;
            let is_other = topic.id != 0 && partition.topic_id != topic.id;
            if is_other && partition.topic_id != 0 && partition.is_ours() {
                self.client.stop(&topic.name, partition.name.partition());
                partition.forget();
                partition.state = State::Lost;
                if !is_there {
                    // A topic that is made anew may have fewer partitions.
                    partition.restart(0);
                    partition.end = 0;
                    partition.state = State::Gone;
                }
            } else if is_there && partition.state == State::Gone {
                partition.state = State::Lost;
            }
            if is_other {
                partition.topic_id = topic.id;
            }
        }
    }

    fn is_of(&self, partition: &SourcePartition, topic: &str) -> bool {
        partition.source() == self.config.name && partition.topic() == topic
    }

    /// Finds out where a partition goes on, and has it read from there.
    fn find(&mut self, at: usize, stored: &[StoredOffsets]) -> Result<(), KafkaError> {
        let partition = &self.partitions[at];
        let (name, topic_id) = (partition.name.clone(), partition.topic_id);
        let (topic, number) = (name.topic(), name.partition());
        let marks = self.client.watermarks(topic, number, ANSWER_MAX)?;
        let stored = stored.iter().find(|stored| stored.partition == name);
        let committed = self.committed(at, ANSWER_MAX)?;
        let next = match stored {
            Some(stored) if is_same(stored.topic_id(), topic_id) => {
                if topic_id == 0 {
                    self.partitions[at].topic_id = stored.topic_id();
                }
                // Another member may have gone on, or this one may not have told how far it was.
                stored.next_offset().max(committed.unwrap_or(0))
            }
            _ if committed.is_some() => committed.unwrap_or(0),
            Some(_) => {
                // Offsets of another topic of this name mean nothing, and what it still had is gone.
                let missing = self.partitions[at].lag();
                self.tell_gap(at, missing, "the topic was made anew");
                marks.low
            }
            None if self.partitions[at].joins_late => marks.low,
            None => match self.config.start {
                Start::Earliest => marks.low,
                Start::Latest => marks.high,
                Start::At(time) => {
                    let offset = self.client.offset_at((topic, number), time, ANSWER_MAX)?;
                    offset.unwrap_or(marks.high)
                }
            },
        };
        self.partitions[at].end = marks.high;
        let offset = match begin(next, marks) {
            Begin::At(offset) => offset,
            Begin::AfterGap { offset, missing } => {
                self.tell_gap(at, missing, "the brokers have removed messages");
                offset
            }
            Begin::Ahead { end } => {
                self.tell_ahead(at, (next, end));
                return Ok(());
            }
        };
        info!(source = %self.config.name, topic, partition = number, offset, "reads a partition");
        self.read_from(at, offset);
        if stored.is_none() && offset > 0 && !self.client.is_member() {
            // To the next start, what comes from here on must not look like messages from before this one.
            self.partitions[at].gathered.pass(offset - 1);
        }
        Ok(())
    }

    /// Has a partition read from `offset` on, which is behind all that is stored of it.
    pub(super) fn read_from(&mut self, at: usize, offset: u64) {
        let partition = &mut self.partitions[at];
        partition.restart(offset);
        let (topic, number) = (partition.name.topic(), partition.name.partition());
        match self.client.start(topic, number, offset) {
            Ok(()) => partition.state = State::Reading,
            Err(error) => {
                partition.state = State::Lost;
                self.fetch_trouble = Some((self.now(), chain(&error)));
            }
        }
    }

    fn tell_gap(&mut self, at: usize, missing: u64, why: &str) {
        let name = &self.partitions[at].name;
        let (topic, partition) = (name.topic(), name.partition());
        let source = &self.config.name;
        warn!(%source, topic, partition, missing, "messages are missing: {why}");
        self.instruments.gaps.get_or_create(&self.label).inc();
        self.instruments.gap_messages.get_or_create(&self.label).inc_by(missing);
        self.gap_messages += missing;
    }

    fn tell_ahead(&mut self, at: usize, (next, end): (u64, u64)) {
        let name = &self.partitions[at].name;
        let why = format!(
            "partition {} of {:?} ends at offset {end}, and messages up to {next} are stored: its \
             brokers have lost some; it goes on at {next}",
            name.partition(),
            name.topic()
        );
        let state = State::Ahead(why);
        if self.partitions[at].state != state {
            let State::Ahead(why) = &state else { return };
            warn!(source = %self.config.name, "{why}");
        }
        self.partitions[at].state = state;
    }
}

/// Where messages of a partition are gathered. A letter has its message's key.
fn empty_batch(config: &KafkaConfig) -> MessageBatch {
    let keeps = config.on_bad_message == OnBadMessage::Keep;
    let make = if keeps { MessageBatch::with_keys } else { MessageBatch::new };
    make(config.format.clone())
}

/// Whether two ids may be of the same topic: 0 is one that is not known.
fn is_same(one: u128, other: u128) -> bool {
    one == other || one == 0 || other == 0
}
