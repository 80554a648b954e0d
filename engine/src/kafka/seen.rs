//! What is seen of a source: its partitions, each with its lag and its counts.

use std::sync::Arc;
use std::time::Duration;

use tidewatch_connectors::kafka::PartitionLabels;

use crate::kafka::health::{
    PartitionCounts, PartitionHealth, PartitionState, SourceHealth, SourceTrouble,
};
use crate::kafka::lag::{Lag, Moment};
use crate::kafka::partition::{OnItsWay, Partition, State};
use crate::kafka::reader::Reader;
use crate::sources::SourcePartition;

/// What is remembered of a partition for those who look on.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) counts: PartitionCounts,
    pub(crate) lag: Lag,
}

impl Seen {
    /// A record of the partition is durable.
    pub(crate) fn stored(&mut self, record: &OnItsWay) {
        self.counts.messages += record.messages;
        self.counts.bytes += record.bytes;
        self.counts.samples += record.samples;
        self.counts.bad_messages += record.bad;
        self.lag.stored(record.newest);
    }
}

impl Reader {
    /// Looks at all partitions, and tells of each.
    pub(super) fn see(&mut self, trouble: Option<SourceTrouble>, health: &mut SourceHealth) {
        let now = Moment::now(&*self.engine.ingest().clock);
        let told: Option<Arc<str>> = trouble.as_ref().map(|trouble| trouble.text().into());
        // What brokers that do not answer have told last says nothing of what they have.
        let is_cut_off = matches!(trouble, Some(SourceTrouble::Brokers(_)));
        let is_known = self.contact.note(now.interval, is_cut_off);
        let ours = self.partitions.iter_mut().filter(|partition| partition.is_ours());
        let looked = ours.map(|partition| {
            if partition.state == State::Reading && is_known {
                let (stored, end) = (partition.stored, partition.end);
                partition.seen.lag.look(now.interval, stored, end);
            }
            told_of(partition, now, trouble.as_ref().zip(told.as_ref()))
        });
        let each: Arc<[PartitionHealth]> = looked.collect();
        for one in &*each {
            let labels = labels_of(&one.partition);
            let messages = i64::try_from(one.lag_messages).unwrap_or(i64::MAX);
            self.instruments.lag.get_or_create(&labels).set(messages);
            self.instruments.lag_seconds.get_or_create(&labels).set(one.lag.as_secs_f64());
        }
        // Their lag is another member's.
        for other in self.partitions.iter().filter(|partition| !partition.is_ours()) {
            let labels = labels_of(&other.name);
            self.instruments.lag.remove(&labels);
            self.instruments.lag_seconds.remove(&labels);
        }
        let lag_messages = each.iter().map(|one| one.lag_messages).sum();
        let messages = each.iter().map(|one| one.counts.messages).sum();
        self.pace.note(now.interval, each.len(), (messages, lag_messages));
        let rebalances = self.instruments.rebalances.get_or_create(&self.label).get();
        health.rebalances = rebalances;
        health.has_begun = self.has_looked && (!self.client.is_member() || rebalances > 0);
        health.partitions = each.len();
        health.lag_messages = lag_messages;
        health.lag = each.iter().map(|one| one.lag).max().unwrap_or_default();
        health.messages_per_second = self.pace.messages_per_second();
        health.time_left = self.pace.time_left();
        health.has_caught_up = self.partitions.iter().all(|one| is_caught_up(one, now.interval));
        health.each = each;
        health.trouble = trouble;
    }
}

fn labels_of(partition: &SourcePartition) -> PartitionLabels {
    PartitionLabels {
        source: partition.source().to_owned(),
        topic: partition.topic().to_owned(),
        partition: partition.partition(),
    }
}

/// Of one that is gone there is nothing to be stored.
fn is_caught_up(partition: &Partition, now: Duration) -> bool {
    match partition.state {
        // Another member's are not looked at.
        State::Gone | State::Unassigned => true,
        State::Reading => partition.seen.lag.is_caught_up(now),
        State::Lost
        | State::Ahead(_)
        | State::Leaving
        | State::Ending { .. }
        | State::Stopped(_) => false,
    }
}

fn told_of(
    partition: &Partition,
    now: Moment,
    trouble: Option<(&SourceTrouble, &Arc<str>)>,
) -> PartitionHealth {
    let of_all = trouble.map(|(_, text)| Arc::clone(text));
    let (state, trouble) = match (&partition.state, trouble) {
        (State::Stopped(why) | State::Ending { why, .. }, _) => {
            (PartitionState::Stopped, Some(Arc::clone(why)))
        }
        (State::Ahead(why), _) => (PartitionState::Ahead, Some(why.as_str().into())),
        (State::Gone, _) => (PartitionState::Gone, None),
        (State::Leaving | State::Unassigned, _) => (PartitionState::Leaving, None),
        (State::Lost, Some((SourceTrouble::Brokers(_), _))) => (PartitionState::Lost, of_all),
        (State::Lost, _) => (PartitionState::Lost, None),
        (State::Reading, Some((SourceTrouble::Brokers(_), _))) => {
            (PartitionState::Unreachable, of_all)
        }
        (State::Reading, Some((SourceTrouble::Waiting(_), _))) => (PartitionState::Waiting, of_all),
        // The trouble is another partition's, or a topic's.
        (State::Reading, _) => (PartitionState::Reading, None),
    };
    let lag_messages = partition.lag();
    let lag = match lag_messages {
        0 => Duration::ZERO,
        _ => partition.seen.lag.age(now, partition.oldest_in_hand()),
    };
    PartitionHealth {
        partition: partition.name.clone(),
        state,
        next_offset: partition.stored,
        end_offset: partition.end,
        lag_messages,
        lag,
        counts: partition.seen.counts,
        trouble,
    }
}
