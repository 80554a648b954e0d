//! One queue for the messages of many partitions, emptied in batches.
//!
//! The calls of librdkafka that `rdkafka` does not have. Invariants, which the rest of the file keeps:
//!
//! - `queue` and all of `topics` were made by `consumer`'s client and not destroyed; they go before the client.
//! - Every message that librdkafka hands out is destroyed once, by [`FetchQueue::fetch`], and nothing of it
//!   is kept beyond that.
//! - A partition is in `started` from its start to its stop; it is started once at a time. A member of a group keeps it there
//!   until it gives it up: a stop pauses it.
//! - A member's partition is forwarded to `queue` before it is assigned, so that no message of it takes another way.
//! - Only one thread uses all of it: the raw pointers see to that.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as native;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError as NativeError;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use tidewatch_kafka::Context;

use crate::decode::{Incoming, MessageLabels, Precision};
use crate::kafka::client::{Watermarks, number};
use crate::kafka::error::{KafkaError, refused};
use crate::kafka::headers::{self, HeaderLabel};
use crate::kafka::member::list;

/// A partition that is read already gets so much time to begin anew.
const SEEK_MAX: Duration = Duration::from_secs(2);
/// Messages that come within this after one are taken with it: a record of the log for each would cost more than it brings.
const GATHER_MAX: Duration = Duration::from_millis(5);
/// Messages that are taken from the queue at once.
const FETCH_MESSAGES_MAX: usize = 10_000;

/// Something of a partition.
#[derive(Clone, Copy, Debug)]
pub struct Fetched<'a> {
    /// The topic; empty where a trouble is with none.
    pub topic: &'a str,
    /// The partition's number.
    pub partition: i32,
    /// What there is.
    pub what: What<'a>,
}

/// What there is of a partition.
#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    /// A message.
    Message {
        /// Its offset.
        offset: u64,
        /// What it holds, and when it was sent, or received by the broker; `None` for a tombstone.
        message: Option<Incoming<'a>>,
    },
    /// All that there is has been handed out, up to this offset, before which marks of transactions may stand: they
    /// are no messages.
    End {
        /// The offset behind the last one.
        offset: u64,
    },
    /// The broker does not have the offset; the partition is not read until it is started again.
    OffsetGone,
    /// The broker refuses, or a message cannot be unpacked; librdkafka goes on trying.
    Trouble(&'a str),
}

/// The queue, and the partitions that fill it.
pub(crate) struct FetchQueue {
    queue: NonNull<native::rd_kafka_queue_t>,
    topics: BTreeMap<String, NonNull<native::rd_kafka_topic_t>>,
    started: BTreeSet<(String, i32)>,
    /// Reused from batch to batch.
    messages: Vec<*mut native::rd_kafka_message_t>,
    header_labels: Vec<HeaderLabel>,
    /// Reused from message to message.
    labels: MessageLabels,
    consumer: Arc<BaseConsumer<Context>>,
    is_member: bool,
}

impl fmt::Debug for FetchQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchQueue").field("started", &self.started).finish_non_exhaustive()
    }
}

impl FetchQueue {
    /// An empty queue.
    #[expect(unsafe_code, reason = "rdkafka has no queue for several partitions")]
    pub(crate) fn new(
        consumer: Arc<BaseConsumer<Context>>,
        header_labels: Vec<HeaderLabel>,
        is_member: bool,
    ) -> Self {
        // SAFETY: the client lives as long as `consumer`, which is kept.
        let queue = unsafe { native::rd_kafka_queue_new(consumer.client().native_ptr()) };
        let queue = NonNull::new(queue).expect("librdkafka aborts where it has no memory");
        let messages = vec![std::ptr::null_mut(); FETCH_MESSAGES_MAX];
        Self {
            queue,
            topics: BTreeMap::new(),
            started: BTreeSet::new(),
            messages,
            header_labels,
            labels: MessageLabels::default(),
            consumer,
            is_member,
        }
    }

    /// Has a partition read from `offset` on. One that is read already begins anew there, and nothing of it that
    /// was fetched before is handed out any more.
    pub(crate) fn start(
        &mut self,
        topic: &str,
        partition: i32,
        offset: u64,
    ) -> Result<(), KafkaError> {
        if !self.is_member {
            self.stop(topic, partition);
        }
        let unread = |problem: String| KafkaError::Partition {
            topic: topic.to_owned(),
            partition: u32::try_from(partition).unwrap_or_default(),
            problem,
        };
        let Ok(offset) = i64::try_from(offset) else {
            return Err(unread("its offset is beyond 63 bits".to_owned()));
        };
        if self.is_member {
            return self.start_as_member((topic, partition), offset).map_err(unread);
        }
        let handle = self.topic(topic)?;
        start(handle, (partition, offset), self.queue).map_err(unread)?;
        self.started.insert((topic.to_owned(), partition));
        Ok(())
    }

    /// Has a partition not read any more.
    #[expect(unsafe_code, reason = "rdkafka reads partitions for groups only")]
    pub(crate) fn stop(&mut self, topic: &str, partition: i32) {
        if self.is_member {
            if self.started.contains(&(topic.to_owned(), partition)) {
                let paused = self.consumer.pause(&list([(topic, partition)].into_iter()));
                debug_assert!(paused.is_ok(), "{paused:?}");
            }
            return;
        }
        if !self.started.remove(&(topic.to_owned(), partition)) {
            return;
        }
        let handle = self.topics.get(topic).expect("a started partition's topic is kept");
        // SAFETY: the topic is not destroyed, and the partition was started.
        let stopped = unsafe { native::rd_kafka_consume_stop(handle.as_ptr(), partition) };
        debug_assert_eq!(stopped, 0, "a started partition can be stopped");
    }

    /// A partition that was assigned is read from `offset` on.
    fn start_as_member(
        &mut self,
        (topic, partition): (&str, i32),
        offset: i64,
    ) -> Result<(), String> {
        let consumer = Arc::clone(&self.consumer);
        let refused = |error: NativeError| error.to_string();
        if self.started.contains(&(topic.to_owned(), partition)) {
            let at = Offset::Offset(offset);
            consumer.seek(topic, partition, at, SEEK_MAX).map_err(refused)?;
            let one = list([(topic, partition)].into_iter());
            return consumer.resume(&one).map_err(refused);
        }
        self.forward(topic, partition)?;
        let mut one = TopicPartitionList::new();
        let added = one.add_partition_offset(topic, partition, Offset::Offset(offset));
        added.map_err(refused)?;
        consumer.incremental_assign(&one).map_err(refused)?;
        self.started.insert((topic.to_owned(), partition));
        Ok(())
    }

    /// Partitions of a member are not read any more: the answer to a rebalance.
    pub(crate) fn give_up(&mut self, partitions: &[(&str, u32)]) -> Result<(), KafkaError> {
        let numbered = partitions.iter().map(|(topic, partition)| (*topic, number(*partition)));
        let given_up: Vec<_> = numbered
            .filter(|(topic, partition)| self.started.remove(&((*topic).to_owned(), *partition)))
            .collect();
        let given_up = list(given_up.into_iter());
        self.consumer.incremental_unassign(&given_up).map_err(refused("an end of partitions"))
    }

    /// Messages of a partition come through the queue, once there are any.
    #[expect(unsafe_code, reason = "rdkafka has no queue for several partitions")]
    fn forward(&self, topic: &str, partition: i32) -> Result<(), String> {
        let name = CString::new(topic).map_err(|_nul| "its topic has no name".to_owned())?;
        let client = self.consumer.client().native_ptr();
        // SAFETY: the client lives, and the name ends with a NUL.
        let of_partition =
            unsafe { native::rd_kafka_queue_get_partition(client, name.as_ptr(), partition) };
        if of_partition.is_null() {
            return Err("librdkafka has no queue for it".to_owned());
        }
        // SAFETY: neither queue has been destroyed, and librdkafka keeps both as long as it forwards.
        unsafe { native::rd_kafka_queue_forward(of_partition, self.queue.as_ptr()) };
        // SAFETY: this handle is not used any more; the partition has its queue still.
        unsafe { native::rd_kafka_queue_destroy(of_partition) };
        Ok(())
    }

    /// Takes up to `room` messages from `place` on, as many as come within `timeout`; gives how many.
    #[expect(unsafe_code, reason = "rdkafka has no call for a batch of messages")]
    fn take(&mut self, place: usize, room: usize, timeout: Duration) -> usize {
        let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        let place = self.messages[place..][..room].as_mut_ptr();
        // SAFETY: the queue is not destroyed, and `place` has room for so many pointers.
        let count = unsafe {
            native::rd_kafka_consume_batch_queue(self.queue.as_ptr(), millis, place, room)
        };
        usize::try_from(count).unwrap_or(0)
    }

    /// Hands out what there is, or comes within `timeout` and in the next moment; gives how much.
    #[expect(unsafe_code, reason = "rdkafka has no call for a batch of messages")]
    pub(crate) fn fetch(&mut self, timeout: Duration, each: &mut dyn FnMut(Fetched<'_>)) -> usize {
        // A batch that is not full takes all of its time: the first message is waited for alone.
        let mut count = self.take(0, 1, timeout);
        if count > 0 {
            count += self.take(count, self.messages.len() - count, GATHER_MAX);
        }
        let mut topic = (std::ptr::null_mut(), "");
        for message in self.messages.iter().take(count) {
            let message = Owned(*message);
            // SAFETY: librdkafka has filled in so many pointers to messages, which are destroyed only when
            // `message` is dropped.
            let parts = unsafe { &*message.0 };
            // A member's topics may go with the last of their messages; others are those of `topics`.
            if parts.rkt != topic.0 || self.is_member {
                topic = (parts.rkt, name_of(parts.rkt));
            }
            let mut what = what(parts);
            if let What::Message { message: Some(message), .. } = &mut what
                && !self.header_labels.is_empty()
            {
                self.labels.clear();
                headers::add_labels(parts, &self.header_labels, &mut self.labels);
                message.labels = Some(&self.labels);
            }
            each(Fetched { topic: topic.1, partition: parts.partition, what });
        }
        count
    }

    /// The marks of a partition as brokers told them with the last messages; `None` before the first ones.
    #[expect(unsafe_code, reason = "rdkafka has no call for the marks that are known already")]
    pub(crate) fn marks(&self, topic: &str, partition: i32) -> Option<Watermarks> {
        let name = CString::new(topic).ok()?;
        let (mut low, mut high) = (-1, -1);
        let client = self.consumer.client().native_ptr();
        // SAFETY: the client lives, the name ends with a NUL, and both numbers are there to be written.
        let asked = unsafe {
            native::rd_kafka_get_watermark_offsets(
                client,
                name.as_ptr(),
                partition,
                &raw mut low,
                &raw mut high,
            )
        };
        let known = asked == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
        let (low, high) = (u64::try_from(low).unwrap_or(0), u64::try_from(high).ok()?);
        known.then_some(Watermarks { low, high })
    }

    #[expect(unsafe_code, reason = "rdkafka has no topics apart from messages")]
    fn topic(&mut self, topic: &str) -> Result<NonNull<native::rd_kafka_topic_t>, KafkaError> {
        if let Some(handle) = self.topics.get(topic) {
            return Ok(*handle);
        }
        let bad = || KafkaError::TopicName { topic: topic.to_owned() };
        let name = CString::new(topic).map_err(|_nul| bad())?;
        let client = self.consumer.client().native_ptr();
        // SAFETY: the client lives, the name ends with a NUL, and no configuration is given away.
        let handle =
            unsafe { native::rd_kafka_topic_new(client, name.as_ptr(), std::ptr::null_mut()) };
        let handle = NonNull::new(handle).ok_or_else(bad)?;
        self.topics.insert(topic.to_owned(), handle);
        Ok(handle)
    }
}

impl Drop for FetchQueue {
    #[expect(unsafe_code, reason = "what librdkafka made it must destroy")]
    fn drop(&mut self) {
        // A member leaves with the client, which answers the revocation.
        let started = if self.is_member { BTreeSet::new() } else { self.started.clone() };
        for (topic, partition) in started {
            self.stop(&topic, partition);
        }
        for handle in self.topics.values() {
            // SAFETY: nothing reads its partitions any more, and it is not used after this.
            unsafe { native::rd_kafka_topic_destroy(handle.as_ptr()) };
        }
        // SAFETY: nothing fills it any more, it is not used after this, and the client still lives.
        unsafe { native::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

/// A message, destroyed at the end.
struct Owned(*mut native::rd_kafka_message_t);

impl Drop for Owned {
    #[expect(unsafe_code, reason = "what librdkafka made it must destroy")]
    fn drop(&mut self) {
        // SAFETY: librdkafka gave this message away, and only this owner destroys it.
        unsafe { native::rd_kafka_message_destroy(self.0) };
    }
}

#[expect(unsafe_code, reason = "rdkafka reads partitions for groups only")]
fn start(
    topic: NonNull<native::rd_kafka_topic_t>,
    (partition, offset): (i32, i64),
    queue: NonNull<native::rd_kafka_queue_t>,
) -> Result<(), String> {
    let (topic, queue) = (topic.as_ptr(), queue.as_ptr());
    // SAFETY: neither topic nor queue is destroyed before the partition is stopped.
    let started = unsafe { native::rd_kafka_consume_start_queue(topic, partition, offset, queue) };
    if started == 0 {
        return Ok(());
    }
    // SAFETY: reads a number of this thread.
    let error = unsafe { native::rd_kafka_last_error() };
    Err(rdkafka::types::RDKafkaErrorCode::from(error).to_string())
}

/// What a message of librdkafka is.
#[expect(unsafe_code, reason = "librdkafka's messages are pointers")]
fn what(message: &native::rd_kafka_message_t) -> What<'_> {
    match message.err {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => {}
        RDKafkaRespErr::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET
        | RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE => return What::OffsetGone,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF => {
            return What::End { offset: u64::try_from(message.offset).unwrap_or(0) };
        }
        _ => {
            // SAFETY: the message lives, and its text, if there is one, lives as long.
            let text = unsafe { native::rd_kafka_message_errstr(message) };
            return What::Trouble(text_of(text));
        }
    }
    // SAFETY: librdkafka's payloads have this length, and live and stay the same as long as the message.
    let payload = unsafe { bytes_of(message.payload, message.len) };
    // SAFETY: as are its keys.
    let key = unsafe { bytes_of(message.key, message.key_len) };
    let mut kind = native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    // SAFETY: the message lives, and the kind is there to be written.
    let millis = unsafe { native::rd_kafka_message_timestamp(message, &raw mut kind) };
    let is_known = kind != native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    // A message without a time has -1 in its place, whatever kind of times its topic has.
    let is_known = is_known && millis >= 0;
    let time = if is_known { Precision::Milliseconds.scale(millis) } else { None };
    What::Message {
        offset: u64::try_from(message.offset).unwrap_or_default(),
        message: payload.map(|payload| Incoming { payload, key, time, labels: None }),
    }
}

/// So many bytes at `start`; `None` where it points nowhere.
///
/// # Safety
/// They are there, unchanged, for all of `'a`.
#[expect(unsafe_code, reason = "librdkafka's bytes are pointers")]
unsafe fn bytes_of<'a>(start: *const std::ffi::c_void, len: usize) -> Option<&'a [u8]> {
    if start.is_null() {
        return None;
    }
    // SAFETY: the caller answers for it.
    Some(unsafe { std::slice::from_raw_parts(start.cast::<u8>(), len) })
}

/// The name of a topic, which lives as long as it; empty for none.
#[expect(unsafe_code, reason = "librdkafka's topics are pointers")]
fn name_of<'a>(topic: *mut native::rd_kafka_topic_t) -> &'a str {
    if topic.is_null() {
        return "";
    }
    // SAFETY: topics of messages live as long as these; others are those of the queue, and go with it.
    text_of(unsafe { native::rd_kafka_topic_name(topic) })
}

/// A text of librdkafka; empty where there is none, or none in UTF-8.
#[expect(unsafe_code, reason = "librdkafka's texts are pointers")]
fn text_of<'a>(text: *const std::ffi::c_char) -> &'a str {
    if text.is_null() {
        return "";
    }
    // SAFETY: librdkafka's texts end with a NUL; callers see to it that they live long enough.
    unsafe { CStr::from_ptr(text) }.to_str().unwrap_or_default()
}
