//! What it takes to answer a request again, word for word.
//!
//! ```text
//! version   u8    1
//! level     u8    durability that was asked for: 0 accepted, 1 written, 2 synced
//! accepted  u64   lines
//! rejected  u64   lines
//! strings   u64   string fields of accepted lines
//! refused   u32 lines that the answer names, each: number u32, message text
//! ```

use tidewatch_metrics::fields::{FieldReader, FieldWriter};

use crate::ingest::{Durability, LineReport, RefusedLine};

/// Bytes of a stored answer.
const ANSWER_BYTES_MAX: usize = 4_096;
const VERSION: u8 = 1;
/// Bytes before the first refused line.
const HEAD_BYTES: usize = 30;
/// Bytes of a refused line beside its message.
const LINE_BYTES: usize = 8;

/// What a request was answered.
#[derive(Debug)]
pub struct StoredAnswer {
    /// The durability that it asked for.
    pub durability: Durability,
    /// What became of its lines.
    pub report: LineReport,
}

impl StoredAnswer {
    /// Leaves so many refused lines in `report` as a stored answer has room for. The others stay
    /// counted, so the first answer and its repeats name the same ones.
    pub(crate) fn fit(report: &mut LineReport) {
        let mut bytes = HEAD_BYTES;
        let fitting = report.refused.iter().take_while(|line| {
            bytes += LINE_BYTES + line.message.len();
            bytes <= ANSWER_BYTES_MAX
        });
        let fitting = fitting.count();
        report.refused.truncate(fitting);
    }

    /// The bytes of an answer that [fits](Self::fit).
    pub(crate) fn encode(report: &LineReport, durability: Durability) -> Vec<u8> {
        let mut out = FieldWriter::default();
        out.u8(VERSION);
        out.u8(match durability {
            Durability::Accepted => 0,
            Durability::Written => 1,
            Durability::Synced => 2,
        });
        out.u64(report.lines_accepted);
        out.u64(report.lines_rejected);
        out.u64(report.dropped);
        out.count(report.refused.len());
        for line in &report.refused {
            out.u32(line.line_number);
            out.text(&line.message);
        }
        out.into_bytes()
    }

    /// Reads an answer; `None` for another form or version, and beyond the limit.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > ANSWER_BYTES_MAX {
            return None;
        }
        let mut fields = FieldReader::new(bytes);
        if fields.u8()? != VERSION {
            return None;
        }
        let durability = match fields.u8()? {
            0 => Durability::Accepted,
            1 => Durability::Written,
            2 => Durability::Synced,
            _ => return None,
        };
        let mut report = LineReport {
            lines_accepted: fields.u64()?,
            lines_rejected: fields.u64()?,
            dropped: fields.u64()?,
            refused: Vec::new(),
            appended: true,
        };
        for _ in 0..fields.count()? {
            let (line_number, message) = (fields.u32()?, fields.text()?);
            report.refused.push(RefusedLine { line_number, message });
        }
        fields.end()?;
        Some(Self { durability, report })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(messages: &[String]) -> LineReport {
        let refused = (1..)
            .zip(messages)
            .map(|(line_number, message)| RefusedLine { line_number, message: message.clone() });
        LineReport {
            lines_accepted: 7,
            lines_rejected: u64::try_from(messages.len()).unwrap(),
            dropped: 3,
            refused: refused.collect(),
            appended: true,
        }
    }

    #[test]
    fn an_answer_comes_back_and_nothing_else_is_one() {
        let report = report(&["bad".to_owned(), "worse".to_owned()]);
        for durability in [Durability::Accepted, Durability::Written, Durability::Synced] {
            let bytes = StoredAnswer::encode(&report, durability);
            let back = StoredAnswer::decode(&bytes).unwrap();
            assert_eq!((back.durability, &back.report.refused), (durability, &report.refused));
            assert_eq!(StoredAnswer::encode(&back.report, back.durability), bytes);
            for cut in 0..bytes.len() {
                assert!(StoredAnswer::decode(&bytes[..cut]).is_none(), "cut at {cut}");
            }
            assert!(StoredAnswer::decode(&[&bytes[..], &[0]].concat()).is_none());
        }
    }

    #[test]
    fn an_answer_keeps_as_many_lines_as_fit() {
        for length in [0, 1, 77, ANSWER_BYTES_MAX - HEAD_BYTES - LINE_BYTES, ANSWER_BYTES_MAX] {
            let all = report(&vec!["x".repeat(length); 1_000]);
            let mut fitting = report(&vec!["x".repeat(length); 1_000]);
            StoredAnswer::fit(&mut fitting);
            let count = fitting.refused.len();
            assert_eq!(fitting.refused[..], all.refused[..count], "the first ones");
            assert_eq!(fitting.lines_rejected, 1_000, "the others stay counted");
            let bytes = StoredAnswer::encode(&fitting, Durability::Synced);
            assert!(StoredAnswer::decode(&bytes).is_some(), "{length}: {} bytes", bytes.len());
            fitting.refused.push(all.refused[count].clone());
            let more = StoredAnswer::encode(&fitting, Durability::Synced);
            assert!(StoredAnswer::decode(&more).is_none(), "{length}: one more would have fitted");
        }
    }
}
