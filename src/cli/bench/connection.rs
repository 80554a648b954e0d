//! A keep-alive connection that costs the client next to nothing: whole requests out, heads of answers in.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer that takes longer than this ends the run.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Bytes of an answer that are looked at.
const ANSWER_BYTES_MAX: usize = 256 * 1_024;

/// One connection with one request in flight.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The body as text; empty where there is none.
    pub(crate) body: String,
}

impl Connection {
    /// Connects to `address`.
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.set_write_timeout(Some(ANSWER_MAX))?;
        Ok(Self { stream, answer: Vec::with_capacity(4_096) })
    }

    /// Sends a whole request and waits for its answer.
    pub(crate) fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(request)?;
        self.answer.clear();
        let mut piece = [0; 4_096];
        loop {
            if let Some(answer) = parse(&self.answer)? {
                return Ok(answer);
            }
            let read = self.stream.read(&mut piece)?;
            let fresh = piece.get(..read).unwrap_or_default();
            if fresh.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.answer.extend_from_slice(fresh);
            if self.answer.len() > ANSWER_BYTES_MAX {
                return Err(io::Error::other("the answer is too long"));
            }
        }
    }
}

/// The answer, once it is complete.
fn parse(bytes: &[u8]) -> io::Result<Option<Answer>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let (head, rest) = bytes.split_at(end + 4);
    let head = std::str::from_utf8(head).map_err(io::Error::other)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("the answer has no status"))?;
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    };
    let complete =
        |body: &[u8]| Ok(Some(Answer { status, body: String::from_utf8_lossy(body).into_owned() }));
    if status == 204 {
        return complete(&[]);
    }
    if let Some(length) = header("content-length") {
        let length: usize = length.parse().map_err(io::Error::other)?;
        return rest.get(..length).map_or(Ok(None), complete);
    }
    if header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        // Only refusals come in chunks: their text is shown as it is.
        return if rest.ends_with(b"0\r\n\r\n") { complete(rest) } else { Ok(None) };
    }
    complete(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(status: u16, body: &str) -> Option<Answer> {
        Some(Answer { status, body: body.to_owned() })
    }

    #[test]
    fn an_answer_is_taken_when_it_is_complete_and_not_before() {
        let whole = b"HTTP/1.1 429 Too Many\r\ncontent-LENGTH: 5\r\n\r\nlater";
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole[..cut]).unwrap(), None, "cut at {cut}");
        }
        assert_eq!(parse(whole).unwrap(), text(429, "later"));
        assert_eq!(parse(b"HTTP/1.1 204 No Content\r\nx: y\r\n\r\n").unwrap(), text(204, ""));
    }

    #[test]
    fn chunks_end_with_the_empty_one() {
        let whole = b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n";
        assert_eq!(parse(&whole[..whole.len() - 1]).unwrap(), None);
        assert_eq!(parse(whole).unwrap(), text(400, "2\r\nno\r\n0\r\n\r\n"));
        parse(b"nonsense\r\n\r\n").unwrap_err();
    }
}
