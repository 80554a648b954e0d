//! Why a record is not known to be in its topic.

use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;

/// Why a record is not known to be in its topic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProducerError {
    /// There is no client with this configuration.
    #[error("no Kafka client can be made of this configuration: {problem}")]
    Client {
        /// What librdkafka says of it.
        problem: String,
    },
    /// The brokers gave no answer in time. A record may be in its topic or not.
    #[error("no answer from the brokers within {} s{}", within.as_secs(), known(trouble.as_ref()))]
    Unanswered {
        /// The time that they had.
        within: Duration,
        /// What is known of them.
        trouble: Option<String>,
    },
    /// The brokers, or librdkafka knowing what they would say, refuse.
    #[error("the brokers refuse: {problem}")]
    Refused {
        /// Kafka's number of the error.
        code: u16,
        /// What it means, in librdkafka's words.
        problem: String,
        /// Whether they would refuse the same record at any time, however they are set up otherwise.
        is_for_good: bool,
    },
}

fn known(trouble: Option<&String>) -> String {
    trouble.map_or_else(String::new, |trouble| format!(": {trouble}"))
}

impl ProducerError {
    /// What a code means for a record that had `within` to get an answer.
    pub(crate) fn of(code: RDKafkaErrorCode, within: Duration, trouble: Option<String>) -> Self {
        // Kafka's own numbers are positive. Of librdkafka's own, one is what a broker said of the topic.
        let number = match code {
            RDKafkaErrorCode::UnknownTopic => RDKafkaErrorCode::UnknownTopicOrPartition as i32,
            code => code as i32,
        };
        let is_late =
            matches!(code, RDKafkaErrorCode::MessageTimedOut | RDKafkaErrorCode::OperationTimedOut);
        match u16::try_from(number) {
            Ok(code_number) => {
                let is_for_good = matches!(
                    code,
                    RDKafkaErrorCode::MessageSizeTooLarge
                        | RDKafkaErrorCode::MessageBatchTooLarge
                        | RDKafkaErrorCode::InvalidRecord
                );
                Self::Refused { code: code_number, problem: code.to_string(), is_for_good }
            }
            Err(_) if is_late => Self::Unanswered { within, trouble },
            Err(_) => {
                let trouble = trouble.map_or_else(String::new, |trouble| format!("; {trouble}"));
                Self::Unanswered { within, trouble: Some(format!("{code}{trouble}")) }
            }
        }
    }
}
