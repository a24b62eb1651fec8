//! Following redirects by the rules of Go's `http.Client`.
//!
//! Always true: 301, 302 and 303 turn everything but GET and HEAD into a GET without body; 307 and 308 repeat the
//! request; credentials do not follow to another host.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, StatusCode};

use super::{Cause, HttpError, Request, Response, Scheme, Url};

/// How many requests one call may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirects {
    /// A redirect is an answer like any other.
    Off,
    /// At most this many requests in all; Go's default is 10.
    UpTo(usize),
}

impl Redirects {
    /// What Go's clients do unless told otherwise.
    pub const DEFAULT: Redirects = Redirects::UpTo(10);
}

/// The requests that one call has become so far.
pub(super) struct Trail {
    redirects: Redirects,
    first_method: Method,
    sent: usize,
}

impl Trail {
    pub(super) fn new(redirects: Redirects, request: &Request) -> Trail {
        Trail { redirects, first_method: request.method.clone(), sent: 0 }
    }

    /// Go names the method of the first request, whichever failed.
    pub(super) fn failure(&self, mut error: HttpError) -> HttpError {
        if let Some((method, _)) = &mut error.at {
            *method = self.first_method.to_string();
        }
        error
    }

    /// The response, if it is the last one; else `request` is what to send next.
    pub(super) fn step(&mut self, request: &mut Request, response: Response) -> Result<Option<Response>, HttpError> {
        self.sent += 1;
        let Redirects::UpTo(limit) = self.redirects else {
            return Ok(Some(response));
        };
        let Some(location) = target(&response) else {
            return Ok(Some(response));
        };
        let fail = |url: String, cause| Err(HttpError { at: Some((self.first_method.to_string(), url)), cause });
        let next = match request.url.join(&location) {
            Ok(next) => next,
            Err(text) => return fail(request.url.to_string(), Cause::Request(text)),
        };
        if self.sent >= limit {
            return fail(location, Cause::TooManyRedirects(limit));
        }
        lead(request, next, response.status, location.contains("://"));
        Ok(None)
    }
}

/// Turns a request into the one that a redirect asks for.
fn lead(request: &mut Request, next: Url, status: StatusCode, is_absolute: bool) {
    let referer = referer(request, &next);
    if redirect_drops_body(status) {
        if request.method != Method::GET && request.method != Method::HEAD {
            request.method = Method::GET;
        }
        request.body = Bytes::new();
        request.headers.remove(header::CONTENT_TYPE);
        request.headers.remove(header::CONTENT_LENGTH);
    }
    let (from, to) = (request.url.host_name(), next.host_name());
    if to != from && !is_subdomain(to, from) {
        for secret in [header::AUTHORIZATION, header::COOKIE, header::WWW_AUTHENTICATE] {
            request.headers.remove(secret);
        }
    }
    if is_absolute {
        // Another address brings its own host.
        request.host = None;
    }
    match referer.and_then(|referer| HeaderValue::from_str(&referer).ok()) {
        Some(referer) => request.headers.insert(header::REFERER, referer),
        None => request.headers.remove(header::REFERER),
    };
    request.url = next;
}

/// Where a redirect leads, if the answer is one. One without `Location` is an answer like any other.
fn target(response: &Response) -> Option<String> {
    let redirects = matches!(
        response.status,
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let location = response.headers.get(header::LOCATION)?;
    redirects.then(|| String::from_utf8_lossy(location.as_bytes()).into_owned()).filter(|location| !location.is_empty())
}

fn redirect_drops_body(status: StatusCode) -> bool {
    matches!(status, StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER)
}

/// Not told when leaving encryption.
fn referer(from: &Request, to: &Url) -> Option<String> {
    let leaves = from.url.scheme == Scheme::Https && to.scheme != Scheme::Https;
    (!leaves).then(|| from.url.referer())
}

fn is_subdomain(sub: &str, parent: &str) -> bool {
    sub.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.')) && parent.parse::<std::net::IpAddr>().is_err()
}
