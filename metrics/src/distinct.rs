//! How many different values there were: exact while they are few, estimated beyond.

/// Values that are counted exactly.
const EXACT_MAX: usize = 2_048;
/// Bits of a hash that choose its register.
const PRECISION: u32 = 12;
/// Registers of the estimate.
const REGISTERS: usize = 1 << PRECISION;
/// Bytes that an exactly counted value may take: its hash, in a list that grows by doubling.
pub(crate) const EXACT_VALUE_BYTES: u64 = 16;

/// Counts different values by their 64-bit hashes.
///
/// Up to 2,048 values are counted exactly. Beyond, with 4,096 registers, of which each holds the
/// greatest rank `r` (zeros before the first one of a hash's other 52 bits, and one) that it has
/// met:
///
/// ```text
/// E = a m^2 / sum(2^-r)      with m = 4096 and a = 0.7213 / (1 + 1.079 / m)
/// E = m ln(m / z)            where E <= 2.5 m and z > 0 registers are empty
/// ```
///
/// Source: Flajolet, Fusy, Gandouet, Meunier, "HyperLogLog" (2007), figure 3, without its correction
/// for 32-bit hashes, which 64 bits do not need. Standard error: 1.04 / sqrt(m) = 1.6 %.
/// State: at most 16 KiB while exact, 4 KiB beyond. Time: O(log n) to look, O(n) to insert while exact,
/// then O(1).
#[derive(Debug)]
pub(crate) enum DistinctCount {
    /// Hashes in ascending order.
    Exact(Vec<u64>),
    /// Greatest ranks.
    Estimated(Box<[u8]>),
}

impl Default for DistinctCount {
    fn default() -> Self {
        Self::Exact(Vec::new())
    }
}

impl DistinctCount {
    /// Takes a value by its hash; whether it is new and takes [`EXACT_VALUE_BYTES`] of memory.
    pub(crate) fn insert(&mut self, hash: u64) -> bool {
        match self {
            Self::Exact(hashes) => {
                let Err(place) = hashes.binary_search(&hash) else { return false };
                if hashes.len() < EXACT_MAX {
                    hashes.insert(place, hash);
                    return true;
                }
                let mut registers = vec![0; REGISTERS].into_boxed_slice();
                hashes.iter().chain([&hash]).for_each(|hash| note(&mut registers, *hash));
                *self = Self::Estimated(registers);
                false
            }
            Self::Estimated(registers) => {
                note(registers, hash);
                false
            }
        }
    }

    /// Number of different values.
    pub(crate) fn count(&self) -> u64 {
        match self {
            Self::Exact(hashes) => u64::try_from(hashes.len()).unwrap_or(u64::MAX),
            Self::Estimated(registers) => estimate(registers),
        }
    }

    /// Whether the number is exact.
    pub(crate) fn is_exact(&self) -> bool {
        matches!(self, Self::Exact(_))
    }
}

fn note(registers: &mut [u8], hash: u64) {
    let (place, rest) = (hash >> (64 - PRECISION), hash << PRECISION);
    // The set bit behind the 52 bits ends the zeros.
    let rank = (rest | 1 << (PRECISION - 1)).leading_zeros() + 1;
    let rank = u8::try_from(rank).expect("at most 53");
    let register = usize::try_from(place).ok().and_then(|place| registers.get_mut(place));
    let register = register.expect("12 bits choose one of 4,096 registers");
    *register = rank.max(*register);
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an estimate of less than 2^53 values, and not below 0"
)]
fn estimate(registers: &[u8]) -> u64 {
    let m = REGISTERS as f64;
    let sum: f64 = registers.iter().map(|rank| (-f64::from(*rank)).exp2()).sum();
    let raw = 0.721_3 / (1.0 + 1.079 / m) * m * m / sum;
    let empty = registers.iter().filter(|rank| **rank == 0).count();
    let linear = raw <= 2.5 * m && empty > 0;
    let estimate = if linear { m * (m / empty as f64).ln() } else { raw };
    estimate.round() as u64
}

#[cfg(test)]
mod tests {
    use twox_hash::XxHash3_64;

    use super::*;

    #[test]
    fn few_values_are_counted_exactly_and_many_within_five_percent() {
        let mut count = DistinctCount::default();
        let mut reached = 0_u32;
        for upto in [1_u32, 100, 2_048, 2_049, 5_000, 10_000, 20_000, 100_000, 1_000_000] {
            for value in reached..upto {
                // Each one twice, as every series of a metric repeats the values of the others.
                for _ in 0..2 {
                    count.insert(XxHash3_64::oneshot(&value.to_le_bytes()));
                }
            }
            reached = upto;
            let counted = count.count();
            assert_eq!(count.is_exact(), upto <= 2_048);
            if count.is_exact() {
                assert_eq!(counted, u64::from(upto));
            } else {
                let error = (counted.abs_diff(u64::from(upto)) * 100).div_ceil(u64::from(upto));
                assert!(error <= 5, "{counted} instead of {upto}");
            }
        }
    }

    #[test]
    fn what_an_exact_value_takes_is_told_once() {
        let mut count = DistinctCount::default();
        let told = (0..10_000_u64).filter(|hash| count.insert(hash.wrapping_mul(u64::MAX / 9_999)));
        assert_eq!(told.count(), EXACT_MAX);
        assert!(!count.insert(0), "known");
    }
}
