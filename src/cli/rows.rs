//! Rows of a server's answers, for commands that show them in their own way.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::cli::client::{Client, ServerArgs};
use crate::cli::error::CliError;
use crate::cli::query::{Format, Statement, send};
use crate::cli::service::internal;
use crate::cli::stop::Stop;

/// The longest time of one statement: the server's own limit.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an answer: more than a server gives.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// Asks a server for rows.
#[derive(Debug)]
pub(crate) struct Asker {
    /// The connections.
    pub(crate) client: Client,
}

impl Asker {
    /// One for the server that is named.
    ///
    /// # Errors
    /// If the address or the key is none.
    pub(crate) fn new(args: &ServerArgs) -> Result<Self, CliError> {
        Ok(Self { client: Client::new(args, Arc::new(Stop::default()))? })
    }

    /// The rows of a statement, each an object.
    ///
    /// # Errors
    /// If the server is not reached, or refuses the statement.
    pub(crate) fn rows(&self, sql: String) -> Result<Vec<Value>, CliError> {
        let statement = Statement {
            sql,
            db: "default".to_owned(),
            format: Format::Json,
            timeout: Some(TIMEOUT),
        };
        let mut body = send(&self.client, &statement)?.into_body();
        let text = body.with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        let text = text.map_err(|error| self.client.not_reached(error))?;
        serde_json::from_str(&text).map_err(|error| internal("reading the server's answer", error))
    }
}

/// A text as a literal of SQL.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
