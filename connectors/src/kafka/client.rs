//! A connection to brokers.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use tidewatch_kafka::Context;
use tidewatch_metrics::UnixNanos;

use crate::kafka::config::KafkaConfig;
use crate::kafka::error::{KafkaError, refused};
use crate::kafka::fetch_queue::{FetchQueue, Fetched};
use crate::kafka::topic_ids::topic_ids;
use crate::kafka::topics::TopicChoice;

const NANOS_PER_MILLI: i64 = 1_000_000;
/// Brokers that left the last question for ids of topics without an answer get so much time for the next.
const IDS_AGAIN: Duration = Duration::from_millis(200);

/// A topic and its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPartitions {
    /// Its name.
    pub name: String,
    /// Its id; 0 where the brokers do not tell.
    pub id: u128,
    /// How many partitions it has; they are numbered from 0.
    pub partitions: u32,
}

/// Which offsets of a partition are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// The first one.
    pub low: u64,
    /// The one behind the last one.
    pub high: u64,
}

/// Reads partitions. It belongs to one thread.
#[derive(Debug)]
pub struct KafkaClient {
    /// Before the consumer, which lives at least as long.
    pub(super) queue: FetchQueue,
    consumer: Consuming,
    topics: Vec<TopicChoice>,
    /// Whether brokers tell ids of topics, as far as is known.
    has_ids: bool,
    is_member: bool,
}

/// The consumer, which has no `Debug` of its own.
struct Consuming(Arc<BaseConsumer<Context>>);

impl std::fmt::Debug for Consuming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Consuming").field(self.0.context()).finish()
    }
}

impl Drop for KafkaClient {
    fn drop(&mut self) {
        self.consumer.0.context().leave();
    }
}

impl KafkaClient {
    /// A client, which connects in the background and goes on trying.
    ///
    /// # Errors
    /// [`KafkaError::Client`] for a configuration that cannot work, such as certificates that are not there.
    pub fn connect(config: &KafkaConfig) -> Result<Self, KafkaError> {
        let native = config.native();
        let consumer = BaseConsumer::from_config_and_context(&native, Context::default());
        let consumer = Arc::new(consumer.map_err(|error| KafkaError::Client(Box::new(error)))?);
        let is_member = config.group.is_some();
        let labels = config.header_labels.clone();
        let queue = FetchQueue::new(Arc::clone(&consumer), labels, is_member);
        Ok(Self {
            queue,
            consumer: Consuming(consumer),
            topics: config.topics.clone(),
            has_ids: true,
            is_member,
        })
    }

    /// Whether it shares partitions with others: it may start those only that were assigned to it.
    #[must_use]
    pub fn is_member(&self) -> bool {
        self.is_member
    }

    pub(super) fn consumer(&self) -> &BaseConsumer<Context> {
        &self.consumer.0
    }

    /// The chosen topics that there are, in the order of their names.
    ///
    /// # Errors
    /// [`KafkaError::Request`] where no broker answers within `timeout`.
    pub fn topics(&mut self, timeout: Duration) -> Result<Vec<TopicPartitions>, KafkaError> {
        let consumer = &self.consumer.0;
        let by_name = self.topics.iter().map(|choice| match choice {
            TopicChoice::Name(name) => Some(name.as_str()),
            TopicChoice::Pattern(_) => None,
        });
        // One request for all topics answers every pattern, and names beside it.
        let by_name: Option<Vec<&str>> = by_name.collect();
        let asked: Vec<Option<&str>> =
            by_name.map_or_else(|| vec![None], |names| names.into_iter().map(Some).collect());
        let mut found = Vec::new();
        for topic in asked {
            let metadata = consumer.fetch_metadata(topic, timeout).map_err(refused("topics"))?;
            let there = metadata.topics().iter().filter(|topic| topic.error().is_none());
            let chosen =
                there.filter(|topic| self.topics.iter().any(|one| one.is_of(topic.name())));
            found.extend(chosen.map(|topic| TopicPartitions {
                name: topic.name().to_owned(),
                id: 0,
                partitions: u32::try_from(topic.partitions().len()).unwrap_or(u32::MAX),
            }));
        }
        consumer.context().clear();
        found.retain(|topic| topic.partitions > 0);
        found.sort_by(|one, other| one.name.cmp(&other.name));
        found.dedup_by(|one, other| one.name == other.name);
        let names: Vec<&str> = found.iter().map(|topic| topic.name.as_str()).collect();
        let patience = if self.has_ids { timeout } else { timeout.min(IDS_AGAIN) };
        let ids = topic_ids(consumer, &names, patience);
        self.has_ids = !ids.is_empty() || names.is_empty();
        for topic in &mut found {
            topic.id = ids.get(&topic.name).copied().unwrap_or(0);
        }
        Ok(found)
    }

    /// Which offsets of a partition are there.
    ///
    /// # Errors
    /// [`KafkaError::Request`] where its broker does not answer within `timeout`.
    pub fn watermarks(
        &self,
        topic: &str,
        partition: u32,
        timeout: Duration,
    ) -> Result<Watermarks, KafkaError> {
        let marks = self.consumer.0.fetch_watermarks(topic, number(partition), timeout);
        let (low, high) = marks.map_err(refused("the offsets of a partition"))?;
        let offset = |offset| u64::try_from(offset).unwrap_or(0);
        Ok(Watermarks { low: offset(low), high: offset(high) })
    }

    /// The first offset of a message that was sent at `time` or later; `None` where there is none yet.
    ///
    /// # Errors
    /// [`KafkaError::Request`] where its broker does not answer within `timeout`.
    pub fn offset_at(
        &self,
        (topic, partition): (&str, u32),
        time: UnixNanos,
        timeout: Duration,
    ) -> Result<Option<u64>, KafkaError> {
        let refuse = refused("the offset of a time");
        // Kafka's times before 1970 mean other things.
        let millis = Offset::Offset(time.nanos().div_euclid(NANOS_PER_MILLI).max(0));
        let mut asked = TopicPartitionList::new();
        asked.add_partition_offset(topic, number(partition), millis).map_err(&refuse)?;
        let told = self.consumer.0.offsets_for_times(asked, timeout).map_err(&refuse)?;
        let told = told
            .elements()
            .first()
            .map(rdkafka::topic_partition_list::TopicPartitionListElem::offset);
        Ok(match told {
            Some(Offset::Offset(offset)) => u64::try_from(offset).ok(),
            _ => None,
        })
    }

    /// Has a partition read from `offset` on; one that is read already begins anew there.
    ///
    /// # Errors
    /// [`KafkaError::Partition`] or [`KafkaError::TopicName`], which are for good.
    pub fn start(&mut self, topic: &str, partition: u32, offset: u64) -> Result<(), KafkaError> {
        self.queue.start(topic, number(partition), offset)
    }

    /// Has a partition not read any more.
    pub fn stop(&mut self, topic: &str, partition: u32) {
        self.queue.stop(topic, number(partition));
    }

    /// Hands out what there is of all partitions, or comes within `timeout`; gives how much.
    pub fn fetch(&mut self, timeout: Duration, each: &mut dyn FnMut(Fetched<'_>)) -> usize {
        self.queue.fetch(timeout, each)
    }

    /// Which offsets of a partition were there when its broker last sent something.
    #[must_use]
    pub fn marks(&self, topic: &str, partition: u32) -> Option<Watermarks> {
        self.queue.marks(topic, number(partition))
    }

    /// The last trouble with brokers since they last answered [`KafkaClient::topics`].
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let consumer = &self.consumer.0;
        // What librdkafka tells waits in its queue until it is asked for; the context keeps it.
        // A member asks for rebalances all the time.
        while !self.is_member && consumer.poll(Duration::ZERO).is_some() {}
        consumer.context().trouble()
    }
}

/// Kafka numbers partitions with i32; one beyond is refused by librdkafka.
pub(super) fn number(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(-1)
}
