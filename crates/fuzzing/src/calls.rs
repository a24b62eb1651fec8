//! What comes to the RPC port before anybody is known: first bytes, sessions, conversations.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use net::rpc::{BoxedStream, Handler, Limits, serve_stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wire::msgpack::skip_value;
use wire::rpc::{Empty, RequestHeader, write_request};

/// What a stream gives at a time when it dribbles: nothing falls on a boundary.
const DRIBBLE: usize = 3;
/// How often the end of a stream is put off, so that what came before it is answered.
const PUT_OFF: usize = 64;
/// Streams that a session may have; seeds open fewer, mutations more.
const STREAMS: usize = 4;
/// Where it comes from.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

/// A connection that brings these bytes and takes all that is said.
struct Feed {
    bytes: Bytes,
    at_once: usize,
    put_off: usize,
}

impl AsyncRead for Feed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() && self.put_off > 0 {
            self.put_off -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let length = self.bytes.len().min(self.at_once).min(out.remaining());
        out.put_slice(&self.bytes.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Feed {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Writes down what it is asked.
#[derive(Default)]
struct Asked {
    calls: Mutex<Vec<(String, Bytes)>>,
}

impl Handler for Asked {
    fn call(&self, method: &str, args: Bytes, _: SocketAddr) -> BoxFuture<'static, Result<Vec<u8>, String>> {
        let answer = if args.len().is_multiple_of(2) { Ok(args.to_vec()) } else { Err(method.to_owned()) };
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push((method.to_owned(), args));
        Box::pin(async move { answer })
    }

    fn raft(&self, _: BoxedStream, _: SocketAddr) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }

    fn snapshot(&self, _: BoxedStream, _: SocketAddr) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

fn asked(data: &[u8], at_once: usize) -> Vec<(String, Bytes)> {
    let asked = Arc::new(Asked::default());
    let feed = Feed { bytes: Bytes::copy_from_slice(data), at_once, put_off: PUT_OFF };
    let limits = Limits { streams_per_session: STREAMS, ..Limits::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("it opens nothing");
    runtime.block_on(serve_stream(Box::new(feed), PEER, asked.clone(), limits));
    std::mem::take(&mut *asked.calls.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Whatever comes, in one piece or dribbling: a call is asked once, in order, with one whole value, and all calls
/// together are no longer than what came.
pub fn rpc_connections(data: &[u8]) {
    let whole = asked(data, usize::MAX);
    let dribbled = asked(data, DRIBBLE);
    for calls in [&whole, &dribbled] {
        let length: usize = calls.iter().map(|(method, args)| method.len() + args.len()).sum();
        assert!(length <= data.len(), "{length} bytes of calls out of {}", data.len());
        for (_, args) in calls {
            assert_eq!(skip_value(args).map_err(|error| error.to_string()), Ok(args.len()));
        }
    }
    // Streams of a session overtake each other.
    if data.first() == Some(&0) {
        assert_eq!(whole, dribbled);
    }
}

/// Seeds of the target: `(target, name, bytes)`.
pub fn call_seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let call = |seq: u64, args: &str| {
        let header = RequestHeader { service_method: "Status.Leader".to_owned(), seq };
        let mut call = Vec::new();
        write_request(&mut call, &header, args).expect("it can be written");
        call
    };
    let mut bare = Vec::new();
    let header = RequestHeader { service_method: "Status.Ping".to_owned(), seq: 9 };
    write_request(&mut bare, &header, &Empty {}).expect("it can be written");
    let one = [&[0], &call(1, "dc1")[..]].concat();
    let three = [&one[..], &call(2, "dc2"), &bare].concat();
    let frame = |what: u8, flags: u8, stream: u8, length: usize| {
        let length = u8::try_from(length).expect("seeds are short");
        vec![0, what, 0, flags, 0, 0, 0, stream, 0, 0, 0, length]
    };
    let data = |flags: u8, stream: u8, body: &[u8]| [frame(0, flags, stream, body.len()), body.to_vec()].concat();
    let session = [
        vec![4],
        frame(2, 1, 0, 7),
        frame(1, 1, 1, 0),
        data(0, 1, &call(1, "dc1")),
        data(1, 3, &call(1, "dc1")[..9]),
        data(0, 3, &call(1, "dc1")[9..]),
        frame(2, 2, 0, 0),
        data(4, 3, &call(2, "")),
        frame(1, 8, 1, 0),
        data(1, 5, &bare),
    ]
    .concat();
    let crowd: Vec<u8> = (0..6).flat_map(|stream| data(1, 2 * stream + 1, &bare)).collect();
    [("one_call", one), ("three_calls", three), ("session", session), ("crowd", [&[4], &crowd[..]].concat())]
        .into_iter()
        .map(|(name, seed)| ("rpc_connections", name, seed))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{asked, call_seeds};

    /// A target that asks nothing finds nothing.
    #[test]
    fn seeds_reach_the_handler() {
        let counts: Vec<_> =
            call_seeds().iter().map(|(_, name, seed)| (*name, asked(seed, usize::MAX).len())).collect();
        assert_eq!(counts, [("one_call", 1), ("three_calls", 3), ("session", 4), ("crowd", 4)]);
    }
}
