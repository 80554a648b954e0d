//! Seeded random numbers, for simulation and jitter; never for secrets.

/// A xoshiro256++ generator.
///
/// The same seed gives the same numbers on every machine and in every version of Tidewatch.
/// Source: Blackman and Vigna, "Scrambled linear pseudorandom number generators" (2021); the
/// seed is spread by splitmix64, as the authors advise.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The generator of this seed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let mut x = seed;
        Self { state: std::array::from_fn(|_| splitmix64(&mut x)) }
    }

    /// The next number, uniform over all 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// A number in `0..bound`, without bias.
    ///
    /// Source: Lemire, "Fast random integer generation in an interval" (2019).
    ///
    /// # Panics
    /// If `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "there is no number below 0");
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let (low, high) = self.next_u64().carrying_mul(bound, 0);
            if low >= threshold {
                return high;
            }
        }
    }

    /// A number in `[0, 1)`, a multiple of 2^-53.
    pub fn unit_f64(&mut self) -> f64 {
        const STEP: f64 = 1.0 / 9_007_199_254_740_992.0;
        // 53 bits: every such integer is an f64.
        (self.next_u64() >> 11) as f64 * STEP
    }
}

fn splitmix64(x: &mut u64) -> u64 {
    *x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *x;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_seed_are_those_of_the_reference_code() {
        let mut rng = Rng::from_seed(0);
        let expected = [0x5317_5d61_490b_23df, 0x61da_6f3d_c380_d507, 0x5c0f_df91_ec9a_7bfc];
        assert_eq!(std::array::from_fn(|_| rng.next_u64()), expected);
    }

    #[test]
    fn numbers_below_a_bound_reach_every_value_equally_often() {
        let mut rng = Rng::from_seed(7);
        let mut seen = [0_u32; 6];
        for _ in 0..60_000 {
            seen[usize::try_from(rng.below(6)).unwrap()] += 1;
        }
        // Standard deviation of each count is 91: six of them.
        assert!(seen.iter().all(|&count| count.abs_diff(10_000) < 550), "{seen:?}");
    }

    #[test]
    fn unit_numbers_lie_below_one_and_average_one_half() {
        let mut rng = Rng::from_seed(9);
        let numbers: Vec<f64> = (0..10_000).map(|_| rng.unit_f64()).collect();
        assert!(numbers.iter().all(|x| (0.0..1.0).contains(x)));
        let mean = numbers.iter().sum::<f64>() / 10_000.0;
        // Standard deviation of the mean is 0.0029: seven of them.
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
    }
}
