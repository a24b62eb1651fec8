//! A session of many streams on one connection, from either side: somebody must turn its wheel.
//!
//! Always true: a session whose other side is silent or takes nothing for too long ends, and with it its streams; the
//! windows of streams do not grow, so a session keeps at most 256 KiB for each of its streams, and nothing for those that
//! nobody writes to.
//! Not here: what is said on the streams.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;
use yamux::{Config, Connection, DEFAULT_CREDIT, Mode};

use super::conversation::{Common, converse};
use super::pulse::Pulse;
use super::stream::{BoxedStream, Carrier, MuxStream, Watched};

/// How long saying good-bye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// A connection with streams on it.
pub(super) struct Session<S> {
    connection: Connection<Carrier<S>>,
    pulse: Arc<Pulse>,
    keep_alive: Duration,
    timeout: Duration,
    next: Beat,
}

/// What the clock is waited for.
#[derive(Clone, Copy)]
enum Beat {
    /// To ask for a sign of life.
    Ask(Instant),
    /// To have heard one since it was asked for.
    Heard { before: u64, by: Instant },
}

/// What happened on a session.
pub(super) enum Happening {
    /// The other side opened a stream.
    Opened(MuxStream),
    /// The clock moved; look whether there is something to do.
    Tick,
    /// The stream that was wanted.
    New(MuxStream),
    /// It is over.
    Over(String),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    pub(super) fn new(
        stream: S,
        mode: Mode,
        streams_max: usize,
        keep_alive: Duration,
        timeout: Duration,
    ) -> Session<S> {
        let streams_max = streams_max.max(1);
        let mut config = Config::default();
        // Windows as large as they are to begin with, and no larger.
        config.set_max_connection_receive_window(None);
        config.set_max_num_streams(streams_max);
        config.set_max_connection_receive_window(Some(streams_max * DEFAULT_CREDIT as usize));
        let pulse = Arc::new(Pulse::new());
        let connection = Connection::new(Carrier::new(Watched::new(stream, Arc::clone(&pulse))), config, mode);
        Session { connection, pulse, keep_alive, timeout, next: Beat::Ask(Instant::now() + keep_alive) }
    }

    /// Waits for what happens next; `wanted` asks for a stream of our own. Given up, it loses nothing.
    pub(super) async fn next(&mut self, wanted: bool) -> Happening {
        let at = match self.next {
            Beat::Ask(at) | Beat::Heard { by: at, .. } => at,
        };
        let connection = &mut self.connection;
        let turn = poll_fn(|cx| {
            // First what there is: only this turns the wheel, and takes away streams that were dropped.
            if let Poll::Ready(opened) = connection.poll_next_inbound(cx) {
                return Poll::Ready(match opened {
                    Some(Ok(stream)) => Happening::Opened(MuxStream::new(stream)),
                    Some(Err(error)) => Happening::Over(error.to_string()),
                    None => Happening::Over("EOF".to_owned()),
                });
            }
            if !wanted {
                return Poll::Pending;
            }
            connection.poll_new_outbound(cx).map(|opened| match opened {
                Ok(stream) => Happening::New(MuxStream::new(stream)),
                Err(error) => Happening::Over(error.to_string()),
            })
        });
        tokio::select! {
            happening = turn => happening,
            () = sleep_until(at) => self.beat(),
        }
    }

    fn beat(&mut self) -> Happening {
        if self.pulse.stuck() >= self.timeout {
            return Happening::Over("connection write timeout".to_owned());
        }
        let now = Instant::now();
        match self.next {
            // The next turn of the connection sends a ping: the last one is long ago.
            Beat::Ask(_) => self.next = Beat::Heard { before: self.pulse.beats(), by: now + self.timeout },
            Beat::Heard { before, .. } if self.pulse.beats() == before => {
                return Happening::Over("keepalive timeout".to_owned());
            }
            Beat::Heard { .. } => self.next = Beat::Ask(now + self.keep_alive.saturating_sub(self.timeout)),
        }
        Happening::Tick
    }

    /// Says good-bye and closes.
    pub(super) async fn close(mut self) {
        // Whether it was heard changes nothing.
        let _ = timeout(GOODBYE, poll_fn(|cx| self.connection.poll_close(cx))).await;
    }
}

/// Answers on all streams that the other side opens, each on its own.
pub(super) async fn serve(stream: BoxedStream, peer: SocketAddr, common: &Common) {
    let limits = common.limits;
    let mut session =
        Session::new(stream, Mode::Server, limits.streams_per_session, limits.keep_alive, limits.keep_alive_timeout);
    // Dropped with us, and with it what runs.
    let mut conversations = JoinSet::new();
    loop {
        tokio::select! {
            happening = session.next(false) => match happening {
                Happening::Opened(mut stream) => {
                    stream.acknowledge();
                    let common = common.clone();
                    conversations.spawn(async move { converse(&mut stream, peer, &common).await });
                }
                Happening::Tick | Happening::New(_) => {}
                Happening::Over(why) => return debug!(%peer, why, "RPC session ended"),
            },
            // A conversation that panicked has lost its stream, no more.
            Some(_) = conversations.join_next() => {}
        }
    }
}
