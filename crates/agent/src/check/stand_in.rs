//! Servers that tests check: each listens on a port of its own until the test's runtime ends.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use prost::Message;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::grpc::{HealthCheckRequest, HealthCheckResponse, framed};

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Answers each connection's first read with `answer`, in which `{echo}` is replaced by what was read; after one with
/// `{hang}` the connection stays open.
pub(super) async fn answering(answer: &str) -> u16 {
    let (listener, port) = listen().await;
    let answer = answer.to_owned();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut read = vec![0; 4096];
                let count = stream.read(&mut read).await.unwrap_or(0);
                let echo = String::from_utf8_lossy(&read[..count]).into_owned();
                let said = answer.replace("{echo}", &echo).replace("{hang}", "");
                let _ = stream.write_all(said.as_bytes()).await;
                if !answer.contains("{hang}") {
                    let _ = stream.shutdown().await;
                }
                // Closing with unread input would reset the connection, so the client leaves first.
                while stream.read(&mut read).await.is_ok_and(|count| count > 0) {}
            });
        }
    });
    port
}

/// Accepts, and says nothing.
pub(super) async fn silent() -> u16 {
    let (listener, port) = listen().await;
    tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(listener.accept().await.unwrap());
        }
    });
    port
}

pub(super) struct Tls {
    pub(super) port: u16,
    pub(super) pem: String,
}

/// Shakes hands as `names` and says nothing.
pub(super) async fn tls(names: &[&str]) -> Tls {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let (listener, port) = listen().await;
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = stream.read(&mut [0; 64]).await;
                }
            });
        }
    });
    Tls { port, pem: made.cert.pem() }
}

/// What a gRPC health server answers.
#[derive(Clone, Copy)]
pub(super) enum Health {
    Status(i32),
    /// A code and an escaped message.
    Refused(u8, &'static str),
    Silent,
}

/// Speaks HTTP/2, answers pings, and serves `grpc.health.v1.Health/Check`.
pub(super) async fn http2(health: Health) -> u16 {
    let (listener, port) = listen().await;
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else {
                    return;
                };
                let mut held = Vec::new();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    match health {
                        Health::Silent => held.push((request, respond)),
                        Health::Refused(code, message) => {
                            let answer = Response::builder()
                                .header("content-type", "application/grpc")
                                .header("grpc-status", code.to_string())
                                .header("grpc-message", message);
                            respond.send_response(answer.body(()).unwrap(), true).unwrap();
                        }
                        Health::Status(status) => {
                            tokio::spawn(async move {
                                assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                                let mut body = request.into_body();
                                let asked = body.data().await.unwrap().unwrap();
                                HealthCheckRequest::decode(&asked[5..]).unwrap();
                                let answer = Response::builder().header("content-type", "application/grpc");
                                let mut stream = respond.send_response(answer.body(()).unwrap(), false).unwrap();
                                let message: Bytes = framed(&HealthCheckResponse { status });
                                stream.send_data(message, false).unwrap();
                                let mut trailers = http::HeaderMap::new();
                                trailers.insert("grpc-status", "0".parse().unwrap());
                                stream.send_trailers(trailers).unwrap();
                            });
                        }
                    }
                }
            });
        }
    });
    port
}
