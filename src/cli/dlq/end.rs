//! Letters are replayed or dropped.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::client::{Post, ServerArgs};
use crate::cli::dlq::chosen::{Chosen, LetterName, Pages, parse_letter};
use crate::cli::error::CliError;
use crate::cli::progress::Progress;
use crate::cli::rows::Asker;

/// Letters of one request.
const REQUEST_LETTERS: usize = 500;
/// Decoding and syncing so many take less.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(5);

/// What is done with letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Replay,
    Drop,
}

/// `tidewatch dlq replay` and `tidewatch dlq drop`
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct EndArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// All open letters, or those of them that the filters choose
    #[arg(long, conflicts_with = "letters", required_unless_present = "letters")]
    all: bool,
    #[command(flatten)]
    chosen: Chosen,
    /// One JSON document
    #[arg(long)]
    json: bool,
    /// The letters: each its record and its offset
    #[arg(value_name = "LETTER", value_parser = parse_letter)]
    letters: Vec<LetterName>,
}

/// What has come of it.
#[derive(Debug, Default)]
struct Sum {
    ended: u64,
    samples: u64,
    /// Letters that had ended before.
    before: u64,
    /// Why others stay as they are, and how many.
    reasons: BTreeMap<String, u64>,
}

/// Runs the command.
///
/// # Errors
/// If the server is not reached, or refuses.
pub(super) fn run(args: &EndArgs, what: What, out: &mut dyn Write) -> Result<(), CliError> {
    let asker = Asker::new(&args.server)?;
    let mut sum = Sum::default();
    if args.all {
        let mut pages = Pages::of_open(&asker, &args.chosen);
        let progress = Progress::count(pages.count()?, "letters");
        loop {
            let page = pages.next()?;
            if page.is_empty() {
                break;
            }
            end(&asker, what, &page, (&mut sum, &progress))?;
        }
        progress.finish();
    } else {
        let count = u64::try_from(args.letters.len()).unwrap_or(u64::MAX);
        let progress = Progress::count(count, "letters");
        end(&asker, what, &args.letters, (&mut sum, &progress))?;
        progress.finish();
    }
    let text = if args.json { format!("{}\n", sum.json()) } else { sum.told(what) };
    out.write_all(text.as_bytes()).map_err(CliError::output)
}

fn end(
    asker: &Asker,
    what: What,
    letters: &[LetterName],
    (sum, progress): (&mut Sum, &Progress),
) -> Result<(), CliError> {
    for some in letters.chunks(REQUEST_LETTERS) {
        let names: Vec<_> = some.iter().map(LetterName::to_string).collect();
        let response = asker.client.post(&Post {
            path: what.path(),
            content_type: "application/json",
            headers: &[],
            body: json!({ "letters": names }).to_string().as_bytes(),
            timeout: ANSWER_TIMEOUT,
        })?;
        if !response.status().is_success() {
            return Err(asker.client.refused(response));
        }
        let text = response.into_body().read_to_string();
        let text = text.map_err(|error| asker.client.not_reached(error))?;
        sum.add(&serde_json::from_str(&text).unwrap_or_default());
        progress.advance(u64::try_from(some.len()).unwrap_or(u64::MAX));
    }
    Ok(())
}

impl What {
    const fn path(self) -> &'static str {
        match self {
            Self::Replay => "/api/v1/admin/dlq/replay",
            Self::Drop => "/api/v1/admin/dlq/drop",
        }
    }
}

impl Sum {
    fn add(&mut self, answer: &Value) {
        self.ended += answer["ended"].as_u64().unwrap_or_default();
        self.samples += answer["samples"].as_u64().unwrap_or_default();
        for letter in answer["letters"].as_array().into_iter().flatten() {
            let Some(reason) = letter["reason"].as_str() else { continue };
            match letter["state"].as_str() {
                Some("replayed" | "dropped") => self.before += 1,
                Some(_) | None => *self.reasons.entry(reason.to_owned()).or_default() += 1,
            }
        }
    }

    fn json(&self) -> Value {
        let reasons = self.reasons.iter();
        let reasons =
            reasons.map(|(reason, letters)| json!({ "reason": reason, "letters": letters }));
        json!({
            "ended": self.ended, "samples": self.samples, "ended_before": self.before,
            "not_ended": reasons.collect::<Vec<_>>(),
        })
    }

    fn told(&self, what: What) -> String {
        let mut told = match what {
            What::Replay => {
                format!("letters replayed: {}, samples stored: {}\n", self.ended, self.samples)
            }
            What::Drop => format!("letters dropped: {}\n", self.ended),
        };
        if self.before > 0 {
            told += &format!("replayed or dropped before: {}\n", self.before);
        }
        for (reason, letters) in &self.reasons {
            let reason = reason.replace(char::is_control, " ");
            told += &format!("still open: {letters}: {reason}\n");
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::fake_server::{Answer, FakeServer};

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: EndArgs,
    }

    #[test]
    fn all_open_letters_are_asked_for_page_by_page_and_what_stays_is_told_with_its_reason() {
        let told = r#"{"ended":1,"samples":7,"letters":[{"letter":"3:8","state":"replayed"},
            {"letter":"3:9","state":"open","reason":"not valid JSON"},
            {"letter":"4:1","state":"replayed","reason":"it was replayed before"}]}"#;
        let page = r#"[{"lsn":3,"offset":8},{"lsn":3,"offset":9},{"lsn":4,"offset":1}]"#;
        let answers = [r#"[{"n":3}]"#, page, told, "[]"].map(|body| Answer::new(200, body));
        let server = FakeServer::start(answers.into());
        let words = ["replay", "--url", server.url(), "--all", "--source", "main"];
        let args = Command::try_parse_from(words).unwrap().args;
        let mut out = Vec::new();
        run(&args, What::Replay, &mut out).unwrap();
        let expected = "letters replayed: 1, samples stored: 7\nreplayed or dropped before: 1\n\
                        still open: 1: not valid JSON\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let requests = server.requests();
        let sent: Value = serde_json::from_slice(&requests[2].body).unwrap();
        assert_eq!(sent, json!({ "letters": ["3:8", "3:9", "4:1"] }));
        let last = String::from_utf8_lossy(&requests[3].body).into_owned();
        assert!(last.contains("(lsn > 4 OR (lsn = 4 AND"), "{last}");
    }

    #[test]
    fn letters_are_named_or_all_are_meant_and_never_neither_or_both() {
        let parsed = |words: &[&str]| Command::try_parse_from([&["drop"], words].concat()).is_ok();
        assert!(parsed(&["3:8", "3:9"]) && parsed(&["--all"]));
        assert!(!parsed(&[]) && !parsed(&["--all", "3:8"]) && !parsed(&["3"]));
    }
}
