use super::*;

/// What the values of a series at a minute are taken for; `usual` is the rate at which they usually grow.
fn seen(counter: &mut Counter, kind: SeriesKind, values: &[f64], usual: f64) -> Vec<Seen> {
    let seen = |value: &f64| counter.observe(kind, *value, Some(60.0), usual);
    values.iter().map(seen).collect()
}

fn numbers(seen: &[Seen]) -> Vec<Option<f64>> {
    seen.iter().map(|seen| seen.number).collect()
}

fn begins(seen: &[Seen]) -> Vec<bool> {
    seen.iter().map(|seen| seen.begins).collect()
}

/// A counter that grows by 60 a minute, after its evidence, and what it was taken for.
fn recognised() -> (Counter, Vec<Seen>) {
    let values: Vec<f64> = (0..64).map(|index| f64::from(index) * 60.0).collect();
    let mut counter = Counter::NEW;
    let seen = seen(&mut counter, SeriesKind::Auto, &values, 0.0);
    (counter, seen)
}

fn is_gauge(values: &[f64]) -> bool {
    let mut counter = Counter::NEW;
    seen(&mut counter, SeriesKind::Auto, values, 0.0);
    counter.stage == Stage::Gauge
}

#[test]
fn sixty_four_samples_that_grow_are_a_counter() {
    let (counter, seen) = recognised();
    assert!(seen[..63].iter().all(|seen| seen.growth.is_none() && !seen.begins));
    assert_eq!(seen[62].number, Some(62.0 * 60.0), "a value until then");
    assert_eq!((seen[63].number, seen[63].begins), (Some(1.0), true));
    assert_eq!(counter.last(), Some(63.0 * 60.0));
}

#[test]
fn what_falls_is_below_zero_or_hardly_ever_rises_is_a_gauge() {
    let grows = |index: i32| f64::from(index * 10);
    let with = |at: usize, value: f64| {
        let mut values: Vec<f64> = (0..64).map(grows).collect();
        values[at] = value;
        values
    };
    assert!(!is_gauge(&with(63, 630.0)));
    assert!(is_gauge(&with(40, 389.0)), "a fall that is no reset");
    assert!(is_gauge(&with(0, -1.0)), "below zero");
    let rises = |every: i32| (0..64).map(|i| f64::from(i / every)).collect::<Vec<f64>>();
    assert!(!is_gauge(&rises(7)) && is_gauge(&rises(8)), "nine rises, and seven");
    let saws = |length: i32| (0..64).map(|i| f64::from(100 * (i % length))).collect::<Vec<f64>>();
    assert!(!is_gauge(&saws(20)) && is_gauge(&saws(5)), "each reset needs eight rises");
    // A heap: it grows and is collected, but never to next to nothing.
    let heap: Vec<f64> = (0..64).map(|i| 120.0 + f64::from(i % 20) * 20.0).collect();
    assert!(is_gauge(&heap));
}

#[test]
fn the_first_one_a_reset_and_what_comes_behind_a_pause_have_no_rate() {
    let (mut counter, _) = recognised();
    let last = 63.0 * 60.0;
    let reset = seen(&mut counter, SeriesKind::Auto, &[last + 120.0, 30.0, 90.0], 1.0);
    assert_eq!(numbers(&reset), [Some(2.0), None, Some(1.0)]);
    assert!(reset.iter().all(|seen| !seen.begins));
    let paused = counter.observe(SeriesKind::Auto, 500.0, None, 1.0);
    assert_eq!((paused.number, paused.growth), (None, None));
    let next = counter.observe(SeriesKind::Auto, 560.0, Some(60.0), 1.0);
    assert_eq!(next.number, Some(1.0));
    // The first sample of one that is said to be a counter.
    let said = seen(&mut { Counter::NEW }, SeriesKind::Counter, &[9.0, 69.0, 129.0], 0.0);
    assert_eq!(numbers(&said), [None, Some(1.0), Some(1.0)]);
    assert_eq!(begins(&said), [false, true, false]);
}

#[test]
fn a_counter_that_falls_otherwise_is_a_gauge_for_good() {
    let (mut counter, _) = recognised();
    let last = 63.0 * 60.0;
    let values = [last - 1.0, last + 60.0, 0.0, 5.0];
    let fallen = seen(&mut counter, SeriesKind::Auto, &values, 1.0);
    assert_eq!(numbers(&fallen), values.map(Some));
    assert_eq!(begins(&fallen), [true, false, false, false]);
    assert!(fallen.iter().all(|seen| seen.growth.is_none()));
}

#[test]
fn a_fall_to_a_few_usual_increases_is_a_reset_however_little_there_was() {
    let restarted = |value: f64| {
        let (mut counter, _) = recognised();
        seen(&mut counter, SeriesKind::Auto, &[0.0, 300.0], 1.0);
        counter.observe(SeriesKind::Auto, value, Some(60.0), 1.0)
    };
    assert_eq!(restarted(240.0).number, None);
    assert_eq!(restarted(241.0).number, Some(241.0), "by its value from here on");
}

#[test]
fn who_says_what_it_is_is_believed() {
    let values = [5.0, 65.0, 50.0, 110.0, -10.0, 50.0];
    let said = seen(&mut { Counter::NEW }, SeriesKind::Counter, &values, 0.0);
    let rate = Some(1.0);
    assert_eq!(numbers(&said), [None, rate, None, rate, None, rate]);
    let (mut counter, _) = recognised();
    let gauge = seen(&mut counter, SeriesKind::Gauge, &[5_000.0, 5_060.0], 1.0);
    assert_eq!(numbers(&gauge), [Some(5_000.0), Some(5_060.0)]);
    assert_eq!(begins(&gauge), [true, false]);
    let again = seen(&mut counter, SeriesKind::Auto, &[5_120.0], 1.0);
    assert_eq!(again[0].growth, None, "a gauge for good");
    let again = seen(&mut counter, SeriesKind::Counter, &[5_180.0, 5_240.0], 1.0);
    assert_eq!((numbers(&again), begins(&again)), (vec![None, rate], vec![false, true]));
}

#[test]
fn rates_and_what_is_expected_of_values_stay_finite() {
    for [first, second] in [[0.0, f64::MAX], [-f64::MAX, f64::MAX], [0.0, 5e-324]] {
        for seconds in [1e-9, 1.0, 1e10] {
            let mut counter = Counter::NEW;
            counter.observe(SeriesKind::Counter, first, None, f64::MAX);
            let seen = counter.observe(SeriesKind::Counter, second, Some(seconds), -f64::MAX);
            let rate = seen.number.expect("it grew");
            assert!((0.0..=1.1e30).contains(&rate), "{rate}");
            let rates = Expectation { expected: rate, lower: -1e32, upper: 1e32 };
            let values = counter.growth(Some(seconds)).expect("it has one").expectation(&rates);
            for value in [values.expected, values.lower, values.upper] {
                assert!(value.is_finite(), "{values:?}");
            }
        }
    }
    // The last bits of a sum that grows steadily are no news.
    let mut counter = Counter::NEW;
    let steady: Vec<f64> = (0..1_000).map(|index| f64::from(index) * 0.1).collect();
    let rates = numbers(&seen(&mut counter, SeriesKind::Counter, &steady, 0.0));
    assert!(rates[2..].iter().all(|rate| *rate == rates[1]), "{rates:?}");
}

#[test]
fn few_events_more_or_less_are_chance() {
    let growth = Growth { from: 1_000.0, seconds: 10.0 };
    for (value, rate, is_chance) in [
        (1_000.0, 0.3, true),
        (1_003.0, 0.1, true),
        (1_005.0, 0.1, false),
        (1_070.0, 10.0, true),
        (1_069.0, 10.0, false),
        (1_010.0, 10.0, false),
        // What is no number of events has no such chance.
        (1_000.5, 0.1, false),
        (1_100.0, f64::NAN, false),
    ] {
        assert_eq!(growth.is_chance(value, rate), is_chance, "{value}, {rate}");
    }
}

#[test]
fn what_was_not_written_is_refused() {
    let mut out = FieldWriter::default();
    recognised().0.encode(&mut out);
    let stored = out.into_bytes();
    let decode = |bytes: &[u8]| Counter::decode(&mut FieldReader::new(bytes));
    assert_eq!(decode(&stored), Some(recognised().0));
    let nan = f64::NAN.to_bits().to_le_bytes();
    assert_eq!(decode(&[&nan[..], &stored[8..]].concat()), None);
    // An unknown stage, samples beyond the evidence, more rises than samples, too many resets, and all samples undecided.
    for (at, byte) in [(8, 4), (9, 65), (10, 65), (11, 9), (8, 0)] {
        let mut bytes = stored.clone();
        bytes[at] = byte;
        assert_eq!(decode(&bytes), None, "byte {at} is {byte}");
    }
}
