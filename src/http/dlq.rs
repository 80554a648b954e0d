//! What is to be done with dead letters: `POST /api/v1/admin/dlq/replay` and `POST /api/v1/admin/dlq/drop`. Which there are,
//! `tidewatch.dlq` says.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tidewatch_engine::limits::LETTERS_NAMED_MAX;
use tidewatch_engine::{EngineError, LetterFate, LettersTold};
use tidewatch_metrics::Lsn;
use tidewatch_segments::{LetterEnd, LetterId};

use super::change::{changed, noted};
use super::document::document;
use super::{ApiError, App};
use crate::assemble::Running;

/// A body: some 50 bytes for each letter.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Time for each record.
const RECORD_MAX: Duration = Duration::from_secs(30);

/// Which letters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    letters: Vec<String>,
}

/// `POST /api/v1/admin/dlq/replay` with `{"letters":["record:offset"]}`: they are read as messages of their source are at
/// this time. What is stored is durable when it is answered.
pub(crate) async fn replay(State(app): State<Arc<App>>, request: Request) -> Response {
    let replay = |running: &Running, letters: &[LetterId]| {
        let reading = |source: &str| running.letter_reading(source);
        running.engine.replay_letters(letters, &reading, RECORD_MAX)
    };
    conduct(&app, request, "replayed", replay).await.unwrap_or_else(IntoResponse::into_response)
}

/// `POST /api/v1/admin/dlq/drop` with `{"letters":["record:offset"]}`.
pub(crate) async fn drop(State(app): State<Arc<App>>, request: Request) -> Response {
    let drop =
        |running: &Running, letters: &[LetterId]| running.engine.drop_letters(letters, RECORD_MAX);
    conduct(&app, request, "dropped", drop).await.unwrap_or_else(IntoResponse::into_response)
}

async fn conduct(
    app: &App,
    request: Request,
    what: &str,
    work: impl FnOnce(&Running, &[LetterId]) -> Result<LettersTold, EngineError> + Send + 'static,
) -> Result<Response, ApiError> {
    let running = Arc::clone(app.running()?);
    let form = "{\"letters\":[\"record:offset\"]} as JSON";
    let Wanted { letters } = document(request, BODY_BYTES_MAX, form).await?;
    if !(1..=LETTERS_NAMED_MAX).contains(&letters.len()) {
        let message = format!("letters must be 1 to {LETTERS_NAMED_MAX} at a time");
        return Err(ApiError::invalid(message));
    }
    let ids = letters.iter().map(|text| {
        parse(text).ok_or_else(|| {
            let form = "a record and an offset, such as 4711:120, as tidewatch.dlq has them";
            ApiError::invalid(format!("letter {text:?} is not {form}"))
        })
    });
    let ids = ids.collect::<Result<Vec<_>, _>>()?;
    let told = changed(move || work(&running, &ids)).await?;
    let ended = told.fates.values().filter(|fate| matches!(fate, LetterFate::Ended(_))).count();
    let note = format!("{ended} of {} dead letters {what}", told.fates.len());
    let headers = [(header::CONTENT_TYPE, "application/json")];
    Ok(noted((headers, answer(&told, ended).to_string()).into_response(), note))
}

fn answer(told: &LettersTold, ended: usize) -> Value {
    let letters: Vec<Value> = told.fates.iter().map(|(id, fate)| shown(*id, fate)).collect();
    json!({ "ended": ended, "samples": told.samples, "letters": letters })
}

fn shown(id: LetterId, fate: &LetterFate) -> Value {
    let mut shown = json!({ "letter": format!("{}:{}", id.lsn, id.offset) });
    let (state, reason) = match fate {
        LetterFate::Ended(end) => (end.name(), None),
        LetterFate::HadEnded(LetterEnd::Replayed) => ("replayed", Some("it was replayed before")),
        LetterFate::HadEnded(LetterEnd::Dropped) => ("dropped", Some("it was dropped before")),
        LetterFate::Refused(reason) => ("open", Some(&**reason)),
        LetterFate::Cut => ("open", Some("only its first bytes were kept")),
        LetterFate::NoSource => ("open", Some("no source of its name is configured")),
        LetterFate::NeedsHeaders => {
            ("open", Some("its source makes labels of headers, and letters do not keep these"))
        }
        LetterFate::InHand => ("open", Some("another request has it in hand")),
        LetterFate::Unknown => ("unknown", Some("there is no such letter, or it has expired")),
    };
    shown["state"] = json!(state);
    if let Some(reason) = reason {
        shown["reason"] = json!(reason);
    }
    shown
}

fn parse(text: &str) -> Option<LetterId> {
    let (lsn, offset) = text.split_once(':')?;
    let number =
        |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?;
    Some(LetterId { lsn: Lsn::new(number(lsn)?), offset: number(offset)? })
}
