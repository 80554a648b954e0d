//! A server for tests: gives prepared answers in order and remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// An answer that was prepared.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    head: String,
    body: String,
}

impl Answer {
    /// With this status and body.
    pub(crate) fn new(status: u16, body: &str) -> Self {
        let length = body.len();
        let mut head = format!("HTTP/1.1 {status} Text\r\nConnection: close\r\n");
        if status != 204 {
            head.push_str(&format!("Content-Length: {length}\r\n"));
        }
        Self { head, body: body.to_owned() }
    }

    /// And this header.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.head.push_str(&format!("{name}: {value}\r\n"));
        self
    }
}

/// A request that was seen.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) first_line: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    /// The value of the header with this lower-case name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// The server; its thread ends with it.
#[derive(Debug)]
pub(crate) struct FakeServer {
    url: String,
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FakeServer {
    /// Listens on a port of the system's choice; without any answer left it hangs up.
    pub(crate) fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let ended = Arc::new(AtomicBool::new(false));
        let (memory, end) = (Arc::clone(&seen), Arc::clone(&ended));
        let mut answers = answers.into_iter();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::Acquire) {
                    return;
                }
                serve(stream.expect("a connection"), &mut answers, &memory);
            }
        });
        Self { url: format!("http://{address}"), address, seen, ended, thread: Some(thread) }
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What it was asked so far.
    pub(crate) fn requests(&self) -> Vec<Seen> {
        self.seen.lock().expect("no test panics in the server").clone()
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn serve(stream: TcpStream, answers: &mut impl Iterator<Item = Answer>, seen: &Mutex<Vec<Seen>>) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    if reader.read_line(&mut line).is_err() || line.is_empty() {
        return;
    }
    let first_line = line.trim().to_owned();
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line).expect("a whole head");
        match line.trim().split_once(':') {
            Some((name, value)) => {
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            None => break,
        }
    }
    let request = Seen { first_line, headers, body: Vec::new() };
    let length = request.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a whole body");
    seen.lock().expect("no test panics in the server").push(Seen { body, ..request });
    if let Some(answer) = answers.next() {
        let text = format!("{}\r\n{}", answer.head, answer.body);
        reader.get_mut().write_all(text.as_bytes()).expect("the client reads the answer");
    }
}
