//! QuestDB as a peer: the same bodies at its own door for line protocol.

use std::net::SocketAddr;

use serde_json::Value;

use crate::cli::bench::case::Case;
use crate::cli::bench::connection::Connection;
use crate::cli::bench::process::Process;
use crate::cli::bench::target::Stored;
use crate::cli::client::query_value;
use crate::cli::error::CliError;

/// A running QuestDB.
#[derive(Clone, Debug)]
pub(crate) struct QuestDb {
    url: String,
    address: SocketAddr,
    process: Option<Process>,
}

impl QuestDb {
    /// The server at `url`, which must be an address of this machine; `process` for its CPU-seconds.
    ///
    /// # Errors
    /// If the address is none.
    pub(crate) fn new(url: &str, process: Option<Process>) -> Result<Self, CliError> {
        let host = url.trim_end_matches('/').strip_prefix("http://").unwrap_or(url);
        let address = host.parse().map_err(|_not_one| CliError::Usage {
            problem: format!(
                "--peer questdb={url}: an address such as http://127.0.0.1:9000 is asked"
            ),
        })?;
        Ok(Self { url: url.to_owned(), address, process })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process, if it is known.
    pub(crate) fn process(&self) -> Option<Process> {
        self.process
    }

    /// Removes what an earlier run may have left of a case.
    ///
    /// # Errors
    /// If it is not reached or refuses.
    pub(crate) fn clear(&self, case: &Case) -> Result<(), CliError> {
        self.ask(&format!("DROP TABLE IF EXISTS {}", case.measurement)).map(drop)
    }

    /// Whether all that was acknowledged is in the tables.
    ///
    /// # Errors
    /// If it is not reached or refuses.
    pub(crate) fn is_drained(&self) -> Result<bool, CliError> {
        let waiting = self.ask("select sum(sequencerTxn-writerTxn) from wal_tables()")?;
        Ok(matches!(waiting.first(), None | Some(Value::Null)) || number(&waiting, 0) == Some(0.0))
    }

    /// What it holds of a case.
    ///
    /// # Errors
    /// If it is not reached or refuses.
    pub(crate) fn stored(&self, case: &Case) -> Result<Stored, CliError> {
        let sums: Vec<String> = case.fields.iter().map(|field| format!("sum({field})")).collect();
        let sql = format!("select count(), {} from {}", sums.join("+"), case.measurement);
        let row = self.ask(&sql)?;
        let rows = row.first().and_then(Value::as_u64).unwrap_or(0);
        Ok(Stored { samples: rows * case.line_samples(), sum: number(&row, 1).unwrap_or(0.0) })
    }

    /// The first row of a statement's answer.
    fn ask(&self, sql: &str) -> Result<Vec<Value>, CliError> {
        let not_reached = |source: std::io::Error| CliError::NotReached {
            url: self.url.clone(),
            source: source.into(),
        };
        let request =
            format!("GET /exec?query={} HTTP/1.1\r\nHost: bench\r\n\r\n", query_value(sql));
        let mut connection = Connection::open(self.address).map_err(not_reached)?;
        let answer = connection.ask(request.as_bytes()).map_err(not_reached)?;
        // The text may come in chunks, whose lengths stand on lines of their own around the document.
        let document = answer.body.lines().find(|line| line.starts_with('{')).unwrap_or_default();
        let parsed: Option<Value> = serde_json::from_str(document).ok();
        let parsed = parsed.filter(|parsed| answer.status == 200 && parsed["error"].is_null());
        let Some(parsed) = parsed else {
            return Err(CliError::Refused {
                url: self.url.clone(),
                status: answer.status,
                message: answer.body,
            });
        };
        Ok(parsed["dataset"][0].as_array().cloned().unwrap_or_default())
    }
}

fn number(row: &[Value], at: usize) -> Option<f64> {
    row.get(at).and_then(Value::as_f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::case::CaseName;
    use crate::cli::fake_server::{Answer, FakeServer};

    fn peer(answers: &[&str]) -> (FakeServer, QuestDb) {
        let answers = answers.iter().map(|body| Answer::new(200, body)).collect();
        let server = FakeServer::start(answers);
        let peer = QuestDb::new(server.url(), None).unwrap();
        (server, peer)
    }

    #[test]
    fn rows_count_as_often_as_they_have_fields() {
        let (server, peer) = peer(&[r#"{"dataset":[[7,12.5]],"count":1}"#]);
        let stored = peer.stored(&CaseName::P1.case()).unwrap();
        assert_eq!(stored, Stored { samples: 70, sum: 12.5 });
        assert!(server.requests()[0].first_line.contains("count%28%29"));
    }

    #[test]
    fn it_is_drained_when_nothing_waits_or_no_table_is_there() {
        let answers = [r#"{"dataset":[[0]]}"#, r#"{"dataset":[[null]]}"#, r#"{"dataset":[[3]]}"#];
        let (_server, peer) = peer(&answers);
        let drained = [(); 3].map(|()| peer.is_drained().unwrap());
        assert_eq!(drained, [true, true, false]);
    }

    #[test]
    fn an_error_is_told_as_one() {
        let (_server, peer) = peer(&[r#"{"query":"x","error":"table does not exist"}"#]);
        let error = peer.is_drained().unwrap_err();
        assert!(error.to_string().contains("table does not exist"), "{error}");
        QuestDb::new("questdb", None).unwrap_err();
    }
}
