//! A small HTTP receiver for the tests of this crate, on a port that the system chooses.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver as Requests, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// How the receiver treats one request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// These bytes, and the connection stays open if they say so.
    Bytes(&'static str),
    /// Nothing, until the client gives up.
    Silence,
    /// The connection is closed after the request was read: an answer that got lost.
    HangUp,
}

pub(crate) const OK: Answer = Answer::Bytes("HTTP/1.1 204 No Content\r\n\r\n");

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) line: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// The number of the connection, from 0.
    pub(crate) connection: usize,
}

/// Gives its answers one after the other, then the last one for ever.
#[derive(Debug)]
pub(crate) struct Receiver {
    address: SocketAddr,
    requests: Requests<Request>,
}

impl Receiver {
    pub(crate) fn start(answers: &[Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = sync_channel(1_000);
        let answers = answers.to_vec();
        thread::spawn(move || serve(&listener, &answers, &sender));
        Self { address, requests }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// The next request, in the order of arrival.
    pub(crate) fn request(&self) -> Request {
        self.requests.recv_timeout(Duration::from_secs(20)).expect("a request arrives")
    }

    /// Whether no request is left unread.
    pub(crate) fn is_idle(&self) -> bool {
        self.requests.try_recv().is_err()
    }
}

fn serve(listener: &TcpListener, answers: &[Answer], requests: &SyncSender<Request>) {
    let mut given = 0;
    for (connection, stream) in listener.incoming().enumerate() {
        let mut stream = stream.unwrap();
        while let Some(request) = read(&stream, connection) {
            let answer = answers[given.min(answers.len() - 1)];
            given += 1;
            if requests.send(request).is_err() {
                return;
            }
            match answer {
                Answer::Bytes(bytes) => {
                    stream.write_all(bytes.as_bytes()).unwrap();
                    if bytes.contains("Connection: close") {
                        break;
                    }
                }
                Answer::Silence => {
                    let mut rest = Vec::new();
                    stream.read_to_end(&mut rest).ok();
                    break;
                }
                Answer::HangUp => break,
            }
        }
    }
}

fn read(stream: &TcpStream, connection: usize) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|&bytes| bytes > 0)?;
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok())?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { line: line.trim_end().to_owned(), headers, body, connection })
}
