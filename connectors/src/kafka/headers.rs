//! Headers of messages, of which only those that become labels are looked for.
//!
//! The calls of librdkafka that `rdkafka` has for its own messages alone.

use std::ffi::{CStr, CString};

use rdkafka::bindings as native;
use rdkafka::types::RDKafkaRespErr;

use crate::decode::MessageLabels;

/// A header whose value becomes a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderLabel {
    /// The header's name.
    pub header: CString,
    /// The label's key.
    pub label: String,
}

/// Adds the labels that `chosen` headers of a message are; of a header that repeats the last one counts.
#[expect(unsafe_code, reason = "librdkafka's headers are pointers")]
pub(super) fn add_labels(
    message: &native::rd_kafka_message_t,
    chosen: &[HeaderLabel],
    labels: &mut MessageLabels,
) {
    let mut headers = std::ptr::null_mut();
    // SAFETY: the message lives, is one that librdkafka handed out, and the pointer is there to be written.
    let found = unsafe { native::rd_kafka_message_headers(message, &raw mut headers) };
    if found != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR || headers.is_null() {
        return;
    }
    for HeaderLabel { header, label } in chosen {
        if let Some((start, len)) = last(headers, header) {
            // SAFETY: a header's value has this length, and lives and stays the same as long as its message, which
            // outlives this call.
            let value = unsafe { std::slice::from_raw_parts(start, len) };
            labels.push(label, value);
        }
    }
}

/// Where the value of the last header of this name begins, and its length; `None` where there is none.
#[expect(unsafe_code, reason = "librdkafka's headers are pointers")]
fn last(headers: *mut native::rd_kafka_headers_t, name: &CStr) -> Option<(*const u8, usize)> {
    let (mut value, mut len) = (std::ptr::null(), 0);
    // SAFETY: the headers are those of a message that lives, the name ends with a NUL, and both places are there to be
    // written.
    let found = unsafe {
        native::rd_kafka_header_get_last(headers, name.as_ptr(), &raw mut value, &raw mut len)
    };
    let is_there = found == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR && !value.is_null();
    is_there.then_some((value.cast::<u8>(), len))
}
