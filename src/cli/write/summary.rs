//! What a `write` came to.

use std::io::Write;
use std::time::Duration;

use serde::Serialize;
use ureq::http::HeaderMap;

use crate::cli::error::CliError;

/// Totals over all files. A row is a line of line protocol or a row of CSV.
///
/// Invariant: once a file is through, `rows_sent` is `rows_accepted` and `rows_rejected` together; rows that
/// were refused before they left this machine count as sent and rejected.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Summary {
    files: u64,
    rows_sent: u64,
    rows_accepted: u64,
    rows_rejected: u64,
    requests: u64,
    replayed: u64,
    first_lsn: Option<u64>,
    last_lsn: Option<u64>,
    seconds: f64,
}

impl Summary {
    /// A file was read to its end.
    pub(crate) fn end_file(&mut self) {
        self.files += 1;
    }

    /// Rows that were refused before they were sent.
    pub(crate) fn refuse(&mut self, rows: u64) {
        self.rows_sent += rows;
        self.rows_rejected += rows;
    }

    /// A batch of `rows` was answered with these headers; gives how many of them the server rejected.
    pub(crate) fn answered(&mut self, rows: u64, headers: &HeaderMap) -> u64 {
        let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
        let rejected = number("tidewatch-rejected").unwrap_or(0).min(rows);
        self.requests += 1;
        self.rows_sent += rows;
        self.rows_rejected += rejected;
        self.rows_accepted += rows - rejected;
        self.replayed += u64::from(headers.contains_key("idempotency-replayed"));
        if let Some(lsn) = number("tidewatch-lsn") {
            self.first_lsn = Some(self.first_lsn.map_or(lsn, |first| first.min(lsn)));
            self.last_lsn = Some(self.last_lsn.map_or(lsn, |last| last.max(lsn)));
        }
        rejected
    }

    /// How long all of it took.
    pub(crate) fn set_time(&mut self, time: Duration) {
        self.seconds = (time.as_secs_f64() * 1e3).round() / 1e3;
    }

    /// The error that rejected rows are.
    pub(crate) fn verdict(&self) -> Result<(), CliError> {
        match self.rows_rejected {
            0 => Ok(()),
            rejected => Err(CliError::RowsRejected { rejected, sent: self.rows_sent }),
        }
    }

    /// Puts it out: as one JSON document, or as a line for people.
    pub(crate) fn write(&self, json: bool, out: &mut dyn Write) -> Result<(), CliError> {
        let text = if json {
            serde_json::to_string(self).expect("numbers are always JSON")
        } else {
            self.line()
        };
        writeln!(out, "{text}").map_err(CliError::output)
    }

    fn line(&self) -> String {
        let Self { files, rows_sent, rows_accepted, rows_rejected, requests, .. } = self;
        let plural = |count: u64| if count == 1 { "" } else { "s" };
        let lsns = match (self.first_lsn, self.last_lsn) {
            (Some(first), Some(last)) => format!(", LSN {first} to {last}"),
            _ => String::new(),
        };
        let (s_files, s_requests) = (plural(*files), plural(*requests));
        format!(
            "{files} file{s_files}: {rows_sent} rows sent, {rows_accepted} accepted, {rows_rejected} \
             rejected, in {requests} request{s_requests} and {:.3} s{lsns}",
            self.seconds
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = ureq::http::HeaderName::from_static(name);
            (name, ureq::http::HeaderValue::from_static(value))
        });
        pairs.collect()
    }

    #[test]
    fn the_json_document_has_exactly_the_documented_keys() {
        let mut summary = Summary::default();
        summary.end_file();
        summary.refuse(2);
        let answer = [("tidewatch-rejected", "1"), ("tidewatch-lsn", "9")];
        assert_eq!(summary.answered(5, &headers(&answer)), 1);
        let answer = [("tidewatch-lsn", "7"), ("idempotency-replayed", "true")];
        assert_eq!(summary.answered(5, &headers(&answer)), 0);
        summary.set_time(Duration::from_micros(1_234_567));
        let mut out = Vec::new();
        summary.write(true, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"files\":1,\"rows_sent\":12,\"rows_accepted\":9,\"rows_rejected\":3,\"requests\":2,\
             \"replayed\":1,\"first_lsn\":7,\"last_lsn\":9,\"seconds\":1.235}\n"
        );
        assert_eq!(summary.verdict().unwrap_err().exit_code(), 4);
    }

    #[test]
    fn a_server_cannot_reject_more_than_was_sent() {
        let mut summary = Summary::default();
        assert_eq!(summary.answered(3, &headers(&[("tidewatch-rejected", "99")])), 3);
        assert_eq!(
            summary.line(),
            "0 files: 3 rows sent, 0 accepted, 3 rejected, in 1 request and 0.000 s"
        );
    }
}
