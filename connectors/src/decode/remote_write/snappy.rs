//! Bodies packed with Snappy's block format, whose first bytes declare the length.

use snap::raw::{Decoder, decompress_len};

/// Bytes that one packed byte stands for at most: three of them can be a copy of 64.
const RATIO_MAX: usize = 22;

/// A body that is not in Snappy's block format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the snappy body is damaged")]
pub struct SnappyError {
    #[source]
    source: snap::Error,
}

/// The number of bytes that `packed` declares to hold. Nothing is known yet of whether it does.
///
/// # Errors
/// If there is no such declaration.
pub fn unpacked_len(packed: &[u8]) -> Result<usize, SnappyError> {
    decompress_len(packed).map_err(|source| SnappyError { source })
}

/// Unpacks `packed`. Allocates what it declares, so the caller looks at that first.
///
/// # Errors
/// If it is damaged, or does not hold what it declares.
pub fn unpack(packed: &[u8]) -> Result<Vec<u8>, SnappyError> {
    Decoder::new().decompress_vec(packed).map_err(|source| SnappyError { source })
}

/// Unpacks `packed` behind what `out` holds; `false`, and no change, where it is not in Snappy's block format.
///
/// Allocates no more than packed bytes can stand for.
pub(crate) fn unpack_behind(packed: &[u8], out: &mut Vec<u8>) -> bool {
    let fits = |bytes: &usize| *bytes <= packed.len().saturating_mul(RATIO_MAX);
    let Some(bytes) = decompress_len(packed).ok().filter(fits) else { return false };
    let begin = out.len();
    out.resize(begin + bytes, 0);
    let place = out.get_mut(begin..).unwrap_or_default();
    let is_whole = Decoder::new().decompress(packed, place).is_ok_and(|written| written == bytes);
    if !is_whole {
        out.truncate(begin);
    }
    is_whole
}

#[cfg(test)]
mod tests {
    use tidewatch_env::Rng;

    use super::*;

    #[test]
    fn what_was_packed_comes_back_and_damage_never_panics() {
        let text = b"up{instance=\"a\"} up{instance=\"b\"} up{instance=\"c\"}".repeat(20);
        let packed = snap::raw::Encoder::new().compress_vec(&text).unwrap();
        assert_eq!(unpacked_len(&packed), Ok(text.len()));
        assert_eq!(unpack(&packed).as_deref(), Ok(&text[..]));
        for cut in 0..packed.len() {
            assert!(unpack(&packed[..cut]).is_err(), "cut at {cut}");
        }
        let mut rng = Rng::from_seed(11);
        for _ in 0..10_000 {
            let mut bytes = packed.clone();
            let at = usize::try_from(rng.below(bytes.len() as u64)).unwrap();
            bytes[at] = rng.next_u64().to_le_bytes()[0];
            if unpacked_len(&bytes).is_ok_and(|length| length < 1 << 20) {
                unpack(&bytes).ok();
            }
        }
    }

    #[test]
    fn a_lie_about_the_length_is_seen_before_anything_is_allocated() {
        let four_gigabytes = [0xff, 0xff, 0xff, 0xff, 0x0f];
        assert_eq!(unpacked_len(&four_gigabytes), Ok(u32::MAX as usize));
        assert!(unpacked_len(&[0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]).is_err());
        assert!(
            unpacked_len(&[]).is_ok_and(|length| length == 0),
            "the crate takes nothing for nothing"
        );
    }
}
