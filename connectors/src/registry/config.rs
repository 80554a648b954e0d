//! What a source is told of its schema registry.

use std::fmt;
use std::path::PathBuf;

use ureq::http::Uri;

/// A password, which is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Hides `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(***)")
    }
}

/// Where a schema registry is, and who asks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryConfig {
    /// Its address, with a path where it has one.
    pub url: String,
    /// A user's name, and the password.
    pub user: Option<(String, Password)>,
    /// A file of certificates in PEM; without one those of public authorities count.
    pub ca: Option<PathBuf>,
}

/// Something wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryProblem {
    /// The field, as it is called in configurations.
    pub field: &'static str,
    /// What is wrong with it, as the rest of a sentence that begins with the field.
    pub message: String,
}

impl RegistryConfig {
    /// The address without a slash at its end.
    ///
    /// # Errors
    /// What is wrong with it. It is not quoted: it may hold a secret.
    pub(super) fn base(&self) -> Result<String, RegistryProblem> {
        let problem = |message: &str| RegistryProblem { field: "url", message: message.to_owned() };
        let no_address = "must be an address such as https://registry.example/base";
        let uri: Uri = self.url.parse().map_err(|_error| problem(no_address))?;
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        if !is_http || uri.host().is_none_or(str::is_empty) || uri.query().is_some() {
            return Err(problem(no_address));
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(problem("must not have a name or a password: they are keys of their own"));
        }
        Ok(self.url.trim_end_matches('/').to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(url: &str) -> Result<String, RegistryProblem> {
        RegistryConfig { url: url.to_owned(), user: None, ca: None }.base()
    }

    #[test]
    fn addresses_have_a_scheme_and_a_host_and_no_secret() {
        assert_eq!(base("http://127.0.0.1:8081/").unwrap(), "http://127.0.0.1:8081");
        assert_eq!(
            base("https://r.example/apis/ccompat/v7").unwrap(),
            "https://r.example/apis/ccompat/v7"
        );
        for bad in [
            "",
            "r.example:8081",
            "ftp://r.example",
            "http://",
            "https://u:geheim@r.example",
            "http://r?x=1",
        ] {
            let problem = base(bad).unwrap_err();
            assert_eq!(problem.field, "url", "{bad}");
            assert!(!problem.message.contains("geheim"), "{}", problem.message);
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let user = Some(("me".to_owned(), Password::new("geheim")));
        let config = RegistryConfig { url: "http://r".to_owned(), user, ca: None };
        assert!(!format!("{config:?}").contains("geheim"));
    }
}
