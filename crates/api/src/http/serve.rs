//! Listeners: connections in, answers out, with a bound on everything that a client can hold.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body::Body;
use http_body_util::BodyExt;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use super::answer;
use super::lenient::{BodyLength, Lenient};
use crate::Api;

/// A client must have sent its request head within this time, and the next one on a kept connection too.
const HEAD_WAIT: Duration = Duration::from_secs(60);
/// A refused accept (no file descriptors left) is tried again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// At shutdown, answers that are on their way get this long.
const DRAIN: Duration = Duration::from_secs(5);

/// What clients of one address hear when they hold too many connections.
const TOO_MANY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain\r\nContent-Length: 81\r\n\
    Connection: close\r\n\r\nYour IP is issuing too many concurrent connections, please rate limit your calls\n";

/// Where the API listens.
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Binds a TCP address.
    pub fn tcp(address: SocketAddr) -> io::Result<Self> {
        let socket = std::net::TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        Ok(Listener::Tcp(TcpListener::from_std(socket)?))
    }

    /// Binds a unix socket in the place of a leftover one, with the given mode.
    pub fn unix(path: &Path, mode: Option<u32>) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        if let Some(mode) = mode {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        }
        Ok(Listener::Unix(listener))
    }

    /// The TCP address that was bound.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(_) => None,
        }
    }

    /// The path of a unix socket.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        match self {
            Listener::Tcp(_) => None,
            Listener::Unix(listener) => {
                listener.local_addr().ok().and_then(|address| address.as_pathname().map(Path::to_owned))
            }
        }
    }
}

/// How many connections each address holds; an entry goes with its last connection.
#[derive(Default)]
struct Clients {
    held: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection, counted for as long as it lives.
struct Held {
    clients: Arc<Clients>,
    address: IpAddr,
}

impl Clients {
    fn hold(self: &Arc<Self>, address: IpAddr, most: usize) -> Option<Held> {
        let mut held = self.held.lock();
        let count = held.entry(address).or_default();
        if most > 0 && *count >= most {
            return None;
        }
        *count += 1;
        Some(Held { clients: Arc::clone(self), address })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.clients.held.lock();
        if let Some(count) = held.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.address);
            }
        }
    }
}

/// Serves until `stop` turns true, then lets what is on its way finish.
pub async fn serve(api: Arc<Api>, listener: Listener, mut stop: watch::Receiver<bool>) {
    let clients = Arc::new(Clients::default());
    let (alive, mut all_gone) = tokio::sync::mpsc::channel::<Infallible>(1);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener) => accepted,
            () = stopped(&mut stop) => break,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let most = api.settings.max_conns_per_client.load(std::sync::atomic::Ordering::Relaxed);
        let held = match remote {
            None => None,
            Some(remote) => match clients.hold(remote.ip().to_canonical(), most) {
                Some(held) => Some(held),
                None => {
                    metrics::counter!("consul.http.limited").increment(1);
                    tokio::spawn(refuse(stream));
                    continue;
                }
            },
        };
        let (api, stop, alive) = (Arc::clone(&api), stop.clone(), alive.clone());
        tokio::spawn(async move {
            connection(api, stream, remote, stop).await;
            drop((held, alive));
        });
    }
    if let Some(path) = listener.path() {
        let _ = std::fs::remove_file(path);
    }
    drop((listener, alive));
    let _ = tokio::time::timeout(DRAIN, all_gone.recv()).await;
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, and with it the process.
    let _ = stop.wait_for(|stop| *stop).await;
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn accept(listener: &Listener) -> io::Result<(Box<dyn Stream>, Option<SocketAddr>)> {
    match listener {
        Listener::Tcp(listener) => {
            let (stream, remote) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok((Box::new(stream), Some(remote)))
        }
        Listener::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            Ok((Box::new(stream), None))
        }
    }
}

async fn refuse(mut stream: Box<dyn Stream>) {
    let _ = tokio::time::timeout(Duration::from_secs(1), stream.write_all(TOO_MANY)).await;
}

async fn connection(
    api: Arc<Api>,
    stream: Box<dyn Stream>,
    remote: Option<SocketAddr>,
    mut stop: watch::Receiver<bool>,
) {
    let header_bytes = api.settings.max_header_bytes;
    let length = BodyLength::default();
    let stream = Lenient::new(stream, length.clone());
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        length.set(request.body().size_hint().exact());
        let api = Arc::clone(&api);
        async move {
            let (head, body) = request.into_parts();
            let body = body.map_err(io::Error::other).boxed_unsync();
            Ok::<_, Infallible>(answer(&api, head, body, remote).await)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // Compat: Go writes header names in title case, and some clients compare them so.
        .title_case_headers(true)
        .header_read_timeout(HEAD_WAIT)
        .max_buf_size(header_bytes)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Clients, TOO_MANY};

    #[test]
    fn the_count_of_a_client_returns_to_zero() {
        let clients = Arc::new(Clients::default());
        let address = "127.0.0.1".parse().unwrap();
        let held: Vec<_> = (0..3).map(|_| clients.hold(address, 3).unwrap()).collect();
        assert!(clients.hold(address, 3).is_none());
        drop(held);
        assert!(clients.held.lock().is_empty());
        assert!(clients.hold(address, 3).is_some());
    }

    #[test]
    fn the_refusal_announces_its_length() {
        let text = std::str::from_utf8(TOO_MANY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
    }
}
