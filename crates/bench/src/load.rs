//! Load over HTTP/1.1: many kept connections, each asking again as soon as it is answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A kept connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A request as bytes.
pub fn request(method: &str, target: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: bench\r\n").into_bytes();
    if !body.is_empty() || method != "GET" {
        request.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(body);
    request
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, buffer: Vec::with_capacity(4096) })
    }

    pub async fn send(&mut self, request: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(request).await?)
    }

    /// Reads one answer: status, index header, body length.
    pub async fn receive(&mut self) -> Result<(u16, u64, usize)> {
        self.buffer.clear();
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head = std::str::from_utf8(&self.buffer[..end])?.to_ascii_lowercase();
                let status = head.get(9..12).context("no status")?.parse()?;
                let header = |name: &str| {
                    head.lines().find_map(|line| line.strip_prefix(name)).and_then(|value| value.trim().parse().ok())
                };
                let length = usize::try_from(header("content-length:").unwrap_or(0))?;
                let index = header("x-consul-index:").unwrap_or(0);
                while self.buffer.len() < end + 4 + length {
                    self.more().await?;
                }
                return Ok((status, index, length));
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<()> {
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            bail!("the connection was closed");
        }
        Ok(())
    }

    /// The body of the last answer.
    pub fn body(&self) -> String {
        let begin = find(&self.buffer, b"\r\n\r\n").map_or(0, |end| end + 4);
        String::from_utf8_lossy(&self.buffer[begin..]).into_owned()
    }

    pub async fn ask(&mut self, request: &[u8]) -> Result<(u16, u64, usize)> {
        self.send(request).await?;
        self.receive().await
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Requests a second of `connections` connections; `next(connection, count)` makes each request.
pub async fn rate(
    address: SocketAddr,
    connections: usize,
    span: Duration,
    next: impl Fn(usize, u64) -> Vec<u8> + Send + Sync + 'static,
) -> Result<f64> {
    let next = Arc::new(next);
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut tasks = Vec::new();
    for at in 0..connections {
        let (next, stop, count) = (Arc::clone(&next), Arc::clone(&stop), Arc::clone(&count));
        let mut connection = Connection::open(address).await?;
        tasks.push(tokio::spawn(async move {
            let mut sent = 0;
            while !stop.load(Ordering::Relaxed) {
                let (status, ..) = connection.ask(&next(at, sent)).await?;
                if status != 200 {
                    bail!("answered with {status}");
                }
                sent += 1;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }));
    }
    // Warm first, then count.
    tokio::time::sleep(span / 4).await;
    let (before, started) = (count.load(Ordering::Relaxed), Instant::now());
    tokio::time::sleep(span).await;
    let served = count.load(Ordering::Relaxed) - before;
    let rate = served as f64 / started.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await??;
    }
    Ok(rate)
}
