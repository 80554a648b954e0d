//! With what a command shows itself to a server: a key, and the certificates that it trusts.

use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use ureq::http::HeaderValue;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::cli::error::CliError;

/// The variable that holds a key.
const VARIABLE: &str = "TIDEWATCH_KEY";
/// Bytes of a file with a key, or with certificates.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// How a command shows itself to a server.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct AccessArgs {
    /// A key of the server; better in TIDEWATCH_KEY or a file, because every process sees arguments
    #[arg(long, value_name = "KEY", conflicts_with = "key_file")]
    key: Option<Secret>,
    /// A file with the key [default: the variable TIDEWATCH_KEY, if it is set]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Certificates in PEM that a server's may be signed with [default: Mozilla's list]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// A key that was given; never shown.
#[derive(Clone)]
struct Secret(String);

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl AccessArgs {
    /// The header that shows the key, if there is one.
    ///
    /// # Errors
    /// If the file cannot be read, or what was given cannot be a key.
    pub(crate) fn authorization(&self) -> Result<Option<HeaderValue>, CliError> {
        let (key, origin) = match (&self.key, &self.key_file) {
            (Some(key), _) => (key.0.clone(), "--key".to_owned()),
            (None, Some(file)) => (text(file)?, file.display().to_string()),
            (None, None) => match std::env::var(VARIABLE) {
                Ok(key) => (key, VARIABLE.to_owned()),
                Err(_unset) => return Ok(None),
            },
        };
        let key = key.trim();
        let value = HeaderValue::try_from(format!("Bearer {key}")).ok();
        let value = value.filter(|_| !key.is_empty() && !key.contains(char::is_whitespace));
        let mut value = value.ok_or_else(|| CliError::Usage {
            problem: format!("{origin} holds no key: one line that begins with tw_"),
        })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// Whom a connection trusts.
    ///
    /// # Errors
    /// If the file cannot be read or has no certificate.
    pub(crate) fn tls(&self) -> Result<TlsConfig, CliError> {
        let Some(file) = &self.ca_file else { return Ok(TlsConfig::default()) };
        let no_pem = |source: ureq::Error| CliError::File {
            action: "read the certificates in",
            path: file.clone(),
            source: source.into(),
        };
        let mut certificates: Vec<Certificate<'static>> = Vec::new();
        for item in parse_pem(text(file)?.as_bytes()) {
            if let PemItem::Certificate(certificate) = item.map_err(no_pem)? {
                certificates.push(certificate);
            }
        }
        if certificates.is_empty() {
            return Err(CliError::Usage {
                problem: format!("--ca-file {} holds no certificate in PEM", file.display()),
            });
        }
        let roots = RootCerts::Specific(Arc::new(certificates));
        Ok(TlsConfig::builder().root_certs(roots).build())
    }
}

fn text(path: &Path) -> Result<String, CliError> {
    let mut text = String::new();
    let read = fs::File::open(path).and_then(|file| {
        let bytes = file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
        Ok(bytes)
    });
    read.map_err(|source| CliError::File {
        action: "read",
        path: path.to_owned(),
        source: source.into(),
    })?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> AccessArgs {
        AccessArgs { key: Some(Secret(text.to_owned())), ..AccessArgs::default() }
    }

    #[test]
    fn a_key_from_a_file_is_shown_without_its_line_end_and_never_printed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        fs::write(&file, "tw_00ff\n").unwrap();
        let from_file = AccessArgs { key_file: Some(file), ..AccessArgs::default() };
        for access in [from_file, key("tw_00ff")] {
            let header = access.authorization().unwrap().expect("a key was given");
            assert_eq!(header.to_str().unwrap(), "Bearer tw_00ff");
            let shown = format!("{access:?} {header:?}");
            assert!(!shown.contains("00ff"), "{shown}");
        }
    }

    #[test]
    fn what_cannot_be_a_key_is_told_without_repeating_it() {
        for text in ["", "  ", "tw_00\ntw_11", "tw_é\u{7f}", "Bearer tw_00"] {
            let error = key(text).authorization().unwrap_err();
            assert_eq!(error.exit_code(), 2, "{text}");
            assert!(!error.to_string().contains("tw_00"), "{error}");
        }
    }

    #[test]
    fn certificates_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        let access = AccessArgs { ca_file: Some(file.clone()), ..AccessArgs::default() };
        assert_eq!(access.tls().unwrap_err().exit_code(), 2, "no file");
        fs::write(&file, "nothing").unwrap();
        assert!(access.tls().unwrap_err().to_string().contains("holds no certificate"));
        fs::write(&file, rcgen::generate_simple_self_signed([]).unwrap().cert.pem()).unwrap();
        access.tls().expect("a certificate");
    }
}
