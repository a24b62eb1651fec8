//! One caller's connection, kept for the next request: the command line's `watch` and `lock` make many calls.
//!
//! Always true: at most one connection is open; a request whose reused connection turns out dead is sent once more on
//! a fresh one, if repeating it is harmless.
//! Not here: pooling, requests in parallel.

use std::time::Duration;

use http::Method;
use tokio::time::Instant;

use super::redirect::Trail;
use super::{Cause, Client, Connection, HttpError, Request, Response, Scheme, Url, before};

/// How long the previous answer may still occupy the connection before a fresh one is opened.
const SETTLE: Duration = Duration::from_millis(50);

/// A client with a memory of one connection.
#[derive(Debug)]
pub struct KeepAlive {
    client: Client,
    idle: Option<(Scheme, String, Connection)>,
}

impl KeepAlive {
    pub fn new(client: Client) -> KeepAlive {
        KeepAlive { client, idle: None }
    }

    /// Sends, on the kept connection if it leads there. Dropping the response unread costs the connection.
    pub async fn send(&mut self, request: Request) -> Result<Response, HttpError> {
        let timeout = self.client.timeout;
        self.send_within(request, timeout).await
    }

    /// Sends with another timeout than the client's: a blocking query takes as long as it asked for.
    pub async fn send_within(
        &mut self,
        mut request: Request,
        timeout: Option<Duration>,
    ) -> Result<Response, HttpError> {
        let deadline = timeout.map(|span| Instant::now() + span);
        let mut trail = Trail::new(self.client.redirects, &request);
        loop {
            let sent = self.send_once(&request, deadline).await;
            let response = sent.map_err(|error| trail.failure(error))?;
            if let Some(response) = trail.step(&mut request, response)? {
                return Ok(response);
            }
        }
    }

    async fn send_once(&mut self, request: &Request, deadline: Option<Instant>) -> Result<Response, HttpError> {
        let at = |cause| HttpError { at: Some((request.method.to_string(), request.url.to_string())), cause };
        let (reused, mut connection) = match self.take_idle(&request.url).await {
            Some(connection) => (true, connection),
            None => (false, self.connect(&request.url, deadline).await.map_err(at)?),
        };
        let mut outcome = exchange(&mut connection, request, deadline).await;
        if let Err(cause) = outcome {
            let lost = at(cause);
            if !(reused && lost.is_lost_connection() && is_repeatable(&request.method)) {
                return Err(lost);
            }
            connection = self.connect(&request.url, deadline).await.map_err(at)?;
            outcome = exchange(&mut connection, request, deadline).await;
        }
        let response = outcome.map_err(at)?;
        let host = request.url.host().to_owned();
        self.idle = Some((request.url.scheme.clone(), host, connection));
        Ok(Response::new(request, response, deadline, None))
    }

    async fn take_idle(&mut self, url: &Url) -> Option<Connection> {
        let (scheme, host, mut connection) = self.idle.take()?;
        if scheme != url.scheme || host != url.host() {
            return None;
        }
        match tokio::time::timeout(SETTLE, connection.sender.ready()).await {
            Ok(Ok(())) => Some(connection),
            _ => None,
        }
    }

    async fn connect(&self, url: &Url, deadline: Option<Instant>) -> Result<Connection, Cause> {
        before(deadline, self.client.connect(url)).await.unwrap_or(Err(Cause::TimeoutAwaitingHeaders))
    }
}

async fn exchange(
    connection: &mut Connection,
    request: &Request,
    deadline: Option<Instant>,
) -> Result<http::Response<hyper::body::Incoming>, Cause> {
    before(deadline, connection.exchange(request, false)).await.unwrap_or(Err(Cause::TimeoutAwaitingHeaders))
}

/// Go repeats these when a reused connection was already gone.
fn is_repeatable(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}
