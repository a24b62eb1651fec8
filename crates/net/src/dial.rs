//! Connecting: a text address becomes a stream, and a failure becomes the sentence Go would print.
//!
//! Always true: a dial ends within its timeout; the addresses of a name are tried in order and the first failure is
//! the one reported; reads and writes of a [`Socket`] fail with Go's texts, addresses included.
//! Not here: proxies of the environment, and racing IPv4 against IPv6.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UdpSocket, UnixStream, lookup_host};
use tokio::time::Instant;

use crate::go_text;

/// The least share of the timeout that one of several addresses gets.
const ATTEMPT_MIN: Duration = Duration::from_secs(2);
/// How much of `/etc/resolv.conf` is read to name the server in a lookup error.
const RESOLV_CONF_BYTES_MAX: usize = 64 * 1024;

/// Connects to `host:port`. Names are looked up by the system; an empty host is this machine.
pub async fn tcp(address: &str, timeout: Option<Duration>) -> Result<Stream, DialError> {
    let deadline = timeout.map(|span| Instant::now() + span);
    let targets = resolve_until("tcp", address, deadline).await?;
    let mut first_failure = None;
    let count = targets.len();
    for (tried, target) in targets.into_iter().enumerate() {
        let share = deadline.map(|end| {
            let left = end.saturating_duration_since(Instant::now());
            let even = left / u32::try_from(count - tried).unwrap_or(u32::MAX);
            even.max(ATTEMPT_MIN).min(left)
        });
        match within(share, TcpStream::connect(target)).await {
            Some(Ok(stream)) => return Ok(Stream::Plain(Socket::from_tcp(stream))),
            Some(Err(error)) => {
                first_failure.get_or_insert(DialError::at("tcp", shown(address, target), error));
            }
            None => {
                first_failure.get_or_insert(DialError {
                    network: "tcp",
                    address: Some(shown(address, target)),
                    cause: DialCause::Timeout,
                });
            }
        }
    }
    Err(first_failure.unwrap_or(DialError { network: "tcp", address: None, cause: DialCause::NoAddress }))
}

/// Connects to a Unix socket.
pub async fn unix(path: &Path) -> Result<Stream, DialError> {
    let shown = path.display().to_string();
    match UnixStream::connect(path).await {
        Ok(stream) => Ok(Stream::Plain(Socket {
            inner: Inner::Unix(stream),
            route: format!("unix @->{shown}"),
            first: FirstBytes::default(),
        })),
        Err(error) => Err(DialError::at("unix", shown, error)),
    }
}

/// A UDP socket whose peer is `host:port`; nothing is sent.
pub async fn udp(address: &str, timeout: Option<Duration>) -> Result<UdpSocket, DialError> {
    let deadline = timeout.map(|span| Instant::now() + span);
    let mut first_failure = None;
    for target in resolve_until("udp", address, deadline).await? {
        let local: SocketAddr = match target {
            SocketAddr::V4(_) => SocketAddr::from(([0, 0, 0, 0], 0)),
            SocketAddr::V6(_) => SocketAddr::from(([0u16; 8], 0)),
        };
        let connected = async {
            let socket = UdpSocket::bind(local).await?;
            socket.connect(target).await?;
            Ok(socket)
        };
        match connected.await {
            Ok(socket) => return Ok(socket),
            Err(error) => {
                first_failure.get_or_insert(DialError::at("udp", shown(address, target), error));
            }
        }
    }
    Err(first_failure.unwrap_or(DialError { network: "udp", address: None, cause: DialCause::NoAddress }))
}

/// Go shows the address it connected to, but keeps an empty host empty.
fn shown(address: &str, target: SocketAddr) -> String {
    if address.starts_with(':') { format!(":{}", target.port()) } else { target.to_string() }
}

async fn within<F: Future>(limit: Option<Duration>, work: F) -> Option<F::Output> {
    match limit {
        Some(limit) => tokio::time::timeout(limit, work).await.ok(),
        None => Some(work.await),
    }
}

async fn resolve_until(
    network: &'static str,
    address: &str,
    deadline: Option<Instant>,
) -> Result<Vec<SocketAddr>, DialError> {
    let fail = |cause| DialError { network, address: None, cause };
    let (host, port) = split_host_port(address).map_err(fail)?;
    let port = port_number(network, port).map_err(fail)?;
    if host.is_empty() {
        return Ok(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))]);
    }
    let found = lookup(host, deadline).await.map_err(fail)?;
    Ok(found.into_iter().map(|ip| SocketAddr::from((ip, port))).collect())
}

/// The addresses of a host: at least one, those of the system's resolver unless it is an address itself.
pub async fn lookup(host: &str, deadline: Option<Instant>) -> Result<Vec<IpAddr>, DialCause> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![ip]);
    }
    if !is_domain_name(host) {
        return Err(DialCause::Lookup { host: host.to_owned(), server: None, reason: "no such host" });
    }
    let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
    let reason = match within(left, lookup_host((host, 0))).await {
        Some(Ok(found)) => {
            let found: Vec<IpAddr> = found.map(|address| address.ip()).collect();
            if !found.is_empty() {
                return Ok(found);
            }
            "no such host"
        }
        Some(Err(error)) => lookup_reason(&error),
        None => "i/o timeout",
    };
    Err(DialCause::Lookup { host: host.to_owned(), server: first_name_server().await, reason })
}

/// getaddrinfo's verdict arrives only as text.
fn lookup_reason(error: &io::Error) -> &'static str {
    if error.to_string().contains("Temporary failure") { "server misbehaving" } else { "no such host" }
}

/// The server a lookup error names; which one answered is not known, so it is the first.
async fn first_name_server() -> Option<String> {
    let text = tokio::fs::read("/etc/resolv.conf").await.ok()?;
    let text = String::from_utf8_lossy(&text[..text.len().min(RESOLV_CONF_BYTES_MAX)]);
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("nameserver"), Some(server)) => {
                let ip: IpAddr = server.parse().ok()?;
                Some(SocketAddr::from((ip, 53)).to_string())
            }
            _ => None,
        }
    })
}

/// Splits `host:port` and `[v6]:port` by Go's rules.
pub fn split_host_port(address: &str) -> Result<(&str, &str), DialCause> {
    let bad = |reason| DialCause::Address { address: address.to_owned(), reason };
    let colon = address.rfind(':').ok_or_else(|| bad("missing port in address"))?;
    let (host, opened, closed) = if address.starts_with('[') {
        let end = address.find(']').ok_or_else(|| bad("missing ']' in address"))?;
        if end + 1 == address.len() {
            return Err(bad("missing port in address"));
        }
        if end + 1 != colon {
            return Err(bad(if address[end + 1..].starts_with(':') {
                "too many colons in address"
            } else {
                "missing port in address"
            }));
        }
        (&address[1..end], 1, end + 1)
    } else {
        let host = &address[..colon];
        if host.contains(':') {
            return Err(bad("too many colons in address"));
        }
        (host, 0, 0)
    };
    if address[opened..].contains('[') {
        return Err(bad("unexpected '[' in address"));
    }
    if address[closed..].contains(']') {
        return Err(bad("unexpected ']' in address"));
    }
    Ok((host, &address[colon + 1..]))
}

fn port_number(network: &'static str, port: &str) -> Result<u16, DialCause> {
    if port.is_empty() {
        return Ok(0);
    }
    let digits = port.strip_prefix(['-', '+']).unwrap_or(port);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let unsigned = port.strip_prefix('+').unwrap_or(port);
        return unsigned.parse().map_err(|_| DialCause::Address { address: port.to_owned(), reason: "invalid port" });
    }
    // The names that Go knows without asking the system.
    let known = match (network, port.to_ascii_lowercase().as_str()) {
        (_, "domain") => Some(53),
        ("tcp", "ftp") => Some(21),
        ("tcp", "ftps") => Some(990),
        ("tcp", "gopher") => Some(70),
        ("tcp", "http") => Some(80),
        ("tcp", "https") => Some(443),
        ("tcp", "imap2") => Some(143),
        ("tcp", "imap3") => Some(220),
        ("tcp", "imaps") => Some(993),
        ("tcp", "pop3") => Some(110),
        ("tcp", "pop3s") => Some(995),
        ("tcp", "smtp") => Some(25),
        ("tcp", "submissions") => Some(465),
        ("tcp", "ssh") => Some(22),
        ("tcp", "telnet") => Some(23),
        _ => None,
    };
    known.ok_or_else(|| DialCause::Lookup { host: format!("{network}/{port}"), server: None, reason: "unknown port" })
}

/// Whether a host can be a name of the domain name system at all, by Go's rules.
fn is_domain_name(host: &str) -> bool {
    let bare = host.strip_suffix('.').unwrap_or(host);
    if bare.is_empty() || bare.len() > 253 {
        return false;
    }
    let labels_fit = bare.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    });
    labels_fit && bare.bytes().any(|byte| byte != b'.' && !byte.is_ascii_digit())
}

/// Why no connection came about; displays as Go's `net.OpError`.
#[derive(Debug)]
pub struct DialError {
    pub network: &'static str,
    /// Absent as long as no address was found to connect to.
    pub address: Option<String>,
    pub cause: DialCause,
}

#[derive(Debug)]
pub enum DialCause {
    Connect(io::Error),
    Lookup { host: String, server: Option<String>, reason: &'static str },
    Address { address: String, reason: &'static str },
    NoAddress,
    Timeout,
}

impl DialError {
    fn at(network: &'static str, address: String, error: io::Error) -> DialError {
        DialError { network, address: Some(address), cause: DialCause::Connect(error) }
    }

    pub fn is_timeout(&self) -> bool {
        match &self.cause {
            DialCause::Timeout => true,
            DialCause::Lookup { reason, .. } => *reason == "i/o timeout",
            _ => false,
        }
    }

    pub fn is_refused(&self) -> bool {
        matches!(&self.cause, DialCause::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused)
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Some(address) => write!(f, "dial {} {address}: {}", self.network, self.cause),
            None => write!(f, "dial {}: {}", self.network, self.cause),
        }
    }
}

impl fmt::Display for DialCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DialCause::Connect(error) => write!(f, "connect: {}", go_text::reason(error)),
            DialCause::Lookup { host, server: Some(server), reason } => {
                write!(f, "lookup {host} on {server}: {reason}")
            }
            DialCause::Lookup { host, server: None, reason } => write!(f, "lookup {host}: {reason}"),
            DialCause::Address { address, reason } => write!(f, "address {address}: {reason}"),
            DialCause::NoAddress => f.write_str("missing address"),
            DialCause::Timeout => f.write_str("i/o timeout"),
        }
    }
}

impl std::error::Error for DialError {}

/// A connection, encrypted or not.
#[derive(Debug)]
pub enum Stream {
    Plain(Socket),
    Tls(Box<tokio_rustls::client::TlsStream<Socket>>),
}

impl Stream {
    /// The protocol that the TLS handshake settled on.
    pub fn alpn(&self) -> Option<&[u8]> {
        match self {
            Stream::Plain(_) => None,
            Stream::Tls(stream) => stream.get_ref().1.alpn_protocol(),
        }
    }
}

/// A connected socket whose errors name both ends.
#[derive(Debug)]
pub struct Socket {
    inner: Inner,
    /// `tcp 127.0.0.1:1->127.0.0.1:2`
    route: String,
    first: FirstBytes,
}

#[derive(Debug)]
enum Inner {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The first bytes that the peer sent: they tell an HTTP server from a TLS server.
#[derive(Debug, Default)]
struct FirstBytes {
    bytes: [u8; 5],
    len: usize,
}

impl FirstBytes {
    fn note(&mut self, read: &[u8]) {
        let take = read.len().min(self.bytes.len() - self.len);
        self.bytes[self.len..self.len + take].copy_from_slice(&read[..take]);
        self.len += take;
    }
}

impl Socket {
    fn from_tcp(stream: TcpStream) -> Socket {
        // Requests are small and awaited; a failure to set this only costs latency.
        let _ = stream.set_nodelay(true);
        let end = |address: io::Result<SocketAddr>| address.map(|a| a.to_string()).unwrap_or_default();
        let route = format!("tcp {}->{}", end(stream.local_addr()), end(stream.peer_addr()));
        Socket { inner: Inner::Tcp(stream), route, first: FirstBytes::default() }
    }

    /// Up to five bytes that the peer sent first.
    pub fn first_bytes(&self) -> &[u8] {
        &self.first.bytes[..self.first.len]
    }

    fn explained(&self, operation: &str, error: io::Error) -> io::Error {
        operation_error(operation, &self.route, error)
    }
}

/// An error of a read or write in Go's words; the kind stays.
pub fn operation_error(operation: &str, route: &str, error: io::Error) -> io::Error {
    let text = format!("{operation} {route}: {operation}: {}", go_text::reason(&error));
    io::Error::new(error.kind(), text)
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let this = &mut *self;
        let polled = match &mut this.inner {
            Inner::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Inner::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        match polled {
            Poll::Ready(Ok(())) => {
                this.first.note(&buf.filled()[before..]);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(this.explained("read", error))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = match &mut self.inner {
            Inner::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Inner::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        };
        polled.map_err(|error| self.explained("write", error))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Inner::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Inner::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{tcp, unix};
    use std::path::Path;
    use std::time::Duration;

    async fn check(address: &str, expect: &str) {
        let got = match tcp(address, Some(Duration::from_secs(5))).await {
            Ok(_) => "connected".to_owned(),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expect, "dialling {address:?}");
    }

    /// The expectations were read off the reference's TCP checks.
    #[tokio::test]
    async fn addresses_fail_in_gos_words() {
        check("127.0.0.1:1", "dial tcp 127.0.0.1:1: connect: connection refused").await;
        check(":1", "dial tcp :1: connect: connection refused").await;
        check("[127.0.0.1]:1", "dial tcp 127.0.0.1:1: connect: connection refused").await;
        check("127.0.0.1", "dial tcp: address 127.0.0.1: missing port in address").await;
        check("foo", "dial tcp: address foo: missing port in address").await;
        check("::1", "dial tcp: address ::1: too many colons in address").await;
        check("[::1]", "dial tcp: address [::1]: missing port in address").await;
        check("[::1:80", "dial tcp: address [::1:80: missing ']' in address").await;
        check("[::1]x:80", "dial tcp: address [::1]x:80: missing port in address").await;
        check("x]:80", "dial tcp: address x]:80: unexpected ']' in address").await;
        check("[ab[c]:80", "dial tcp: address [ab[c]:80: unexpected '[' in address").await;
        check("127.0.0.1:http1", "dial tcp: lookup tcp/http1: unknown port").await;
        check("127.0.0.1:99999", "dial tcp: address 99999: invalid port").await;
        check("127.0.0.1:-1", "dial tcp: address -1: invalid port").await;
        check("a b:80", "dial tcp: lookup a b: no such host").await;
        check("256.1.1.1:80", "dial tcp: lookup 256.1.1.1: no such host").await;
    }

    #[tokio::test]
    async fn listening_is_reached_by_address_and_by_name() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        check(&format!("127.0.0.1:{port}"), "connected").await;
        check(&format!("localhost:{port}"), "connected").await;
        check(&format!(":{port}"), "connected").await;
    }

    #[tokio::test]
    async fn a_missing_unix_socket_is_named() {
        let error = unix(Path::new("/no/such.sock")).await.unwrap_err();
        assert_eq!(error.to_string(), "dial unix /no/such.sock: connect: no such file or directory");
    }
}
