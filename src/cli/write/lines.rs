//! Cuts line protocol at the ends of its lines, which are not always line ends.
//!
//! A string value may contain line ends: `m note="two\nlines" 1`. The rule is the one that the
//! server's decoder has for lines that it refuses, and holds for good lines as well: a quote opens
//! a string after the first space, where there are more `=` than commas; a backslash takes the next
//! byte's meaning, but not that of a line end outside of a string.

use std::io::{BufRead, Read};

/// A longer line is refused by the server, and here already, so that memory is bounded.
pub(crate) const LINE_BYTES_MAX: usize = 1 << 20;
/// Bytes read at once of a line that is too long.
const SKIP_BYTES: u64 = 64 * 1_024;

/// What the next line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line with data; its bytes, line end included, were appended.
    Row,
    /// Blank or a comment; appended as well, so that line numbers stay true.
    Blank,
    /// Longer than [`LINE_BYTES_MAX`]; nothing was appended.
    TooLong,
    /// Nothing: the end of the file.
    End,
}

/// Reads line protocol line by line.
#[derive(Debug)]
pub(crate) struct LineCutter<R> {
    input: R,
    line_number: u64,
}

/// Within a line: what the next quote or line end means.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    in_fields: bool,
    in_string: bool,
    escaped: bool,
    values_open: i64,
}

impl<R: BufRead> LineCutter<R> {
    /// Reads from `input`.
    pub(crate) fn new(input: R) -> Self {
        Self { input, line_number: 1 }
    }

    /// The number of the line that comes next, from 1.
    pub(crate) fn line_number(&self) -> u64 {
        self.line_number
    }

    /// Appends the next line to `out`.
    ///
    /// # Errors
    /// If reading fails.
    pub(crate) fn next(&mut self, out: &mut Vec<u8>) -> std::io::Result<Line> {
        let start = out.len();
        let mut state = State::default();
        loop {
            let from = out.len();
            let room = (LINE_BYTES_MAX + 2).saturating_sub(from - start);
            let room = u64::try_from(room).expect("a line's limit is small");
            (&mut self.input).take(room).read_until(b'\n', out)?;
            let piece = out.get(from..).unwrap_or_default();
            let line = out.get(start..).unwrap_or_default();
            if piece.is_empty() {
                let over = line.len() > LINE_BYTES_MAX;
                return if over { self.skip(out, start) } else { Ok(last(out, start)) };
            }
            if piece.last() != Some(&b'\n') {
                continue;
            }
            self.line_number += 1;
            if is_blank(line) {
                return Ok(Line::Blank);
            }
            // Without a quote there is no string that could go on.
            if from == start && !piece.contains(&b'"') || !state.goes_on(piece) {
                return Ok(Line::Row);
            }
        }
    }

    /// Passes over the rest of a line that is too long, up to the next line end.
    fn skip(&mut self, out: &mut Vec<u8>, start: usize) -> std::io::Result<Line> {
        loop {
            out.truncate(start);
            (&mut self.input).take(SKIP_BYTES).read_until(b'\n', out)?;
            let read = out.get(start..).unwrap_or_default();
            let end = read.is_empty() || read.last() == Some(&b'\n');
            self.line_number += u64::from(read.last() == Some(&b'\n'));
            if end {
                out.truncate(start);
                return Ok(Line::TooLong);
            }
        }
    }
}

/// The file ends here: its last line may lack a line end.
fn last(out: &mut Vec<u8>, start: usize) -> Line {
    let line = out.get(start..).unwrap_or_default();
    if line.is_empty() {
        return Line::End;
    }
    let blank = is_blank(line);
    if line.last() != Some(&b'\n') {
        out.push(b'\n');
    }
    if blank { Line::Blank } else { Line::Row }
}

fn is_blank(line: &[u8]) -> bool {
    let first = line.iter().find(|byte| !b" \t\r\n".contains(byte));
    matches!(first, None | Some(b'#'))
}

impl State {
    /// Goes over `piece`, which ends with a line end; whether that one is inside of a string.
    fn goes_on(&mut self, piece: &[u8]) -> bool {
        for &byte in piece {
            if self.escaped {
                self.escaped = false;
                if byte != b'\n' || self.in_string {
                    continue;
                }
            }
            match byte {
                b'\\' => self.escaped = true,
                b' ' => self.in_fields = true,
                b'"' if self.in_fields && self.values_open > 0 => self.in_string = !self.in_string,
                b'=' if self.in_fields && !self.in_string => self.values_open += 1,
                b',' if self.in_fields && !self.in_string => self.values_open -= 1,
                _ => {}
            }
        }
        self.in_string
    }
}

#[cfg(test)]
mod tests {
    use tidewatch_connectors::decode::{LineBatch, LineOptions, decode};
    use tidewatch_env::Rng;

    use super::*;

    fn cut(text: &[u8]) -> Vec<(Line, Vec<u8>)> {
        let mut cutter = LineCutter::new(text);
        let mut lines = Vec::new();
        loop {
            let mut out = Vec::new();
            match cutter.next(&mut out).unwrap() {
                Line::End => return lines,
                line => lines.push((line, out)),
            }
        }
    }

    #[test]
    fn lines_end_outside_of_strings_only() {
        let text = "# one, \"\nm,t=\"x v=1 1\nm v=\"two\nlines, \\\" a=b\" 2\r\n\n  \nlast v=3";
        let expected = [
            (Line::Blank, "# one, \"\n"),
            (Line::Row, "m,t=\"x v=1 1\n"),
            (Line::Row, "m v=\"two\nlines, \\\" a=b\" 2\r\n"),
            (Line::Blank, "\n"),
            (Line::Blank, "  \n"),
            (Line::Row, "last v=3\n"),
        ];
        let expected = expected.map(|(line, text)| (line, text.as_bytes().to_vec()));
        assert_eq!(cut(text.as_bytes()), expected);
    }

    #[test]
    fn a_line_that_is_too_long_is_left_out_and_the_next_one_is_read() {
        let mut text = b"a v=1\nb v=\"".to_vec();
        text.resize(3 * LINE_BYTES_MAX, b'x');
        text.extend_from_slice(b"\nc v=2\n");
        let lines = cut(&text);
        let kinds: Vec<_> = lines.iter().map(|(line, _)| *line).collect();
        assert_eq!(kinds, [Line::Row, Line::TooLong, Line::Row]);
        assert_eq!(lines[1].1, b"");
        assert_eq!(lines[2].1, b"c v=2\n");
    }

    /// What the decoder makes of `body`: lines taken, lines refused, values.
    fn decoded(body: &[u8]) -> (usize, u64, Vec<f64>) {
        let mut batch = LineBatch::default();
        decode(body, &LineOptions::default(), &mut batch).unwrap();
        (batch.lines(), batch.errors().total(), batch.values().to_vec())
    }

    #[test]
    fn lines_sent_one_by_one_are_decoded_as_the_whole_file_is() {
        let pieces = [
            "m", ",t=a", " ", "v=1", "v=\"s\"", "\"", "\\", "\n", ",", "=", "\\\"", "#", "2 ",
            "\r\n",
        ];
        for seed in 0..3_000 {
            let mut rng = Rng::from_seed(seed);
            let mut text = Vec::new();
            for _ in 0..rng.below(40) {
                let index = usize::try_from(rng.below(pieces.len() as u64)).unwrap();
                text.extend_from_slice(pieces[index].as_bytes());
            }
            let (lines, errors, values) = decoded(&text);
            let mut sum = (0, 0, Vec::new());
            for (_, line) in cut(&text) {
                let one = decoded(&line);
                sum = (sum.0 + one.0, sum.1 + one.1, [sum.2, one.2].concat());
            }
            let shown = String::from_utf8_lossy(&text);
            assert_eq!(sum, (lines, errors, values), "SEED={seed} {shown:?}");
        }
    }

    #[test]
    fn line_numbers_count_line_ends() {
        let mut cutter = LineCutter::new(&b"a v=1\n\nb v=\"\n\" 2\nc v=1"[..]);
        let mut out = Vec::new();
        for expected in [1, 2, 3, 5] {
            assert_eq!(cutter.line_number(), expected);
            cutter.next(&mut out).unwrap();
        }
        assert_eq!(cutter.next(&mut out).unwrap(), Line::End);
    }
}
