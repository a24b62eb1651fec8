//! One net/rpc conversation: calls and answers follow each other on a stream (protocols.md A3).

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use wire::msgpack;
use wire::rpc::{Empty, MessageScanner, RequestHeader, ResponseHeader};

use super::Handler;

/// Room for more is made in steps of this, as bytes arrive.
const STEP: usize = 4 << 10;
/// A buffer that has grown larger is given back between calls.
const KEPT: usize = 64 << 10;

/// The bytes of a stream that are not taken yet.
#[derive(Default)]
pub(super) struct Inward {
    bytes: BytesMut,
}

/// A header and a body, each one msgpack value.
pub(super) struct Message {
    pub header: Bytes,
    pub body: Bytes,
}

impl Inward {
    /// The next message; `None` when the stream ends between two.
    pub async fn next<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> std::io::Result<Option<Message>> {
        let mut scanner = MessageScanner::new();
        loop {
            let found = if self.bytes.is_empty() { None } else { scanner.advance(&self.bytes).map_err(other)? };
            if let Some(extent) = found {
                let mut whole = self.bytes.split_to(extent.message_len).freeze();
                let header = whole.split_to(extent.header_len);
                if self.bytes.is_empty() && self.bytes.capacity() > KEPT {
                    self.bytes = BytesMut::new();
                }
                return Ok(Some(Message { header, body: whole }));
            }
            if !self.fill(stream).await? {
                let cut = !self.bytes.is_empty();
                return if cut { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(None) };
            }
        }
    }

    /// Reads what is there; `false` at the end of the stream.
    async fn fill<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> std::io::Result<bool> {
        self.bytes.reserve(STEP);
        Ok(stream.read_buf(&mut self.bytes).await? > 0)
    }

    /// Returns when the stream has ended, or says more than may wait while a call runs.
    async fn gone<S: AsyncRead + Unpin>(&mut self, stream: &mut S) {
        while self.bytes.remaining() < KEPT {
            if !matches!(self.fill(stream).await, Ok(true)) {
                return;
            }
        }
    }
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> std::io::Error {
    std::io::Error::other(error)
}

/// Answers calls on a stream until it ends. A call whose client has gone is dropped.
pub(super) async fn answer<S>(mut stream: S, handler: Arc<dyn Handler>, peer: SocketAddr) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut inward = Inward::default();
    let mut out = Vec::new();
    while let Some(message) = inward.next(&mut stream).await? {
        let header: RequestHeader = msgpack::from_slice(&message.header).map_err(other)?;
        metrics::counter!("consul.rpc.request").increment(1);
        let calling = handler.call(&header.service_method, message.body, peer);
        let answered = tokio::select! {
            answered = calling => answered,
            () = inward.gone(&mut stream) => return Ok(()),
        };
        let mut reply =
            ResponseHeader { error: String::new(), seq: header.seq, service_method: header.service_method };
        out.clear();
        match answered {
            Ok(body) => {
                msgpack::write_to(&mut out, &reply).map_err(other)?;
                out.extend_from_slice(&body);
            }
            Err(text) => {
                metrics::counter!("consul.rpc.request_error").increment(1);
                // Compat: an error without words would be taken for success.
                reply.error = if text.is_empty() { "unknown error".to_owned() } else { text };
                msgpack::write_to(&mut out, &reply).map_err(other)?;
                msgpack::write_to(&mut out, &Empty {}).map_err(other)?;
            }
        }
        stream.write_all(&out).await?;
        stream.flush().await?;
        if out.capacity() > KEPT {
            out = Vec::new();
        }
    }
    Ok(())
}

/// A call as bytes.
pub(super) fn request(method: &str, seq: u64, args: &[u8]) -> Vec<u8> {
    let header = RequestHeader { service_method: method.to_owned(), seq };
    let mut out = Vec::with_capacity(args.len() + 64);
    // Strings and numbers always fit.
    let _ = msgpack::write_to(&mut out, &header);
    out.extend_from_slice(args);
    out
}

/// The answer to a call: its body, or the far side's words.
pub(super) fn response(message: Message, seq: u64) -> std::io::Result<Result<Bytes, String>> {
    let header: ResponseHeader = msgpack::from_slice(&message.header).map_err(other)?;
    if header.seq != seq {
        return Err(std::io::Error::other("the answer to another call"));
    }
    Ok(if header.error.is_empty() { Ok(message.body) } else { Err(header.error) })
}
