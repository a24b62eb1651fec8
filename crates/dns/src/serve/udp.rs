//! The UDP loop: one packet after the other, no task for what the state alone can answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Desk;
use crate::answer::{Aliases, Outcome, Transport};

const MAX_PACKET_BYTES: usize = 65535;

pub(super) async fn run(socket: Arc<UdpSocket>, desk: Arc<Desk>, shutdown: CancellationToken) {
    let mut packet = vec![0; MAX_PACKET_BYTES];
    let mut reply = Vec::with_capacity(4096);
    let aliases = Aliases::default();
    // Ended together with this loop.
    let mut waiting = JoinSet::new();
    while !shutdown.is_cancelled() {
        while waiting.try_join_next().is_some() {}
        let received = tokio::select! {
            biased;
            received = socket.recv_from(&mut packet) => received,
            () = shutdown.cancelled() => return,
        };
        let (length, from) = match received {
            Ok(received) => received,
            Err(error) => {
                // Errors of earlier sends surface here, such as a port that nobody listens on.
                tracing::debug!(%error, "receiving a DNS request failed");
                tokio::task::yield_now().await;
                continue;
            }
        };
        let since = Instant::now();
        let request = &packet[..length];
        let answered = desk.answer(request, Transport::Udp, from.ip(), &aliases, &mut reply);
        match answered.outcome {
            Outcome::Ignore => continue,
            Outcome::Reply => send(&socket, &reply, from).await,
            outcome @ (Outcome::Recurse | Outcome::Resolve(_)) => {
                // Without room the reply that stands is sent.
                let Ok(permit) = Arc::clone(&desk.waiting).try_acquire_owned() else {
                    send(&socket, &reply, from).await;
                    continue;
                };
                let (socket, desk, request) = (Arc::clone(&socket), Arc::clone(&desk), request.to_vec());
                let mut reply = reply.clone();
                waiting.spawn(async move {
                    let _permit = permit;
                    desk.complete(outcome, &request, Transport::Udp, from.ip(), &mut reply).await;
                    send(&socket, &reply, from).await;
                    desk.meter.count(answered.subject, since);
                });
                continue;
            }
        }
        desk.meter.count(answered.subject, since);
    }
}

async fn send(socket: &UdpSocket, reply: &[u8], to: SocketAddr) {
    // A reply that cannot be sent is lost as any packet may be; the asker asks again.
    let sent = match socket.try_send_to(reply, to) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => socket.send_to(reply, to).await,
        sent => sent,
    };
    if let Err(error) = sent {
        tracing::debug!(%error, %to, "sending a DNS reply failed");
    }
}
