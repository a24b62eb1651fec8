//! A yamux session, driven by a task of its own.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::Poll;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};
use yamux::{Config, Connection, Mode};

/// Streams of a session at most.
pub(super) const STREAMS_MAX: usize = 8192;
/// Streams that wait to be opened.
const OPENINGS_MAX: usize = 256;

/// A stream within a session.
pub(super) type Stream = Compat<yamux::Stream>;

fn connection(stream: TcpStream, mode: Mode) -> Connection<Compat<TcpStream>> {
    let mut config = Config::default();
    // Each stream may have what the protocol begins with.
    config.set_max_connection_receive_window(None);
    config.set_max_num_streams(STREAMS_MAX);
    Connection::new(stream.compat(), config, mode)
}

/// Hands every stream that the far side opens to `taken`, until the session ends.
pub(super) async fn accept(stream: TcpStream, mut taken: impl FnMut(Stream)) {
    let mut connection = connection(stream, Mode::Server);
    while let Some(Ok(stream)) = poll_fn(|context| connection.poll_next_inbound(context)).await {
        taken(stream.compat());
    }
}

/// The near side of a session that this side has begun.
#[derive(Clone)]
pub(super) struct Session {
    openings: mpsc::Sender<oneshot::Sender<Stream>>,
}

impl Session {
    pub fn begin(stream: TcpStream) -> Self {
        let (openings, requested) = mpsc::channel(OPENINGS_MAX);
        tokio::spawn(drive(connection(stream, Mode::Client), requested));
        Session { openings }
    }

    pub fn has_ended(&self) -> bool {
        self.openings.is_closed()
    }

    /// A new stream; `None` when the session has ended.
    pub async fn open(&self) -> Option<Stream> {
        let (opened, stream) = oneshot::channel();
        self.openings.send(opened).await.ok()?;
        stream.await.ok()
    }
}

/// Moves bytes, opens streams as they are asked for, and ends with the session or with its last handle.
async fn drive(
    mut connection: Connection<Compat<TcpStream>>,
    mut requested: mpsc::Receiver<oneshot::Sender<Stream>>,
) {
    let mut waiting: VecDeque<oneshot::Sender<Stream>> = VecDeque::new();
    let mut last_is_gone = false;
    poll_fn(|context| {
        loop {
            while !last_is_gone && waiting.len() < OPENINGS_MAX {
                match requested.poll_recv(context) {
                    Poll::Ready(Some(opened)) => waiting.push_back(opened),
                    Poll::Ready(None) => last_is_gone = true,
                    Poll::Pending => break,
                }
            }
            if last_is_gone {
                return Poll::Ready(());
            }
            if !waiting.is_empty() {
                match connection.poll_new_outbound(context) {
                    Poll::Ready(Ok(stream)) => {
                        if let Some(opened) = waiting.pop_front() {
                            // Nobody may wait for it any more; then it is closed.
                            let _ = opened.send(stream.compat());
                        }
                        continue;
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => {}
                }
            }
            match connection.poll_next_inbound(context) {
                // Compat: servers open none on this side.
                Poll::Ready(Some(Ok(stream))) => drop(stream),
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
    let _ = poll_fn(|context| connection.poll_close(context)).await;
}
