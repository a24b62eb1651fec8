//! Request targets as browsers' and shells' users type them: `curl 'http://…/v1/agent/checks?filter=Status=="passing"'`.
//!
//! The HTTP library refuses targets with raw quotes, angle brackets and the like; the reference's server takes them.
//! [`Lenient`] percent-encodes such bytes of a request's first line on their way in.
//!
//! Always true: nothing but a first line is ever changed. Where a line begins is not guessed: the head's end is
//! seen here, and the length of the body behind it is what the HTTP library says it is. As soon as bytes
//! arrive that do not fit (pipelined requests, bodies of unknown length), the rest of the connection passes as it is.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Says how long the body is of the request whose head was just read.
#[derive(Clone, Default)]
pub(super) struct BodyLength(Arc<AtomicU64>);

/// No request since the last head.
const UNKNOWN: u64 = u64::MAX;

impl BodyLength {
    /// To be called with each request before its body is read; `None` if the head does not tell.
    pub(super) fn set(&self, length: Option<u64>) {
        self.0.store(length.unwrap_or(UNKNOWN), Ordering::Relaxed);
    }
}

/// Where in the bytes of a connection we are.
enum Place {
    /// In the first line of a request.
    FirstLine,
    /// In its other lines; so many bytes of the empty line that ends them were seen.
    Head { newlines: u8 },
    /// Behind the head by so many bytes.
    Body { seen: u64 },
    /// Nobody knows.
    Lost,
}

pub(super) struct Lenient<S> {
    stream: S,
    place: Place,
    length: BodyLength,
    /// Encoded bytes for which the reader had no room yet, and how many of them it has since taken.
    pending: Vec<u8>,
    taken: usize,
}

impl<S> Lenient<S> {
    pub(super) fn new(stream: S, length: BodyLength) -> Self {
        length.set(None);
        Lenient { stream, place: Place::FirstLine, length, pending: Vec::new(), taken: 0 }
    }

    /// Whether everything that has arrived was read.
    pub(super) fn is_read(&self) -> bool {
        self.pending.is_empty()
    }

    /// Lets `bytes` be read before all others, as they are.
    pub(super) fn rewind(&mut self, mut bytes: Vec<u8>) {
        bytes.extend_from_slice(&self.pending[self.taken..]);
        (self.pending, self.taken) = (bytes, 0);
    }

    /// Follows the bytes that were read; gives them back if some of them had to be encoded.
    fn follow(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        if let Place::Body { seen } = self.place {
            match self.length.0.load(Ordering::Relaxed) {
                length if length == seen => {
                    self.length.set(None);
                    self.place = Place::FirstLine;
                }
                UNKNOWN => self.place = Place::Lost,
                _ => {}
            }
        }
        let mut encoded = None;
        let mut at = 0;
        while at < bytes.len() {
            match &mut self.place {
                Place::FirstLine => {
                    let line =
                        bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| at + end + 1);
                    if bytes[at..line].iter().copied().any(is_refused) {
                        encoded = Some(encode(&bytes[..line], &bytes[line..]));
                    }
                    if bytes[line - 1] == b'\n' {
                        self.place = Place::Head { newlines: 1 };
                    }
                    at = line;
                }
                Place::Head { newlines } => {
                    match bytes[at] {
                        b'\n' => *newlines += 1,
                        b'\r' => {}
                        _ => *newlines = 0,
                    }
                    at += 1;
                    if *newlines == 2 {
                        self.place = Place::Body { seen: 0 };
                    }
                }
                Place::Body { seen } => {
                    *seen += (bytes.len() - at) as u64;
                    let length = self.length.0.load(Ordering::Relaxed);
                    if length != UNKNOWN && *seen > length {
                        self.place = Place::Lost;
                    }
                    break;
                }
                Place::Lost => break,
            }
        }
        encoded
    }
}

/// Bytes that may not stand raw in a request target (RFC 3986, section 2), and are not blanks or line ends.
fn is_refused(byte: u8) -> bool {
    matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x80..)
}

fn encode(line: &[u8], rest: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(line.len() + rest.len() + 64);
    for &byte in line {
        if is_refused(byte) {
            out.extend_from_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        } else {
            out.push(byte);
        }
    }
    out.extend_from_slice(rest);
    out
}

impl<S: AsyncRead + Unpin> AsyncRead for Lenient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.pending.is_empty() {
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
            match this.follow(&buf.filled()[before..]) {
                None => return Poll::Ready(Ok(())),
                Some(encoded) => {
                    buf.set_filled(before);
                    (this.pending, this.taken) = (encoded, 0);
                }
            }
        }
        let left = &this.pending[this.taken..];
        let fits = left.len().min(buf.remaining());
        buf.put_slice(&left[..fits]);
        this.taken += fits;
        if this.taken == this.pending.len() {
            (this.pending, this.taken) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lenient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::{BodyLength, Lenient};

    /// What comes out when the pieces arrive one by one, with the body lengths that the library reports
    /// after the piece that completes each head.
    fn through(pieces: &[(&str, Option<Option<u64>>)]) -> String {
        let length = BodyLength::default();
        let mut lenient = Lenient::new(tokio::io::empty(), length.clone());
        let mut out = String::new();
        for (piece, told) in pieces {
            match lenient.follow(piece.as_bytes()) {
                Some(encoded) => out.push_str(std::str::from_utf8(&encoded).unwrap()),
                None => out.push_str(piece),
            }
            if let Some(told) = told {
                length.set(*told);
            }
        }
        out
    }

    #[test]
    fn only_first_lines_are_encoded() {
        let head = "GET /a?filter=b==\"c\" HTTP/1.1\r\nHost: \"h\"\r\n\r\n";
        let plain = "GET /a?filter=b==%22c%22 HTTP/1.1\r\nHost: \"h\"\r\n\r\n";
        assert_eq!(through(&[(head, Some(Some(0))), (head, Some(Some(0)))]), format!("{plain}{plain}"));
        let put = "PUT /<> HTTP/1.1\r\nContent-Length: 4\r\n\r\n";
        let puts = "PUT /%3C%3E HTTP/1.1\r\nContent-Length: 4\r\n\r\n";
        assert_eq!(
            through(&[(put, Some(Some(4))), ("\"a", None), ("b\"", None), (head, None)]),
            format!("{puts}\"ab\"{plain}")
        );
    }

    #[test]
    fn what_cannot_be_told_apart_passes() {
        let head = "GET /\" HTTP/1.1\r\n\r\n";
        let chunked = "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(through(&[(chunked, Some(None)), (head, None)]), format!("{chunked}{head}"));
        let two = format!("GET / HTTP/1.1\r\n\r\n{head}");
        assert_eq!(through(&[(&two, Some(Some(0))), (head, None)]), format!("{two}{head}"));
        let more = "PUT / HTTP/1.1\r\nContent-Length: 1\r\n\r\n";
        assert_eq!(
            through(&[(more, Some(Some(1))), ("xGET /\"", None), (head, None)]),
            format!("{more}xGET /\"{head}")
        );
    }

    #[tokio::test]
    async fn small_readers_get_all_of_it() {
        let head = "GET /\"\u{fc}\" HTTP/1.1\r\n\r\n";
        let mut lenient = Lenient::new(head.as_bytes(), BodyLength::default());
        let mut out = Vec::new();
        let mut piece = [0; 5];
        for _ in 0..100 {
            let read = lenient.read(&mut piece).await.unwrap();
            out.extend_from_slice(&piece[..read]);
        }
        assert_eq!(out, b"GET /%22%C3%BC%22 HTTP/1.1\r\n\r\n");
        for again in ["\"once\"", "twice"] {
            lenient.rewind(again.into());
            let mut read = vec![0; again.len()];
            lenient.read_exact(&mut read).await.unwrap();
            assert_eq!(read, again.as_bytes());
        }
    }
}
