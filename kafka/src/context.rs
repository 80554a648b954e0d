//! What librdkafka tells beside messages.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError as NativeError, RDKafkaErrorCode};

/// Keeps the last trouble with brokers. librdkafka goes on trying by itself.
#[derive(Debug, Default)]
pub struct Context {
    trouble: Mutex<Option<String>>,
}

impl Context {
    /// The last trouble since [`Context::clear`].
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.lock().clone()
    }

    /// The brokers answer.
    pub fn clear(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Context {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        // What matters of it comes as an error, too.
        tracing::debug!(target: "librdkafka", facility, message);
    }

    fn error(&self, error: NativeError, reason: &str) {
        let mut trouble = self.lock();
        // That all brokers are down follows from what was told of each, and says less.
        let is_summary = error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown);
        if trouble.is_none() || !is_summary {
            *trouble = Some(reason.to_owned());
        }
    }
}

impl ConsumerContext for Context {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_trouble_is_kept_but_not_its_summary() {
        let context = Context::default();
        let tell = |code, reason: &str| context.error(NativeError::Global(code), reason);
        tell(RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down");
        assert_eq!(context.trouble().as_deref(), Some("1/1 brokers are down"));
        tell(RDKafkaErrorCode::BrokerTransportFailure, "refused");
        tell(RDKafkaErrorCode::Authentication, "wrong password");
        tell(RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down");
        assert_eq!(context.trouble().as_deref(), Some("wrong password"));
        context.clear();
        assert_eq!(context.trouble(), None);
    }
}
