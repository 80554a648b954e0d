//! Snappy against a decoder that is written down from the format's description, byte by byte.

use crate::decode::remote_write::{unpack, unpacked_len};

/// The most that a caller unpacks here; the product's own limit is on the same declared length.
const UNPACKED_BYTES_MAX: usize = 1 << 20;

/// Both unpack the same or refuse it, and what is packed comes back.
pub(crate) fn check(packed: &[u8]) {
    let declared = unpacked_len(packed).ok().filter(|bytes| *bytes <= UNPACKED_BYTES_MAX);
    if let Some(declared) = declared {
        let ours = unpack(packed).ok();
        assert!(ours.as_ref().is_none_or(|bytes| bytes.len() == declared), "{packed:02x?}");
        // The crate takes nothing for nothing; the format has a length at least.
        if !packed.is_empty() {
            assert_eq!(ours, naive(packed), "{packed:02x?}");
        }
    }
    let again = snap::raw::Encoder::new().compress_vec(packed).expect("less than 4 GiB");
    assert_eq!(unpack(&again).as_deref(), Ok(packed));
}

/// Source: Google, "Snappy compressed format description", `format_description.txt` (2011).
fn naive(packed: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = packed.iter().copied();
    let declared = varint(&mut bytes)?;
    let mut out = Vec::new();
    while let Some(tag) = bytes.next() {
        let upper = usize::from(tag >> 2);
        if tag & 3 == 0 {
            let length = match upper {
                0..60 => upper,
                _ => little_endian(&mut bytes, upper - 59)?,
            };
            for _ in 0..=length {
                out.push(bytes.next()?);
            }
        } else {
            let (length, offset) = match tag & 3 {
                1 => (4 + upper % 8, (upper / 8) * 256 + little_endian(&mut bytes, 1)?),
                2 => (1 + upper, little_endian(&mut bytes, 2)?),
                _ => (1 + upper, little_endian(&mut bytes, 4)?),
            };
            for _ in 0..length {
                let from = out.len().checked_sub(offset).filter(|_| offset > 0)?;
                out.push(out[from]);
            }
        }
        if out.len() > declared {
            return None;
        }
    }
    (out.len() == declared).then_some(out)
}

/// A length of at most 32 bits.
fn varint(bytes: &mut impl Iterator<Item = u8>) -> Option<usize> {
    let mut number = 0;
    for shift in (0..35).step_by(7) {
        let byte = bytes.next()?;
        number |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number).filter(|number| u32::try_from(*number).is_ok());
        }
    }
    None
}

fn little_endian(bytes: &mut impl Iterator<Item = u8>, count: usize) -> Option<usize> {
    (0..count).try_fold(0, |number, byte| Some(number | usize::from(bytes.next()?) << (8 * byte)))
}
