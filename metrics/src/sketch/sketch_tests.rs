use proptest::prelude::*;

use crate::sketch::{BUCKETS_MAX, RELATIVE_ERROR_MAX, Sketch};

const QUANTILES: [f64; 11] = [0.0, 0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1.0];

/// xorshift64*, seeded.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// In [0, 1).
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Any finite number, of every sign and size.
    fn any(&mut self) -> f64 {
        loop {
            let value = f64::from_bits(self.next());
            if value.is_finite() {
                return value;
            }
        }
    }
}

fn of(values: &[f64]) -> Sketch {
    let mut sketch = Sketch::default();
    values.iter().for_each(|value| sketch.add(*value));
    sketch
}

/// The quantile by sorting.
fn exact(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let wanted = (q * sorted.len() as f64).ceil();
    let place = (0..sorted.len()).find(|place| (place + 1) as f64 >= wanted);
    sorted[place.unwrap_or(sorted.len() - 1)]
}

/// Distributions that are hard on sketches: heavy tails, few values, clusters far apart, both signs,
/// the ends of what a number can be.
fn distributions(seed: u64) -> Vec<(&'static str, Vec<f64>)> {
    let mut rng = Rng(seed | 1);
    let mut take = |name, rows: usize, of: &mut dyn FnMut(&mut Rng, usize) -> f64| {
        (name, (0..rows).map(|row| of(&mut rng, row)).collect::<Vec<_>>())
    };
    vec![
        take("uniform", 10_000, &mut |rng, _| rng.unit() * 100.0),
        take("pareto, tail 0.5", 10_000, &mut |rng, _| (1.0 - rng.unit()).powi(-2)),
        take("exponential", 10_000, &mut |rng, _| -(1.0 - rng.unit()).ln()),
        take("both signs, centred", 10_001, &mut |rng, _| rng.unit() - 0.5),
        take("any bits", 10_000, &mut |rng, _| rng.any()),
        take("subnormal", 5_000, &mut |rng, _| {
            f64::from_bits(rng.next() >> (12 + rng.next() % 52))
        }),
        take("one value", 999, &mut |_, _| -273.15),
        take("two far clusters", 1_000, &mut |rng, row| {
            if row % 10 == 0 { 1e300 } else { 1e-300 * (1.0 + rng.unit()) }
        }),
        take("mostly zero", 2_000, &mut |rng, row| if row % 50 == 0 { rng.any() } else { -0.0 }),
        take("at the buckets' edges", 4_096, &mut |_, row| {
            let edge = (1.0 + (row % 64) as f64 / 64.0).to_bits();
            f64::from_bits(edge - (row as u64 / 64) % 2)
        }),
        take("ascending integers", 10_000, &mut |_, row| row as f64 - 5_000.0),
    ]
}

#[test]
fn every_quantile_of_hard_distributions_is_within_the_stated_error() {
    for seed in 1..4 {
        for (name, values) in distributions(seed) {
            let sketch = of(&values);
            assert_eq!(sketch.count(), values.len() as u64);
            for q in QUANTILES {
                let (found, wanted) = (sketch.quantile(q).unwrap(), exact(&values, q));
                let error = (found - wanted).abs();
                assert!(
                    error <= RELATIVE_ERROR_MAX * wanted.abs(),
                    "{name}, q = {q}: {found:e} for {wanted:e}"
                );
            }
            assert_eq!(sketch.quantile(0.0), Some(exact(&values, 0.0)), "{name}: the smallest");
            assert_eq!(sketch.quantile(1.0), Some(exact(&values, 1.0)), "{name}: the greatest");
        }
    }
}

#[test]
fn parts_added_in_any_order_are_the_whole_bit_by_bit() {
    for (name, values) in distributions(5) {
        let whole = of(&values);
        let parts: Vec<Sketch> = values.chunks(97).map(of).collect();
        let (mut forward, mut backward) = (Sketch::default(), Sketch::default());
        parts.iter().for_each(|part| forward.merge(part));
        parts.iter().rev().for_each(|part| backward.merge(part));
        let mut pairs = Sketch::default();
        for pair in parts.chunks(2) {
            let mut sum = pair[0].clone();
            pair.iter().skip(1).for_each(|part| sum.merge(part));
            pairs.merge(&sum);
        }
        for merged in [forward, backward, pairs] {
            assert_eq!(merged, whole, "{name}");
            assert_eq!(merged.encode(), whole.encode(), "{name}");
        }
    }
}

#[test]
fn numbers_without_a_rank_are_counted_apart() {
    let sketch = of(&[f64::NAN, 1.0, f64::INFINITY, f64::NEG_INFINITY]);
    assert_eq!((sketch.count(), sketch.excluded()), (1, 3));
    assert_eq!(sketch.quantile(0.5), Some(1.0));
    let nothing = of(&[f64::NAN]);
    assert_eq!(nothing.quantile(0.5), None);
    assert!(!nothing.is_empty() && Sketch::default().is_empty());
    assert_eq!(Sketch::decode(&nothing.encode()), Some(nothing));
    for q in [-0.1, 1.1, f64::NAN] {
        assert_eq!(sketch.quantile(q), None, "{q}");
    }
}

#[test]
fn even_values_of_every_size_stay_within_the_bound_on_buckets() {
    let mut sketch = Sketch::default();
    let mut rng = Rng(11);
    for _ in 0..600_000 {
        sketch.add(rng.any());
    }
    assert!(sketch.buckets() <= BUCKETS_MAX && sketch.buckets() > 100_000);
    assert_eq!(Sketch::decode(&sketch.encode()).as_ref(), Some(&sketch));
}

#[test]
fn ordinary_latencies_take_few_bytes() {
    let mut rng = Rng(3);
    let values: Vec<f64> = (0..6_000).map(|_| 20.0 * -(1.0 - rng.unit()).ln() + 1.0).collect();
    let bytes = of(&values).encode().len();
    assert!(bytes <= 1_200, "{bytes} bytes");
}

#[test]
fn the_bytes_are_those_that_are_documented() {
    let sketch = of(&[1.0, 1.0, -2.5, 0.0, f64::NAN]);
    let mut bytes = vec![1, 1, 3];
    bytes.extend_from_slice(&(-2.5_f64).to_le_bytes());
    bytes.extend_from_slice(&1.0_f64.to_le_bytes());
    // 2.5 is 2^1 (1 + 16/64): index 1 + 64 x 1,075 + 16 = 68,817, its mirror zigzag coded is 137,633.
    bytes.extend_from_slice(&[0xa1, 0xb3, 0x08, 1]);
    // 0: 68,816 buckets between. 1.0: index 1 + 64 x 1,074 = 68,737.
    bytes.extend_from_slice(&[0xd0, 0x99, 0x04, 1]);
    bytes.extend_from_slice(&[0x80, 0x99, 0x04, 2]);
    assert_eq!(sketch.encode(), bytes);
    assert_eq!(Sketch::decode(&bytes), Some(sketch));
}

#[test]
fn bytes_of_no_sketch_are_refused() {
    let good = of(&[1.0, 2.0, 3.0]).encode();
    for cut in 0..good.len() {
        assert_eq!(Sketch::decode(&good[..cut]), None, "cut at {cut}");
    }
    let mut longer = good;
    longer.push(0);
    assert_eq!(Sketch::decode(&longer), None);
    // A number of buckets far beyond the bytes is not taken at its word.
    assert_eq!(Sketch::decode(&[1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0]), None);
    // Counts whose sum is beyond a u64.
    let mut full = of(&[1.0]);
    full.merge(&of(&[2.0]));
    let mut bytes = full.encode();
    let end = bytes.len() - 1;
    bytes.splice(end.., [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
    assert_eq!(Sketch::decode(&bytes), None);
}

proptest! {
    #[test]
    fn any_sketch_comes_back_from_its_bytes(values in prop::collection::vec(any::<f64>(), 0..300)) {
        let sketch = of(&values);
        prop_assert_eq!(Sketch::decode(&sketch.encode()), Some(sketch));
    }

    #[test]
    fn what_mutated_bytes_decode_to_is_a_sketch_of_these_bytes(
        values in prop::collection::vec(-1e3..1e3_f64, 0..50),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = of(&values).encode();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(sketch) = Sketch::decode(&bytes) {
            prop_assert_eq!(sketch.encode(), bytes);
            prop_assert_eq!(sketch.quantile(0.5).is_some(), sketch.count() > 0);
        }
    }

    #[test]
    fn rubbish_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Some(sketch) = Sketch::decode(&bytes) {
            prop_assert_eq!(sketch.encode(), bytes);
        }
    }
}

#[test]
fn counts_stand_for_all_values_in_order_and_their_ends_are_exact() {
    let counted = |values: &[f64]| {
        let mut sketch = Sketch::default();
        values.iter().for_each(|value| sketch.add(*value));
        sketch.counts().collect::<Vec<_>>()
    };
    assert!(counted(&[]).is_empty() && counted(&[f64::NAN]).is_empty());
    assert_eq!(counted(&[7.3]), [(7.3, 1)]);
    assert_eq!(counted(&[7.31, 7.3]), [(7.3, 1), (7.31, 1)]);
    assert_eq!(counted(&[-2.5, 9.0, 0.0]), [(-2.5, 1), (0.0, 1), (9.0, 1)]);
    let values: Vec<f64> = (1..=10_000).map(f64::from).collect();
    let counts = counted(&values);
    assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), 10_000);
    assert!(counts.is_sorted_by(|one, other| one.0 <= other.0));
    assert_eq!((counts[0], counts[counts.len() - 1]), ((1.0, 1), (10_000.0, 1)));
    let mut rank = 0;
    for (value, count) in counts {
        let middle = values[usize::try_from(rank + count / 2).unwrap()];
        assert!((value / middle - 1.0).abs() <= 2.0 * RELATIVE_ERROR_MAX, "{value} {middle}");
        rank += count;
    }
}
