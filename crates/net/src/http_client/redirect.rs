//! Following redirects by the rules of Go's `http.Client`.
//!
//! Always true: 301, 302 and 303 turn everything but GET and HEAD into a GET without body; 307 and 308 repeat the
//! request; credentials do not follow to another host.

use http::header::{self, HeaderValue};
use http::{Method, StatusCode};

use super::{Cause, HttpError, Request, Response};

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

pub(super) async fn follow(
    redirects: Redirects,
    mut request: Request,
    mut send: impl AsyncFnMut(&Request) -> Result<Response, HttpError>,
) -> Result<Response, HttpError> {
    let first_method = request.method.clone();
    let mut sent = 0;
    loop {
        let response = send(&request).await.map_err(|mut error| {
            if let Some((method, _)) = &mut error.at {
                *method = first_method.to_string();
            }
            error
        })?;
        sent += 1;
        let Redirects::UpTo(limit) = redirects else {
            return Ok(response);
        };
        let Some(location) = target(&response) else {
            return Ok(response);
        };
        let fail = |url: String, cause| {
            Err(HttpError {
                at: Some((first_method.to_string(), url)),
                cause,
            })
        };
        let next = match request.url.join(&location) {
            Ok(next) => next,
            Err(text) => return fail(request.url.to_string(), Cause::Request(text)),
        };
        if sent >= limit {
            return fail(location, Cause::TooManyRedirects(limit));
        }
        let absolute = location.contains("://");
        let referer = referer(&request, &next);
        if redirect_drops_body(response.status)
            && request.method != Method::GET
            && request.method != Method::HEAD
        {
            request.method = Method::GET;
        }
        if redirect_drops_body(response.status) {
            request.body = bytes::Bytes::new();
            request.headers.remove(header::CONTENT_TYPE);
            request.headers.remove(header::CONTENT_LENGTH);
        }
        if next.host_name() != request.url.host_name()
            && !is_subdomain(next.host_name(), request.url.host_name())
        {
            for secret in [
                header::AUTHORIZATION,
                header::COOKIE,
                header::WWW_AUTHENTICATE,
            ] {
                request.headers.remove(secret);
            }
        }
        if absolute {
            // Another address brings its own host.
            request.host = None;
        }
        match referer.and_then(|referer| HeaderValue::from_str(&referer).ok()) {
            Some(referer) => request.headers.insert(header::REFERER, referer),
            None => request.headers.remove(header::REFERER),
        };
        request.url = next;
    }
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
    redirects
        .then(|| String::from_utf8_lossy(location.as_bytes()).into_owned())
        .filter(|location| !location.is_empty())
}

fn redirect_drops_body(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER
    )
}

/// Not told when leaving encryption.
fn referer(from: &Request, to: &super::Url) -> Option<String> {
    let leaves = from.url.scheme == super::Scheme::Https && to.scheme != super::Scheme::Https;
    (!leaves).then(|| from.url.referer())
}

fn is_subdomain(sub: &str, parent: &str) -> bool {
    sub.strip_suffix(parent)
        .is_some_and(|rest| rest.ends_with('.'))
        && parent.parse::<std::net::IpAddr>().is_err()
}
