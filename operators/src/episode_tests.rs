use super::*;

fn beat(seconds: f32) -> Beat {
    Beat { seconds, ends_step: true, ends_stretch: true, resumes: false, is_quiet: false }
}

/// What each of several severities teaches, five minutes apart.
fn lessons(severities: impl IntoIterator<Item = f32>) -> (Episode, Vec<Lesson>) {
    let mut episode = Episode::default();
    let teach = |severity: f32| episode.observe(severity, 3.0, &beat(300.0));
    let lessons = severities.into_iter().map(teach).collect();
    (episode, lessons)
}

#[test]
fn nothing_is_learnt_from_the_first_anomaly_to_the_eighth_calm_sample() {
    let hot = [5.9, 6.0, 9.0, 5.0, 7.0].into_iter();
    let (episode, lessons) = lessons(hot.chain([1.0; 10]));
    assert_eq!(lessons[0], Lesson::ALL, "5.9 is none");
    let first = Lesson { distances: true, is_met: true, ..Lesson::NOTHING };
    assert_eq!(lessons[1], first, "its distances wait for a step's end");
    let met: Vec<bool> = lessons.iter().map(|lesson| lesson.is_met).collect();
    assert_eq!(met[1..6], [true, true, false, true, false]);
    assert!(lessons[1..13].iter().all(|lesson| !lesson.values && !lesson.ends_step));
    let over = Lesson { is_over: true, is_known: true, ..Lesson::NOTHING };
    assert_eq!(lessons[12], over, "the eighth calm sample");
    assert_eq!(lessons[13..], [Lesson::ALL, Lesson::ALL]);
    assert_eq!(episode, Episode::default());
}

#[test]
fn what_lasts_longer_than_eight_hours_is_the_new_normal_after_a_short_burn_in() {
    let (episode, lessons) = lessons([7.0; 98]);
    // The first one is at 0, and 96 times five minutes are eight hours.
    assert!(lessons[..97].iter().all(|lesson| lesson.is_met && !lesson.is_over));
    assert!(lessons[97].is_over && lessons[97].shifts && !lessons[97].values);
    assert!((episode.departure() - 3.0).abs() < 1e-6);
    let mut episode = episode;
    for step in 0..40 {
        assert!(!episode.is_scored() && !episode.is_on(), "step {step}");
        let lesson = episode.observe(9.0, 0.0, &beat(300.0));
        assert_eq!(lesson, Lesson { distances: step >= 20, ..Lesson::ALL }, "step {step}");
    }
    assert!(episode.is_scored());
}

#[test]
fn a_slow_series_needs_samples_and_not_only_hours() {
    let mut episode = Episode::default();
    let lessons: Vec<Lesson> = (0..30).map(|_| episode.observe(8.0, 1.0, &beat(3_600.0))).collect();
    let shifts = lessons.iter().position(|lesson| lesson.shifts);
    assert_eq!(shifts, Some(24));
}

#[test]
fn what_is_too_soon_behind_a_pause_does_not_teach_what_is_far() {
    let mut episode = Episode::default();
    let lesson = episode.observe(0.0, 0.0, &Beat { is_quiet: true, ..beat(0.0) });
    assert_eq!(lesson, Lesson { distances: false, ..Lesson::ALL });
}

#[test]
fn for_a_day_behind_a_new_normal_no_episode_begins() {
    let (mut episode, _) = lessons([7.0; 98]);
    let on = (0..400).position(|_| {
        episode.observe(7.0, 0.0, &beat(300.0));
        episode.is_on()
    });
    assert_eq!(on, Some(288));
}

#[test]
fn what_is_back_ends_an_episode_and_is_learnt_anew_where_it_is_not_what_was_known() {
    let mut episode = Episode::default();
    for departure in [-80.0, -84.0, -82.0] {
        assert!(episode.observe(9.0, departure, &beat(300.0)).is_met);
    }
    // Departs to the other side, and as anomalies do.
    let over = (0..20).position(|_| episode.observe(9.0, 44.0, &beat(300.0)).is_over);
    assert_eq!(over, Some(7));
    assert!(!episode.is_on() && !episode.is_scored(), "a short burn-in");
    let mut episode = Episode::default();
    episode.observe(9.0, -80.0, &beat(300.0));
    let over = (0..20).position(|_| episode.observe(9.0, -41.0, &beat(300.0)).is_over);
    assert_eq!(over, None, "more than half as far is not back");
}

#[test]
fn what_a_long_episode_brought_is_forgotten_unless_it_is_the_new_normal() {
    for (hot, is_known) in [(8, true), (9, false), (90, false)] {
        let (_, lessons) = lessons((0..hot).map(|_| 7.0).chain([0.0; 8]));
        let last = lessons[lessons.len() - 1];
        assert!(last.is_over && last.is_known == is_known && last.forgets() != is_known, "{hot}");
    }
    let (_, lessons) = lessons([7.0; 98]);
    assert!(lessons[97].is_known && !lessons[97].forgets());
}
