//! What librdkafka tells beside messages.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError as NativeError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, TopicPartitionList};

/// What librdkafka's log calls a connection that broke or did not come about.
const FAILED_CONNECTION: &str = "FAIL";

/// Keeps the last trouble with brokers, and rebalances of a group until they are asked for. librdkafka goes on trying
/// by itself; the group waits for the answer to a rebalance.
#[derive(Debug, Default)]
pub struct Context {
    trouble: Mutex<Option<String>>,
    rebalances: Mutex<VecDeque<Rebalance>>,
    is_leaving: AtomicBool,
    is_commit_lost: AtomicBool,
}

/// What the group's coordinator wants of a member. It is answered with an incremental assign or unassign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rebalance {
    /// These partitions are this member's from now on.
    Assigned(Vec<(String, i32)>),
    /// These partitions are to be given up.
    Revoked {
        /// Topics and numbers of the partitions.
        partitions: Vec<(String, i32)>,
        /// They are somebody else's already: the member was away for too long.
        is_lost: bool,
    },
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

    /// The next rebalance, if there is one.
    pub fn next_rebalance(&self) -> Option<Rebalance> {
        self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Whether the group has refused offsets since this was asked last, as it does while partitions change hands.
    pub fn is_commit_lost(&self) -> bool {
        self.is_commit_lost.swap(false, Ordering::AcqRel)
    }

    /// From now on nobody asks for rebalances: partitions are given up as soon as they are asked back.
    pub fn leave(&self) {
        self.is_leaving.store(true, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", facility, message);
        // It comes as an error, too, but where that is lost, librdkafka may not say the same again for minutes.
        if facility == FAILED_CONNECTION && is_error(level) {
            let (_thread, reason) = message.split_once("]: ").unwrap_or(("", message));
            *self.lock() = Some(reason.to_owned());
        }
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

impl ConsumerContext for Context {
    /// Takes note and no more: what must be done before the answer is not for a callback.
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let is_assigned = what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.is_leaving.load(Ordering::Acquire) {
            return answer_at_once(consumer, is_assigned, partitions);
        }
        let partitions = partitions.elements();
        let partitions =
            partitions.iter().map(|one| (one.topic().to_owned(), one.partition())).collect();
        let rebalance = if is_assigned {
            Rebalance::Assigned(partitions)
        } else {
            Rebalance::Revoked { partitions, is_lost: consumer.assignment_lost() }
        };
        self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).push_back(rebalance);
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "offsets were not committed");
            self.is_commit_lost.store(true, Ordering::Release);
        }
    }
}

/// An idle connection that a broker closes is none.
fn is_error(level: RDKafkaLogLevel) -> bool {
    use RDKafkaLogLevel::{Alert, Critical, Emerg, Error};
    matches!(level, Emerg | Alert | Critical | Error)
}

/// A member that leaves takes nothing, and gives up what it has.
fn answer_at_once(
    consumer: &BaseConsumer<Context>,
    is_assigned: bool,
    partitions: &TopicPartitionList,
) {
    let mut given_up = TopicPartitionList::new();
    let held = consumer.assignment();
    for one in partitions.elements() {
        let is_held =
            |held: &TopicPartitionList| held.find_partition(one.topic(), one.partition()).is_some();
        if !is_assigned && held.as_ref().is_ok_and(is_held) {
            given_up.add_partition(one.topic(), one.partition());
        }
    }
    let answered = if is_assigned {
        consumer.incremental_assign(&given_up)
    } else {
        consumer.incremental_unassign(&given_up)
    };
    if let Err(error) = answered {
        tracing::debug!(%error, "a group is left");
    }
}

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
        context.log(RDKafkaLogLevel::Info, "FAIL", "[thrd:a:1/1]: a:1/1: Disconnected");
        context.log(RDKafkaLogLevel::Error, "METADATA", "[thrd:main]: no such topic");
        assert_eq!(context.trouble(), None);
        context.log(
            RDKafkaLogLevel::Error,
            "FAIL",
            "[thrd:ssl://a:1/bootstrap]: ssl://a:1/bootstrap: no",
        );
        assert_eq!(context.trouble().as_deref(), Some("ssl://a:1/bootstrap: no"));
    }
}
