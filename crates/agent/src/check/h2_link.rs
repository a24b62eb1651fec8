//! One HTTP/2 connection of a check: driving it, and telling what went wrong in Go's words.
//!
//! Always true: the connection lives as long as the work done on it and no longer.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::PingPong;
use h2::client::{Connection, SendRequest};
use net::dial::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// As much of the peer's first words as tells HTTP/1.1 from HTTP/2.
const SEEN_BYTES_MAX: usize = 9;
const HTTP1_TEXT: &str =
    "http2: failed reading the frame payload: %!w(<nil>), note that the frame header looked like an HTTP/1.1 header";

/// An open connection, not yet driven.
pub(super) struct Link {
    pub(super) sender: SendRequest<Bytes>,
    pub(super) ping: PingPong,
    pub(super) driver: Driver,
}

/// What must be polled for anything to move on a link.
pub(super) struct Driver(Connection<Tapped>);

impl Link {
    pub(super) async fn open(stream: Stream, seen: &Seen) -> Result<Link, h2::Error> {
        let seen = seen.clone();
        let (sender, mut connection) = h2::client::handshake(Tapped { stream, seen }).await?;
        // Taken once, here, so it is there.
        let ping = connection.ping_pong().ok_or(h2::Error::from(h2::Reason::INTERNAL_ERROR))?;
        Ok(Link { sender, ping, driver: Driver(connection) })
    }
}

impl Driver {
    /// Polls the connection until the work on it is done. When both fail, the connection knows better why.
    pub(super) async fn until<T>(self, work: impl Future<Output = Result<T, h2::Error>>) -> Result<T, h2::Error> {
        let mut connection = Box::pin(self.0);
        tokio::pin!(work);
        let ended = tokio::select! {
            biased;
            done = &mut work => {
                return match done {
                    Ok(value) => Ok(value),
                    Err(error) => Err(connection.await.err().unwrap_or(error)),
                };
            }
            ended = &mut connection => ended,
        };
        // A ping that is still waiting fails only when its connection is gone altogether.
        drop(connection);
        work.await.map_err(|error| ended.err().unwrap_or(error))
    }
}

/// What the peer said first.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen(Arc<Mutex<Vec<u8>>>);

impl Seen {
    /// Whether the peer said anything at all.
    pub(super) fn anything(&self) -> bool {
        !self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn note(&self, bytes: &[u8]) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = SEEN_BYTES_MAX.saturating_sub(seen.len());
        seen.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// Go's words for what ended the link.
    pub(super) fn explain(&self, error: h2::Error) -> String {
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).starts_with(b"HTTP/1.") {
            return HTTP1_TEXT.to_owned();
        }
        match error.get_io() {
            Some(inner) => match inner.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe
                    if inner.get_ref().is_none_or(|cause| !cause.to_string().starts_with("write")) =>
                {
                    "EOF".to_owned()
                }
                _ => net::tls::io_error_text(inner),
            },
            None => error.to_string(),
        }
    }
}

pub(super) struct Tapped {
    stream: Stream,
    seen: Seen,
}

impl AsyncRead for Tapped {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = polled {
            self.seen.note(&buf.filled()[before..]);
        }
        polled
    }
}

impl AsyncWrite for Tapped {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
