//! HTTP to a running Tidewatch: blocking, bounded in time, patient with a busy server.

use std::sync::Arc;
use std::time::Duration;

use ureq::http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use ureq::{Agent, AsSendBody, Body};

use crate::cli::access::AccessArgs;
use crate::cli::error::{CliError, server_message};
use crate::cli::stop::Stop;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests that are sent at most where the server asks to try again later.
const ATTEMPTS_MAX: u32 = 10;
/// The wait where the server does not say how long.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);
/// The longest wait between two attempts.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// Bytes read of the body of a refusal.
const REFUSAL_BYTES_MAX: u64 = 256 * 1_024;

/// Which server is asked.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ServerArgs {
    /// The server's address
    #[arg(long, env = "TIDEWATCH_URL", default_value = "http://127.0.0.1:8850")]
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

impl ServerArgs {
    /// The server at this address, with the key that the environment names, if any.
    pub(crate) fn at(url: String) -> Self {
        Self { url, access: AccessArgs::default() }
    }
}

/// A POST, or a request like it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Post<'a> {
    /// Path and query, from the slash on.
    pub(crate) path: &'a str,
    /// The body's type.
    pub(crate) content_type: &'static str,
    /// Further headers.
    pub(crate) headers: &'a [(&'static str, &'static str)],
    /// The body.
    pub(crate) body: &'a [u8],
    /// From the first byte sent to the last one received.
    pub(crate) timeout: Duration,
}

/// Connections to one server, shared by threads.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    url: String,
    authorization: Option<HeaderValue>,
    stop: Arc<Stop>,
}

impl Client {
    /// A client of the server at `args.url`, which gives up waiting when stopped.
    ///
    /// # Errors
    /// If the address is none, or the key or the certificates cannot be read.
    pub(crate) fn new(args: &ServerArgs, stop: Arc<Stop>) -> Result<Self, CliError> {
        let url = args.url.trim_end_matches('/');
        let uri = url.parse::<Uri>().ok();
        let known = uri.as_ref().is_some_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
        });
        if !known {
            let problem = format!("--url {url:?} is not an address such as http://127.0.0.1:8850");
            return Err(CliError::Usage { problem });
        }
        let authorization = args.access.authorization()?;
        let config = Agent::config_builder()
            .tls_config(args.access.tls()?)
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            // A write must not be sent to another place than the one that was named.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("tidewatch/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self { agent: config.new_agent(), url: url.to_owned(), authorization, stop })
    }

    /// Sends `post` and gives the answer, whatever its status, but for "try again later".
    ///
    /// 429 and 503 are tried again after the time that the server asks for, a bounded number of times:
    /// they mean that nothing was taken. What got no answer is not sent again, because it may be stored.
    ///
    /// # Errors
    /// If there is no answer, or the server stays busy.
    pub(crate) fn post(&self, post: &Post<'_>) -> Result<Response<Body>, CliError> {
        self.request(&Method::POST, post)
    }

    /// As [`Client::post`], by another method.
    ///
    /// # Errors
    /// If there is no answer, or the server stays busy.
    pub(crate) fn request(
        &self,
        method: &Method,
        post: &Post<'_>,
    ) -> Result<Response<Body>, CliError> {
        let mut attempt = 1;
        loop {
            let response = self.once(method, post)?;
            let busy = matches!(
                response.status(),
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
            );
            if !busy {
                return Ok(response);
            }
            let wait = retry_after(&response);
            if attempt == ATTEMPTS_MAX || self.stop.wait(wait) {
                let status = response.status().as_u16();
                let message = refusal(response);
                return Err(CliError::Unavailable { url: self.url.clone(), status, message });
            }
            attempt += 1;
        }
    }

    /// Ends all requests in hand, and every later one: its connections are closed.
    pub(crate) fn cancel(&self) {
        self.stop.stop();
        self.agent.clone().shutdown();
    }

    /// As [`Client::request`], but one that is busy is not asked again: the caller does that in its own time.
    ///
    /// # Errors
    /// If there is no answer.
    pub(crate) fn once(
        &self,
        method: &Method,
        post: &Post<'_>,
    ) -> Result<Response<Body>, CliError> {
        let mut request =
            Request::builder().method(method).uri(format!("{}{}", self.url, post.path));
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        for (name, value) in post.headers {
            request = request.header(*name, *value);
        }
        if matches!(*method, Method::GET | Method::DELETE) {
            self.run(request.body(()), post.timeout)
        } else {
            let request = request.header(header::CONTENT_TYPE, post.content_type);
            self.run(request.body(post.body), post.timeout)
        }
    }

    fn run(
        &self,
        request: Result<Request<impl AsSendBody>, ureq::http::Error>,
        timeout: Duration,
    ) -> Result<Response<Body>, CliError> {
        let request = request.map_err(|error| CliError::Usage { problem: error.to_string() })?;
        let request = self.agent.configure_request(request);
        let answer = self.agent.run(request.timeout_global(Some(timeout)).build());
        answer.map_err(|error| self.not_reached(error))
    }

    /// An answer that did not come, or broke off.
    pub(crate) fn not_reached(&self, source: impl Into<crate::cli::error::Cause>) -> CliError {
        CliError::NotReached { url: self.url.clone(), source: source.into() }
    }

    /// The error that a refusal of a whole request is.
    pub(crate) fn refused(&self, response: Response<Body>) -> CliError {
        let status = response.status();
        let (url, message) = (self.url.clone(), refusal(response));
        match status.as_u16() {
            500 | 501 => {
                CliError::Internal { action: "the server's answer", source: message.into() }
            }
            502 | 503 | 507 => CliError::Unavailable { url, status: status.as_u16(), message },
            status => CliError::Refused { url, status, message },
        }
    }
}

/// The message in the body of a refusal.
pub(crate) fn refusal(response: Response<Body>) -> String {
    let mut body = response.into_body();
    let text = body.with_config().limit(REFUSAL_BYTES_MAX).lossy_utf8(true).read_to_string();
    // The status alone must do where its explanation does not arrive.
    server_message(&text.unwrap_or_default())
}

/// `text` as a value in a query string.
pub(crate) fn query_value(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn retry_after(response: &Response<Body>) -> Duration {
    let header = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
    let seconds = header.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    seconds.unwrap_or(RETRY_AFTER_DEFAULT).min(RETRY_AFTER_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake_server::{Answer, FakeServer};

    fn client(url: &str) -> Client {
        Client::new(&ServerArgs::at(url.to_owned()), Arc::default()).unwrap()
    }

    fn post(client: &Client) -> Result<Response<Body>, CliError> {
        client.post(&Post {
            path: "/write?db=d",
            content_type: "text/plain",
            headers: &[("Tidewatch-Durability", "written")],
            body: b"m value=1\n",
            timeout: Duration::from_secs(10),
        })
    }

    #[test]
    fn a_busy_server_is_asked_again_and_a_ready_one_once() {
        let busy = Answer::new(429, "").header("Retry-After", "0");
        let starting = Answer::new(503, "").header("Retry-After", "0");
        let server = FakeServer::start(vec![busy, starting, Answer::new(204, "")]);
        let answer = post(&client(server.url())).unwrap();
        assert_eq!(answer.status(), 204);
        let seen = server.requests();
        assert_eq!(seen.len(), 3);
        for request in seen {
            assert_eq!(request.first_line, "POST /write?db=d HTTP/1.1");
            assert_eq!(request.header("tidewatch-durability"), Some("written"));
            assert_eq!(request.body, b"m value=1\n");
        }
    }

    #[test]
    fn patience_ends_after_a_bounded_number_of_attempts() {
        let busy = Answer::new(429, r#"{"error":"queue full"}"#).header("Retry-After", "0");
        let server = FakeServer::start(vec![busy; 20]);
        let error = post(&client(server.url())).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().contains("status 429, queue full"), "{error}");
        assert_eq!(server.requests().len(), usize::try_from(ATTEMPTS_MAX).unwrap());
    }

    #[test]
    fn a_server_that_is_not_there_is_not_reached() {
        let gone = FakeServer::start(Vec::new()).url().to_owned();
        let error = post(&client(&gone)).unwrap_err();
        assert_eq!(error.exit_code(), 3, "{error:?}");
        assert!(error.report().expect("an error").contains("tidewatch serve"));
    }

    #[test]
    fn an_address_that_is_none_is_a_usage_error() {
        for url in ["", "localhost", "ftp://h/x", "http://", "not an address"] {
            let made = Client::new(&ServerArgs::at(url.to_owned()), Arc::default());
            assert_eq!(made.unwrap_err().exit_code(), 2, "{url}");
        }
    }

    #[test]
    fn values_in_query_strings_are_escaped() {
        assert_eq!(query_value("a b&c=ü"), "a%20b%26c%3D%C3%BC");
    }
}
