use tidewatch_metrics::{AnomalyKind, Channel, EventTime, GroupId, SeriesId, Severity, Subject};

use super::*;

pub(crate) fn transition(key: u128, kind: TransitionKind) -> Transition {
    Transition {
        key: AlertKey(key),
        rule: "r".to_owned(),
        rule_version: "v".to_owned(),
        priority: String::new(),
        subject: Subject::Series(SeriesId::new(1)),
        db: "default".to_owned(),
        metric: "m".to_owned(),
        labels: Vec::new(),
        kind,
        revision: 0,
        reason: String::new(),
        historical: false,
        onset: EventTime::new(1),
        event: EventTime::new(1),
        severity: Severity::ZERO,
        value: 1.0,
        expected: 1.0,
        lower: 0.0,
        upper: 2.0,
        channel: Channel::None,
        anomaly: AnomalyKind::None,
        received: UnixNanos::new(1),
        sparkline: String::new(),
    }
}

fn fired(key: u128, kind: TransitionKind, cause: u64) -> Fired {
    Fired {
        transition: transition(key, kind),
        cause: Lsn::new(cause),
        scored: UnixNanos::new(2),
        fired: UnixNanos::new(3),
        permit: None,
    }
}

fn record(key: u128, kind: TransitionKind) -> TransitionRecord {
    let times = TransitionTimes::default();
    TransitionRecord { cause: Lsn::new(1), times, transition: transition(key, kind) }
}

fn delivered(key: u128, kind: TransitionKind, outcome: &str) -> DeliveryRow {
    DeliveryRow {
        key: AlertKey(key),
        transition: kind,
        sink: "s".to_owned(),
        attempt: 1,
        outcome: outcome.to_owned(),
        status: None,
        started: UnixNanos::new(1),
        finished: UnixNanos::new(1),
        error: String::new(),
    }
}

fn waiting(outbox: &Outbox) -> Vec<String> {
    let mut keys = Vec::new();
    outbox.pump(UnixNanos::new(9), |sink, message| {
        keys.push(format!("{sink} {}", message.transition.dedupe_key()));
        true
    });
    keys
}

#[test]
fn nothing_is_released_before_its_cause_is_durable() {
    let outbox = Outbox::new(OutboxInstruments::default());
    outbox.finish_recovery(&[("s".to_owned(), Lsn::ZERO)]);
    outbox.push_fired([fired(7, TransitionKind::Firing, 5)].into_iter());
    let progress = Progress::new(1);
    progress.set_durable(Lsn::new(4), UnixNanos::new(40));
    assert!(outbox.take_releasable(&progress).is_empty());
    progress.set_durable(Lsn::new(5), UnixNanos::new(50));
    let released = outbox.take_releasable(&progress);
    assert_eq!(released.len(), 1);
    assert_eq!(released[0].times.durable, UnixNanos::new(50));
    assert!(waiting(&outbox).is_empty(), "not before its own record is durable");
    outbox.logged(Lsn::new(6), released.into_iter().next().unwrap());
    assert_eq!(waiting(&outbox).len(), 1);
}

#[test]
fn recovery_fires_what_the_log_lacks_and_queues_what_no_sink_finished() {
    let outbox = Outbox::new(OutboxInstruments::default());
    let (firing, resolved) = (TransitionKind::Firing, TransitionKind::Resolved);
    // Shards and the log are read at the same time: either may come first.
    outbox.push_fired([fired(1, firing, 1), fired(2, firing, 2)].into_iter());
    outbox.restore_transition(Lsn::new(10), record(1, firing));
    outbox.restore_transition(Lsn::new(11), record(3, firing));
    outbox.push_fired([fired(3, firing, 3), fired(1, resolved, 4)].into_iter());
    outbox.restore_delivery(Lsn::new(12), delivered(1, firing, DELIVERED));
    outbox.restore_delivery(Lsn::new(13), delivered(3, firing, "retry"));
    assert_eq!(outbox.finish_recovery(&[("s".to_owned(), Lsn::ZERO)]), 0);
    let progress = Progress::new(1);
    progress.set_durable(Lsn::new(20), UnixNanos::new(1));
    let due: Vec<_> =
        outbox.take_releasable(&progress).iter().map(|r| r.transition.dedupe_key()).collect();
    assert_eq!(
        due,
        [2_u128, 1]
            .map(AlertKey)
            .iter()
            .zip([firing, resolved])
            .map(|(key, kind)| format!("{key}:{}", kind.name()))
            .collect::<Vec<_>>()
    );
    assert_eq!(waiting(&outbox), [format!("s {}:firing", AlertKey(3))]);
    assert_eq!(outbox.tail(Lsn::new(12)).deliveries.len(), 1);
}

#[test]
fn amendments_of_one_alert_are_told_apart_and_delivered_to_nobody() {
    let outbox = Outbox::new(OutboxInstruments::default());
    let amendment = |event, revision| {
        let event = EventTime::new(event);
        Transition { event, revision, ..transition(1, TransitionKind::Amended) }
    };
    let all = [amendment(5, 2), amendment(5, 3), amendment(6, 2)];
    let fire = |transition: &Transition| Fired {
        transition: transition.clone(),
        ..fired(1, TransitionKind::Amended, 4)
    };
    outbox.push_fired(all.iter().map(fire));
    let logged =
        TransitionRecord { transition: all[1].clone(), ..record(1, TransitionKind::Amended) };
    outbox.restore_transition(Lsn::new(10), logged);
    assert_eq!(outbox.finish_recovery(&[("s".to_owned(), Lsn::ZERO)]), 0);
    let progress = Progress::new(1);
    progress.set_durable(Lsn::new(20), UnixNanos::new(1));
    let due = outbox.take_releasable(&progress);
    let told: Vec<_> = due.iter().map(|r| (r.transition.event, r.transition.revision)).collect();
    assert_eq!(told, [(EventTime::new(5), 2), (EventTime::new(6), 2)]);
    due.into_iter().for_each(|record| outbox.logged(Lsn::new(21), record));
    assert!(waiting(&outbox).is_empty());
    assert_eq!(outbox.tail(Lsn::ZERO).alerts.len(), 3);
}

#[test]
fn what_the_windows_of_a_checkpoint_have_caused_is_not_awaited() {
    let of_group = |key, cause| {
        let record = record(key, TransitionKind::Firing);
        let subject = Subject::Group(GroupId(1));
        let transition = Transition { subject, ..record.transition };
        TransitionRecord { cause: Lsn::new(cause), transition, ..record }
    };
    let outbox = Outbox::new(OutboxInstruments::default());
    outbox.restore_checkpoint(OutboxEntry::default(), &Base::with_windows(Lsn::new(9)));
    outbox.restore_transition(Lsn::new(10), of_group(1, 9));
    outbox.restore_transition(Lsn::new(11), of_group(2, 10));
    assert_eq!(outbox.finish_recovery(&[]), 1, "only the second one had to be fired again");
}

#[test]
fn a_new_sink_does_not_get_old_transitions() {
    let outbox = Outbox::new(OutboxInstruments::default());
    outbox.restore_transition(Lsn::new(10), record(1, TransitionKind::Firing));
    outbox.finish_recovery(&[("new".to_owned(), Lsn::new(11)), ("old".to_owned(), Lsn::new(2))]);
    assert_eq!(waiting(&outbox), [format!("old {}:firing", AlertKey(1))]);
}

#[test]
fn pending_and_historical_transitions_are_only_stored() {
    let outbox = Outbox::new(OutboxInstruments::default());
    outbox.finish_recovery(&[("s".to_owned(), Lsn::ZERO)]);
    outbox.logged(Lsn::new(1), record(1, TransitionKind::Pending));
    let mut historical = record(2, TransitionKind::Firing);
    historical.transition.historical = true;
    outbox.logged(Lsn::new(2), historical);
    assert!(waiting(&outbox).is_empty());
    assert_eq!(outbox.tail(Lsn::ZERO).alerts.len(), 2);
}

#[test]
fn beyond_the_limit_the_oldest_become_dead_letters() {
    let outbox = Outbox::new(OutboxInstruments::default());
    outbox.finish_recovery(&[("s".to_owned(), Lsn::ZERO)]);
    for key in 0..u128::try_from(OUTBOX_MESSAGES_MAX).unwrap() + 2 {
        outbox.logged(Lsn::new(1), record(key, TransitionKind::Firing));
    }
    outbox.pump(UnixNanos::new(9), |_, _| false);
    let reports = outbox.take_reports();
    let given_up: Vec<_> = reports.iter().map(|row| (row.key.0, row.outcome.as_str())).collect();
    assert_eq!(given_up, [(0, DEAD_LETTER), (1, DEAD_LETTER)]);
    assert_eq!(outbox.undelivered(), OUTBOX_MESSAGES_MAX);
}

#[test]
fn after_a_crash_transitions_of_one_sample_keep_the_order_in_which_they_fired() {
    let outbox = Outbox::new(OutboxInstruments::default());
    // One sample ends the alert of one rule and begins that of another, whose key is less.
    let (begun, ended) = (TransitionKind::Firing, TransitionKind::Resolved);
    outbox.push_fired([fired(8, ended, 3), fired(2, begun, 3), fired(1, begun, 2)].into_iter());
    assert_eq!(outbox.finish_recovery(&[]), 0);
    let progress = Progress::new(1);
    progress.set_durable(Lsn::new(3), UnixNanos::new(8));
    let released = outbox.take_releasable(&progress);
    let keys: Vec<_> = released.iter().map(|record| record.transition.key.0).collect();
    assert_eq!(keys, [1, 8, 2]);
}

#[test]
fn a_report_that_the_log_has_no_room_for_is_offered_again() {
    let outbox = Arc::new(Outbox::new(OutboxInstruments::default()));
    assert_eq!(outbox.finish_recovery(&[]), 0);
    let (queue, commits) = crossbeam::channel::bounded(4);
    let notary = crate::threads::Notary {
        outbox: Arc::clone(&outbox),
        hashes: Arc::new(crate::hashes::Hashes::new(1)),
        progress: Arc::new(Progress::new(1)),
        queue,
    };
    let answer = |ack: Result<crate::Ack, crate::EngineError>| {
        assert!(notary.note_all());
        let Ok(crate::committer::CommitterMessage::Append(note)) = commits.try_recv() else {
            panic!("a report is due")
        };
        (note.done.unwrap())(ack);
    };
    outbox.report(delivered(1, TransitionKind::Firing, DELIVERED));
    answer(Err(tidewatch_wal::WalError::Full { bytes: 1 }.into()));
    assert!(!outbox.is_settled());
    answer(Ok(crate::Ack { lsn: Lsn::new(7) }));
    assert!(outbox.is_settled());
    assert_eq!(outbox.tail(Lsn::ZERO).deliveries.len(), 1);
}

#[test]
fn what_a_flush_during_replay_has_put_into_files_is_delivered_all_the_same() {
    let outbox = Outbox::new(OutboxInstruments::default());
    outbox.restore_transition(Lsn::new(3), record(7, TransitionKind::Firing));
    outbox.restore_transition(Lsn::new(4), record(8, TransitionKind::Firing));
    outbox.restore_delivery(Lsn::new(5), delivered(8, TransitionKind::Firing, DELIVERED));
    assert_eq!(outbox.tail(Lsn::ZERO).last_lsn, Lsn::new(5));
    outbox.forget(Lsn::new(5));
    outbox.restore_transition(Lsn::new(6), record(7, TransitionKind::Resolved));
    outbox.finish_recovery(&[("s".to_owned(), Lsn::ZERO)]);
    assert_eq!(waiting(&outbox).len(), 2, "both transitions of 7, and none of 8");
    assert_eq!(outbox.tail(Lsn::ZERO).alerts.len(), 1, "tables have the others from files");
}
