//! What a client does as a member of a group: it takes partitions and gives them up as the group's coordinator says, and tells
//! the group how far they are stored.
//!
//! A rebalance waits for its answer, and partitions of a revocation may still be read until then: first their last record
//! becomes durable, then their offsets are committed, then they are given up.

use std::time::Duration;

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::{Message, Offset, TopicPartitionList};
use tidewatch_kafka::Rebalance;

use crate::kafka::client::{KafkaClient, number};
use crate::kafka::error::{KafkaError, refused};

/// A partition, and the offset that the group is told.
pub type Committed<'a> = (&'a str, u32, u64);

impl KafkaClient {
    /// Says which topics are of interest, and joins the group with the first ones.
    ///
    /// # Errors
    /// [`KafkaError::Request`] where librdkafka does not take their names.
    pub fn subscribe(&self, topics: &[&str]) -> Result<(), KafkaError> {
        self.consumer().subscribe(topics).map_err(refused("a place in the group"))
    }

    /// The next rebalance, if there is one; it is to be answered before the next one is asked for.
    ///
    /// # Errors
    /// [`KafkaError::Partition`] where a message came past the queue and cannot be fetched again: its partition is to be
    /// started anew.
    pub fn next_rebalance(&mut self) -> Result<Option<Rebalance>, KafkaError> {
        loop {
            let stray = match self.consumer().poll(Duration::ZERO) {
                None => return Ok(self.consumer().context().next_rebalance()),
                // The context has it, too.
                Some(Err(_)) => continue,
                Some(Ok(stray)) => (stray.topic().to_owned(), stray.partition(), stray.offset()),
            };
            let (topic, partition, offset) = stray;
            self.queue.start(&topic, partition, u64::try_from(offset).unwrap_or_default())?;
        }
    }

    /// Answers that partitions are taken. Each of them is read once it is [started](KafkaClient::start).
    ///
    /// # Errors
    /// [`KafkaError::Request`] where the group has gone on without this member.
    pub fn accept(&self) -> Result<(), KafkaError> {
        let nothing = TopicPartitionList::new();
        self.consumer().incremental_assign(&nothing).map_err(refused("partitions"))
    }

    /// Answers that these partitions are given up. They are not read any more.
    ///
    /// # Errors
    /// [`KafkaError::Request`] where the group has gone on without this member.
    pub fn give_up(&mut self, partitions: &[(&str, u32)]) -> Result<(), KafkaError> {
        self.queue.give_up(partitions)
    }

    /// How far the group has a partition, as its members have committed it; `None` where nobody has.
    ///
    /// # Errors
    /// [`KafkaError::Request`] where the coordinator does not answer within `timeout`.
    pub fn committed(
        &self,
        (topic, partition): (&str, u32),
        timeout: Duration,
    ) -> Result<Option<u64>, KafkaError> {
        let mut asked = TopicPartitionList::new();
        asked.add_partition(topic, number(partition));
        let told = self.consumer().committed_offsets(asked, timeout);
        let told = told.map_err(refused("the group's offsets"))?;
        Ok(told.elements().first().and_then(|told| match told.offset() {
            Offset::Offset(offset) => u64::try_from(offset).ok(),
            _ => None,
        }))
    }

    /// Tells the group the offset behind what is stored of each partition; waits for its answer with `is_last`.
    ///
    /// # Errors
    /// [`KafkaError::Request`] where the group does not take it.
    pub fn commit(&self, offsets: &[Committed<'_>], is_last: bool) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for (topic, partition, next) in offsets {
            let next = Offset::Offset(i64::try_from(*next).unwrap_or(i64::MAX));
            let added = list.add_partition_offset(topic, number(*partition), next);
            added.map_err(refused("a place for offsets"))?;
        }
        let mode = if is_last { CommitMode::Sync } else { CommitMode::Async };
        self.consumer().commit(&list, mode).map_err(refused("a place for offsets"))
    }

    /// Whether the group has refused offsets since this was asked last: they are to be told again.
    #[must_use]
    pub fn is_commit_lost(&self) -> bool {
        self.consumer().context().is_commit_lost()
    }

    /// Why this member is none any more, and will never be again.
    #[must_use]
    pub fn expulsion(&self) -> Option<String> {
        let (code, text) = self.consumer().client().fatal_error()?;
        Some(format!("the group does not take this member any more ({code}): {text}"))
    }
}

/// A list of partitions.
pub(super) fn list<'a>(partitions: impl Iterator<Item = (&'a str, i32)>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (topic, partition) in partitions {
        list.add_partition(topic, partition);
    }
    list
}
