//! JSON in batches: a document with many samples, and a sample per line.

use std::io::{BufRead, Read};
use std::ops::Range;

use tidewatch_connectors::decode::SeriesError;
use tidewatch_connectors::decode::json::samples_of;

use crate::cli::error::Cause;
use crate::cli::write::lines::LINE_BYTES_MAX;
use crate::cli::write::source::{BODY_BYTES_MAX, Batch};

/// A document is read whole: of more than this, a sample per line is the form.
const DOCUMENT_BYTES_MAX: u64 = 1 << 30;
const HEAD: &[u8] = b"{\"metrics\":[";
const TAIL: &[u8] = b"]}";

/// Why a document cannot be cut into batches.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DocumentError {
    /// It is not of the form.
    #[error(transparent)]
    Form(SeriesError),
    /// It is too long.
    #[error("the document has more than {DOCUMENT_BYTES_MAX} bytes; --format ndjson has no limit")]
    TooLong,
}

/// A document `{"metrics":[…]}` that is cut into such documents.
pub(crate) struct JsonDocument {
    text: Vec<u8>,
    samples: Vec<Range<usize>>,
    next: usize,
}

impl JsonDocument {
    /// Reads all of `input`.
    ///
    /// # Errors
    /// If reading fails, or it is no such document.
    pub(crate) fn read(input: impl Read) -> Result<Self, Cause> {
        let mut text = Vec::new();
        input.take(DOCUMENT_BYTES_MAX + 1).read_to_end(&mut text)?;
        if u64::try_from(text.len()).is_ok_and(|bytes| bytes > DOCUMENT_BYTES_MAX) {
            return Err(DocumentError::TooLong.into());
        }
        let samples = samples_of(&text).map_err(DocumentError::Form)?;
        Ok(Self { text, samples, next: 0 })
    }

    /// The next batch, as with [`Source::next`](crate::cli::write::source::Source::next).
    pub(crate) fn next(&mut self, rows_max: usize, body: &mut Vec<u8>) -> Option<Batch> {
        let left = self.samples.get(self.next..).filter(|left| !left.is_empty())?;
        let first_line = u64::try_from(self.next + 1).ok();
        let mut rows = 0;
        body.extend_from_slice(HEAD);
        for sample in left.iter().take(rows_max) {
            let text = self.text.get(sample.clone()).unwrap_or_default();
            if rows > 0 && body.len() + text.len() > BODY_BYTES_MAX {
                break;
            }
            if rows > 0 {
                body.push(b',');
            }
            body.extend_from_slice(text);
            rows += 1;
        }
        body.extend_from_slice(TAIL);
        self.next += rows;
        let rows = u64::try_from(rows).expect("a batch is small");
        Some(Batch { rows, first_line, ..Batch::default() })
    }
}

/// A JSON object per line.
pub(crate) struct JsonLines<R> {
    input: R,
    line_number: u64,
}

impl<R: BufRead> JsonLines<R> {
    /// Reads from `input`.
    pub(crate) fn new(input: R) -> Self {
        Self { input, line_number: 1 }
    }

    /// The next batch, as with [`Source::next`](crate::cli::write::source::Source::next).
    ///
    /// # Errors
    /// If reading fails.
    pub(crate) fn next(
        &mut self,
        rows_max: usize,
        body: &mut Vec<u8>,
    ) -> std::io::Result<Option<Batch>> {
        let mut batch = Batch { first_line: Some(self.line_number), ..Batch::default() };
        let rows_max = u64::try_from(rows_max).unwrap_or(u64::MAX);
        let line_max = u64::try_from(LINE_BYTES_MAX).expect("a line is short") + 1;
        while batch.rows < rows_max && body.len() < BODY_BYTES_MAX {
            let start = body.len();
            let read = (&mut self.input).take(line_max).read_until(b'\n', body)?;
            let line = body.get(start..).unwrap_or_default();
            if read == 0 {
                break;
            }
            if read > LINE_BYTES_MAX && line.last() != Some(&b'\n') {
                body.truncate(start);
                self.input.skip_until(b'\n')?;
                batch.refused += 1;
                let number = self.line_number;
                batch.notes.push(format!("line {number}: longer than {LINE_BYTES_MAX} bytes"));
                self.line_number += 1;
                // What follows has other numbers in the body than in the file.
                return Ok(Some(batch));
            }
            batch.rows += u64::from(!line.iter().all(u8::is_ascii_whitespace));
            self.line_number += 1;
        }
        Ok((!body.is_empty()).then_some(batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(text: &str, rows_max: usize) -> Vec<(u64, Option<u64>, String)> {
        let mut document = JsonDocument::read(text.as_bytes()).unwrap();
        let mut all = Vec::new();
        let mut body = Vec::new();
        while let Some(batch) = document.next(rows_max, &mut body) {
            let text = String::from_utf8(std::mem::take(&mut body)).unwrap();
            all.push((batch.rows, batch.first_line, text));
        }
        all
    }

    #[test]
    fn a_document_is_cut_into_documents_of_the_same_form() {
        let text = "{\"v\":1,\"metrics\": [ {\"name\":\"a\"} ,{\"n\":[1,2]},\n7]}";
        let all = documents(text, 2);
        assert_eq!(
            all[0],
            (2, Some(1), "{\"metrics\":[{\"name\":\"a\"},{\"n\":[1,2]}]}".to_owned())
        );
        assert_eq!(all[1..], [(1, Some(3), "{\"metrics\":[7]}".to_owned())]);
        assert!(documents("{\"metrics\":[]}", 2).is_empty());
        let large = format!("{{\"metrics\":[{}]}}", vec!["9".repeat(1 << 20); 20].join(","));
        let all = documents(&large, 1_000);
        assert_eq!(all.iter().map(|(rows, ..)| rows).sum::<u64>(), 20);
        assert!(all.iter().all(|(.., body)| body.len() <= BODY_BYTES_MAX + TAIL.len()));
        for bad in ["", "[]", "{\"metrics\":{}}", "{\"metrics\":[1}"] {
            assert!(JsonDocument::read(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn lines_are_cut_into_batches_and_one_that_is_too_long_is_left_out() {
        let long = "x".repeat(3 * LINE_BYTES_MAX);
        let text = format!("{{}}\n\n{{}}\n{{}}\n{long}\n{{}}");
        let mut lines = JsonLines::new(text.as_bytes());
        let mut told = Vec::new();
        let mut body = Vec::new();
        while let Some(batch) = lines.next(2, &mut body).unwrap() {
            let text = String::from_utf8(std::mem::take(&mut body)).unwrap();
            told.push((batch.rows, batch.refused, batch.first_line.unwrap(), text));
        }
        let expected = [
            (2, 0, 1, "{}\n\n{}\n".to_owned()),
            (1, 1, 4, "{}\n".to_owned()),
            (1, 0, 6, "{}".to_owned()),
        ];
        assert_eq!(told, expected);
    }
}
