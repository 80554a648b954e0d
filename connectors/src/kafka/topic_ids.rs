//! The ids of topics: one that is made anew under its old name has another id, and its offsets begin anew.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::bindings as native;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaRespErr;
use tidewatch_kafka::Context;

/// The ids of these topics by their names, of those that the brokers tell within `timeout`. Brokers before 2.8
/// know none.
#[expect(unsafe_code, reason = "rdkafka does not describe topics")]
pub(crate) fn topic_ids(
    consumer: &BaseConsumer<Context>,
    topics: &[&str],
    timeout: Duration,
) -> BTreeMap<String, u128> {
    let names: Vec<CString> = topics.iter().filter_map(|topic| CString::new(*topic).ok()).collect();
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    if pointers.is_empty() {
        return BTreeMap::new();
    }
    let client = consumer.client().native_ptr();
    // SAFETY: librdkafka copies the names, which are as many as it is told and end with NULs.
    let asked = unsafe {
        native::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len())
    };
    // SAFETY: the client lives longer than this function.
    let queue = unsafe { native::rd_kafka_queue_new(client) };
    let kind = native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    // SAFETY: as above.
    let options = unsafe { native::rd_kafka_AdminOptions_new(client, kind) };
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the options are there; no text of an error is asked for. A refused time leaves the usual one.
    unsafe {
        native::rd_kafka_AdminOptions_set_request_timeout(options, millis, std::ptr::null_mut(), 0)
    };
    // SAFETY: librdkafka copies what it needs of topics and options, and answers once to the queue.
    unsafe { native::rd_kafka_DescribeTopics(client, asked, options, queue) };
    // SAFETY: the queue is there.
    let event = unsafe { native::rd_kafka_queue_poll(queue, millis.saturating_add(100)) };
    let ids = NonNull::new(event).map(ids_in).unwrap_or_default();
    // SAFETY: made above, and not used after this; the ids are copies.
    unsafe { native::rd_kafka_AdminOptions_destroy(options) };
    // SAFETY: as above.
    unsafe { native::rd_kafka_TopicCollection_destroy(asked) };
    // SAFETY: as above; an answer that comes later finds no queue and is dropped by librdkafka.
    unsafe { native::rd_kafka_queue_destroy(queue) };
    ids
}

/// The ids in an answer, which is destroyed.
#[expect(unsafe_code, reason = "librdkafka's answers are pointers")]
fn ids_in(event: NonNull<native::rd_kafka_event_t>) -> BTreeMap<String, u128> {
    let mut ids = BTreeMap::new();
    // SAFETY: the event is there; of another kind than asked for, it gives no result.
    let result = unsafe { native::rd_kafka_event_DescribeTopics_result(event.as_ptr()) };
    if !result.is_null() {
        let mut count = 0;
        // SAFETY: the result lives as long as the event, and the number is there to be written.
        let topics =
            unsafe { native::rd_kafka_DescribeTopics_result_topics(result, &raw mut count) };
        for at in 0..count {
            // SAFETY: librdkafka's list has so many entries.
            let place = unsafe { topics.add(at) };
            // SAFETY: the entries live as long as the result.
            let topic = unsafe { *place };
            ids.extend(id_of(topic));
        }
    }
    // SAFETY: it was handed to us, and nothing of it is kept.
    unsafe { native::rd_kafka_event_destroy(event.as_ptr()) };
    ids
}

/// Name and id of a topic that the brokers know.
#[expect(unsafe_code, reason = "librdkafka's answers are pointers")]
fn id_of(topic: *const native::rd_kafka_TopicDescription_t) -> Option<(String, u128)> {
    // SAFETY: the caller's topic lives.
    let error = unsafe { native::rd_kafka_TopicDescription_error(topic) };
    // SAFETY: it lives as long as its topic; none is no error to librdkafka.
    let code = unsafe { native::rd_kafka_error_code(error) };
    if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        return None;
    }
    // SAFETY: as above.
    let name = unsafe { native::rd_kafka_TopicDescription_name(topic) };
    // SAFETY: as above.
    let id = unsafe { native::rd_kafka_TopicDescription_topic_id(topic) };
    if name.is_null() || id.is_null() {
        return None;
    }
    // SAFETY: librdkafka's name ends with a NUL and lives as long as its topic.
    let name = unsafe { CStr::from_ptr(name) }.to_str().ok()?;
    // SAFETY: the id lives as long as its topic.
    let high = unsafe { native::rd_kafka_Uuid_most_significant_bits(id) };
    // SAFETY: as above.
    let low = unsafe { native::rd_kafka_Uuid_least_significant_bits(id) };
    let id = u128::from(high.cast_unsigned()) << 64 | u128::from(low.cast_unsigned());
    Some((name.to_owned(), id))
}
