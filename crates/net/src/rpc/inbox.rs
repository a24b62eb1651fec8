//! Messages out of a stream of bytes: collected as they arrive, handed out whole.
//!
//! Always true: memory grows with what arrived, never with what was announced; between messages there is none; all
//! inboxes that share a [`Budget`] keep no more than it allows.
//! Not here: what the two values of a message are.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::{Instant, timeout_at};
use wire::rpc::{Extent, MessageScanner};

/// Room made for a message that has not begun: most calls fit.
const ROOM_FIRST: usize = 512;
/// Room made at a time while a message arrives.
const ROOM_MORE: usize = 16 * 1024;
/// What is read ahead while a call is being answered. Only a reader sees the other side go away, and nothing that
/// waits for its answers sends more than this meanwhile.
const AHEAD_MAX: usize = 64 * 1024;
/// Messages up to this length are not counted in a budget: there are as many as streams, which have a bound.
const FREE: usize = 64 * 1024;

/// What all inboxes of a server may keep together beyond what each has free.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    kept: Arc<AtomicUsize>,
    max: usize,
}

impl Budget {
    pub(super) fn new(max: usize) -> Budget {
        Budget { kept: Arc::default(), max }
    }
}

/// Gives back what an inbox kept.
struct Share {
    budget: Budget,
    mine: usize,
}

impl Share {
    /// Whether there is room for so many bytes.
    fn set(&mut self, len: usize) -> bool {
        let now = if len > FREE { len } else { 0 };
        let before = std::mem::replace(&mut self.mine, now);
        let grown = now.saturating_sub(before);
        self.budget.kept.fetch_sub(before.saturating_sub(now), Ordering::Relaxed);
        self.budget.kept.fetch_add(grown, Ordering::Relaxed).saturating_add(grown) <= self.budget.max
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.kept.fetch_sub(self.mine, Ordering::Relaxed);
    }
}

/// How slowly a message may come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// What any message may take.
    pub(super) grace: Duration,
    /// What it must bring a second beyond that.
    pub(super) bytes_per_second: u64,
}

impl Patience {
    fn until(self, begun: Instant, arrived: usize) -> Instant {
        let earned = (arrived as u64).saturating_mul(1000) / self.bytes_per_second.max(1);
        begun + self.grace + Duration::from_millis(earned)
    }
}

/// Why there is no message.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoMessage {
    #[error("EOF")]
    Ended,
    /// The stream ended within a message.
    #[error("unexpected EOF")]
    Cut,
    #[error("{0}")]
    Io(io::Error),
    #[error("malformed message: {0}")]
    Malformed(wire::msgpack::Error),
    #[error("message came too slowly")]
    Late,
    /// All inboxes together keep too much.
    #[error("too much is kept of messages that are not whole")]
    Crowded,
}

/// A whole message.
pub(super) struct Message {
    pub(super) header: Bytes,
    pub(super) body: Bytes,
}

pub(super) struct Inbox {
    buffer: BytesMut,
    scanner: MessageScanner,
    share: Share,
}

impl Inbox {
    pub(super) fn new(budget: Budget) -> Inbox {
        Inbox { buffer: BytesMut::new(), scanner: MessageScanner::new(), share: Share { budget, mine: 0 } }
    }

    /// Whether nothing has come of a next message.
    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next message. However long it takes to begin, once begun it must come. Given up, it may be called again:
    /// nothing of the message is lost.
    pub(super) async fn next<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        patience: Option<Patience>,
    ) -> Result<Message, NoMessage> {
        let mut begun = None;
        loop {
            if let Some(extent) = self.scanner.advance(&self.buffer).map_err(NoMessage::Malformed)? {
                return Ok(self.take(extent));
            }
            if !self.buffer.is_empty() && begun.is_none() {
                begun = Some(Instant::now());
            }
            let limit = patience.zip(begun).map(|(patience, begun)| patience.until(begun, self.buffer.len()));
            let read = match limit {
                Some(limit) => timeout_at(limit, self.read(stream)).await.map_err(|_| NoMessage::Late)?,
                None => self.read(stream).await,
            };
            match read.map_err(NoMessage::Io)? {
                0 if self.buffer.is_empty() => return Err(NoMessage::Ended),
                0 => return Err(NoMessage::Cut),
                _ if self.share.set(self.buffer.len()) => {}
                _ => return Err(NoMessage::Crowded),
            }
        }
    }

    /// Returns when the other side is gone, reading ahead meanwhile. Once that is as much as is allowed, it never
    /// returns: the next call will tell.
    pub(super) async fn until_gone<S: AsyncRead + Unpin>(&mut self, stream: &mut S) {
        while self.buffer.len() < AHEAD_MAX {
            match self.read(stream).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        std::future::pending().await
    }

    async fn read<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> io::Result<usize> {
        self.buffer.reserve(if self.buffer.is_empty() { ROOM_FIRST } else { ROOM_MORE });
        stream.read_buf(&mut self.buffer).await
    }

    fn take(&mut self, extent: Extent) -> Message {
        let mut header = self.buffer.split_to(extent.message_len).freeze();
        let body = header.split_off(extent.header_len);
        self.scanner = MessageScanner::new();
        if self.buffer.is_empty() {
            // What is left of the room would keep the message's memory.
            self.buffer = BytesMut::new();
        }
        Message { header, body }
    }
}
