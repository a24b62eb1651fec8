//! One message over TCP, in or out.
//!
//! Always true: every stream ends by a deadline; all streams together keep at most [`BYTES_MAX`] of what they read.
//! Not here: who may open how many.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use gossip::envelope::{Envelope, Refusal, kind};
use gossip::io::{ExchangeError, Peer};
use gossip::stream::StreamReader;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::nonce;
use crate::dial;

/// What all streams of a member may keep of what was not a whole message yet: three of the largest.
const BYTES_MAX: usize = 64 * 1024 * 1024;
const CHUNK: usize = 16 * 1024;
/// After an answer, how long and how much is read and dropped: closing on unread bytes would take the answer back.
const DRAIN: Duration = Duration::from_millis(500);
const DRAIN_MAX: usize = 1024 * 1024;

/// What all streams of a member share.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) envelope: Arc<ArcSwap<Envelope>>,
    kept: Arc<AtomicUsize>,
}

/// Why no message came.
#[derive(Debug)]
pub(super) enum NoMessage {
    Io(io::Error),
    /// Ended before it was whole; `true` if nothing came at all.
    Ended {
        untouched: bool,
    },
    Late,
    /// All streams together keep too much.
    Crowded,
    Refused(Refusal),
}

/// Gives back what a stream kept.
struct Share<'a> {
    kept: &'a AtomicUsize,
    mine: usize,
}

impl Share<'_> {
    fn set(&mut self, now: usize) -> Result<(), NoMessage> {
        let before = std::mem::replace(&mut self.mine, now);
        let grown = now.saturating_sub(before);
        self.kept.fetch_sub(before.saturating_sub(now), Ordering::Relaxed);
        if self.kept.fetch_add(grown, Ordering::Relaxed) + grown > BYTES_MAX { Err(NoMessage::Crowded) } else { Ok(()) }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.kept.fetch_sub(self.mine, Ordering::Relaxed);
    }
}

impl Shared {
    pub(super) fn new(envelope: Arc<ArcSwap<Envelope>>) -> Shared {
        Shared { envelope, kept: Arc::default() }
    }

    /// The message of a stream that was opened to us. What is wrong with it is said to the other side where the
    /// reference does.
    pub(super) async fn accept(&self, stream: &mut TcpStream, deadline: Instant) -> Result<Bytes, NoMessage> {
        let reader = StreamReader::incoming(self.envelope.load().as_ref().clone());
        let read = self.read(stream, reader, deadline).await;
        if let Err(NoMessage::Refused(refusal)) = &read
            && refusal.is_answered()
        {
            let answer = error_message(&refusal.to_string());
            // The other side learns why, or it does not.
            let _ = self.answer(stream, &answer, deadline).await;
        }
        read
    }

    /// Answers on a stream that was opened to us, and ends it.
    pub(super) async fn answer(&self, stream: &mut TcpStream, message: &[u8], deadline: Instant) -> io::Result<()> {
        let sealed = self.envelope.load().seal_reply(message, nonce());
        timeout_at(deadline, send(stream, &sealed)).await??;
        timeout_at(deadline, stream.shutdown()).await??;
        let mut dropped = 0;
        let mut chunk = vec![0; CHUNK];
        let drain = async {
            while dropped < DRAIN_MAX
                && let Ok(len @ 1..) = stream.read(&mut chunk).await
            {
                dropped += len;
            }
        };
        // Whether it ended by itself does not matter.
        let _ = timeout(DRAIN, drain).await;
        Ok(())
    }

    /// A stream of our own: one message out, at most one back.
    pub(super) async fn exchange(
        &self,
        to: &Peer,
        message: &[u8],
        reply: bool,
        span: Duration,
    ) -> Result<Option<Bytes>, ExchangeError> {
        let deadline = Instant::now() + span;
        let mut stream = dial::tcp(&to.address.to_string(), Some(span))
            .await
            .map_err(|error| ExchangeError::Unreachable(error.to_string()))?;
        // Compat: pings and user messages over TCP are not counted.
        if message.first() == Some(&kind::PUSH_PULL) {
            metrics::counter!("consul.memberlist.tcp.connect").increment(1);
        }
        let envelope = self.envelope.load_full();
        let sealed = envelope.seal_stream(message, nonce());
        match timeout_at(deadline, send(&mut stream, &sealed)).await {
            Err(_) => return Err(ExchangeError::TimedOut),
            Ok(Err(error)) => return Err(ExchangeError::Unreachable(error.to_string())),
            Ok(Ok(())) => {}
        }
        if !reply {
            // Sent is sent; the other side's close is not waited for.
            let _ = timeout_at(deadline, stream.shutdown()).await;
            return Ok(None);
        }
        let reader = StreamReader::reply(envelope.as_ref().clone());
        self.read(&mut stream, reader, deadline).await.map(Some).map_err(|error| match error {
            NoMessage::Late => ExchangeError::TimedOut,
            NoMessage::Ended { untouched: true } => ExchangeError::Refused("EOF".to_owned()),
            NoMessage::Ended { untouched: false } => ExchangeError::Refused("unexpected EOF".to_owned()),
            NoMessage::Io(error) => ExchangeError::Refused(error.to_string()),
            NoMessage::Crowded => ExchangeError::Refused("too many streams keep too much".to_owned()),
            NoMessage::Refused(Refusal::StreamKind(kind)) => ExchangeError::Refused(format!(
                // What is not gossip at all mostly answers a join, in which case these are the reference's words.
                "received invalid msgType ({kind}), expected pushPullMsg (6) from={}",
                to.address
            )),
            NoMessage::Refused(refusal) => ExchangeError::Refused(refusal.to_string()),
        })
    }

    async fn read(
        &self,
        stream: &mut (impl AsyncRead + Unpin),
        mut reader: StreamReader,
        deadline: Instant,
    ) -> Result<Bytes, NoMessage> {
        let mut share = Share { kept: &self.kept, mine: 0 };
        let mut chunk = vec![0; CHUNK];
        loop {
            let len = match timeout_at(deadline, stream.read(&mut chunk)).await {
                Err(_) => return Err(NoMessage::Late),
                Ok(Err(error)) => return Err(NoMessage::Io(error)),
                Ok(Ok(0)) => return Err(NoMessage::Ended { untouched: reader.is_untouched() }),
                Ok(Ok(len)) => len,
            };
            if let Some(message) = reader.push(&chunk[..len]).map_err(NoMessage::Refused)? {
                return Ok(message);
            }
            share.set(reader.buffered())?;
        }
    }
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), sealed: &[u8]) -> io::Result<()> {
    metrics::counter!("consul.memberlist.tcp.sent").increment(sealed.len() as u64);
    stream.write_all(sealed).await?;
    stream.flush().await
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    #[serde(rename = "Error")]
    error: &'a str,
}

/// Why a stream was not taken, for the other side.
fn error_message(why: &str) -> Vec<u8> {
    let mut message = vec![kind::ERROR];
    wire::msgpack::write_to(&mut message, &ErrorBody { error: why }).expect("a text encodes");
    message
}
