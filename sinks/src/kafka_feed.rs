//! Rows as records in a topic of Apache Kafka.

use crate::kafka_topic::{KafkaTopic, Told};
use crate::limits::ERROR_CHARS_MAX;
use crate::sink::shortened;
use crate::{FeedAttempt, FeedRecord, FeedSink, FeedTarget, KafkaSinkConfig};

/// Sends rows to a topic, many at a time. Delivered is what all replicas have acknowledged.
#[derive(Debug)]
struct KafkaFeed(KafkaTopic);

impl FeedTarget for KafkaSinkConfig {
    fn open(&self) -> Box<dyn FeedSink> {
        Box::new(KafkaFeed(KafkaTopic::new(self.clone())))
    }
}

impl FeedSink for KafkaFeed {
    fn send(&mut self, records: &[FeedRecord]) -> FeedAttempt {
        let headers: Vec<Vec<(&str, &str)>> = records.iter().map(headers).collect();
        let told = records.iter().zip(&headers).map(|(record, headers)| Told {
            key: record.key.as_deref(),
            value: &record.value,
            headers,
        });
        let told: Vec<_> = told.collect();
        match self.0.send(&told) {
            Ok(refused) => {
                let refused = refused.into_iter();
                FeedAttempt::Taken(refused.map(|(place, error)| (place, why(&error))).collect())
            }
            Err(error) => FeedAttempt::Retry(why(&error)),
        }
    }

    fn look(&mut self) -> Option<String> {
        self.0.look()
    }
}

fn headers(record: &FeedRecord) -> Vec<(&str, &str)> {
    record.headers.iter().map(|(name, text)| (&**name, text.as_str())).collect()
}

fn why(error: &tidewatch_kafka::ProducerError) -> String {
    shortened(&error.to_string(), ERROR_CHARS_MAX)
}
