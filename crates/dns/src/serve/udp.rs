//! The UDP loop: one packet after the other, no task for what the state alone can answer.
//!
//! It runs on a thread of its own with a blocking socket: a resolver that wakes a scheduler for each packet spends more
//! on the waking than on the answer (three times, measured).

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Desk;
use crate::answer::{Aliases, Kept, Outcome, Transport};

const MAX_PACKET_BYTES: usize = 65535;

/// Answers until `shutdown`; whoever cancels it sends a packet to be noticed at once. To be called where blocking is
/// allowed, within a runtime.
pub(super) fn run(socket: &Arc<UdpSocket>, desk: &Arc<Desk>, shutdown: &CancellationToken) {
    let mut packet = vec![0; MAX_PACKET_BYTES];
    let mut reply = Vec::with_capacity(4096);
    let aliases = Aliases::default();
    let mut kept = Kept::default();
    // Ended together with this loop.
    let mut waiting = JoinSet::new();
    while !shutdown.is_cancelled() {
        while waiting.try_join_next().is_some() {}
        let (length, from) = match socket.recv_from(&mut packet) {
            Ok(received) => received,
            // Nothing came for a while: time to look whether this is over, and to let go of what may be outdated.
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                kept.forget();
                continue;
            }
            Err(error) => {
                // Errors of earlier sends surface here, such as a port that nobody listens on.
                tracing::debug!(%error, "receiving a DNS request failed");
                std::thread::yield_now();
                continue;
            }
        };
        let since = Instant::now();
        let request = &packet[..length];
        let answered = desk.answer_over_udp(request, from.ip(), &aliases, &mut reply, &mut kept);
        match answered.outcome {
            Outcome::Ignore => continue,
            Outcome::Reply => send(socket, &reply, from),
            outcome @ (Outcome::Recurse | Outcome::Resolve(_)) => {
                // Without room the reply that stands is sent.
                let Ok(permit) = Arc::clone(&desk.waiting).try_acquire_owned() else {
                    send(socket, &reply, from);
                    continue;
                };
                let (socket, desk, request) = (Arc::clone(socket), Arc::clone(desk), request.to_vec());
                let mut reply = reply.clone();
                waiting.spawn(async move {
                    let _permit = permit;
                    desk.complete(outcome, &request, Transport::Udp, from.ip(), &mut reply).await;
                    send(&socket, &reply, from);
                    desk.meter.count(answered.subject, since);
                });
                continue;
            }
        }
        desk.meter.count(answered.subject, since);
    }
}

fn send(socket: &UdpSocket, reply: &[u8], to: SocketAddr) {
    // A reply that cannot be sent is lost as any packet may be; the asker asks again.
    if let Err(error) = socket.send_to(reply, to) {
        tracing::debug!(%error, %to, "sending a DNS reply failed");
    }
}
