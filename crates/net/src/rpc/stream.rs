//! Streams of bytes in the two dialects of asynchronous reading and writing: tokio's, which we speak, and that of the
//! multiplexing library.
//!
//! Always true: adapters pass bytes, ends and errors through; shutting down is ending the writing half.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use futures_util::io::{AsyncRead as FuturesRead, AsyncWrite as FuturesWrite};
use tokio::io::{AsyncRead, AsyncWrite, BufStream, ReadBuf};

use super::pulse::Pulse;

/// What a connection or a stream of one is to those who talk over it. Shutting it down ends the writing half only.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// A connection of any kind.
pub type BoxedStream = Box<dyn ByteStream>;

/// A connection that tells a pulse what moves.
pub(super) struct Watched<S> {
    stream: S,
    pulse: Arc<Pulse>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, pulse: Arc<Pulse>) -> Watched<S> {
        Watched { stream, pulse }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_read(cx, out))?;
        self.pulse.heard();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.pulse.wrote(written.is_ready());
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// What is read and written ahead on a session, so that a small frame, which the library takes in two pieces, is one
/// packet and one system call. Larger pieces pass by it.
const AHEAD: usize = 2 * 1024;

/// A connection as the multiplexing library wants it.
pub(super) struct Carrier<S> {
    stream: BufStream<Watched<S>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Carrier<S> {
    pub(super) fn new(stream: Watched<S>) -> Carrier<S> {
        Carrier { stream: BufStream::with_capacity(AHEAD, AHEAD, stream) }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> FuturesRead for Carrier<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut out = ReadBuf::new(out);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut out))?;
        Poll::Ready(Ok(out.filled().len()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> FuturesWrite for Carrier<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// One stream of a session, as we want it.
pub(super) struct MuxStream {
    stream: yamux::Stream,
}

impl MuxStream {
    pub(super) fn new(stream: yamux::Stream) -> MuxStream {
        MuxStream { stream }
    }

    /// Tells the other side that its stream was taken.
    ///
    /// Compat: the reference's client gives up a whole session when one of its streams is not acknowledged within 75
    /// seconds, and has no more than 256 such streams. The library acknowledges with the first answer, which a blocking
    /// query may owe for ten minutes; nothing, written at once, is an acknowledgement.
    pub(super) fn acknowledge(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        // A new stream has room for a frame; if not, the connection is gone.
        let _ = Pin::new(&mut self.stream).poll_write(&mut cx, &[]);
    }

    /// Whether nothing came and nothing ended: a stream between two calls that can carry another.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let mut byte = [0];
        Pin::new(&mut self.stream).poll_read(&mut cx, &mut byte).is_pending()
    }

    /// Ends our half, in the way that the other side takes for a regular end. Without it, a stream that is dropped is
    /// reset.
    pub(super) fn end(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        // When there is no room for the word, the reset says it too.
        let _ = Pin::new(&mut self.stream).poll_close(&mut cx);
    }

    /// Throws away what has come; whether that was all.
    pub(super) fn is_drained(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let mut waste = [0; 4096];
        loop {
            match Pin::new(&mut self.stream).poll_read(&mut cx, &mut waste) {
                Poll::Pending => return false,
                Poll::Ready(Ok(0) | Err(_)) => return true,
                Poll::Ready(Ok(_)) => {}
            }
        }
    }
}

impl AsyncRead for MuxStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, out.initialize_unfilled()))?;
        out.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for MuxStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
