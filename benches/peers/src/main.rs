//! Our detectors beside those of other crates: on labelled series, by the judge of `tidewatch eval`, and by time.
//!
//! `tidewatch-peers nab DIR | kpi DIR | speed [WORD...]` prints one table of the models whose name has one of the words.

use std::error::Error;
use std::io::Write as _;
use std::path::Path;

use peak_alloc::PeakAlloc;
use tidewatch_eval::CorpusKind;

mod changepoints;
mod corpus_run;
mod online;
mod onset;
mod peer;
mod severity_map;
mod speed;
mod table;

/// Counts what the peers hold: none of them tells.
#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const USAGE: &str = "tidewatch-peers nab DIR | kpi DIR | speed [WORD...]";

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let table = match words.as_slice() {
        ["nab", dir, only @ ..] => corpus_run::table(CorpusKind::Nab, Path::new(dir), only)?,
        ["kpi", dir, only @ ..] => corpus_run::table(CorpusKind::Kpi, Path::new(dir), only)?,
        ["speed", only @ ..] => speed::table(only)?,
        _ => return Err(USAGE.into()),
    };
    std::io::stdout().write_all(table.as_bytes())?;
    Ok(())
}

/// Whether a model's figures are wanted.
fn is_wanted(name: &str, only: &[&str]) -> bool {
    only.is_empty() || only.iter().any(|word| name.contains(word))
}
