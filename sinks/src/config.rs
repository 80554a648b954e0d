//! Sinks as the operator configures them.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tidewatch_env::Clock;
use ureq::http::Uri;

use crate::address::is_refused;
use crate::limits::{NAME_BYTES_MAX, URL_BYTES_MAX, WEBHOOK_TIMEOUT};
use crate::{FileSink, Secret, Sink, SinkError, StdoutSink, WebhookSink};
#[cfg(feature = "kafka")]
use crate::{KafkaSink, KafkaSinkConfig};

/// A sink of the operator's configuration file.
///
/// Loopback and private addresses are fine here, link-local ones are not. `Debug` shows neither
/// the secret nor more of an address than its host, because many webhooks carry a token in the path.
#[derive(Clone, PartialEq, Eq)]
pub enum SinkConfig {
    /// A JSON line per transition on standard output.
    Stdout {
        /// The sink's name.
        name: String,
    },
    /// A JSON line per transition at the end of a file.
    File {
        /// The sink's name.
        name: String,
        /// The file; its directory must exist.
        path: PathBuf,
    },
    /// An HTTP POST per transition.
    Webhook {
        /// The sink's name.
        name: String,
        /// The receiver: `http://…` or `https://…`.
        url: String,
        /// The key of the signature; none means unsigned.
        secret: Option<Secret>,
    },
    /// A record in a topic per transition.
    #[cfg(feature = "kafka")]
    Kafka(KafkaSinkConfig),
}

/// What is wrong with a sink's configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {message}")]
pub struct Problem {
    /// The field, as it is called in configurations, such as `name` or `url`.
    pub field: &'static str,
    /// What is wrong with it, as the rest of a sentence that begins with the field.
    pub message: String,
}

impl SinkConfig {
    /// The sink's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Stdout { name } | Self::File { name, .. } | Self::Webhook { name, .. } => name,
            #[cfg(feature = "kafka")]
            Self::Kafka(config) => &config.name,
        }
    }

    /// All that is wrong, found without touching disk or network; empty if nothing is.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut note = |field, found: Option<String>| {
            problems.extend(found.map(|message| Problem { field, message }));
        };
        note("name", name_problem(self.name()));
        match self {
            Self::Stdout { .. } => {}
            Self::File { path, .. } => {
                let missing = path.file_name().is_none();
                note("path", missing.then(|| "must name a file".to_owned()));
            }
            Self::Webhook { url, secret, .. } => {
                note("url", url_problem(url));
                let empty = secret.as_ref().is_some_and(|secret| secret.bytes().is_empty());
                note("secret_env", empty.then(|| "names an empty secret".to_owned()));
            }
            #[cfg(feature = "kafka")]
            Self::Kafka(config) => problems.extend(config.problems()),
        }
        problems
    }

    /// The sink, ready for its first attempt. Nothing is opened or reached before that.
    ///
    /// # Errors
    /// What [`problems`](Self::problems) finds.
    pub fn open(&self, clock: Arc<dyn Clock>) -> Result<Box<dyn Sink>, SinkError> {
        let problems = self.problems();
        if !problems.is_empty() {
            return Err(SinkError::Config { sink: self.name().to_owned(), problems });
        }
        Ok(match self {
            Self::Stdout { name } => Box::new(StdoutSink::new(name, Box::new(std::io::stdout()))),
            Self::File { name, path } => Box::new(FileSink::new(name, path)),
            Self::Webhook { name, url, secret } => {
                let secret = secret.clone();
                Box::new(WebhookSink::new(name, url, secret, WEBHOOK_TIMEOUT, clock))
            }
            #[cfg(feature = "kafka")]
            Self::Kafka(config) => Box::new(KafkaSink::new(config.clone())),
        })
    }
}

impl fmt::Debug for SinkConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout { name } => f.debug_struct("Stdout").field("name", name).finish(),
            Self::File { name, path } => {
                f.debug_struct("File").field("name", name).field("path", path).finish()
            }
            Self::Webhook { name, url, secret } => {
                let mut shown = f.debug_struct("Webhook");
                shown.field("name", name).field("url", &redacted(url)).field("secret", secret);
                shown.finish()
            }
            #[cfg(feature = "kafka")]
            Self::Kafka(config) => config.fmt(f),
        }
    }
}

/// Scheme and host of an address; the rest may hold a token.
pub(crate) fn redacted(url: &str) -> String {
    match url.parse::<Uri>() {
        Ok(uri) => {
            let scheme = uri.scheme_str().unwrap_or("?");
            format!("{scheme}://{}/***", uri.host().unwrap_or("?"))
        }
        Err(_) => "***".to_owned(),
    }
}

fn name_problem(name: &str) -> Option<String> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.');
    let good = (1..=NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(plain);
    (!good).then(|| {
        format!(
            "is {name:?}, but must have 1 to {NAME_BYTES_MAX} bytes of letters, digits, spaces, \
             \"-\", \"_\" and \".\""
        )
    })
}

/// Quotes nothing of the address: it may hold a token.
fn url_problem(url: &str) -> Option<String> {
    if url.len() > URL_BYTES_MAX {
        return Some(format!("has {} bytes, at most {URL_BYTES_MAX} are taken", url.len()));
    }
    let Ok(uri) = url.parse::<Uri>() else {
        return Some("is not an address such as https://host/path".to_owned());
    };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Some("must begin with http:// or https://".to_owned());
    }
    let Some(host) = uri.host().filter(|host| !host.is_empty()) else {
        return Some("has no host".to_owned());
    };
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Some("must not contain a user name or password".to_owned());
    }
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    match literal {
        Ok(address) if is_refused(address) => {
            Some(format!("leads to {address}, a link-local or metadata address, which is refused"))
        }
        Ok(_) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(url: &str, secret: Option<&str>) -> SinkConfig {
        let secret = secret.map(Secret::new);
        SinkConfig::Webhook { name: "oncall".to_owned(), url: url.to_owned(), secret }
    }

    #[test]
    fn good_sinks_have_no_problem() {
        let path = PathBuf::from("alerts.jsonl");
        let good = [
            SinkConfig::Stdout { name: "out".to_owned() },
            SinkConfig::File { name: "Büro 1".to_owned(), path },
            webhook("http://127.0.0.1:9000/hook", Some("s")),
            webhook("http://[::1]:9000/hook", None),
            webhook("https://10.0.0.8/hook?token=t", None),
        ];
        for config in good {
            assert_eq!(config.problems(), [], "{config:?}");
        }
    }

    #[test]
    fn every_problem_names_its_field() {
        let cases = [
            (SinkConfig::Stdout { name: String::new() }, vec!["name"]),
            (SinkConfig::Stdout { name: "a\0b".to_owned() }, vec!["name"]),
            (SinkConfig::File { name: "f".to_owned(), path: PathBuf::from("/") }, vec!["path"]),
            (webhook("ftp://h/x", Some("")), vec!["url", "secret_env"]),
            (webhook("/only/a/path", None), vec!["url"]),
            (webhook("not an address", None), vec!["url"]),
            (webhook("https://user:pass@h/x", None), vec!["url"]),
            (webhook("http://169.254.169.254/latest", None), vec!["url"]),
            (webhook("http://[fe80::1]/x", None), vec!["url"]),
            (webhook(&format!("http://h/{}", "x".repeat(3_000)), None), vec!["url"]),
        ];
        for (config, fields) in cases {
            let found: Vec<_> = config.problems().iter().map(|problem| problem.field).collect();
            assert_eq!(found, fields, "{config:?}");
        }
    }

    #[test]
    fn neither_a_secret_nor_a_token_in_the_path_is_ever_shown() {
        let config =
            webhook("https://user:tok1@hooks.example/services/tok2?key=tok3", Some("tok4"));
        let shown = format!("{config:?} {:?}", config.problems());
        assert!(!shown.contains("tok"), "{shown}");
        assert!(shown.contains("hooks.example"), "{shown}");
    }
}
