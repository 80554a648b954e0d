//! Mutations of protobuf messages that keep lengths true, so that they reach beyond the first field.

use libfuzzer_sys::fuzzer_mutate;

/// Messages within each other.
const DEPTH_MAX: u32 = 7;
/// Fields of one message that are looked at.
const FIELDS_MAX: usize = 64;

/// Changes the message in the first `size` bytes of `data` at one place; gives its length, at most `size_max`.
///
/// One time in four the bytes are changed as if they were no message, which breaks lengths too.
pub fn mutate(data: &mut [u8], size: usize, size_max: usize, seed: u32) -> usize {
    let mut choices = Choices(u64::from(seed) | 1 << 32);
    if choices.below(4) == 0 {
        return fuzzer_mutate(data, size, size_max);
    }
    let changed = message(&data[..size], &mut choices, DEPTH_MAX);
    match data.get_mut(..changed.len()).filter(|_| changed.len() <= size_max) {
        Some(place) => {
            place.copy_from_slice(&changed);
            changed.len()
        }
        None => fuzzer_mutate(data, size, size_max),
    }
}

/// A message with one field changed, removed, repeated or moved.
fn message(bytes: &[u8], choices: &mut Choices, depth: u32) -> Vec<u8> {
    let Some(mut fields) = fields(bytes).filter(|fields| !fields.is_empty()) else {
        return bytes_changed(bytes);
    };
    let at = choices.below(fields.len());
    match choices.below(8) {
        0 => drop(fields.remove(at)),
        1 => fields.insert(choices.below(at + 1), fields[at].clone()),
        2 => {
            let other = choices.below(fields.len());
            fields.swap(at, other);
        }
        3 => {
            let number = 1 + choices.below(7) as u64;
            fields[at].tag = number << 3 | fields[at].tag & 7;
        }
        _ if depth > 0 && fields[at].tag & 7 == 2 => {
            fields[at].content = message(&fields[at].content, choices, depth - 1);
        }
        _ => fields[at].content = bytes_changed(&fields[at].content),
    }
    fields.iter().flat_map(Field::encoded).collect()
}

/// As libFuzzer changes bytes, with its dictionary and what it has seen compared.
fn bytes_changed(bytes: &[u8]) -> Vec<u8> {
    let size_max = bytes.len() + 16;
    let mut changed = bytes.to_vec();
    changed.resize(size_max, 0);
    let size = fuzzer_mutate(&mut changed, bytes.len(), size_max);
    changed.truncate(size);
    changed
}

/// A field; of a length-delimited one the content is without the length.
#[derive(Clone, Debug)]
struct Field {
    tag: u64,
    content: Vec<u8>,
}

impl Field {
    fn encoded(&self) -> Vec<u8> {
        let mut bytes = varint(self.tag);
        if self.tag & 7 == 2 {
            bytes.extend(varint(self.content.len() as u64));
        }
        bytes.extend_from_slice(&self.content);
        bytes
    }
}

/// The fields of what may be a message.
fn fields(bytes: &[u8]) -> Option<Vec<Field>> {
    let (mut rest, mut fields) = (bytes, Vec::new());
    while !rest.is_empty() {
        let tag = take_varint(&mut rest)?;
        let size = match tag & 7 {
            0 => rest.iter().position(|byte| *byte < 0x80)? + 1,
            1 => 8,
            2 => usize::try_from(take_varint(&mut rest)?).ok()?,
            5 => 4,
            _ => return None,
        };
        let (content, behind) = rest.split_at_checked(size)?;
        fields.push(Field { tag, content: content.to_vec() });
        rest = behind;
        if fields.len() > FIELDS_MAX {
            return None;
        }
    }
    Some(fields)
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        number |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn varint(number: u64) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), number);
    while rest >= 0x80 {
        bytes.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    bytes.push(rest.to_le_bytes()[0]);
    bytes
}

/// Choices that follow from a seed: xorshift (Marsaglia, 2003).
struct Choices(u64);

impl Choices {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % bound.max(1)
    }
}
