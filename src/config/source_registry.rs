//! `[source.kafka.registry]`

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tidewatch_connectors::decode::MessageForm;
use tidewatch_connectors::decode::record::Schemas;
use tidewatch_connectors::registry::{Password, RegistryConfig, RegistrySource};

use crate::config::secret_file::read_secret;
use crate::config::section::Section;

/// The registry that a source's section has; `None` where it has none that can be asked, which is noted.
pub(crate) fn read_registry(
    source: &mut Section<'_>,
    form: MessageForm,
    env: &BTreeMap<String, String>,
) -> Option<Arc<Schemas>> {
    let is_there = source.has("registry");
    if is_there && !form.has_schemas() {
        let message =
            format!("is for format = \"avro\" or \"protobuf\", not for {:?}", form.name());
        source.problem("registry", message);
    } else if form.has_schemas() && !is_there {
        let message = format!("is missing: format = {:?} needs one", form.name());
        source.problem("registry", message);
    }
    let mut section = source.subsection("registry", "source.kafka.registry");
    let limits = "an address such as \"https://registry.example/base\"";
    let url = section.secret("url", limits);
    if url.is_none() && is_there {
        section.problem("url", "is missing");
    }
    let user = read_user(&mut section, env);
    let ca = section.parsed("ca", "", "a file of certificates in PEM", |path| {
        (!path.is_empty()).then(|| PathBuf::from(path))
    });
    let config = url.map(|url| RegistryConfig { url, user, ca });
    let registry = match config.filter(|_| form.has_schemas()) {
        None => None,
        Some(config) => match RegistrySource::new(&config, form) {
            Ok(registry) => Some(Arc::new(Schemas::new(Box::new(registry)))),
            Err(problem) => {
                section.problem(problem.field, problem.message);
                None
            }
        },
    };
    section.finish();
    registry
}

/// The user's name and the password, which comes from the environment or a file and is never shown.
fn read_user(
    section: &mut Section<'_>,
    env: &BTreeMap<String, String>,
) -> Option<(String, Password)> {
    let name = section.parsed("username", "", "a name without a colon", |name| {
        (!name.contains(':')).then(|| name.to_owned())
    });
    let variable = section.secret("password_env", "the name of a variable of the environment");
    let file = section.parsed("password_file", "", "a file with the password", |path| {
        (!path.is_empty()).then(|| path.to_owned())
    });
    let password = match (variable, file) {
        (Some(_), Some(_)) => {
            section.problem("password_file", "cannot be used together with password_env");
            return None;
        }
        (None, None) => None,
        (Some(variable), None) => match env.get(&variable) {
            Some(password) => Some(password.clone()),
            None => {
                section.problem("password_env", "names a variable that is not set");
                return None;
            }
        },
        (None, Some(file)) => match read_secret(&file) {
            Ok(password) => Some(password),
            Err(why) => {
                section.problem("password_file", why);
                return None;
            }
        },
    };
    match (name, password) {
        (Some(name), Some(password)) => Some((name, Password::new(password))),
        (None, None) => None,
        (Some(_), None) => {
            section.problem("username", "needs a password: password_env or password_file");
            None
        }
        (None, Some(_)) => {
            section.problem("username", "is missing, and there is a password");
            None
        }
    }
}
