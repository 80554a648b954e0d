//! Asks a schema registry.

use std::collections::BTreeSet;
use std::fmt;
use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use ureq::http::header;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

use crate::decode::MessageForm;
use crate::decode::record::{
    FetchedSchema, RecordSchema, SchemaRefusal, SchemaSource, SchemaTrouble,
};
use crate::registry::config::{RegistryConfig, RegistryProblem};
use crate::registry::{avro, protobuf};

/// Whoever asks waits no longer for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// Schemas that one refers to, with those that these refer to.
const REFERENCES_MAX: usize = 64;
/// Bytes of all of them.
const BYTES_MAX: usize = 8 << 20;
/// Characters of what a registry or a parser says.
const SAID_CHARS_MAX: usize = 300;
/// What a registry calls an id that it does not know.
const UNKNOWN_ID: u64 = 40_403;
/// Connections are closed after this.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// A schema registry with Confluent's interface.
pub struct RegistrySource {
    base: String,
    authorization: Option<String>,
    form: MessageForm,
    agent: Agent,
}

impl fmt::Debug for RegistrySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("RegistrySource");
        shown.field("base", &self.base).field("form", &self.form).finish_non_exhaustive()
    }
}

/// A schema as a registry gives it.
#[derive(Debug)]
struct Answer {
    schema: String,
    /// `schemaType`, which Avro need not have.
    kind: String,
    references: Vec<Reference>,
}

/// A schema that another one refers to.
#[derive(Debug)]
struct Reference {
    name: String,
    subject: String,
    version: u64,
}

/// What a registry says instead: nothing where it is no registry that says so.
#[derive(Debug)]
struct Refusal {
    error_code: u64,
    message: String,
}

impl Answer {
    fn read(bytes: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        let text = |value: &Value, key: &str| value.get(key)?.as_str().map(str::to_owned);
        let reference = |one: &Value| {
            let version = one.get("version")?.as_u64()?;
            Some(Reference { name: text(one, "name")?, subject: text(one, "subject")?, version })
        };
        let references = value.get("references").and_then(Value::as_array);
        let references: Option<Vec<_>> = references.into_iter().flatten().map(reference).collect();
        let kind = text(&value, "schemaType").unwrap_or_else(|| "AVRO".to_owned());
        Some(Self { schema: text(&value, "schema")?, kind, references: references? })
    }
}

impl Refusal {
    fn read(bytes: &[u8]) -> Self {
        let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let message = value.get("message").and_then(Value::as_str).unwrap_or_default();
        let error_code = value.get("error_code").and_then(Value::as_u64).unwrap_or_default();
        Self { error_code, message: message.to_owned() }
    }
}

/// An answer to a question.
enum Told {
    Schema(Answer),
    NotThere(Refusal),
}

impl RegistrySource {
    /// Asks nobody yet.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn new(config: &RegistryConfig, form: MessageForm) -> Result<Self, RegistryProblem> {
        let base = config.base()?;
        let mut tls = TlsConfig::builder();
        if let Some(ca) = &config.ca {
            let problem = |message: String| RegistryProblem { field: "ca", message };
            let pem = fs::read(ca).map_err(|error| problem(format!("cannot be read: {error}")))?;
            let items = parse_pem(&pem).filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            });
            let certificates: Vec<Certificate<'static>> = items.collect();
            if certificates.is_empty() {
                return Err(problem("has no certificate in PEM".to_owned()));
            }
            tls = tls.root_certs(RootCerts::from(certificates));
        }
        let agent = Agent::config_builder()
            .user_agent(concat!("tidewatch/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            // A password was meant for this registry alone.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .tls_config(tls.build())
            .timeout_global(Some(ANSWER_MAX))
            .max_response_header_size(HEAD_BYTES_MAX)
            .max_idle_connections(1)
            .max_idle_age(IDLE_MAX)
            .build();
        // RFC 7617.
        let authorization = config.user.as_ref().map(|(name, password)| {
            format!("Basic {}", STANDARD.encode(format!("{name}:{}", password.text())))
        });
        Ok(Self { base, authorization, form, agent: agent.into() })
    }

    fn trouble(&self, problem: impl Into<String>) -> SchemaTrouble {
        SchemaTrouble { url: self.base.clone(), problem: problem.into() }
    }

    /// What the registry has at a path.
    fn get(&self, path: &str) -> Result<Told, SchemaTrouble> {
        let mut request = self
            .agent
            .get(format!("{}{path}", self.base))
            .header(header::ACCEPT, "application/vnd.schemaregistry.v1+json, application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let mut answer = request.call().map_err(|error| self.trouble(reason(&error)))?;
        let status = answer.status().as_u16();
        let bytes = body(answer.body_mut()).map_err(|problem| self.trouble(problem))?;
        match status {
            200 => match Answer::read(&bytes) {
                Some(answer) => Ok(Told::Schema(answer)),
                None => Err(self.trouble("answers with something that is no schema")),
            },
            401 | 403 => {
                let who = if self.authorization.is_some() {
                    "refuses this username and password"
                } else {
                    "asks for a username and a password"
                };
                Err(self.trouble(format!("{who} ({status})")))
            }
            404 => Ok(Told::NotThere(Refusal::read(&bytes))),
            _ => {
                let message = Refusal::read(&bytes).message;
                let said = if message.is_empty() { String::new() } else { format!(": {message}") };
                Err(self.trouble(short(&format!("answers {status}{said}"))))
            }
        }
    }

    /// Everything that a schema refers to, by name.
    fn references(
        &self,
        of: &mut Answer,
    ) -> Result<Result<Vec<(String, String)>, String>, SchemaTrouble> {
        let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
        let mut bytes = of.schema.len();
        let mut open = std::mem::take(&mut of.references);
        while let Some(next) = open.pop() {
            if !seen.insert(next.name.clone()) {
                continue;
            }
            if seen.len() > REFERENCES_MAX {
                return Ok(Err(format!("it refers to more than {REFERENCES_MAX} others")));
            }
            let path = format!("/subjects/{}/versions/{}", encoded(&next.subject), next.version);
            let answer = match self.get(&path)? {
                Told::Schema(answer) => answer,
                Told::NotThere(refusal) if refusal.error_code > 0 => {
                    let Reference { name, subject, version } = next;
                    let what = format!("version {version} of {subject:?}");
                    return Ok(Err(format!("it refers to {name:?}, {what}, which is not there")));
                }
                Told::NotThere(_) => return Err(self.not_a_registry()),
            };
            bytes += answer.schema.len();
            if bytes > BYTES_MAX {
                let why = format!("it has more than {BYTES_MAX} bytes with what it refers to");
                return Ok(Err(why));
            }
            open.extend(answer.references);
            found.push((next.name, answer.schema));
        }
        Ok(Ok(found))
    }

    fn not_a_registry(&self) -> SchemaTrouble {
        self.trouble("answers 404 without saying what is not there: is its path right?")
    }
}

impl SchemaSource for RegistrySource {
    fn fetch(&self, id: u32) -> Result<Result<FetchedSchema, SchemaRefusal>, SchemaTrouble> {
        let mut answer = match self.get(&format!("/schemas/ids/{id}"))? {
            Told::Schema(answer) => answer,
            Told::NotThere(refusal) if refusal.error_code == UNKNOWN_ID => {
                return Ok(Err(SchemaRefusal::Unknown));
            }
            // A wrong path must not make dead letters of everything.
            Told::NotThere(_) => return Err(self.not_a_registry()),
        };
        let form = self.form.name();
        if !answer.kind.eq_ignore_ascii_case(form) {
            let kind = short(&answer.kind);
            let why = format!("it is of {kind}, and the source's format is {form:?}");
            return Ok(Err(SchemaRefusal::Unusable(why)));
        }
        let references = match self.references(&mut answer)? {
            Ok(references) => references,
            Err(why) => return Ok(Err(SchemaRefusal::Unusable(why))),
        };
        let bytes = references.iter().map(|(_, text)| text.len()).sum::<usize>();
        let compiled = match self.form {
            MessageForm::Protobuf => {
                protobuf::compile(&answer.schema, &references).map(RecordSchema::Protobuf)
            }
            _ => {
                let texts: Vec<String> = references.into_iter().map(|(_, text)| text).collect();
                avro::compile(&answer.schema, &texts).map(RecordSchema::Avro)
            }
        };
        let bytes = bytes + answer.schema.len();
        Ok(match compiled {
            Ok(schema) => Ok(FetchedSchema { schema, bytes }),
            Err(why) => Err(SchemaRefusal::Unusable(short(&why))),
        })
    }
}

fn body(body: &mut Body) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut reader = body.as_reader().take(ANSWER_BYTES_MAX + 1);
    reader.read_to_end(&mut bytes).map_err(|error| format!("the answer broke off: {error}"))?;
    let is_long = u64::try_from(bytes.len()).unwrap_or(u64::MAX) > ANSWER_BYTES_MAX;
    if is_long {
        Err(format!("answers with more than {ANSWER_BYTES_MAX} bytes"))
    } else {
        Ok(bytes)
    }
}

/// Why there was no answer.
fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::HostNotFound => "the host's name was not found".to_owned(),
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        ureq::Error::Io(error) => format!("no answer: {error}"),
        other => format!("no answer: {other}"),
    }
}

/// The first characters of a text, in one line.
fn short(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(SAID_CHARS_MAX).collect()
}

/// A part of a path as it stands in an address (RFC 3986, section 2.3).
fn encoded(part: &str) -> String {
    let mut text = String::with_capacity(part.len());
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02X}").expect("a string takes all text");
        }
    }
    text
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
