//! An HTTP POST per transition.

use std::fmt;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use tidewatch_env::Clock;
use tidewatch_metrics::time::NANOS_PER_SECOND;
use ureq::http::{Response, header};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body};

use crate::address::CheckedResolver;
use crate::config::redacted;
use crate::limits::{
    RESPONSE_BYTES_MAX, RESPONSE_EXCERPT_CHARS_MAX, RESPONSE_HEADER_BYTES_MAX, WEBHOOK_IDLE_MAX,
};
use crate::retry_after::retry_after;
use crate::signature::signature;
use crate::sink::shortened;
use crate::times::times;
use crate::{Attempt, Message, Outcome, Secret, Sink};

/// Posts each body to an address.
///
/// 2xx: delivered. 429, 5xx and no answer: to be tried again. Everything else is a refusal;
/// redirects are not followed, because the body was meant for the configured receiver alone.
/// Goes straight to the receiver: a proxy from the environment would look names up for us.
pub struct WebhookSink {
    name: String,
    url: String,
    secret: Option<Secret>,
    agent: Agent,
    clock: Arc<dyn Clock>,
}

impl WebhookSink {
    /// A sink that posts to `url`, and waits at most `timeout` for each attempt.
    #[must_use]
    pub fn new(
        name: &str,
        url: &str,
        secret: Option<Secret>,
        timeout: Duration,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let config = Agent::config_builder()
            .user_agent(concat!("tidewatch/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .timeout_global(Some(timeout))
            .max_response_header_size(RESPONSE_HEADER_BYTES_MAX)
            .max_idle_connections(1)
            .max_idle_age(WEBHOOK_IDLE_MAX)
            .build();
        let resolver = CheckedResolver::default();
        let agent = Agent::with_parts(config, DefaultConnector::default(), resolver);
        Self { name: name.to_owned(), url: url.to_owned(), secret, agent, clock }
    }
}

impl fmt::Debug for WebhookSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("WebhookSink");
        shown.field("name", &self.name).field("url", &redacted(&self.url));
        shown.field("secret", &self.secret).finish_non_exhaustive()
    }
}

impl Sink for WebhookSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn deliver(&mut self, message: &Message, body: &[u8]) -> Attempt {
        let mut request = self
            .agent
            .post(&self.url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("Idempotency-Key", message.transition.dedupe_key())
            .header("Tidewatch-Times", times(&message.times));
        if let Some(secret) = &self.secret {
            let unix_seconds = self.clock.now().nanos().div_euclid(NANOS_PER_SECOND);
            request = request.header("Tidewatch-Signature", signature(secret, unix_seconds, body));
        }
        match request.send(body) {
            Ok(response) => judge(response, &*self.clock),
            Err(error) => Attempt::unanswered(&reason(&error)),
        }
    }
}

/// What an answer means.
fn judge(mut response: Response<Body>, clock: &dyn Clock) -> Attempt {
    let status = response.status().as_u16();
    let excerpt = excerpt(&mut response);
    let outcome = match status {
        200..=299 => return Attempt::delivered(Some(status)),
        429 | 500..=599 => {
            let asked = response.headers().get(header::RETRY_AFTER);
            let asked = asked.and_then(|value| value.to_str().ok());
            Outcome::Retry { after: asked.and_then(|value| retry_after(value, clock.now())) }
        }
        _ => Outcome::Refused,
    };
    let error = format!("the receiver answered {status}: {excerpt}");
    Attempt { outcome, status: Some(status), error: error.trim_end_matches(": ").to_owned() }
}

/// The beginning of the answer's body.
///
/// All of a reasonable body is read, so that the connection can be used again; a failure to read
/// it changes nothing, because the status has been received.
fn excerpt(response: &mut Response<Body>) -> String {
    let mut bytes = Vec::new();
    let mut reader = response.body_mut().as_reader().take(RESPONSE_BYTES_MAX);
    reader.read_to_end(&mut bytes).ok();
    shortened(&String::from_utf8_lossy(&bytes), RESPONSE_EXCERPT_CHARS_MAX)
}

/// Why there was no answer. Never quotes the address, which may hold a token.
fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::BadUri(_) => "the address is not usable".to_owned(),
        ureq::Error::HostNotFound => "the host's name was not found".to_owned(),
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        ureq::Error::Io(error) => format!("no answer: {error}"),
        ureq::Error::Other(error) => error.to_string(),
        other => format!("no answer: {other}"),
    }
}

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod tests;
