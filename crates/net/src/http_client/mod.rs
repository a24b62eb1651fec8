//! A small HTTP/1.1 client with Go's manners: address forms `http://`, `https://` and Unix sockets, Go's redirect
//! rules, Go's error texts.
//!
//! Always true: one request is bounded by its client's timeout, body included; nothing is shared between clients; a
//! connection ends when its response is dropped, unless a [`KeepAlive`] owns it.
//! Not here: HTTP/2, proxies of the environment, cookies, transparent decompression.

mod error;
mod keep_alive;
mod redirect;
mod url;

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::dial::{self, DialError, Stream};
use crate::go_text::quote;
use crate::tls;

use redirect::Trail;

pub use error::{Cause, HttpError};
pub use keep_alive::KeepAlive;
pub use redirect::Redirects;
pub use url::{ParseUrlError, Scheme, Url};

/// A response's status line and headers fit into this, or the answer is refused.
const HEAD_BYTES_MAX: usize = 1 << 20;
/// `HTTP/1.1 200`: what follows is the reason, or the end of the line.
const STATUS_LINE_BYTES_MIN: usize = 12;
/// How much of an answer's beginning is kept to name what was wrong with it.
const RECORDED_BYTES_MAX: usize = 512;

/// How to send requests; holds no connections.
#[derive(Clone, Debug)]
pub struct Client {
    pub tls: Option<tls::ClientConfig>,
    pub redirects: Redirects,
    /// For the whole exchange: connecting, redirects, and reading the body.
    pub timeout: Option<Duration>,
}

#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    /// Sent as `Host` instead of the address's own.
    pub host: Option<HeaderValue>,
    pub body: Bytes,
}

impl Request {
    pub fn new(method: Method, url: Url) -> Request {
        Request { method, url, headers: HeaderMap::new(), host: None, body: Bytes::new() }
    }

    /// From texts, refusing what Go refuses and in its words.
    pub fn parse(method: &str, url: &str) -> Result<Request, HttpError> {
        let method = match method {
            "" => Method::GET,
            given => Method::from_bytes(given.as_bytes())
                .map_err(|_| HttpError::unbuilt(format!("net/http: invalid method {}", quote(given))))?,
        };
        Ok(Request::new(method, Url::parse(url)?))
    }

    /// Adds a header; `Host` becomes the host override.
    pub fn header(&mut self, name: &str, value: &str) -> Result<(), HttpError> {
        let fail = |request: &Request, text: String| HttpError {
            at: Some((request.method.to_string(), request.url.to_string())),
            cause: Cause::Request(text),
        };
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| fail(self, format!("net/http: invalid header field name {}", quote(name))))?;
        let value = HeaderValue::from_bytes(value.as_bytes())
            .map_err(|_| fail(self, format!("net/http: invalid header field value for {}", quote(name))))?;
        if parsed == header::HOST {
            self.host.get_or_insert(value);
        } else {
            self.headers.append(parsed, value);
        }
        Ok(())
    }
}

/// An answer whose body is still to be read.
#[derive(Debug)]
pub struct Response {
    pub status: StatusCode,
    /// As the server wrote it; `OK`, or its own words.
    pub reason: String,
    /// Go prints no space after a status code that had none.
    has_reason: bool,
    pub headers: HeaderMap,
    /// Where the answer came from, after redirects.
    pub url: Url,
    method: Method,
    body: Incoming,
    deadline: Option<Instant>,
    /// Drives the connection while the body is read; absent when a [`KeepAlive`] does.
    _connection: Option<Connection>,
}

impl Response {
    /// `200 OK`, in the server's words.
    pub fn status_line(&self) -> String {
        if self.has_reason {
            format!("{} {}", self.status.as_str(), self.reason)
        } else {
            self.status.as_str().to_owned()
        }
    }

    /// The next piece of the body, or nothing at its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        loop {
            let frame = match before(self.deadline, self.body.frame()).await {
                Some(Some(Ok(frame))) => frame,
                Some(Some(Err(error))) => {
                    return Err(self.failure(error::from_hyper(&error, b"HTTP")));
                }
                Some(None) => return Ok(None),
                None => return Err(self.failure(Cause::TimeoutReadingBody)),
            };
            // Trailers end nothing and nobody asks for them.
            if let Ok(piece) = frame.into_data() {
                return Ok(Some(piece));
            }
        }
    }

    /// The whole body, refused beyond `bytes_max`.
    pub async fn read_to_end(&mut self, bytes_max: usize) -> Result<Vec<u8>, HttpError> {
        let mut body = Vec::new();
        while let Some(piece) = self.chunk().await? {
            if body.len() + piece.len() > bytes_max {
                return Err(self.failure(Cause::BodyTooLarge(bytes_max)));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    fn failure(&self, cause: Cause) -> HttpError {
        HttpError { at: Some((self.method.to_string(), self.url.to_string())), cause }
    }
}

impl Client {
    /// A client that neither encrypts nor follows redirects.
    pub fn plain(timeout: Option<Duration>) -> Client {
        Client { tls: None, redirects: Redirects::Off, timeout }
    }

    /// Sends on fresh connections, one for each redirect.
    pub async fn send(&self, mut request: Request) -> Result<Response, HttpError> {
        let deadline = self.timeout.map(|span| Instant::now() + span);
        let mut trail = Trail::new(self.redirects, &request);
        loop {
            let sent = self.send_once(&request, deadline).await;
            let response = sent.map_err(|error| trail.failure(error))?;
            if let Some(response) = trail.step(&mut request, response)? {
                return Ok(response);
            }
        }
    }

    async fn send_once(&self, request: &Request, deadline: Option<Instant>) -> Result<Response, HttpError> {
        let exchange = async {
            let mut connection = self.connect(&request.url).await?;
            let response = connection.exchange(request, true).await?;
            Ok((connection, response))
        };
        let cause = match before(deadline, exchange).await {
            Some(Ok((connection, response))) => {
                return Ok(Response::new(request, response, deadline, Some(connection)));
            }
            Some(Err(cause)) => cause,
            None => Cause::TimeoutAwaitingHeaders,
        };
        Err(HttpError { at: Some((request.method.to_string(), request.url.to_string())), cause })
    }

    async fn connect(&self, url: &Url) -> Result<Connection, Cause> {
        let stream = match &url.scheme {
            Scheme::Unix(path) => dial::unix(path).await.map_err(dial_failure)?,
            Scheme::Other { name, .. } => {
                return Err(Cause::Request(format!("unsupported protocol scheme {}", quote(name))));
            }
            Scheme::Http | Scheme::Https if url.host().is_empty() => {
                return Err(Cause::Request("http: no Host in request URL".to_owned()));
            }
            Scheme::Http => dial::tcp(&url.dial_address(), None).await.map_err(dial_failure)?,
            Scheme::Https => {
                let tls = self.tls.as_ref().ok_or_else(|| Cause::Request("https needs TLS settings".to_owned()))?;
                let stream = dial::tcp(&url.dial_address(), None).await.map_err(dial_failure)?;
                tls.connect(stream, url.host_name(), None).await.map_err(Cause::Tls)?
            }
        };
        Connection::open(stream).await
    }
}

impl Response {
    fn new(
        request: &Request,
        response: http::Response<Incoming>,
        deadline: Option<Instant>,
        connection: Option<Connection>,
    ) -> Response {
        let (head, body) = response.into_parts();
        let written = head.extensions.get::<hyper::ext::ReasonPhrase>();
        let reason = match written {
            Some(phrase) => String::from_utf8_lossy(phrase.as_bytes()).into_owned(),
            None => head.status.canonical_reason().unwrap_or_default().to_owned(),
        };
        Response {
            status: head.status,
            has_reason: !reason.is_empty() || head.extensions.get::<SpaceAfterCode>().is_some(),
            reason,
            headers: head.headers,
            url: request.url.clone(),
            method: request.method.clone(),
            body,
            deadline,
            _connection: connection,
        }
    }
}

/// The result, unless the deadline comes first.
async fn before<F: Future>(deadline: Option<Instant>, work: F) -> Option<F::Output> {
    match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline, work).await.ok(),
        None => Some(work.await),
    }
}

/// One HTTP/1.1 connection and the task that drives it; the task ends with it.
#[derive(Debug)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    received: Arc<Mutex<Vec<u8>>>,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    async fn open(stream: Stream) -> Result<Connection, Cause> {
        let received = Arc::new(Mutex::new(Vec::new()));
        let recorded = Recorded { stream, received: Arc::clone(&received) };
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .title_case_headers(true)
            .handshake(TokioIo::new(recorded))
            .await
            .map_err(|error| error::from_hyper(&error, &[]))?;
        let driver = tokio::spawn(async move {
            // A failure reaches whoever waits for the response; without one it concerns nobody.
            let _ = connection.await;
        });
        Ok(Connection { sender, received, driver })
    }

    async fn exchange(&mut self, request: &Request, close: bool) -> Result<http::Response<Incoming>, Cause> {
        let mut built = http::Request::builder()
            .method(request.method.clone())
            .uri(request.url.request_target())
            .body(Full::new(request.body.clone()))
            .map_err(|error| Cause::Request(error.to_string()))?;
        let headers = built.headers_mut();
        headers.insert(header::HOST, host_header(request)?);
        for (name, value) in &request.headers {
            headers.append(name, value.clone());
        }
        if let Some(basic) = request.url.basic_authorization()
            && !headers.contains_key(header::AUTHORIZATION)
            && let Ok(value) = HeaderValue::from_str(&basic)
        {
            headers.insert(header::AUTHORIZATION, value);
        }
        let expects_length = [Method::POST, Method::PUT, Method::PATCH].contains(&request.method);
        if request.body.is_empty() && expects_length {
            // Many servers refuse these without a length, so Go states that there is nothing.
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        if close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let answered = self.sender.send_request(built).await;
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        let mut response = answered.map_err(|error| error::from_hyper(&error, &received))?;
        if received.get(STATUS_LINE_BYTES_MIN) == Some(&b' ') {
            response.extensions_mut().insert(SpaceAfterCode);
        }
        Ok(response)
    }
}

/// Marks a response whose status line goes on after the code, if only with a space.
#[derive(Clone, Copy)]
struct SpaceAfterCode;

fn dial_failure(error: DialError) -> Cause {
    Cause::Dial(Box::new(error))
}

fn host_header(request: &Request) -> Result<HeaderValue, Cause> {
    match (&request.host, &request.url.scheme) {
        (Some(host), _) => Ok(host.clone()),
        // A socket path is no host; Go's clients send this name.
        (None, Scheme::Unix(_)) => Ok(HeaderValue::from_static("localhost")),
        (None, _) => HeaderValue::from_str(request.url.host())
            .map_err(|_| Cause::Request("http: invalid Host header".to_owned())),
    }
}

/// Remembers how an answer begins, so that an error can quote it.
struct Recorded {
    stream: Stream,
    received: Arc<Mutex<Vec<u8>>>,
}

impl AsyncRead for Recorded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let from = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = polled {
            let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
            let read = &buf.filled()[from..];
            let room = RECORDED_BYTES_MAX.saturating_sub(received.len());
            received.extend_from_slice(&read[..read.len().min(room)]);
        }
        polled
    }
}

impl AsyncWrite for Recorded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
