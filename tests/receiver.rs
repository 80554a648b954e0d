//! A receiver of webhooks that can be down, slow, in trouble, or lose its answers; and its ledger.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// How the receiver treats a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// 200 at once.
    Fine,
    /// 200 after a while.
    Slow,
    /// 500.
    Trouble,
    /// Takes the request, and closes the connection without an answer.
    Silent,
}

/// A request that reached the receiver.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) head: Vec<String>,
    pub(crate) body: String,
    pub(crate) mood: Mood,
}

impl Received {
    /// A header of the request.
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.head.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        });
        found.unwrap_or_else(|| panic!("no {name}: {:?}", self.head))
    }

    /// Whether the sender was told that it arrived, if it was still there.
    pub(crate) fn was_taken(&self) -> bool {
        matches!(self.mood, Mood::Fine | Mood::Slow)
    }
}

#[derive(Debug, Default)]
struct State {
    received: Vec<Received>,
    /// Moods of the next requests; fine beyond.
    moods: VecDeque<Mood>,
}

/// What connections share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    pause: Duration,
}

/// The receiver. Until [`Receiver::up`] nobody listens at its address.
#[derive(Debug)]
pub(crate) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Receiver {
    /// A receiver that is down. `host` is a loopback address of its own, so that nobody else takes
    /// its port meanwhile. Where it is slow, an answer takes `pause`.
    pub(crate) fn down(host: [u8; 4], pause: Duration) -> Self {
        let address = TcpListener::bind((std::net::Ipv4Addr::from(host), 0)).unwrap();
        let address = address.local_addr().unwrap();
        let shared = Shared { state: Mutex::default(), changed: Condvar::new(), pause };
        Self { address, shared: Arc::new(shared) }
    }

    /// Where it will listen.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Begins to listen; the next requests are treated as `moods` say, in their order.
    pub(crate) fn up(&self, moods: &[Mood]) {
        self.shared.lock().moods.extend(moods);
        let listener = TcpListener::bind(self.address).unwrap();
        let shared = Arc::clone(&self.shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || shared.answer(&stream.unwrap()));
            }
        });
    }

    /// Waits until `enough` is true of what arrived; gives all of it.
    pub(crate) fn wait(
        &self,
        within: Duration,
        enough: impl Fn(&[Received]) -> bool,
    ) -> Vec<Received> {
        let waited = self
            .shared
            .changed
            .wait_timeout_while(self.shared.lock(), within, |state| !enough(&state.received));
        let (state, waited) = waited.unwrap();
        assert!(!waited.timed_out(), "only {} arrived: {:?}", state.received.len(), state.received);
        state.received.clone()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// One connection, request by request, until the other side closes it.
    fn answer(&self, stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        while let Some((head, body)) = read(&mut reader) {
            let mood = {
                let mut state = self.lock();
                let mood = state.moods.pop_front().unwrap_or(Mood::Fine);
                state.received.push(Received { head, body, mood });
                mood
            };
            self.changed.notify_all();
            let status = match mood {
                Mood::Silent => return,
                Mood::Trouble => "500 Internal Server Error",
                Mood::Slow => {
                    std::thread::park_timeout(self.pause);
                    "200 OK"
                }
                Mood::Fine => "200 OK",
            };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            if (&mut &*stream).write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}

/// The head's lines and the body of the next request.
fn read(reader: &mut impl BufRead) -> Option<(Vec<String>, String)> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let length = head.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<u64>().unwrap())
    });
    let mut body = String::new();
    reader.take(length.unwrap()).read_to_string(&mut body).ok()?;
    Some((head, body))
}
