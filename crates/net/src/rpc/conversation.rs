//! One net/rpc conversation from the answering side.
//!
//! Always true: one call at a time, answered in the order they came; when the other side is gone, the running call is
//! dropped; an answer is taken within a bounded time or the conversation ends.
//! Not here: what carries it (a connection of its own or a stream of a session).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;
use tracing::debug;
use wire::msgpack;
use wire::rpc::{Empty, RequestHeader, ResponseHeader};

use super::inbox::{Budget, Inbox, Message, NoMessage, Patience};
use super::serve::{Handler, Limits};

/// Answers up to this length go out in one piece with their header; longer ones are not copied.
const ONE_PIECE: usize = 16 * 1024;

/// What all conversations of a server have in common.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) handler: Arc<dyn Handler>,
    pub(super) limits: Limits,
    pub(super) budget: Budget,
}

/// Why a conversation ended before its time.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("{0}")]
    NoMessage(NoMessage),
    #[error("server cannot decode request: {0}")]
    Header(msgpack::Error),
    #[error("answer was not taken: {0}")]
    Answer(io::Error),
}

/// Answers until the other side ends it.
pub(super) async fn converse<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, peer: SocketAddr, common: &Common) {
    match answer_all(stream, peer, common).await {
        // Going away is not a fault.
        Ok(()) | Err(Broken::NoMessage(NoMessage::Ended | NoMessage::Io(_))) => {}
        Err(error) => {
            if !matches!(error, Broken::Answer(_)) {
                metrics::counter!("consul.rpc.request_error").increment(1);
            }
            debug!(%peer, %error, "RPC error");
        }
    }
}

async fn answer_all<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    peer: SocketAddr,
    common: &Common,
) -> Result<(), Broken> {
    let patience = Patience { grace: common.limits.message_grace, bytes_per_second: common.limits.bytes_per_second };
    let mut inbox = Inbox::new(common.budget.clone());
    loop {
        let next = inbox.next(stream, Some(patience)).await;
        let Message { header, body } = next.map_err(Broken::NoMessage)?;
        let RequestHeader { service_method, seq } = msgpack::from_slice(&header).map_err(Broken::Header)?;
        let answer = {
            let call = common.handler.call(&service_method, body, peer);
            tokio::select! {
                biased;
                answer = call => answer,
                () = inbox.until_gone(stream) => return Ok(()),
            }
        };
        let (error, body) = match answer {
            Ok(body) => (String::new(), body),
            // An empty text would read as success.
            Err(text) if text.is_empty() => ("rpc: error without a text".to_owned(), empty()),
            Err(text) => (text, empty()),
        };
        let header = ResponseHeader { error, seq, service_method };
        send(stream, &header, body, common.limits).await.map_err(Broken::Answer)?;
        metrics::counter!("consul.rpc.request").increment(1);
    }
}

fn empty() -> Vec<u8> {
    msgpack::to_vec(&Empty {}).unwrap_or_default()
}

async fn send<S: AsyncWrite + Unpin>(
    stream: &mut S,
    header: &ResponseHeader,
    body: Vec<u8>,
    limits: Limits,
) -> io::Result<()> {
    let mut first =
        Vec::with_capacity(64 + header.service_method.len() + header.error.len() + body.len().min(ONE_PIECE));
    msgpack::write_to(&mut first, header).map_err(io::Error::other)?;
    let second = if body.len() <= ONE_PIECE {
        first.extend_from_slice(&body);
        Bytes::new()
    } else {
        Bytes::from(body)
    };
    for mut rest in [Bytes::from(first), second] {
        while !rest.is_empty() {
            // Each piece has its time: a slow reader of much is served, one that reads nothing is not.
            timeout(limits.answer_stall, stream.write_buf(&mut rest)).await??;
        }
    }
    timeout(limits.answer_stall, stream.flush()).await??;
    Ok(())
}
