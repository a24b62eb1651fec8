//! The parameters that many routes share: blocking, consistency, caching, datacenter, token.

use std::time::Duration;

use http::StatusCode;
use server::{ReadMode, ReadOptions};
use state::Index;
use wire::duration::GoDuration;

use super::{Failure, Request};
use crate::Api;

/// The read options of one request.
#[derive(Debug, Clone)]
pub struct Options {
    pub read: ReadOptions,
    /// `?cached`, with what `Cache-Control` says about it.
    pub cached: Option<CacheControl>,
    /// `?max_stale` or `discovery_max_stale`.
    pub max_stale: Option<Duration>,
}

/// `Cache-Control` of a cached read.
#[derive(Debug, Clone, Default)]
pub struct CacheControl {
    pub max_age: Option<Duration>,
    pub must_revalidate: bool,
    pub stale_if_error: Option<Duration>,
}

/// Parses what is common to reads, in the reference's order of refusals. The datacenter is for the read itself to refuse.
pub fn read_options(api: &Api, req: &Request) -> Result<Options, Failure> {
    let cache_control = cache_control(req)?;
    let (mode, cached, max_stale) = consistency(api, req)?;
    let (index, wait) = wait(req)?;
    Ok(Options {
        read: ReadOptions::blocking(index, wait, mode, &mut rand::rng()),
        cached: cached.then_some(cache_control),
        max_stale,
    })
}

/// Refuses datacenters other than this one; no WAN pool exists yet, so no other can be reached.
pub fn datacenter(api: &Api, req: &Request) -> Result<(), Failure> {
    match req.filled("datacenter").or_else(|| req.filled("dc")) {
        Some(other) if other != api.settings.datacenter => Err(Failure::internal("No path to datacenter")),
        _ => Ok(()),
    }
}

/// `?wait` and `?index`.
fn wait(req: &Request) -> Result<(Index, Option<Duration>), Failure> {
    let wait = match req.filled("wait") {
        None => None,
        Some(text) => {
            let wait = GoDuration::parse(text).map_err(|_| Failure::bad_request("Invalid wait time"))?;
            Some(Duration::from_nanos(u64::try_from(wait.0).unwrap_or(0)))
        }
    };
    let index = match req.filled("index") {
        None => 0,
        Some(text) => parse_uint(text).ok_or_else(|| Failure::bad_request("Invalid index"))?,
    };
    Ok((Index(index), wait))
}

/// A number as Go's `strconv.ParseUint(text, 10, 64)` takes it: digits only, no sign.
#[must_use]
pub fn parse_uint(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// The error text of Go's `strconv` for a bad unsigned number.
#[must_use]
pub fn parse_uint_error(text: &str) -> String {
    let reason = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        "value out of range"
    } else {
        "invalid syntax"
    };
    format!("strconv.ParseUint: parsing {text:?}: {reason}")
}

/// The words of Go's `strconv.ParseBool`.
#[must_use]
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

fn consistency(api: &Api, req: &Request) -> Result<(ReadMode, bool, Option<Duration>), Failure> {
    let (mut stale, consistent) = (req.has("stale"), req.has("consistent"));
    let cached = req.has("cached") && api.settings.use_cache;
    let mut defaults = !(stale || consistent || cached || req.has("leader"));
    let mut max_stale = None;
    if let Some(text) = req.filled("max_stale") {
        let limit =
            GoDuration::parse(text).map_err(|_| Failure::bad_request(format!("Invalid max_stale value {text:?}")))?;
        if limit.0 > 0 {
            max_stale = Some(Duration::from_nanos(limit.0.unsigned_abs()));
            stale = true;
            defaults = false;
        }
    }
    let discovery = req.path.starts_with("/v1/catalog") || req.path.starts_with("/v1/health");
    if defaults && discovery && !api.settings.discovery_max_stale.is_zero() {
        max_stale = Some(api.settings.discovery_max_stale);
        stale = true;
    }
    if stale && consistent {
        return Err(Failure::bad_request("Cannot specify ?stale with ?consistent, conflicting semantics."));
    }
    if cached && consistent {
        return Err(Failure::bad_request("Cannot specify ?cached with ?consistent, conflicting semantics."));
    }
    let mode = match (stale, consistent) {
        (true, _) => ReadMode::Stale,
        (_, true) => ReadMode::Consistent,
        _ => ReadMode::Default,
    };
    Ok((mode, cached, max_stale))
}

fn cache_control(req: &Request) -> Result<CacheControl, Failure> {
    let mut control = CacheControl::default();
    let Some(text) = req.header("cache-control") else { return Ok(control) };
    let seconds = |text: &str| {
        let seconds: i64 = text.parse().map_err(|_| Failure::bad_request("Invalid Cache-Control header."))?;
        Ok::<_, Failure>(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    };
    for directive in text.to_ascii_lowercase().split(',').map(str::trim) {
        if directive == "must-revalidate" {
            control.must_revalidate = true;
        } else if let Some(age) = directive.strip_prefix("max-age=") {
            let age = seconds(age)?;
            control.must_revalidate |= age.is_zero();
            control.max_age = Some(age);
        } else if let Some(limit) = directive.strip_prefix("stale-if-error=") {
            control.stale_if_error = Some(seconds(limit)?);
        }
    }
    Ok(control)
}

/// The token of a request: `?token=`, then `X-Consul-Token`, then a bearer token.
#[must_use]
pub fn token(req: &Request) -> &str {
    if let Some(token) = req.filled("token") {
        return token;
    }
    if let Some(token) = req.header("x-consul-token").filter(|token| !token.is_empty()) {
        return token;
    }
    let bearer = req.header("authorization").and_then(|value| value.trim().split_once(char::is_whitespace));
    match bearer {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => "",
    }
}

/// Compat: these take a namespace or a partition without looking at it. A path that ends in `/` is a prefix.
const TENANCY_IGNORED: &[&str] = &[
    "/v1/acl/",
    "/v1/agent/host",
    "/v1/agent/leave",
    "/v1/agent/maintenance",
    "/v1/agent/metrics",
    "/v1/agent/metrics/stream",
    "/v1/agent/monitor",
    "/v1/agent/reload",
    "/v1/agent/self",
    "/v1/agent/token/",
    "/v1/agent/version",
    "/v1/catalog/datacenters",
    "/v1/coordinate/datacenters",
    "/v1/event/fire/",
    "/v1/event/list",
    "/v1/internal/acl/authorize",
    "/v1/operator/autopilot/",
    "/v1/operator/keyring",
    "/v1/operator/raft/configuration",
    "/v1/operator/raft/peer",
    "/v1/query",
    "/v1/query/",
    "/v1/snapshot",
    "/v1/status/",
    "/v1/txn",
];
/// Compat: these are about nodes, which have partitions only; a namespace is not looked at.
const NAMESPACE_IGNORED: &[&str] = &[
    "/v1/agent/force-leave/",
    "/v1/agent/join/",
    "/v1/agent/members",
    "/v1/catalog/nodes",
    "/v1/coordinate/node/",
    "/v1/coordinate/nodes",
    "/v1/operator/raft/transfer-leader",
];

fn is_among(path: &str, patterns: &[&str]) -> bool {
    patterns.iter().any(|pattern| if pattern.ends_with('/') { path.starts_with(pattern) } else { path == *pattern })
}

/// Refuses what only the Enterprise edition has: namespaces and partitions.
pub fn tenancy(req: &Request) -> Result<(), Failure> {
    let names = ["x-consul-namespace", "x-consul-partition"];
    // Nearly nobody asks for any, which is seen faster than what the path takes.
    if !req.has_params() && names.into_iter().all(|name| req.header(name).is_none()) {
        return Ok(());
    }
    if is_among(&req.path, TENANCY_IGNORED) {
        return Ok(());
    }
    let has_namespace = !is_among(&req.path, NAMESPACE_IGNORED);
    let refuse = |what: &str, name: &str, kind: &str| {
        Err(Failure::new(
            StatusCode::BAD_REQUEST,
            format!("Invalid {what}: \"{name}\" - {kind} are a Consul Enterprise feature"),
        ))
    };
    if has_namespace && req.filled("ns").is_some() {
        return refuse("query parameter", "ns", "Namespaces");
    }
    if has_namespace && req.header("x-consul-namespace").is_some_and(|value| !value.is_empty()) {
        return refuse("header", "X-Consul-Namespace", "Namespaces");
    }
    if req.filled("partition").is_some() {
        return refuse("query parameter", "partition", "Partitions");
    }
    if req.header("x-consul-partition").is_some_and(|value| !value.is_empty()) {
        return refuse("header", "X-Consul-Partition", "Partitions");
    }
    Ok(())
}
