use std::io::Write as _;
use std::net::TcpListener;
use std::sync::mpsc::sync_channel;
use std::thread;

use sha2::{Digest as _, Sha256};
use tidewatch_env::SimClock;
use tidewatch_metrics::UnixNanos;

use super::*;
use crate::receiver::{Answer, OK, Receiver};
use crate::{body, samples};

const PATIENCE: Duration = Duration::from_secs(10);
const NOW: i64 = 1_396_343_102;

fn sink(url: &str, secret: Option<&str>) -> WebhookSink {
    impatient(url, secret, PATIENCE)
}

fn impatient(url: &str, secret: Option<&str>, timeout: Duration) -> WebhookSink {
    let clock = Arc::new(SimClock::new(UnixNanos::new(NOW * NANOS_PER_SECOND + 999_999_999)));
    WebhookSink::new("oncall", url, secret.map(Secret::new), timeout, clock)
}

fn deliver(sink: &mut WebhookSink) -> Attempt {
    let message = samples::message(7, 1);
    let body = body(&message.transition, None);
    sink.deliver(&message, &body)
}

/// The outcome, status and error of one attempt at a receiver that gives this answer.
fn answered(answer: &'static str) -> Attempt {
    let receiver = Receiver::start(&[Answer::Bytes(answer)]);
    let attempt = deliver(&mut sink(&receiver.url(), None));
    receiver.request();
    attempt
}

/// HMAC by its definition (RFC 2104), for keys of at most 64 bytes.
fn hmac_by_definition(key: &[u8], text: &[u8]) -> String {
    let padded = |pad: u8| -> Vec<u8> {
        let at = |index: usize| key.get(index).copied().unwrap_or(0) ^ pad;
        (0..64).map(at).collect()
    };
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(text).finalize();
    let outer = Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize();
    outer.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_request_has_key_times_and_a_signature_that_a_receiver_can_check() {
    let receiver = Receiver::start(&[OK]);
    let attempt = deliver(&mut sink(&receiver.url(), Some("hunter2")));
    assert_eq!(attempt, Attempt::delivered(Some(204)));
    let request = receiver.request();
    assert_eq!(request.line, "POST /hook HTTP/1.1");
    assert_eq!(request.body, body(&samples::message(7, 1).transition, None));
    let header = |name: &str| request.headers[name].as_str();
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("idempotency-key"), "00000000000000000000000000000001:firing");
    assert_eq!(
        header("tidewatch-times"),
        concat!(
            r#"{"durable":"2014-04-01T09:05:01.001Z","scored":"2014-04-01T09:05:01.002Z","#,
            r#""fired":"2014-04-01T09:05:01.003Z"}"#
        )
    );
    let signed = [format!("{NOW}.").as_bytes(), &request.body].concat();
    let expected = format!("t={NOW},v1={}", hmac_by_definition(b"hunter2", &signed));
    assert_eq!(header("tidewatch-signature"), expected);
}

#[test]
fn without_a_secret_there_is_no_signature() {
    let receiver = Receiver::start(&[OK]);
    deliver(&mut sink(&receiver.url(), None));
    assert!(!receiver.request().headers.contains_key("tidewatch-signature"));
}

#[test]
fn the_connection_is_used_again() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let receiver = Receiver::start(&[Answer::Bytes(answer)]);
    let mut sink = sink(&receiver.url(), None);
    for _ in 0..3 {
        assert_eq!(deliver(&mut sink), Attempt::delivered(Some(200)));
        assert_eq!(receiver.request().connection, 0);
    }
}

#[test]
fn errors_of_the_server_are_tried_again() {
    for (answer, status) in [
        ("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", 500),
        ("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy", 503),
    ] {
        let attempt = answered(answer);
        assert_eq!(
            (attempt.outcome, attempt.status),
            (Outcome::Retry { after: None }, Some(status))
        );
    }
}

#[test]
fn the_receiver_says_how_long_to_wait() {
    let attempt =
        answered("HTTP/1.1 429 Slow down\r\nRetry-After: 17\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(attempt.outcome, Outcome::Retry { after: Some(Duration::from_secs(17)) });
    let attempt = answered(
        "HTTP/1.1 503 Busy\r\nRetry-After: Tue, 01 Apr 2014 09:05:32 GMT\r\n\
         Content-Length: 0\r\n\r\n",
    );
    let Outcome::Retry { after: Some(after) } = attempt.outcome else { panic!("{attempt:?}") };
    assert_eq!(
        after,
        Duration::from_nanos(29_000_000_001),
        "30 s after the simulated time's second"
    );
}

#[test]
fn a_refusal_quotes_the_receiver_s_reason_on_one_line() {
    let attempt = answered("HTTP/1.1 400 Bad\r\nContent-Length: 14\r\n\r\nno field\r\n\"x\"\n");
    assert_eq!((attempt.outcome, attempt.status), (Outcome::Refused, Some(400)));
    assert_eq!(attempt.error, "the receiver answered 400: no field  \"x\"");
}

#[test]
fn a_redirect_is_a_refusal_and_is_not_followed() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let location = format!(
        "HTTP/1.1 307 Elsewhere\r\nLocation: http://{}/\r\nContent-Length: 0\r\n\r\n",
        elsewhere.local_addr().unwrap()
    );
    let attempt = answered(location.leak());
    assert_eq!((attempt.outcome, attempt.status), (Outcome::Refused, Some(307)));
    assert!(elsewhere.accept().is_err(), "nobody went there");
}

#[test]
fn a_receiver_that_is_down_is_tried_again() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let attempt = deliver(&mut sink(&format!("http://{free}/token-in-path"), None));
    assert_eq!((attempt.outcome, attempt.status), (Outcome::Retry { after: None }, None));
    assert!(attempt.error.contains("refused"), "{}", attempt.error);
    assert!(!attempt.error.contains("token"), "{}", attempt.error);
}

#[test]
fn a_silent_receiver_is_tried_again_after_the_timeout() {
    let receiver = Receiver::start(&[Answer::Silence]);
    let mut sink = impatient(&receiver.url(), None, Duration::from_millis(80));
    let attempt = deliver(&mut sink);
    assert_eq!((attempt.outcome, attempt.status), (Outcome::Retry { after: None }, None));
    assert_eq!(attempt.error, "no answer in time");
    receiver.request();
}

#[test]
fn https_never_falls_back_to_plain_text() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut hello = [0; 3];
        stream.read_exact(&mut hello).unwrap();
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        hello
    });
    let attempt = deliver(&mut sink(&format!("https://{address}/hook"), None));
    assert_eq!((attempt.outcome, attempt.status), (Outcome::Retry { after: None }, None));
    // A TLS record of type handshake, version 3.x.
    assert_eq!(server.join().unwrap()[..2], [22, 3]);
}

#[test]
fn a_lost_answer_is_tried_again_with_equal_key_and_body() {
    let receiver = Receiver::start(&[Answer::HangUp, OK]);
    let mut sink = sink(&receiver.url(), Some("hunter2"));
    assert_eq!(deliver(&mut sink).outcome, Outcome::Retry { after: None });
    assert_eq!(deliver(&mut sink).outcome, Outcome::Delivered);
    let (first, second) = (receiver.request(), receiver.request());
    assert_eq!(first.body, second.body);
    assert_eq!(first.headers["idempotency-key"], second.headers["idempotency-key"]);
}

#[test]
fn a_long_answer_is_read_only_in_part() {
    // The body never ends: only a bound on what is read lets the attempt end before the timeout.
    let start = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n".to_owned();
    let answer = start + &"x".repeat(usize::try_from(RESPONSE_BYTES_MAX).unwrap());
    let receiver = Receiver::start(&[Answer::Bytes(answer.leak())]);
    let mut sink = impatient(&receiver.url(), None, Duration::from_secs(600));
    let (sender, attempts) = sync_channel(1);
    thread::spawn(move || sender.send(deliver(&mut sink)));
    assert_eq!(attempts.recv_timeout(PATIENCE), Ok(Attempt::delivered(Some(200))));
}

#[test]
fn a_name_for_link_local_addresses_is_not_reached() {
    // The system's resolver takes this number for 169.254.169.254; a check of the text would not.
    let attempt = deliver(&mut sink("http://2852039166/latest", None));
    assert_eq!((attempt.outcome, attempt.status), (Outcome::Retry { after: None }, None));
    assert!(attempt.error.contains("link-local"), "{}", attempt.error);
}

#[test]
fn nothing_secret_is_shown() {
    let shown = format!("{:?}", sink("http://h/token", Some("hunter2")));
    assert!(!shown.contains("token") && !shown.contains("hunter2"), "{shown}");
}
