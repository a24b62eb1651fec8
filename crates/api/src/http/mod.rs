//! From a request on the wire to an answer on the wire.
//!
//! One pipeline for every route, in the reference's order: printable path, canonical path, route, blocked
//! prefixes, OPTIONS, method, write access, tenancy, token, guard, handler, encoding. What a handler returns
//! is either a [`Reply`] or a [`Failure`]; it never touches the connection.

pub mod decode;
mod encode;
mod failure;
mod head_timer;
mod lenient;
mod options;
mod path;
mod plain;
mod read;
mod reply;
mod request;
mod route;
mod select;
mod serve;
mod socket;

use std::net::IpAddr;

use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode};

pub use self::encode::{Wire, finish, indented};
pub use self::failure::Failure;
pub use self::options::{
    CacheControl, Options, datacenter, parse_bool, parse_uint, parse_uint_error, read_options, token,
};
pub use self::path::{cleaned, is_printable};
pub use self::read::{Answered, BodyMeta, X_CACHE, failed, serve_query, set_meta, set_txn_meta};
pub use self::reply::{Body, JSON, PLAIN, Reply};
pub use self::request::{Incoming, Request};
pub use self::route::{Answer, Asker, Guard, Handler, Route, Routes};
pub use self::select::{Filtering, answer_key, node_meta, source};
pub use self::serve::{Listener, SocketOwner, serve};
use crate::Api;

/// Says why a request was answered as it was.
pub const REASON: HeaderName = HeaderName::from_static("x-consul-reason");
const ACL_POLICY: HeaderName = HeaderName::from_static("x-consul-default-acl-policy");
const TRANSLATED: HeaderName = HeaderName::from_static("x-consul-translate-addresses");

/// Answers one request. Never fails: whatever goes wrong is an answer too.
pub async fn answer(
    api: &Api,
    head: http::request::Parts,
    body: Incoming,
    remote: Option<std::net::SocketAddr>,
) -> Wire {
    if let Some(text) = malformed(&head) {
        return encode::malformed(text);
    }
    let path = match head.uri.path() {
        escaped if path::is_escaped(escaped) => {
            percent_encoding::percent_decode_str(escaped).decode_utf8_lossy().into_owned()
        }
        plain => plain.to_owned(),
    };
    if api.settings.printable_paths_only && !is_printable(&path) {
        return encode::bare(StatusCode::BAD_REQUEST);
    }
    let clean = cleaned(&path).or_else(|| api.routes.lacks_slash(&path).then(|| format!("{path}/")));
    if let Some(clean) = clean {
        return encode::redirect(StatusCode::TEMPORARY_REDIRECT, &head.method, &clean, head.uri.query());
    }
    let Some(measured) = api.routes.find(&path) else {
        return encode::unrouted(api, &head.method, &path);
    };
    let route = &measured.route;
    let is_gzip = encode::accepts_gzip(&head.headers);
    let started = std::time::Instant::now();
    let method = head.method.clone();
    let (mut result, pretty) = match Request::new(head, path, remote, body) {
        Err(request::BadQuery) => (Err(Failure::internal("")), false),
        Ok(mut req) => {
            let pretty = req.has("pretty");
            (dispatch(api, route, &mut req).await, pretty)
        }
    };
    if let Ok(reply) = &mut result {
        common_headers(api, &mut reply.headers);
    }
    measured.took(&method, started.elapsed());
    match result {
        Ok(reply) => finish(api, reply, pretty, is_gzip),
        Err(failure) => {
            let mut wire = encode::failure(failure);
            common_headers(api, wire.headers_mut());
            wire
        }
    }
}

/// Requests that Go's server refuses before any handler sees them.
fn malformed(head: &http::request::Parts) -> Option<&'static str> {
    if head.version == http::Version::HTTP_11 && !head.headers.contains_key(header::HOST) {
        return Some("400 Bad Request: missing required Host header");
    }
    (!path::is_decodable(head.uri.path())).then_some("400 Bad Request")
}

async fn dispatch(api: &Api, route: &Route, req: &mut Request) -> Result<Reply, Failure> {
    if api.settings.block_endpoints.iter().any(|prefix| req.path.starts_with(prefix.as_str())) {
        return Err(Failure::new(StatusCode::FORBIDDEN, "Endpoint is blocked by agent configuration"));
    }
    if !route.methods.is_empty() {
        if req.method == Method::OPTIONS {
            return Ok(allow(route.methods, Reply::empty()));
        }
        if !route.methods.contains(&req.method.as_str()) {
            return Err(method_not_allowed(&req.method, route.methods, true));
        }
    }
    write_access(api, req)?;
    options::tenancy(req)?;
    let asker = api.resolve(token(req))?;
    route.guard.check(&*asker.may, &api.settings.node_name)?;
    (route.handler)(api, req, &asker).await
}

/// 405 with the `Allow` header; `options` says whether OPTIONS is listed (it is not below `/v1/query/`).
#[must_use]
pub fn method_not_allowed(method: &Method, allowed: &[&str], options: bool) -> Failure {
    let mut list = allowed.join(",");
    if options {
        list.insert_str(0, "OPTIONS,");
    }
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, format!("method {method} not allowed"))
        .with_header(header::ALLOW, &list)
}

/// The answer to OPTIONS.
#[must_use]
pub fn allow(allowed: &[&str], reply: Reply) -> Reply {
    reply.with_header(header::ALLOW, &format!("OPTIONS,{}", allowed.join(",")))
}

/// `allow_write_http_from`: everything but reads is refused from elsewhere.
fn write_access(api: &Api, req: &Request) -> Result<(), Failure> {
    let networks = &api.settings.allow_write_http_from;
    if networks.is_empty() || matches!(req.method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let allowed = match req.remote {
        // A unix socket has no address; the reference lets it in.
        None => true,
        Some(remote) => networks.iter().any(|network| network.contains(remote.ip())),
    };
    if allowed { Ok(()) } else { Err(Failure::new(StatusCode::FORBIDDEN, "Access is restricted")) }
}

fn common_headers(api: &Api, headers: &mut http::HeaderMap) {
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    headers.insert(ACL_POLICY, HeaderValue::from_static(api.settings.default_policy));
    if api.settings.translate_wan_addrs {
        headers.insert(TRANSLATED, HeaderValue::from_static("true"));
    }
    for (name, value) in &api.settings.response_headers {
        headers.insert(name.clone(), value.clone());
    }
}

/// An IP network such as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Parses CIDR notation.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let bits: u8 = bits.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        (bits <= most).then_some(Network { address, bits })
    }

    /// Whether `other` lies in this network.
    #[must_use]
    pub fn contains(&self, other: IpAddr) -> bool {
        let (ours, theirs, width) = match (self.address, other.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => (u128::from(ours.to_bits()), u128::from(theirs.to_bits()), 32),
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => (ours.to_bits(), theirs.to_bits(), 128),
            _ => return false,
        };
        let shift = width - u32::from(self.bits);
        shift == 128 || ours >> shift == theirs >> shift
    }
}

#[cfg(test)]
mod tests {
    use super::Network;

    #[test]
    fn networks_hold_their_addresses() {
        for (network, address, inside) in [
            ("127.0.0.0/8", "127.3.2.1", true),
            ("127.0.0.0/8", "128.0.0.1", false),
            ("0.0.0.0/0", "9.9.9.9", true),
            ("10.0.0.1/32", "10.0.0.1", true),
            ("::1/128", "::1", true),
            ("127.0.0.0/8", "::ffff:127.0.0.1", true),
            ("::/0", "2001:db8::1", true),
        ] {
            let network = Network::parse(network).unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), inside, "{network:?} {address}");
        }
        assert!(Network::parse("10.0.0.0/33").is_none());
        assert!(Network::parse("10.0.0.0").is_none());
    }
}
