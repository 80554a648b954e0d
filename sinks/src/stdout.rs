//! A JSON line per transition on a stream.

use std::fmt;
use std::io::Write;

use crate::{Attempt, Message, Sink};

/// Writes each body as one line to a stream, usually standard output.
pub struct StdoutSink {
    name: String,
    out: Box<dyn Write + Send>,
}

impl StdoutSink {
    /// A sink that writes to `out`.
    #[must_use]
    pub fn new(name: &str, out: Box<dyn Write + Send>) -> Self {
        Self { name: name.to_owned(), out }
    }
}

impl fmt::Debug for StdoutSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdoutSink").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Sink for StdoutSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn deliver(&mut self, _message: &Message, body: &[u8]) -> Attempt {
        // One call for the whole line: other writers of the stream cannot get into its middle.
        let line = [body, b"\n"].concat();
        match self.out.write_all(&line).and_then(|()| self.out.flush()) {
            Ok(()) => Attempt::delivered(None),
            Err(error) => Attempt::unanswered(&format!("could not write the line: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::{Outcome, samples};

    #[derive(Clone, Default)]
    struct Stream(Arc<Mutex<Vec<u8>>>, Arc<Mutex<bool>>);

    impl Write for Stream {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if *self.1.lock().unwrap() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_body_is_a_line_and_a_closed_stream_is_tried_again() {
        let stream = Stream::default();
        let mut sink = StdoutSink::new("out", Box::new(stream.clone()));
        let message = samples::message(1, 1);
        assert_eq!(sink.deliver(&message, b"{1}"), Attempt::delivered(None));
        assert_eq!(sink.deliver(&message, b"{2}"), Attempt::delivered(None));
        assert_eq!(*stream.0.lock().unwrap(), b"{1}\n{2}\n");
        *stream.1.lock().unwrap() = true;
        let attempt = sink.deliver(&message, b"{3}");
        assert_eq!(attempt.outcome, Outcome::Retry { after: None });
        assert!(attempt.error.contains("broken pipe"), "{}", attempt.error);
    }
}
