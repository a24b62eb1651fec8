//! The TCP loop and its connections: requests of one connection are answered in order.
//!
//! Always true: connections, requests of a connection, and the time that either may take are bounded.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Desk;
use crate::answer::{Aliases, Outcome, Transport};

/// Connections at a time; further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 1024;
/// Requests of one connection, as the reference's library has it.
const MAX_REQUESTS: usize = 128;
/// How long a connection may be silent between requests.
const IDLE_TIMEOUT: Duration = Duration::from_secs(8);
/// How long a request may take to arrive, or a reply to be taken.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to hold back after an error of accepting, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const BUFFER_BYTES: usize = 1024;

pub(super) async fn run(listener: TcpListener, desk: Arc<Desk>, shutdown: CancellationToken) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Ended together with this loop.
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &room) => accepted,
        };
        match accepted {
            Ok((stream, from, permit)) => {
                let desk = Arc::clone(&desk);
                connections.spawn(async move {
                    let _permit = permit;
                    if let Err(error) = talk(stream, from, &desk).await {
                        tracing::debug!(%error, %from, "a DNS connection ended");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a DNS connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, from) = listener.accept().await?;
    Ok((stream, from, permit))
}

async fn talk(stream: TcpStream, from: SocketAddr, desk: &Desk) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::with_capacity(BUFFER_BYTES, stream);
    let (mut request, mut reply, mut framed) = (Vec::new(), Vec::new(), Vec::new());
    let aliases = Aliases::default();
    for _ in 0..MAX_REQUESTS {
        let length = match timeout(IDLE_TIMEOUT, stream.read_u16()).await? {
            Ok(length) => usize::from(length),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        };
        // Grows with what arrives, not with what is announced.
        request.clear();
        let mut arriving = (&mut stream).take(length as u64);
        if timeout(TRANSFER_TIMEOUT, arriving.read_to_end(&mut request)).await?? < length {
            return Ok(());
        }
        let since = Instant::now();
        let answered = desk.answer(&request, Transport::Tcp, from.ip(), &aliases, &mut reply);
        match answered.outcome {
            Outcome::Ignore => continue,
            Outcome::Reply => {}
            outcome @ (Outcome::Recurse | Outcome::Resolve(_) | Outcome::Fetch) => {
                if outcome == Outcome::Fetch {
                    reply.clear();
                }
                if let Ok(_permit) = desk.waiting.try_acquire() {
                    desk.complete(outcome, &request, Transport::Tcp, from.ip(), &mut reply).await;
                }
            }
        }
        let Ok(length) = u16::try_from(reply.len()) else { return Err(io::ErrorKind::InvalidData.into()) };
        framed.clear();
        framed.extend_from_slice(&length.to_be_bytes());
        framed.extend_from_slice(&reply);
        timeout(TRANSFER_TIMEOUT, stream.write_all(&framed)).await??;
        desk.meter.count(answered.subject, since);
    }
    Ok(())
}
