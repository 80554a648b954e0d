use super::*;

const BERLIN: &str = "Europe/Berlin";

fn zone(name: &str) -> TimeZone {
    name.parse().unwrap()
}

fn at(seconds: i64) -> EventTime {
    EventTime::new(seconds * NANOS_PER_SECOND)
}

#[test]
fn a_change_holds_from_its_very_nanosecond_on() {
    let berlin = zone(BERLIN);
    // 2024-03-31T01:00:00Z and 2024-10-27T01:00:00Z.
    for (change, before, behind) in [(1_711_846_800, 3_600, 7_200), (1_729_990_800, 7_200, 3_600)] {
        let nanos = at(change).nanos();
        for (time, offset) in [(nanos - 1, before), (nanos, behind), (nanos + 1, behind)] {
            let local = berlin.local(EventTime::new(time));
            assert_eq!(local.nanos(), time + offset * NANOS_PER_SECOND);
        }
    }
}

#[test]
fn the_ends_of_time_have_an_hour() {
    for name in ["UTC", BERLIN, "Pacific/Kiritimati", "America/Los_Angeles"] {
        let zone = zone(name);
        assert_eq!(zone.local(EventTime::MIN).nanos().signum(), -1, "{name}");
        assert_eq!(zone.local(EventTime::new(i64::MAX)).nanos().signum(), 1, "{name}");
    }
    assert_eq!(zone("Pacific/Kiritimati").local(EventTime::new(i64::MAX)).nanos(), i64::MAX);
    assert_eq!(zone("America/Los_Angeles").local(EventTime::MIN).nanos(), i64::MIN);
}

#[test]
fn what_always_shows_utc_is_utc() {
    for name in ["UTC", "Etc/UTC", "Etc/GMT", "Zulu", "Etc/GMT-0"] {
        assert!(zone(name).is_utc(), "{name}");
        assert_eq!(zone(name).name(), "UTC");
    }
    assert!(!zone("Africa/Abidjan").is_utc(), "it had the sun's time");
}

#[test]
fn another_name_with_the_same_clocks_is_the_same_place_and_so_is_the_same_name() {
    assert!(zone("Asia/Kolkata").is_elsewhere(&zone("UTC")));
    assert!(zone("UTC").is_elsewhere(&zone(BERLIN)));
    assert!(!zone("Asia/Kolkata").is_elsewhere(&zone("Asia/Calcutta")));
    let of_other_data = TimeZone::of_table(BERLIN, 3_600, &[(0, 7_200)]).unwrap();
    assert_ne!(of_other_data, zone(BERLIN));
    assert!(!of_other_data.is_elsewhere(&zone(BERLIN)));
}

#[test]
fn tables_that_no_clocks_have_are_refused() {
    let table = |name, first, changes: &[(i64, i64)]| TimeZone::of_table(name, first, changes);
    assert!(table("x", 0, &[(0, 60), (1, 0)]).is_some());
    for (first, changes) in [
        (86_400, &[][..]),
        (0, &[(0, -86_400)]),
        (0, &[(0, 0)]),
        (0, &[(0, 60), (1, 60)]),
        (0, &[(1, 60), (1, 0)]),
        (0, &[(1, 60), (0, 0)]),
        (0, &[(i64::MAX, 60)]),
        (i64::MIN + 1, &[]),
    ] {
        assert_eq!(table("x", first, changes), None, "{first} {changes:?}");
    }
    let many: Vec<(i64, i64)> = (0..1_001).map(|at| (at, 1 + at % 2)).collect();
    assert!(table("x", 0, &many[..1_000]).is_some());
    assert_eq!(table("x", 0, &many), None);
    assert_eq!((table("", 60, &[]), table(&"x".repeat(65), 60, &[])), (None, None));
}
