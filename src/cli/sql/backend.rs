//! Who answers statements: a server, or a stopped data directory.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Notify;

use crate::cli::client::{Client, ServerArgs};
use crate::cli::error::CliError;
use crate::cli::query::{Statement, send};
use crate::cli::service::internal;
use crate::cli::sql::interrupts::Interrupts;
use crate::cli::stop::Stop;
use crate::cli::stopped::StoppedData;

/// Bytes of an answer: more than a server gives.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// Who answers statements.
#[derive(Debug)]
pub(crate) enum Backend {
    /// A server. A client that was interrupted is followed by another one.
    Server(ServerArgs, Arc<Client>),
    /// A data directory, kept open.
    Stopped(Box<StoppedData>),
}

/// An answer in full.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// The rows, as the format has them.
    pub(crate) body: String,
    /// What it took, as the header `Tidewatch-Stats` has it.
    pub(crate) stats: Value,
}

impl Backend {
    /// A server.
    ///
    /// # Errors
    /// If the address or the key is none.
    pub(crate) fn server(args: &ServerArgs) -> Result<Self, CliError> {
        Ok(Self::Server(args.clone(), client(args)?))
    }

    /// A stopped data directory.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn stopped(data_dir: &Path) -> Result<Self, CliError> {
        Ok(Self::Stopped(Box::new(StoppedData::open(data_dir)?)))
    }

    /// Answers a statement, which an interrupt cancels.
    ///
    /// # Errors
    /// If nobody answers, the statement is refused, or it is interrupted.
    pub(crate) fn ask(
        &mut self,
        statement: &Statement,
        interrupts: &Interrupts,
    ) -> Result<Answer, CliError> {
        match self {
            Self::Server(args, client_now) => {
                let (asked, cancelled) = (Arc::clone(client_now), Arc::clone(client_now));
                let cancel = move || cancelled.cancel();
                let (answer, interrupted) = interrupts.during(cancel, || fetch(&asked, statement));
                if interrupted {
                    *client_now = client(args)?;
                    return Err(CliError::Interrupted);
                }
                answer
            }
            Self::Stopped(data) => {
                let cancelled = Arc::new(Notify::new());
                let notify = Arc::clone(&cancelled);
                let cancel = move || notify.notify_one();
                let (answer, _) = interrupts.during(cancel, || data.answer(statement, &cancelled));
                let answer = answer?;
                let body = String::from_utf8_lossy(&answer.body).into_owned();
                let stats = serde_json::from_str(&answer.stats.to_json());
                Ok(Answer { body, stats: stats.unwrap_or_default() })
            }
        }
    }
}

fn client(args: &ServerArgs) -> Result<Arc<Client>, CliError> {
    Ok(Arc::new(Client::new(args, Arc::new(Stop::default()))?))
}

fn fetch(client: &Client, statement: &Statement) -> Result<Answer, CliError> {
    let response = send(client, statement)?;
    let stats = response.headers().get("tidewatch-stats").and_then(|stats| stats.to_str().ok());
    let stats = stats.and_then(|stats| serde_json::from_str(stats).ok()).unwrap_or_default();
    let mut body = Vec::new();
    let mut rows = response.into_body().into_reader().take(ANSWER_BYTES_MAX + 1);
    let count = rows.read_to_end(&mut body).map_err(|error| client.not_reached(error))?;
    if u64::try_from(count).unwrap_or(u64::MAX) > ANSWER_BYTES_MAX {
        return Err(internal("reading the answer", "it is larger than a server's answers are"));
    }
    Ok(Answer { body: String::from_utf8_lossy(&body).into_owned(), stats })
}
