use tidewatch_metrics::EventTime;
use tidewatch_metrics::time::NANOS_PER_SECOND;

use super::*;
use crate::testing::Rng;

#[test]
fn local_times_are_those_of_the_database() {
    let mut rng = Rng::new(1);
    let mut offsets = std::collections::BTreeSet::new();
    for name in [
        "Europe/Berlin",
        "America/New_York",
        "America/St_Johns",
        "America/Adak",
        "America/Boa_Vista",
        "Africa/Casablanca",
        "Asia/Kolkata",
        "Asia/Tehran",
        "Australia/Lord_Howe",
        "Antarctica/Troll",
        "Pacific/Apia",
        "Africa/Tunis",
    ] {
        let tz: Tz = name.parse().unwrap();
        let zone: TimeZone = name.parse().unwrap();
        assert_eq!(zone.name(), name);
        // From 1700 to 2260, and mostly in the years that have many changes.
        for index in 0..20_000 {
            let seconds = match index % 4 {
                0 => -8_520_336_000 + i64::try_from(rng.below(17_671_910_400)).unwrap(),
                _ => -1_893_456_000 + i64::try_from(rng.below(6_027_436_800)).unwrap(),
            };
            let expected = offset(tz, seconds).unwrap();
            let time = EventTime::new(seconds * NANOS_PER_SECOND);
            let found = zone.local(time).nanos() - time.nanos();
            assert_eq!(found, expected * NANOS_PER_SECOND, "{name} at {seconds}");
            offsets.insert(expected);
        }
    }
    assert!(offsets.len() > 30, "{offsets:?}");
}

#[test]
fn the_table_of_every_zone_has_each_change_at_its_second() {
    let mut names = Vec::new();
    for name in time_zone_names() {
        let zone: TimeZone = name.parse().unwrap();
        let tz: Tz = name.parse().unwrap();
        let (first, changes) = zone.table();
        let mut known = first;
        for (at, to) in changes {
            assert_eq!(offset(tz, at - 1), Some(known), "{name} before {at}");
            assert_eq!(offset(tz, at), Some(to), "{name} at {at}");
            known = to;
        }
        assert_eq!(offset(tz, i64::MAX / NANOS_PER_SECOND), Some(known), "{name} at the end");
        names.push(name);
    }
    assert!(names.len() > 500 && names.is_sorted(), "{names:?}");
}

#[test]
fn a_name_that_is_none_is_refused() {
    for name in ["Europe/Berlinn", "europe/berlin", "", "CET-1CEST", "+02:00"] {
        let error = name.parse::<TimeZone>().unwrap_err();
        assert_eq!(error.to_string(), format!("there is no time zone \"{name}\""));
    }
}
