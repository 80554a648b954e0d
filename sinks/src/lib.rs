//! Where alerts go: standard output, a file, a webhook, a topic of Kafka; and where other rows go: a topic.
//!
//! A [`Sink`] makes one attempt at delivering one [`Message`]. A [`Courier`] is a thread around a
//! sink: it takes messages into a bounded queue, keeps them in order per series, tries again what
//! failed and reports every attempt. What is due when is decided by [`Schedule`], which has no
//! clock, no thread and no I/O.
//!
//! Delivery is at least once: an attempt whose answer was lost is repeated with equal key and
//! equal body, so that a receiver that goes by key sees each transition once. What is still queued
//! when the process ends is not kept here but in the engine's log.
//!
//! Nothing here knows rules or the engine.

mod address;
mod body;
mod config;
mod courier;
mod error;
mod feed;
mod feed_body;
mod file;
mod instruments;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kafka")]
mod kafka_feed;
#[cfg(feature = "kafka")]
mod kafka_topic;
pub mod limits;
mod message;
mod report;
mod retry;
mod retry_after;
mod rfc3339;
mod schedule;
mod secret;
mod signature;
mod sink;
mod stdout;
mod times;
mod webhook;

#[cfg(test)]
mod receiver;
#[cfg(test)]
mod samples;

pub use crate::body::body;
pub use crate::config::{Problem, SinkConfig};
pub use crate::courier::{Courier, CourierConfig, CourierWatch, Stopped};
pub use crate::error::SinkError;
pub use crate::feed::{FeedAttempt, FeedRecord, FeedSink, FeedTarget};
pub use crate::feed_body::{ClosedPercentiles, DeadMessage, ScoredSample};
pub use crate::file::FileSink;
pub use crate::instruments::{SinkInstruments, SinkLabel};
#[cfg(feature = "kafka")]
pub use crate::kafka::KafkaSink;
#[cfg(feature = "kafka")]
pub use crate::kafka_topic::KafkaSinkConfig;
pub use crate::message::Message;
pub use crate::report::{DeliveryOutcome, DeliveryReport};
pub use crate::retry::RetryPolicy;
pub use crate::schedule::{Full, QueueLimits, Schedule, Step, Verdict};
pub use crate::secret::Secret;
pub use crate::sink::{Attempt, Outcome, Sink};
pub use crate::stdout::StdoutSink;
pub use crate::webhook::WebhookSink;
