//! Listeners: connections in, answers out, with a bound on everything that a client can hold.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http_body::Body;
use http_body_util::{BodyExt, Empty};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, watch};

use super::head_timer::HeadTimer;
use super::lenient::{BodyLength, Lenient};
use super::socket::Socket;
use super::{Wire, answer, plain};
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

/// Whose a unix socket is, and who may use it; what is absent stays as the system made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOwner {
    pub user: Option<u32>,
    pub group: Option<u32>,
    pub mode: Option<u32>,
}

impl SocketOwner {
    /// Gives a socket away; the error says what failed, in the reference's words.
    pub fn own(&self, path: &Path) -> Result<(), String> {
        let SocketOwner { user, group, mode } = *self;
        let quoted = || net::go_text::quote(&path.display().to_string());
        std::os::unix::fs::chown(path, user, group).map_err(|error| {
            let (user, group) = (user.map_or(-1, i64::from), group.map_or(-1, i64::from));
            let reason = net::go_text::reason(&error);
            format!("failed setting ownership to {user}:{group} on {}: {reason}", quoted())
        })?;
        let Some(mode) = mode else { return Ok(()) };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(|error| {
            let reason = net::go_text::reason(&error);
            format!("failed setting permissions to {mode} on {}: {reason}", quoted())
        })
    }
}

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

    /// Binds a unix socket in the place of a leftover one. It has to be given away ([`SocketOwner::own`]) if it is not to
    /// stay ours.
    pub fn unix(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(Listener::Unix(UnixListener::bind(path)?))
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

async fn accept(listener: &Listener) -> io::Result<(Socket, Option<SocketAddr>)> {
    match listener {
        Listener::Tcp(listener) => {
            let (stream, remote) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok((Socket::Tcp(Arc::new(stream)), Some(remote)))
        }
        Listener::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            Ok((Socket::Unix(Arc::new(stream)), None))
        }
    }
}

async fn refuse(mut socket: Socket) {
    let _ = tokio::time::timeout(Duration::from_secs(1), socket.write_all(TOO_MANY)).await;
}

/// An answer that is being waited for.
type Answering = Pin<Box<dyn Future<Output = Wire> + Send>>;

/// A request that waits for a change, away from the HTTP library.
struct Parked {
    answering: Answering,
    /// A head that makes the library frame the answer as the client expects it.
    head: Vec<u8>,
    /// The answer is framed as all others are.
    is_plain: bool,
    /// What the client sent behind the request.
    behind: Vec<u8>,
}

/// What a connection's phases share.
struct Client {
    api: Arc<Api>,
    socket: Socket,
    remote: Option<SocketAddr>,
    length: BodyLength,
}

/// Serves one connection. The HTTP library holds two buffers of 8 KiB for each, so while a query waits the library
/// is sent away: its connection is taken apart. An answer that needs nothing of the library is written without it, and
/// the library comes back with the next request; otherwise it is put together again around the answer.
async fn connection(api: Arc<Api>, socket: Socket, remote: Option<SocketAddr>, mut stop: watch::Receiver<bool>) {
    let length = BodyLength::default();
    let mut stream = Lenient::new(socket.clone(), length.clone());
    let client = Arc::new(Client { api, socket, remote, length });
    let mut ready = None;
    // Boxed, so that a waiting connection does not keep room for a busy one.
    while let Some((parked, back)) = Box::pin(speak(&client, stream, ready.take(), &mut stop)).await {
        let Parked { answering, mut head, is_plain, behind } = parked;
        let wire = tokio::select! {
            biased;
            wire = answering => wire,
            () = client.socket.closed() => return,
            () = stopped(&mut stop) => return,
        };
        stream = back;
        // Whoever stops says so in the answer.
        if is_plain
            && !*stop.borrow()
            && let Some((head, body)) = plain::written(&wire)
        {
            if deliver(client.socket.clone(), head, body).await.is_err() {
                return;
            }
            drop(wire);
            if behind.is_empty() && stream.is_read() && !goes_on(&client.socket, &mut stop).await {
                return;
            }
            stream.rewind(behind);
        } else {
            head.extend_from_slice(&behind);
            stream.rewind(head);
            ready = Some(wire);
        }
    }
}

/// Bodies up to this length go out together with their heads.
const TOGETHER_BYTES: usize = 16 << 10;

async fn deliver(mut socket: Socket, mut head: Vec<u8>, body: &[u8]) -> io::Result<()> {
    let (with_head, rest) = body.split_at(body.len().min(TOGETHER_BYTES));
    head.extend_from_slice(with_head);
    socket.write_all(&head).await?;
    socket.write_all(rest).await
}

/// Waits until the client sends something or ends; `false` if it does not within its time, or we stop.
async fn goes_on(socket: &Socket, stop: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        goes_on = tokio::time::timeout(HEAD_WAIT, socket.goes_on()) => goes_on.unwrap_or(false),
        () = stopped(stop) => false,
    }
}

/// What requests tell the one who speaks.
struct Talk {
    parked: Mutex<Option<Parked>>,
    /// An answer without a known end has begun.
    streaming: Notify,
}

/// Speaks HTTP until the connection ends or a request has to wait. `ready` answers the first request.
async fn speak(
    client: &Arc<Client>,
    stream: Lenient<Socket>,
    ready: Option<Wire>,
    stop: &mut watch::Receiver<bool>,
) -> Option<(Parked, Lenient<Socket>)> {
    let talk = Arc::new(Talk { parked: Mutex::new(None), streaming: Notify::new() });
    let service = {
        let (client, talk, ready) = (Arc::clone(client), Arc::clone(&talk), Mutex::new(ready));
        service_fn(move |request: http::Request<hyper::body::Incoming>| {
            client.length.set(request.body().size_hint().exact());
            let ready = ready.lock().take();
            let (client, talk) = (Arc::clone(&client), Arc::clone(&talk));
            async move {
                let wire = match ready {
                    Some(wire) => wire,
                    None => respond(client, request, &talk.parked).await?,
                };
                if wire.size_hint().exact().is_none() {
                    talk.streaming.notify_one();
                }
                Ok::<_, Waits>(wire)
            }
        })
    };
    let mut connection = http1::Builder::new()
        .timer(HeadTimer::default())
        // Compat: Go writes header names in title case, and some clients compare them so.
        .title_case_headers(true)
        .header_read_timeout(HEAD_WAIT)
        .max_buf_size(client.api.settings.max_header_bytes)
        // The library would look for the client's end by reading ahead; `Socket::closed` looks where it matters.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stopped(stop) => {
            Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
        // A stream may have nothing to say for long, so that its end would not be noticed by writing.
        () = async {
            talk.streaming.notified().await;
            client.socket.closed().await;
        } => return None,
    };
    if let Some(mut parked) = talk.parked.lock().take() {
        let parts = connection.into_parts();
        // Copied, so that the buffer around it goes.
        parked.behind = parts.read_buf.to_vec();
        return Some((parked, parts.io.into_inner()));
    }
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
    None
}

/// The request has to wait; it lies where it was said to be parked.
#[derive(Debug)]
struct Waits;

impl std::fmt::Display for Waits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the request waits")
    }
}

impl std::error::Error for Waits {}

async fn respond(
    client: Arc<Client>,
    request: http::Request<hyper::body::Incoming>,
    parked: &Mutex<Option<Parked>>,
) -> Result<Wire, Waits> {
    let (head, body) = request.into_parts();
    let may_wait = body.is_end_stream() && may_wait(&head);
    let body = if body.is_end_stream() {
        // Without contents, boxing allocates nothing.
        Empty::new().map_err(|never: Infallible| match never {}).boxed_unsync()
    } else {
        body.map_err(io::Error::other).boxed_unsync()
    };
    if !may_wait {
        return Ok(answer(&client.api, head, body, client.remote).await);
    }
    let (again, is_plain) = (head_again(&head), plain::is_plain(&head));
    let mut answering: Answering = Box::pin(async move { answer(&client.api, head, body, client.remote).await });
    let first = std::future::poll_fn(|cx| Poll::Ready(answering.as_mut().poll(cx))).await;
    match first {
        Poll::Ready(wire) => Ok(wire),
        Poll::Pending => {
            *parked.lock() = Some(Parked { answering, head: again, is_plain, behind: Vec::new() });
            Err(Waits)
        }
    }
}

/// Whether this may be a blocking query: only those are worth parking.
fn may_wait(head: &http::request::Parts) -> bool {
    let query = head.uri.query().unwrap_or("");
    head.method == http::Method::GET && (query.contains("index=") || query.contains("hash="))
}

/// The least head from which the library frames an answer as for the given one.
fn head_again(head: &http::request::Parts) -> Vec<u8> {
    let version = if head.version == http::Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" };
    let mut again = format!("GET / {version}\r\nHost: -\r\n").into_bytes();
    for value in head.headers.get_all(http::header::CONNECTION) {
        again.extend_from_slice(b"Connection: ");
        again.extend_from_slice(value.as_bytes());
        again.extend_from_slice(b"\r\n");
    }
    again.extend_from_slice(b"\r\n");
    again
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
