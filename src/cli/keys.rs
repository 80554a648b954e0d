//! `tidewatch keys`: who may use a server.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidewatch_engine::DataDir;
use tidewatch_env::{RealClock, RealDisk};
use ureq::http::Method;

use crate::cli::access::AccessArgs;
use crate::cli::client::{Client, Post, ServerArgs, query_value};
use crate::cli::error::CliError;
use crate::cli::service::{internal, keys_error, start_error};
use crate::cli::stop::Stop;
use crate::cli::wal::table;
use crate::keys::{Keyring, Scope, added, listed};

/// Keys are few: a server answers at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// What `ls` shows of a key.
const COLUMNS: [&str; 5] = ["name", "scope", "state", "created", "revoked"];
/// Where a server's keys are.
const PATH: &str = "/api/v1/admin/keys";

const EXAMPLES: &str = "\
Examples:
  # The first key, before the server starts; from then on every request needs one
  tidewatch keys add --data-dir ./tidewatch-data --name admin --scope admin > admin.key

  # Others while it runs, with the first one
  tidewatch keys add --url http://127.0.0.1:8850 --key-file admin.key --name telegraf --scope write
  tidewatch keys ls --url http://127.0.0.1:8850 --key-file admin.key

  # Another key for a client: make it, hand it over, then revoke the old one
  tidewatch keys revoke --url http://127.0.0.1:8850 --key-file admin.key telegraf

  # How clients show a key
  curl -H \"Authorization: Bearer $KEY\" -d 'cpu value=1' http://127.0.0.1:8850/write
  TIDEWATCH_KEY=$KEY tidewatch query 'SELECT * FROM cpu'

Only a key's hash is stored: who loses a key makes another one.";

/// `tidewatch keys`
#[derive(Debug, clap::Subcommand)]
#[command(about = "Make, list and revoke the keys that a server asks for", after_help = EXAMPLES)]
pub(crate) enum KeysCommand {
    /// Make a key; it is the last line of standard output, and is told this once
    #[command(after_help = EXAMPLES)]
    Add {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        access: AccessArgs,
        /// What the key is called in lists and in the audit trail; never used twice
        #[arg(long)]
        name: String,
        /// What it may be used for
        #[arg(long, value_enum)]
        scope: Scope,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// List all keys, revoked ones too; the keys themselves are not stored
    #[command(after_help = EXAMPLES)]
    Ls {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        access: AccessArgs,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key: from then on it opens nothing, and it stays listed
    #[command(after_help = EXAMPLES)]
    Revoke {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        access: AccessArgs,
        /// The key's name
        name: String,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
}

/// A stopped data directory, or a running server.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Place {
    /// The data directory, whose server is stopped; `add` makes it if it is missing
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// A running server, such as http://127.0.0.1:8850; the change takes effect at once
    #[arg(long)]
    url: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// If the directory is in use or the server refuses, and if the name is taken or not there.
pub(crate) fn run(command: &KeysCommand, out: &mut dyn Write) -> Result<(), CliError> {
    match command {
        KeysCommand::Add { place, access, name, scope, json } => {
            let added = place.keys(access)?.add(name, *scope)?;
            put_added(&added, *json, out)
        }
        KeysCommand::Ls { place, access, json } => {
            let keys = place.existing(access)?.list()?;
            let text = match keys["keys"].as_array() {
                Some(rows) if !json => table(&COLUMNS, rows),
                _ => format!("{keys}\n"),
            };
            out.write_all(text.as_bytes()).map_err(CliError::output)
        }
        KeysCommand::Revoke { place, access, name, json } => {
            let revoked = place.existing(access)?.revoke(name)?;
            let text = if *json {
                format!("{revoked}\n")
            } else {
                format!("{name} is revoked since {}\n", text_of(&revoked, "revoked"))
            };
            out.write_all(text.as_bytes()).map_err(CliError::output)
        }
    }
}

/// The key alone on standard output, so that scripts can store it; what it is on standard error.
fn put_added(added: &Value, json: bool, out: &mut dyn Write) -> Result<(), CliError> {
    let key = text_of(added, "key");
    if key.is_empty() {
        return Err(internal("the server's answer", "it holds no key"));
    }
    if json {
        return writeln!(out, "{added}").map_err(CliError::output);
    }
    let (name, scope) = (text_of(added, "name"), text_of(added, "scope"));
    let said = format!("the key {name} with the scope {scope}; it is shown this once:");
    // Where standard error is closed, the key has to do.
    let mut stderr = std::io::stderr();
    drop(writeln!(stderr, "{said}"));
    if let Some(warning) = added["warning"].as_str() {
        drop(writeln!(stderr, "warning: {warning}"));
    }
    writeln!(out, "{key}").map_err(CliError::output)
}

fn text_of<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// Keys that can be changed.
enum Keys {
    /// Those of a directory, which is locked as long.
    Stopped(Keyring, DataDir),
    /// Those of a running server.
    Running(Client),
}

impl Place {
    fn keys(&self, access: &AccessArgs) -> Result<Keys, CliError> {
        if let Some(dir) = &self.data_dir {
            return stopped(dir);
        }
        let server =
            ServerArgs { url: self.url.clone().unwrap_or_default(), access: access.clone() };
        Ok(Keys::Running(Client::new(&server, Arc::new(Stop::default()))?))
    }

    /// As [`Place::keys`], of a directory that must be there.
    fn existing(&self, access: &AccessArgs) -> Result<Keys, CliError> {
        if let Some(dir) = &self.data_dir {
            fs::metadata(dir).map_err(|source| CliError::File {
                action: "read the data directory",
                path: dir.clone(),
                source: source.into(),
            })?;
        }
        self.keys(access)
    }
}

fn stopped(dir: &Path) -> Result<Keys, CliError> {
    let lock = DataDir::lock(&RealDisk, dir).map_err(|error| start_error(error.into(), dir))?;
    let keyring = Keyring::open(Arc::new(RealDisk), Arc::new(RealClock::new()), dir);
    let keyring = keyring.map_err(|error| keys_error(error, dir))?;
    Ok(Keys::Stopped(keyring, lock))
}

impl Keys {
    fn add(&self, name: &str, scope: Scope) -> Result<Value, CliError> {
        match self {
            Self::Stopped(keyring, lock) => {
                let made = keyring.add(name, scope);
                let (record, text) = made.map_err(|error| keys_error(error, lock.path()))?;
                Ok(added(&record, &text, &keyring.table()))
            }
            Self::Running(client) => {
                let body = json!({ "name": name, "scope": scope.name() }).to_string();
                ask(client, &Method::POST, PATH, body.as_bytes())
            }
        }
    }

    fn list(&self) -> Result<Value, CliError> {
        match self {
            Self::Stopped(keyring, _lock) => {
                let table = keyring.table();
                let keys: Vec<Value> = table.keys().iter().map(|key| listed(&key.record)).collect();
                Ok(json!({ "keys": keys }))
            }
            Self::Running(client) => ask(client, &Method::GET, PATH, &[]),
        }
    }

    fn revoke(&self, name: &str) -> Result<Value, CliError> {
        match self {
            Self::Stopped(keyring, lock) => {
                let revoked = keyring.revoke(name).map(|record| listed(&record));
                revoked.map_err(|error| keys_error(error, lock.path()))
            }
            Self::Running(client) => {
                let path = format!("{PATH}/{}", query_value(name));
                ask(client, &Method::DELETE, &path, &[])
            }
        }
    }
}

fn ask(client: &Client, method: &Method, path: &str, body: &[u8]) -> Result<Value, CliError> {
    let response = client.request(
        method,
        &Post {
            path,
            content_type: "application/json",
            headers: &[],
            body,
            timeout: ANSWER_TIMEOUT,
        },
    )?;
    if !response.status().is_success() {
        return Err(client.refused(response));
    }
    let text = response.into_body().read_to_string().map_err(|error| client.not_reached(error))?;
    serde_json::from_str(&text).map_err(|error| internal("reading the server's answer", error))
}
