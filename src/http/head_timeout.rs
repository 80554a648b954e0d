//! A limit on the time that a request's head may take, apart from the time a connection may idle.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Whether a request of one connection is being answered, so that what is read is not a head.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answering(Arc<AtomicBool>);

impl Answering {
    /// The head is complete.
    pub(crate) fn begin(&self) {
        // ATOMICS: connection and service run in one task, so the order is that of the program.
        self.0.store(true, Ordering::Relaxed);
    }

    /// The answer is ready: what comes next is another head.
    pub(crate) fn end(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A connection that ends when the head of a request has begun and does not come to its end.
///
/// The time counts from the head's first byte, or from the last byte of the answer before it where
/// that is later.
#[derive(Debug)]
pub(crate) struct HeadTimeout<S> {
    stream: S,
    max: Duration,
    answering: Answering,
    /// Set while a head is incomplete.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> HeadTimeout<S> {
    /// Gives each head `max`; whoever answers the requests says so to `answering`.
    pub(crate) fn new(stream: S, max: Duration, answering: Answering) -> Self {
        Self { stream, max, answering, deadline: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HeadTimeout<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        if this.answering.is_on() {
            this.deadline = None;
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        }
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        let has_begun = read.is_ready() && buffer.filled().len() > before;
        if let Some(deadline) = &mut this.deadline {
            if deadline.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        } else if has_begun {
            this.deadline = Some(Box::pin(sleep_until(Instant::now() + this.max)));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HeadTimeout<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write(context, bytes));
        if let Some(deadline) = &mut this.deadline {
            deadline.as_mut().reset(Instant::now() + this.max);
        }
        Poll::Ready(written)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    const MAX: Duration = Duration::from_millis(100);

    fn pair() -> (DuplexStream, HeadTimeout<DuplexStream>, Answering) {
        let (client, server) = tokio::io::duplex(64);
        let answering = Answering::default();
        (client, HeadTimeout::new(server, MAX, answering.clone()), answering)
    }

    #[tokio::test]
    async fn a_head_that_stays_incomplete_ends_the_connection_and_idling_does_not() {
        let (mut client, mut server, _) = pair();
        let mut byte = [0];
        let idle = tokio::time::timeout(MAX * 3, server.read_exact(&mut byte)).await;
        assert!(idle.is_err(), "nothing came, nothing began");
        client.write_all(b"GE").await.unwrap();
        for _ in 0..2 {
            server.read_exact(&mut byte).await.unwrap();
        }
        let ended = server.read_exact(&mut byte).await.unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_body_may_take_longer_than_a_head() {
        let (mut client, mut server, answering) = pair();
        let mut byte = [0];
        client.write_all(b"P").await.unwrap();
        server.read_exact(&mut byte).await.unwrap();
        answering.begin();
        let waiting = tokio::time::timeout(MAX * 3, server.read_exact(&mut byte)).await;
        assert!(waiting.is_err(), "still open");
        client.write_all(b"b").await.unwrap();
        server.read_exact(&mut byte).await.unwrap();
        assert_eq!(&byte, b"b");
    }
}
