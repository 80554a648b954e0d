//! `tidewatch check`: everything that is wrong with a configuration, without starting anything.

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;

use crate::cli::error::CliError;
use crate::config::{Config, Problem};

const EXAMPLES: &str = "\
Examples:
  tidewatch check --config tidewatch.toml
  tidewatch check --config tidewatch.toml --set limits.memory_bytes_max=2GiB --json

Environment variables such as TIDEWATCH__ALERTS__MAX_AGE count, as they do for `serve`.
Exit code 2: something is wrong.";

/// Where the configuration comes from.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ConfigArgs {
    /// The configuration file; docs/configuration.md lists its keys
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// One key, which wins over environment and file; can be given several times
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub(crate) sets: Vec<String>,
}

impl ConfigArgs {
    /// The configuration that these arguments and the environment give.
    ///
    /// # Errors
    /// All problems at once.
    pub(crate) fn load(&self) -> Result<Config, Vec<Problem>> {
        let text = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((key.into_string().ok()?, value.into_string().ok()?))
        };
        Config::load(self.config.as_deref(), std::env::vars_os().filter_map(text), &self.sets)
    }
}

/// `tidewatch check`
#[derive(Clone, Debug, clap::Args)]
#[command(about = "Check a configuration and say everything that is wrong", after_help = EXAMPLES)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Put out the problems as one JSON document
    #[arg(long)]
    json: bool,
}

/// Puts out the problems.
///
/// # Errors
/// If there are any.
pub(crate) fn run(args: &CheckArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let problems = args.config.load().err().unwrap_or_default();
    let text = if args.json {
        format!("{}\n", json!({ "ok": problems.is_empty(), "problems": &problems }))
    } else if problems.is_empty() {
        "the configuration is good\n".to_owned()
    } else {
        problems.iter().map(|problem| format!("{problem}\n")).collect()
    };
    out.write_all(text.as_bytes()).map_err(CliError::output)?;
    match problems.len() {
        0 => Ok(()),
        problems => Err(CliError::Configuration { problems }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn check(toml: &str, sets: &[&str], json: bool) -> (Result<(), CliError>, String) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tidewatch.toml");
        std::fs::write(&file, toml).unwrap();
        let sets = sets.iter().map(|&set| set.to_owned()).collect();
        let args = CheckArgs { config: ConfigArgs { config: Some(file), sets }, json };
        let mut out = Vec::new();
        let result = run(&args, &mut out);
        (result, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_good_configuration_is_ok() {
        let (result, out) = check("[alerts]\nmax_age = \"2h\"\n", &[], true);
        result.expect("nothing is wrong");
        assert_eq!(out, "{\"ok\":true,\"problems\":[]}\n");
    }

    #[test]
    fn every_problem_is_told_with_its_key() {
        let toml = "[wal]\nsegment_bytes_max = 1\nidle_mark = 5\n";
        let (result, out) = check(toml, &["alerts.max_age=soon"], true);
        assert_eq!(result.unwrap_err().exit_code(), 2);
        let document: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(document["ok"], false);
        let problems = document["problems"].as_array().unwrap();
        let mut keys: Vec<_> = problems.iter().map(|p| p["key"].as_str().unwrap()).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["alerts.max_age", "wal.idle_mark", "wal.segment_bytes_max"]);
    }

    #[test]
    fn people_read_a_line_per_problem() {
        let (_, out) = check("[wal]\nsegment_bytes_max = 1\n", &[], false);
        let expected = "wal.segment_bytes_max is 1, but must be between 1048576 and 1073741824\n";
        assert_eq!(out, expected);
    }
}
