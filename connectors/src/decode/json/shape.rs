//! The layout of a sample, remembered: a client writes all samples of a body alike.
//!
//! ```text
//! sample = piece slot piece slot … piece
//! {"name":"  cpu  ","timestamp":  1700000000  ,"value":  99.5  ,"dimensions":{"host":"  a  "}}
//! ```
//!
//! The pieces are those of an earlier sample of the same body, which the grammar has read. Whoever has the same
//! bytes around the same slots is read by the grammar in the same way, so that comparing the pieces is enough.
//! What does not fit, in a piece or in a slot, is left to the grammar.
#![deny(clippy::indexing_slicing)]

use std::ops::Range;

use tidewatch_metrics::EventTime;

use crate::decode::json::decoder::{Members, is_named, labels};
use crate::decode::json::grammar::{Step, Walk, number_end, skip_value, text, text_stop};
use crate::decode::json::scalar::{time_of_number, time_of_text, value};
use crate::decode::line_batch::Span;
use crate::decode::precision::Precision;

/// Slots of a layout that is remembered: name, time, value, where labels begin and end, and as many labels as most
/// series have.
const SLOTS_MAX: usize = 24;
/// Samples that do not fit before another layout is learnt, at least; layouts by turns keep the first of them.
const PATIENCE_MIN: u32 = 4;

/// What may differ from sample to sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Slot {
    #[default]
    LabelValue,
    Name,
    TimeText,
    TimeNumber,
    Value,
    /// Without bytes: before the brace that opens the labels.
    LabelsStart,
    /// Without bytes: behind the brace that closes them.
    LabelsEnd,
}

/// Bytes that all samples of the layout have, and the slot behind them.
#[derive(Clone, Copy, Debug, Default)]
struct Piece {
    /// Where the remembered sample has them.
    bytes: Span,
    slot: Slot,
}

impl Piece {
    /// The position behind this piece and its slot, if they are at `at`; what the slot holds is noted.
    #[inline]
    fn end(&self, bytes: &[u8], at: usize, found: &mut Fitting) -> Option<usize> {
        let at = same_bytes_end(bytes, at, self.bytes)?;
        match self.slot {
            Slot::LabelsStart | Slot::LabelsEnd => Some(at),
            Slot::LabelValue => plain_text_end(bytes, at),
            Slot::Name => {
                let end = plain_text_end(bytes, at).filter(|end| *end > at)?;
                found.name = Span::between(at, end);
                Some(end)
            }
            Slot::TimeText => {
                let end = plain_text_end(bytes, at)?;
                found.time = time_of_text(bytes.get(at..end)?).ok()?;
                Some(end)
            }
            Slot::TimeNumber => {
                let end = number_end(bytes, at).ok()?;
                found.time = time_of_number(bytes, at, end, Precision::Auto).ok()?;
                Some(end)
            }
            Slot::Value => {
                let (number, end) = value(bytes, at, 0).ok()?;
                found.value = number.ok()?;
                Some(end)
            }
        }
    }
}

/// A sample that fits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fitting {
    pub(super) name: Span,
    pub(super) time: EventTime,
    pub(super) value: f64,
    /// The object of labels, or nothing.
    pub(super) labels: Span,
    /// The position behind the sample.
    pub(super) end: usize,
    /// Whether its labels fit too.
    pub(super) is_whole: bool,
}

/// The layout that a sample of the body has.
///
/// Invariant: the spans are pieces of the body that is being decoded, all of them of one sample; a remembered layout
/// has a name, a time and a value.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape {
    pieces: [Piece; SLOTS_MAX],
    /// How many pieces have a slot behind them; 0 if nothing is remembered.
    count: usize,
    /// The pieces between the braces of the labels, these included.
    label_pieces: Range<usize>,
    /// The bytes behind the last slot.
    tail: Span,
    /// Samples in a row that did not fit from beginning to end.
    misses: u32,
    /// So many of them make another layout be learnt.
    patience: u32,
}

impl Shape {
    /// The sample at `pos`, if it fits; its labels, which differ from metric to metric, need not.
    ///
    /// `bytes` is the body, or the body up to the sample's end.
    #[inline]
    pub(super) fn fit(&mut self, bytes: &[u8], pos: usize, depth: usize) -> Option<Fitting> {
        let (mut at, mut index, mut labels_start) = (pos, 0, 0);
        let mut fitting = Fitting { is_whole: true, ..Fitting::default() };
        while let Some(piece) = self.pieces.get(..self.count)?.get(index) {
            match piece.end(bytes, at, &mut fitting) {
                Some(end) => {
                    match piece.slot {
                        Slot::LabelsStart => labels_start = end,
                        Slot::LabelsEnd => fitting.labels = Span::between(labels_start, end),
                        _ => {}
                    }
                    at = end;
                    index += 1;
                }
                None if self.label_pieces.contains(&index) => {
                    let (labels, end) = labels(bytes, labels_start, depth + 1).ok()?;
                    fitting.labels = labels.ok()?;
                    at = end;
                    index = self.label_pieces.end;
                    fitting.is_whole = false;
                }
                None => return None,
            }
        }
        fitting.end = same_bytes_end(bytes, at, self.tail)?;
        if self.count == 0 {
            return None;
        }
        if fitting.is_whole {
            self.misses = 0;
            self.patience = self.patience.saturating_sub(1).max(PATIENCE_MIN);
        }
        Some(fitting)
    }

    /// Notes that the sample at `pos`, which is good, did not fit from beginning to end; remembers its layout if
    /// that of the samples seems to have changed.
    ///
    /// Learning costs as much as reading. It becomes rare where every sample has another layout, and each sample
    /// that fits makes it quicker to come again.
    pub(super) fn miss(&mut self, bytes: &[u8], pos: usize, members: &Members) {
        self.misses = self.misses.saturating_add(1);
        if self.misses >= self.patience {
            self.misses = 0;
            self.patience = self.patience.saturating_mul(4).max(PATIENCE_MIN);
            self.count = 0;
            if self.learn(bytes, pos, members).is_none() {
                self.count = 0;
            }
        }
    }

    /// Remembers the layout of the sample at `pos`; `None` where it has none that can be.
    fn learn(&mut self, bytes: &[u8], pos: usize, members: &Members) -> Option<()> {
        self.label_pieces = 0..0;
        let mut from = pos;
        let (mut has_name, mut has_time, mut has_value, mut has_labels) =
            (false, false, false, false);
        let once = |has: &mut bool| (!std::mem::replace(has, true)).then_some(());
        let mut walk = Walk::new(pos);
        loop {
            let (member, at) = match walk.member(bytes).ok()? {
                Step::End(end) => {
                    self.tail = Span::between(from, end);
                    return (has_name && has_time && has_value).then_some(());
                }
                Step::Value(member) => member,
            };
            let is_text = bytes.get(at) == Some(&b'"');
            let end = if is_named(member, bytes, members.name) {
                once(&mut has_name)?;
                self.learn_text(bytes, &mut from, at, Slot::Name)?
            } else if is_named(member, bytes, members.time) && is_text {
                once(&mut has_time)?;
                self.learn_text(bytes, &mut from, at, Slot::TimeText)?
            } else if is_named(member, bytes, members.time) {
                once(&mut has_time)?;
                self.cut(&mut from, at, number_end(bytes, at).ok()?, Slot::TimeNumber)?
            } else if is_named(member, bytes, members.value) {
                once(&mut has_value)?;
                self.cut(&mut from, at, number_end(bytes, at).ok()?, Slot::Value)?
            } else if is_named(member, bytes, members.labels) {
                once(&mut has_labels)?;
                self.learn_labels(bytes, &mut from, at)?
            } else {
                skip_value(bytes, at, 0).ok()?
            };
            walk.go_on(end);
        }
    }

    /// Labels, or a `null` in their place, which is a part of the piece.
    fn learn_labels(&mut self, bytes: &[u8], from: &mut usize, at: usize) -> Option<usize> {
        match bytes.get(at) {
            Some(b'{') => {}
            Some(b'n') => return skip_value(bytes, at, 0).ok(),
            _ => return None,
        }
        self.cut(from, at, at, Slot::LabelsStart)?;
        let first = self.count;
        let mut walk = Walk::new(at);
        loop {
            match walk.member(bytes).ok()? {
                Step::End(end) => {
                    self.cut(from, end, end, Slot::LabelsEnd)?;
                    self.label_pieces = first..self.count;
                    return Some(end);
                }
                Step::Value((_, at)) => {
                    walk.go_on(self.learn_text(bytes, from, at, Slot::LabelValue)?);
                }
            }
        }
    }

    /// The text whose quote is at `at`; gives the position behind it.
    fn learn_text(
        &mut self,
        bytes: &[u8],
        from: &mut usize,
        at: usize,
        slot: Slot,
    ) -> Option<usize> {
        let text = text(bytes, at).ok()?;
        Some(self.cut(from, text.start, text.end, slot)? + 1)
    }

    /// Ends a piece at `start`; the next one begins at `end`, which is given back.
    fn cut(&mut self, from: &mut usize, start: usize, end: usize, slot: Slot) -> Option<usize> {
        *self.pieces.get_mut(self.count)? = Piece { bytes: Span::between(*from, start), slot };
        self.count += 1;
        *from = end;
        Some(end)
    }
}

/// The position behind the bytes at `at`, if they are those of `piece`.
#[inline]
fn same_bytes_end(bytes: &[u8], at: usize, piece: Span) -> Option<usize> {
    let known = piece.of(bytes);
    (bytes.get(at..at + known.len())? == known).then_some(at + known.len())
}

/// The position of the quote that ends the text from `start` on, if it has no escapes.
#[inline]
fn plain_text_end(bytes: &[u8], start: usize) -> Option<usize> {
    let end = text_stop(bytes, start);
    (bytes.get(end) == Some(&b'"')).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBERS: Members =
        Members { name: b"name", time: b"time", value: b"value", labels: b"labels" };

    /// What of `other` is read by the layout of `first`: name, nanoseconds, value, labels, and what is behind.
    fn fit(first: &str, other: &str) -> Option<(String, i64, f64, String, String)> {
        let body = format!("{first}{other}");
        let mut shape = Shape::default();
        shape.miss(body.as_bytes(), 0, &MEMBERS);
        let fitting = shape.fit(body.as_bytes(), first.len(), 0)?;
        let text = |span: Span| String::from_utf8(span.of(body.as_bytes()).to_vec()).unwrap();
        let behind = String::from_utf8(body.as_bytes()[fitting.end..].to_vec()).unwrap();
        let (name, labels) = (text(fitting.name), text(fitting.labels));
        Some((name, fitting.time.nanos(), fitting.value, labels, behind))
    }

    #[test]
    fn what_differs_in_its_slots_alone_is_read_from_them() {
        let first = r#"{"name":"a","time":1,"unit":"s","labels":{"x":"1","y":"2"},"value":1.5}"#;
        let other =
            r#"{"name":"b c","time":2.5,"unit":"s","labels":{"x":"","y":"}{"},"value":-7e1},[]"#;
        let read = ("b c".to_owned(), 2_500_000_000, -70.0, r#"{"x":"","y":"}{"}"#.to_owned());
        assert_eq!(fit(first, other), Some((read.0, read.1, read.2, read.3, ",[]".to_owned())));
        let first = r#"{ "value" : 1, "time" : "1970-01-01T00:00:00Z", "name":"a","labels":null }"#;
        let other = first.replace(":00Z", ":03Z").replace(": 1,", ": 2,");
        let read = ("a".to_owned(), 3_000_000_000, 2.0, String::new(), String::new());
        assert_eq!(fit(first, &other), Some(read));
    }

    #[test]
    fn labels_that_differ_are_read_by_the_grammar_and_the_rest_fits() {
        let first = r#"{"name":"a","labels":{"x":"1","y":"2"},"time":1,"value":1}"#;
        for labels in [
            "{}",
            "null",
            r#"{ "x":"1","y":"2"}"#,
            r#"{"x":"1"}"#,
            r#"{"x":"1","z":"2"}"#,
            r#"{"x":"1","y":"2","z":"3"}"#,
            r#"{"x":"\u0031","y":"2"}"#,
        ] {
            let other = first.replace(r#"{"x":"1","y":"2"}"#, labels).replace(":1}", ":2}");
            let object = if labels == "null" { "" } else { labels };
            let read = ("a".to_owned(), 1_000_000_000, 2.0, object.to_owned(), String::new());
            assert_eq!(fit(first, &other), Some(read), "{labels}");
        }
        for labels in ["[]", "7", r#"{"x":1}"#, r#"{"x":"1""#, r#"{"x":"1",}"#] {
            let other = first.replace(r#"{"x":"1","y":"2"}"#, labels);
            assert_eq!(fit(first, &other), None, "{labels}");
        }
    }

    #[test]
    fn what_differs_elsewhere_or_needs_the_grammar_does_not_fit() {
        let first = r#"{"name":"a","time":1,"value":1,"labels":{"x":"1"}}"#;
        assert!(fit(first, first).is_some());
        for (from, to) in [
            ("\"name\"", "\"nom\""),
            ("\"a\"", "\"\""),
            ("\"a\"", "\"\\n\""),
            ("\"a\"", "\"\n\""),
            ("\"a\"", "7"),
            ("\"time\":1", "\"time\":\"1\""),
            ("\"time\":1", "\"time\":1e1"),
            ("\"time\":1", "\"time\":01"),
            ("\"value\":1", "\"value\":null"),
            ("\"value\":1", "\"value\":1i"),
            ("\"value\":1", "\"value\":1e999"),
            ("\"1\"}", "1}"),
            ("}}", "} }"),
            ("}}", "}"),
        ] {
            assert_eq!(fit(first, &first.replacen(from, to, 1)), None, "{to} for {from}");
        }
    }

    #[test]
    fn a_layout_with_a_member_twice_or_missing_or_of_another_kind_is_not_remembered() {
        let labels = |count: usize| {
            let labels: Vec<_> = (0..count).map(|label| format!("\"{label}\":\"\"")).collect();
            format!("{{\"name\":\"a\",\"time\":1,\"value\":1,\"labels\":{{{}}}}}", labels.join(","))
        };
        assert!(fit(&labels(SLOTS_MAX - 5), &labels(SLOTS_MAX - 5)).is_some());
        for sample in [
            labels(SLOTS_MAX - 4).as_str(),
            r#"{"name":"a","time":1,"value":1,"name":"b"}"#,
            r#"{"name":"a","time":1,"value":1,"labels":null,"labels":null}"#,
            r#"{"name":"a","time":1}"#,
            r#"{"name":"a","time":1,"value":null}"#,
            r#"{"name":"a","time":1,"value":1,"labels":{"x":1}}"#,
            r#"{"name":"a","time":1,"value":1,"labels":[]}"#,
        ] {
            assert_eq!(fit(sample, sample), None, "{sample}");
        }
    }

    #[test]
    fn layouts_by_turns_keep_one_and_a_change_for_good_is_learnt() {
        let turns = [r#"{"name":"a","time":1,"value":1}"#, r#"{"time":1,"value":1,"name":"a"}"#];
        let order = [0, 1, 0, 1, 0, 1, 1, 1, 1, 1, 1];
        let body: String = order.map(|turn| turns[turn]).concat();
        let mut shape = Shape::default();
        let mut fits = |sample: usize| {
            let pos = sample * turns[0].len();
            let fits = shape.fit(body.as_bytes(), pos, 0).is_some();
            if !fits {
                shape.miss(body.as_bytes(), pos, &MEMBERS);
            }
            fits
        };
        let found: Vec<_> = (0..order.len()).map(&mut fits).collect();
        let expected = [&[false, false, true, false, true][..], &[false; 4], &[true; 2]].concat();
        assert_eq!(found, expected);
    }
}
