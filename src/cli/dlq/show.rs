//! One letter.

use std::fmt::Write as _;
use std::io::Write;

use serde_json::Value;

use crate::cli::client::ServerArgs;
use crate::cli::dlq::chosen::{LetterName, parse_letter};
use crate::cli::error::CliError;
use crate::cli::rows::Asker;

/// Bytes of a line of hex digits.
const LINE_BYTES: usize = 32;

/// `tidewatch dlq show`
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The letter: its record and its offset
    #[arg(value_name = "LETTER", value_parser = parse_letter)]
    letter: LetterName,
    /// One JSON document; the payload and the key as hex digits
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// If the server is not reached, or there is no such letter.
pub(crate) fn run(args: &ShowArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let LetterName { lsn, offset } = args.letter;
    let rows = Asker::new(&args.server)?.rows(format!(
        "SELECT * FROM tidewatch.dlq WHERE lsn = {lsn} AND \"offset\" = {offset} LIMIT 1"
    ))?;
    let Some(letter) = rows.first() else {
        let message = format!(
            "letter {}: there is no such letter, or it has expired; `tidewatch dlq ls` lists them",
            args.letter
        );
        return Err(CliError::Refused { url: args.server.url.clone(), status: 404, message });
    };
    let text = if args.json { format!("{letter}\n") } else { told(letter) };
    out.write_all(text.as_bytes()).map_err(CliError::output)
}

fn told(letter: &Value) -> String {
    let mut told = String::new();
    for column in ["source", "topic", "partition", "offset", "time", "received", "state", "reason"]
    {
        let value = match &letter[column] {
            Value::Null => continue,
            Value::String(text) => plain(text, false),
            other => other.to_string(),
        };
        writeln!(told, "{column:<10} {value}").expect("writing to memory does not fail");
    }
    let payload = bytes(letter, "payload");
    let kept = u64::try_from(payload.len()).unwrap_or(u64::MAX);
    let whole = letter["bytes"].as_u64().unwrap_or(kept);
    let cut =
        if kept < whole { format!(", of which the first {kept} are kept") } else { String::new() };
    if letter["key"].is_string() {
        write!(told, "\nkey\n{}", content(&bytes(letter, "key")))
            .expect("writing to memory does not fail");
    }
    write!(told, "\npayload: {whole} bytes{cut}\n{}", content(&payload))
        .expect("writing to memory does not fail");
    told
}

/// Bytes as text where they are some, as hex digits otherwise.
fn content(bytes: &[u8]) -> String {
    match str::from_utf8(bytes) {
        Ok(text) => format!("{}\n", plain(text, true)),
        Err(_) => bytes.chunks(LINE_BYTES).map(|line| format!("{}\n", hex(line))).collect(),
    }
}

/// A text that does not steer the terminal.
fn plain(text: &str, lines: bool) -> String {
    let is_fine = |c: char| !c.is_control() || lines && matches!(c, '\n' | '\t');
    text.chars().map(|c| if is_fine(c) { c } else { '\u{fffd}' }).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(row: &Value, column: &str) -> Vec<u8> {
    let digits = row[column].as_str().unwrap_or_default().as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default();
    let pairs = digits.chunks_exact(2).map(|pair| digit(pair[0]) * 16 + digit(pair[1]));
    pairs.map(|byte| u8::try_from(byte).unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_is_shown_as_text_where_it_is_some_and_as_bytes_otherwise() {
        let letter = json!({
            "source": "main", "topic": "m", "partition": 3, "offset": 9, "time": null,
            "reason": "bad\u{1b}[31m", "payload": "7b0a1b7d", "key": "ff00", "bytes": 9,
        });
        let told = told(&letter);
        assert!(told.contains("reason     bad\u{fffd}[31m\n"), "{told}");
        assert!(told.contains("\nkey\nff00\n"), "{told}");
        let end = "\npayload: 9 bytes, of which the first 4 are kept\n{\n\u{fffd}}\n";
        assert!(told.ends_with(end), "{told}");
        assert!(!told.contains("time"), "{told}");
    }
}
