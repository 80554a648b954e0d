//! Being a member of a group: which partitions are this member's, and what the others are told.
//!
//! A partition that is asked back is read no more: what was gathered of it is forgotten, its last record gets an outcome, the
//! group is told how far it is stored, and only then it is given up. The next owner goes on exactly there. Where the
//! group has given it away already, because this member was away for too long, the last record may be stored by both;
//! `tidewatch.offsets` of both tell.

use std::collections::BTreeSet;
use std::time::Duration;

use tidewatch_connectors::kafka::{Committed, KafkaClient, KafkaError, Rebalance, TopicPartitions};
use tracing::{error, info, warn};

use crate::chain;
use crate::kafka::partition::{Partition, State};
use crate::kafka::reader::Reader;
use crate::sources::SourcePartition;

/// The group is told this often how far partitions are stored.
const COMMIT_EVERY: Duration = Duration::from_millis(250);
/// Before a partition is given up, its offset is told for so long until it is taken.
const LAST_COMMIT_MAX: Duration = Duration::from_secs(5);
/// And this often.
const COMMIT_AGAIN: Duration = Duration::from_millis(50);
/// At a stop, the last records get so much time for their outcomes.
const LAST_MAX: Duration = Duration::from_secs(10);
/// A member that was expelled joins again after this.
const REJOIN_AFTER: Duration = Duration::from_secs(10);

/// What a member knows of its group. Without a group, nothing.
#[derive(Debug, Default)]
pub(super) struct Membership {
    /// Topics and partitions that are this member's; `None` without a group.
    assigned: Option<BTreeSet<(String, u32)>>,
    subscribed: Vec<String>,
    /// Partitions that are asked back, by their places among all.
    asked_back: Option<Vec<usize>>,
    commit_at: Duration,
    /// Why this client is no member any more, and when another one joins.
    expulsion: Option<(String, Duration)>,
}

impl Membership {
    /// Whether the group waits for an answer.
    pub(super) fn is_asked(&self) -> bool {
        self.asked_back.is_some()
    }

    /// Why this client is no member any more.
    pub(super) fn expulsion(&self) -> Option<&str> {
        self.expulsion.as_ref().map(|(why, _)| why.as_str())
    }

    /// How a partition begins that has just been found.
    pub(super) fn first_state(&self, name: &SourcePartition) -> State {
        let is_ours = |assigned: &BTreeSet<(String, u32)>| {
            assigned.contains(&(name.topic().to_owned(), name.partition()))
        };
        if self.assigned.as_ref().is_none_or(is_ours) { State::Lost } else { State::Unassigned }
    }
}

impl Reader {
    /// Does what the group wants, and tells it what is stored.
    pub(super) fn serve_group(&mut self, now: Duration) {
        if !self.client.is_member() {
            return;
        }
        self.membership.assigned.get_or_insert_default();
        if self.membership.expulsion.is_some() {
            self.rejoin(now);
            return;
        }
        if let Some(why) = self.client.expulsion() {
            self.expel(why, now);
            return;
        }
        while !self.is_giving_up() {
            match self.client.next_rebalance() {
                Ok(Some(rebalance)) => self.rebalance(rebalance),
                Ok(None) => break,
                Err(error) => self.read_all_anew(&error),
            }
        }
        if now >= self.membership.commit_at {
            self.membership.commit_at = now + COMMIT_EVERY;
            self.commit(|_| true, false);
        }
    }

    fn rebalance(&mut self, rebalance: Rebalance) {
        let source = &self.config.name;
        self.instruments.rebalances.get_or_create(&self.label).inc();
        match rebalance {
            Rebalance::Assigned(partitions) => {
                info!(%source, partitions = partitions.len(), "partitions were assigned");
                if let Err(error) = self.client.accept() {
                    warn!(%source, error = chain(&error), "partitions could not be taken");
                    return;
                }
                self.take_up(&partitions);
            }
            Rebalance::Revoked { partitions, is_lost } => {
                info!(%source, partitions = partitions.len(), is_lost, "partitions are asked back");
                let places = partitions.iter().filter_map(|(topic, number)| {
                    let number = usize::try_from(*number).ok()?;
                    self.numbers.get(topic)?.get(number).copied()
                });
                let places: Vec<usize> = places.collect();
                let known = self.membership.assigned.get_or_insert_default();
                for (topic, number) in &partitions {
                    known.remove(&(topic.clone(), u32::try_from(*number).unwrap_or(u32::MAX)));
                }
                for at in &places {
                    let partition = &mut self.partitions[*at];
                    partition.forget();
                    partition.state = if is_lost { State::Unassigned } else { State::Leaving };
                }
                self.membership.asked_back = Some(places);
            }
        }
    }

    fn take_up(&mut self, partitions: &[(String, i32)]) {
        let assigned = self.membership.assigned.get_or_insert_default();
        for (topic, number) in partitions {
            let Ok(number) = u32::try_from(*number) else { continue };
            assigned.insert((topic.clone(), number));
            let place = usize::try_from(number).ok().and_then(|number| {
                self.numbers.get(topic).and_then(|numbers| numbers.get(number)).copied()
            });
            // One that is not known yet is found with its topic.
            if let Some(at) = place {
                let partition = &mut self.partitions[at];
                partition.committed = None;
                partition.state = State::Lost;
            }
        }
        self.times.look = Duration::ZERO;
    }

    /// Goes on to give up what is asked back; whether the group has to wait still.
    fn is_giving_up(&mut self) -> bool {
        let Some(places) = &self.membership.asked_back else { return false };
        let is_leaving = |at: &&usize| self.partitions[**at].state == State::Leaving;
        if places.iter().filter(is_leaving).any(|at| self.partitions[*at].on_its_way.is_some()) {
            return true;
        }
        self.commit(|state| *state == State::Leaving, true);
        let places = self.membership.asked_back.take().unwrap_or_default();
        let names: Vec<_> = places.iter().map(|at| self.partitions[*at].name.clone()).collect();
        let names: Vec<_> = names.iter().map(|one| (one.topic(), one.partition())).collect();
        if let Err(error) = self.client.give_up(&names) {
            warn!(source = %self.config.name, error = chain(&error), "partitions were taken away");
        }
        places.into_iter().for_each(|at| self.partitions[at].unassign());
        false
    }

    /// Tells the group how far partitions are stored, where it may not know yet. Each time it may refuse, as it does
    /// while other partitions change hands; the last time before one is given up that is tried again.
    fn commit(&mut self, of: impl Fn(&State) -> bool, is_last: bool) {
        let all = is_last || self.client.is_commit_lost();
        let is_due = |one: &Partition| {
            let is_later = one.committed.is_some_and(|told| all || told < one.stored);
            is_later && one.is_ours() && of(&one.state)
        };
        let due = self.partitions.iter().filter(|one| is_due(one));
        let offsets: Vec<Committed<'_>> =
            due.map(|one| (one.name.topic(), one.name.partition(), one.stored)).collect();
        if offsets.is_empty() {
            return;
        }
        let until = self.now() + if is_last { LAST_COMMIT_MAX } else { Duration::ZERO };
        while let Err(error) = self.client.commit(&offsets, is_last) {
            if self.now() < until {
                std::thread::park_timeout(COMMIT_AGAIN);
                continue;
            }
            if is_last {
                let (source, error) = (&self.config.name, chain(&error));
                warn!(%source, error, "the group was not told what is stored: others store some of it again");
            }
            return;
        }
        for one in self.partitions.iter_mut().filter(|one| is_due(one)) {
            one.committed = Some(one.stored);
        }
    }

    /// How far the group has a partition; `None` without a group.
    pub(super) fn committed(
        &mut self,
        at: usize,
        timeout: Duration,
    ) -> Result<Option<u64>, KafkaError> {
        if !self.client.is_member() {
            return Ok(None);
        }
        let name = self.partitions[at].name.clone();
        let committed = self.client.committed((name.topic(), name.partition()), timeout)?;
        self.partitions[at].committed = Some(committed.unwrap_or(0));
        Ok(committed)
    }

    /// Says which topics are of interest, where they are others than before.
    pub(super) fn subscribe(&mut self, topics: &[TopicPartitions]) -> Result<(), KafkaError> {
        let is_known = topics.iter().map(|topic| &topic.name).eq(&self.membership.subscribed);
        if !self.client.is_member() || is_known || topics.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
        self.client.subscribe(&names)?;
        self.membership.subscribed = names.into_iter().map(str::to_owned).collect();
        Ok(())
    }

    fn read_all_anew(&mut self, error: &KafkaError) {
        warn!(source = %self.config.name, error = chain(error), "partitions are read anew");
        for partition in self.partitions.iter_mut().filter(|one| one.state == State::Reading) {
            partition.state = State::Lost;
        }
        self.times.look = Duration::ZERO;
    }

    /// The group has no use for this client any more: its partitions are others' already.
    fn expel(&mut self, why: String, now: Duration) {
        error!(source = %self.config.name, "{why}");
        self.partitions.iter_mut().for_each(Partition::unassign);
        self.membership = Membership {
            assigned: Some(BTreeSet::new()),
            expulsion: Some((why, now + REJOIN_AFTER)),
            ..Membership::default()
        };
    }

    fn rejoin(&mut self, now: Duration) {
        let Some((_, at)) = &mut self.membership.expulsion else { return };
        if now < *at {
            return;
        }
        match KafkaClient::connect(&self.config) {
            Ok(client) => {
                self.client = client;
                self.membership.expulsion = None;
                self.times.look = Duration::ZERO;
            }
            Err(error) => {
                *at = now + REJOIN_AFTER;
                warn!(source = %self.config.name, error = chain(&error), "there is no client");
            }
        }
    }

    /// A stop: what is on its way is stored, and the next owners go on behind it.
    pub(super) fn leave_group(&mut self) {
        if !self.client.is_member() {
            return;
        }
        let until = self.now() + LAST_MAX;
        while self.partitions.iter().any(|one| one.on_its_way.is_some()) && self.now() < until {
            if let Ok(outcome) = self.outcomes.1.recv_timeout(COMMIT_EVERY) {
                self.settle(outcome);
            }
        }
        self.commit(|_| true, true);
    }
}
