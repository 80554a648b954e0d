//! The grammar of JSON (RFC 8259), walked without building anything. The bytes are UTF-8 already.
#![deny(clippy::indexing_slicing)]

use crate::decode::scan::first_stop;

/// Objects and arrays within each other; as many as the crate `serde_json` takes.
const DEPTH_MAX: usize = 127;

/// Not JSON, as seen at this position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Syntax {
    pub(crate) at: usize,
}

/// A string between its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) start: usize,
    /// The position of the closing quote.
    pub(crate) end: usize,
    pub(crate) has_escapes: bool,
}

impl Text {
    /// The bytes between the quotes.
    #[inline]
    pub(crate) fn of<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.start..self.end).unwrap_or_default()
    }
}

/// The position of the first byte from `pos` on that is no white space.
#[inline]
pub(crate) fn skip_space(bytes: &[u8], pos: usize) -> usize {
    let mut pos = pos;
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(pos) {
        pos += 1;
    }
    pos
}

/// The string whose opening quote is at `quote`.
#[inline]
pub(crate) fn text(bytes: &[u8], quote: usize) -> Result<Text, Syntax> {
    if bytes.get(quote) != Some(&b'"') {
        return Err(Syntax { at: quote });
    }
    let start = quote + 1;
    let mut pos = text_stop(bytes, start);
    let mut has_escapes = false;
    loop {
        match bytes.get(pos) {
            Some(b'"') => return Ok(Text { start, end: pos, has_escapes }),
            Some(b'\\') => {
                has_escapes = true;
                pos = text_stop(bytes, escape(bytes, pos)?.1);
            }
            // A control byte, or the end of the body.
            _ => return Err(Syntax { at: pos }),
        }
    }
}

/// The character that the escape at `pos` stands for, and the position behind it.
pub(crate) fn escape(bytes: &[u8], pos: usize) -> Result<(char, usize), Syntax> {
    let fail = Syntax { at: pos };
    let plain = match bytes.get(pos + 1).ok_or(fail)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode(bytes, pos),
        _ => return Err(fail),
    };
    Ok((plain, pos + 2))
}

/// `\u` and four digits; of a surrogate pair both halves.
fn unicode(bytes: &[u8], pos: usize) -> Result<(char, usize), Syntax> {
    let fail = Syntax { at: pos };
    let first = hex4(bytes, pos + 2).ok_or(fail)?;
    let (number, end) = if (0xd800..0xdc00).contains(&first) {
        let is_pair = bytes.get(pos + 6..pos + 8) == Some(b"\\u");
        let second = hex4(bytes, pos + 8).filter(|n| is_pair && (0xdc00..0xe000).contains(n));
        let second = second.ok_or(fail)?;
        (0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00), pos + 12)
    } else {
        (first, pos + 6)
    };
    char::from_u32(number).map(|character| (character, end)).ok_or(fail)
}

fn hex4(bytes: &[u8], start: usize) -> Option<u32> {
    let digits = bytes.get(start..)?.first_chunk::<4>()?;
    digits.iter().try_fold(0, |number, digit| Some(number * 16 + char::from(*digit).to_digit(16)?))
}

/// The first position from `start` that holds a quote, a backslash or a control byte; the length if none does.
#[inline]
pub(super) fn text_stop(bytes: &[u8], start: usize) -> usize {
    first_stop(bytes, start, is_stop)
}

/// 1 for a byte that ends or interrupts a string, else 0; in the manner of `scan::name_stop`.
#[inline]
fn is_stop(byte: u8) -> u8 {
    let away = (byte ^ b'"').min(byte ^ b'\\').min(byte.saturating_sub(0x1f));
    1_u8.saturating_sub(away)
}

/// An object or array that is being walked.
///
/// Each step gives the position of the next value; the caller says where that one ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    pos: usize,
    is_first: bool,
}

impl Walk {
    /// The object or array whose bracket is at `bracket`.
    #[inline]
    pub(crate) fn new(bracket: usize) -> Self {
        Self { pos: bracket + 1, is_first: true }
    }

    /// The last value ended here.
    #[inline]
    pub(crate) fn go_on(&mut self, end: usize) {
        self.pos = end;
        self.is_first = false;
    }

    /// The name of the next member and the position of its value; the position behind the object at its end.
    #[inline]
    pub(crate) fn member(&mut self, bytes: &[u8]) -> Result<Step<(Text, usize)>, Syntax> {
        match self.next(bytes, b'}')? {
            Step::End(end) => Ok(Step::End(end)),
            Step::Value(pos) => {
                let name = text(bytes, pos)?;
                let colon = skip_space(bytes, name.end + 1);
                if bytes.get(colon) != Some(&b':') {
                    return Err(Syntax { at: colon });
                }
                Ok(Step::Value((name, skip_space(bytes, colon + 1))))
            }
        }
    }

    /// The position of the next element; the position behind the array at its end.
    #[inline]
    pub(crate) fn element(&mut self, bytes: &[u8]) -> Result<Step<usize>, Syntax> {
        self.next(bytes, b']')
    }

    #[inline]
    fn next(&mut self, bytes: &[u8], close: u8) -> Result<Step<usize>, Syntax> {
        let pos = skip_space(bytes, self.pos);
        match bytes.get(pos) {
            Some(byte) if *byte == close => Ok(Step::End(pos + 1)),
            Some(b',') if !self.is_first => Ok(Step::Value(skip_space(bytes, pos + 1))),
            Some(_) if self.is_first => Ok(Step::Value(pos)),
            _ => Err(Syntax { at: pos }),
        }
    }
}

/// What a [`Walk`] came to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<T> {
    /// The next value.
    Value(T),
    /// No more values; the position behind the closing bracket.
    End(usize),
}

/// The position behind the value at `pos`, which is within `depth` objects and arrays.
pub(crate) fn skip_value(bytes: &[u8], pos: usize, depth: usize) -> Result<usize, Syntax> {
    match bytes.get(pos) {
        Some(b'"') => Ok(text(bytes, pos)?.end + 1),
        Some(b'{' | b'[') if depth >= DEPTH_MAX => Err(Syntax { at: pos }),
        Some(b'{') => {
            let mut walk = Walk::new(pos);
            loop {
                match walk.member(bytes)? {
                    Step::End(end) => return Ok(end),
                    Step::Value((_, value)) => walk.go_on(skip_value(bytes, value, depth + 1)?),
                }
            }
        }
        Some(b'[') => {
            let mut walk = Walk::new(pos);
            loop {
                match walk.element(bytes)? {
                    Step::End(end) => return Ok(end),
                    Step::Value(value) => walk.go_on(skip_value(bytes, value, depth + 1)?),
                }
            }
        }
        Some(b't') => word(bytes, pos, b"true"),
        Some(b'f') => word(bytes, pos, b"false"),
        Some(b'n') => word(bytes, pos, b"null"),
        _ => number_end(bytes, pos),
    }
}

/// The position behind `word`, which must be at `pos`.
pub(crate) fn word(bytes: &[u8], pos: usize, word: &[u8]) -> Result<usize, Syntax> {
    match bytes.get(pos..pos + word.len()) {
        Some(found) if found == word => Ok(pos + word.len()),
        _ => Err(Syntax { at: pos }),
    }
}

/// The position behind the number at `pos`: `-? (0 | [1-9][0-9]*) (. [0-9]+)? ((e|E) (+|-)? [0-9]+)?`.
pub(crate) fn number_end(bytes: &[u8], pos: usize) -> Result<usize, Syntax> {
    let first = pos + usize::from(bytes.get(pos) == Some(&b'-'));
    let mut end = digits_end(bytes, first);
    if end == first || has_leading_zero(bytes, first) {
        return Err(Syntax { at: pos });
    }
    if bytes.get(end) == Some(&b'.') {
        let fraction = end + 1;
        end = digits_end(bytes, fraction);
        if end == fraction {
            return Err(Syntax { at: end });
        }
    }
    if let Some(b'e' | b'E') = bytes.get(end) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = end + 1 + sign;
        end = digits_end(bytes, exponent);
        if end == exponent {
            return Err(Syntax { at: end });
        }
    }
    Ok(end)
}

/// Whether the digits at `first` begin with a zero that is not alone.
#[inline]
pub(crate) fn has_leading_zero(bytes: &[u8], first: usize) -> bool {
    bytes.get(first) == Some(&b'0') && bytes.get(first + 1).is_some_and(u8::is_ascii_digit)
}

fn digits_end(bytes: &[u8], start: usize) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    start + rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
}
