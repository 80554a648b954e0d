//! Damaged inputs for the tests of decoders, the same for the same seed.

use tidewatch_env::Rng;

/// Damaged inputs of one test; `TIDEWATCH_FUZZ_INPUTS` asks for another number.
pub(crate) fn inputs() -> u64 {
    let named = std::env::var("TIDEWATCH_FUZZ_INPUTS").ok();
    named.map_or(100_000, |number| number.parse().expect("TIDEWATCH_FUZZ_INPUTS is a number"))
}

/// A number below `bound`.
pub(crate) fn below(rng: &mut Rng, bound: usize) -> usize {
    usize::try_from(rng.below(u64::try_from(bound.max(1)).unwrap())).unwrap()
}

/// One of `choices`.
pub(crate) fn pick<'a, T: ?Sized>(rng: &mut Rng, choices: &[&'a T]) -> &'a T {
    choices[below(rng, choices.len())]
}

/// Changes some bytes: flips, cuts, copies of pieces, and bytes that mean something to the decoder.
pub(crate) fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>, meaningful: &[u8]) {
    for _ in 0..=rng.below(3) {
        let at = below(rng, bytes.len());
        match rng.below(6) {
            0 if !bytes.is_empty() => bytes[at] = rng.next_u64().to_le_bytes()[0],
            1 if !bytes.is_empty() => bytes[at] ^= 1 << rng.below(8),
            2 if !bytes.is_empty() => {
                let end = (at + 1 + below(rng, 8)).min(bytes.len());
                bytes.drain(at..end);
            }
            3 => {
                let end = (at + below(rng, 24)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                let to = below(rng, bytes.len() + 1);
                bytes.splice(to..to, piece);
            }
            4 => bytes.truncate(at),
            _ => bytes.insert(at, meaningful[below(rng, meaningful.len())]),
        }
    }
}
