//! The limits: a bare hyper server that returns fixed bytes, and a bare UDP server that decodes and echoes.

use std::convert::Infallible;

use anyhow::Result;
use bytes::Bytes;
use domain::base::{Message, MessageBuilder};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

/// Serves the bytes of a file to every request; prints its port.
pub async fn http(body_file: &str) -> Result<()> {
    let body = Bytes::from(std::fs::read(body_file)?);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let body = body.clone();
        tokio::spawn(async move {
            let service = service_fn(move |_| {
                let response = http::Response::new(Full::new(body.clone()));
                async move { Ok::<_, Infallible>(response) }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Decodes each query and sends its question back; prints its port.
pub fn udp() -> Result<()> {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    println!("{}", socket.local_addr()?.port());
    let mut packet = [0; 4096];
    loop {
        let (length, from) = socket.recv_from(&mut packet)?;
        let Ok(query) = Message::from_octets(&packet[..length]) else { continue };
        let builder = MessageBuilder::new_vec();
        let Ok(answer) = builder.start_answer(&query, domain::base::iana::Rcode::NOERROR) else { continue };
        socket.send_to(answer.into_message().as_slice(), from)?;
    }
}
