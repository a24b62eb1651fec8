//! `/v1/operator/keyring`: the keys that gossip is encrypted with.
//!
//! Always true: an operation that one member refuses, or does not answer, is an error, which names every member that
//! did. Not here: the operation itself, which the pools' members carry out.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ::agent::{KeyringOperation, KeyringResponse};
use acl::{Need, Resource};
use http::Method;
use serde::{Deserialize, Serialize};

use crate::Api;
use crate::http::{Asker, Failure, Guard, Reply, Request, Route, decode, parse_bool};
use crate::operator::{RELAY_FACTOR_MAX, RELAY_FACTOR_RANGE};

pub(super) fn route() -> Route {
    Route {
        pattern: "/v1/operator/keyring",
        methods: &["GET", "POST", "PUT", "DELETE"],
        guard: Guard::Handler("keyring:read to list, else keyring:write, once it is known what is asked"),
        handler: |api, req, asker| Box::pin(keyring(api, req, asker)),
    }
}

/// What a client sends. Only the key counts; the rest is decided by the query parameters.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename = "agent.keyringArgs", rename_all = "PascalCase")]
#[allow(dead_code, reason = "known to the decoder, decided by the query parameters")]
struct Sent {
    key: String,
    token: String,
    relay_factor: u8,
    local_only: bool,
}

/// `structs.KeyringResponse`: the keys of one pool.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown {
    #[serde(rename = "WAN")]
    wan: bool,
    datacenter: String,
    segment: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    messages: BTreeMap<String, String>,
    keys: BTreeMap<String, usize>,
    primary_keys: BTreeMap<String, usize>,
    num_nodes: usize,
}

async fn keyring(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    let is_list = req.method == Method::GET;
    let sent: Sent = if is_list {
        Sent::default()
    } else {
        let body = decode::whole(req).await?;
        decode::strict(&body).map_err(|error| Failure::bad_request(format!("Request decode failed: {error}")))?
    };
    let relay_factor = relay_factor(req)?;
    let local_only = local_only(req, is_list)?;
    let (need, operation) = match req.method {
        Method::GET => (Need::read(Resource::Keyring), KeyringOperation::List),
        Method::POST => (Need::write(Resource::Keyring), KeyringOperation::Install(sent.key)),
        Method::PUT => (Need::write(Resource::Keyring), KeyringOperation::Use(sent.key)),
        _ => (Need::write(Resource::Keyring), KeyringOperation::Remove(sent.key)),
    };
    asker.may.require(need)?;
    let responses = api.agent.keyring(operation, relay_factor, local_only).await;
    if let Some(text) = errors(&responses) {
        return Err(Failure::internal(text));
    }
    if !is_list {
        return Ok(Reply::empty());
    }
    let shown: Vec<Shown> = responses
        .into_iter()
        .map(|response| Shown {
            wan: response.wan,
            datacenter: response.datacenter,
            segment: response.segment,
            messages: response.messages,
            keys: response.keys,
            primary_keys: response.primary_keys,
            num_nodes: response.num_nodes,
        })
        .collect();
    Ok(Reply::json(&shown))
}

fn relay_factor(req: &Request) -> Result<u8, Failure> {
    let Some(text) = req.filled("relay-factor") else { return Ok(0) };
    let fault = |why: &str| {
        let text = net::go_text::quote(text);
        Failure::bad_request(format!("Error parsing relay factor: strconv.Atoi: parsing {text}: {why}"))
    };
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(fault("invalid syntax"));
    }
    let number: i64 = text.parse().map_err(|_| fault("value out of range"))?;
    let in_range = u8::try_from(number).ok().filter(|_| number <= RELAY_FACTOR_MAX);
    in_range.ok_or_else(|| Failure::bad_request(format!("Invalid relay-factor: {RELAY_FACTOR_RANGE}")))
}

fn local_only(req: &Request, is_list: bool) -> Result<bool, Failure> {
    let Some(text) = req.filled("local-only") else { return Ok(false) };
    let Some(local_only) = parse_bool(text) else {
        let text = net::go_text::quote(text);
        return Err(Failure::bad_request(format!(
            "Error parsing local-only: strconv.ParseBool: parsing {text}: invalid syntax"
        )));
    };
    if local_only && !is_list {
        let text = "Invalid use of local-only: local-only can only be set for list requests";
        return Err(Failure::bad_request(text));
    }
    Ok(local_only)
}

/// What went wrong in which pool and at whom, as Go lists errors; `None` when all is well.
fn errors(responses: &[KeyringResponse]) -> Option<String> {
    let mut errors = Vec::new();
    for response in responses.iter().filter(|response| !response.error.is_empty()) {
        let mut pool = if response.wan { "WAN".to_owned() } else { format!("{} (LAN)", response.datacenter) };
        if !response.segment.is_empty() {
            // Writing to a text cannot fail.
            let _ = write!(pool, " [segment: {}]", response.segment);
        }
        errors.push(format!("{pool} error: {}", response.error));
        errors.extend(response.messages.iter().map(|(member, message)| format!("{member}: {message}")));
    }
    let noun = if errors.len() == 1 { "error" } else { "errors" };
    (!errors.is_empty()).then(|| format!("{} {noun} occurred:\n\t* {}\n\n", errors.len(), errors.join("\n\t* ")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ::agent::KeyringResponse;

    use super::errors;

    fn response(wan: bool, segment: &str, error: &str, messages: &[(&str, &str)]) -> KeyringResponse {
        let messages = messages.iter().map(|(member, message)| ((*member).to_owned(), (*message).to_owned()));
        KeyringResponse {
            wan,
            datacenter: "dc1".to_owned(),
            segment: segment.to_owned(),
            messages: messages.collect(),
            keys: BTreeMap::new(),
            primary_keys: BTreeMap::new(),
            num_nodes: 2,
            error: error.to_owned(),
        }
    }

    /// The words are pinned by `operator.rs` and `pool.rs` of the conformance tests; segments exist only here.
    #[test]
    fn every_pool_that_failed_is_told_with_its_members() {
        let well = response(true, "", "", &[("a", "only said")]);
        assert_eq!(errors(std::slice::from_ref(&well)), None);
        let alone = response(true, "", "no", &[]);
        assert_eq!(errors(&[alone]).as_deref(), Some("1 error occurred:\n\t* WAN error: no\n\n"));
        let failed = response(false, "s", "1/2 nodes reported failure", &[("b", "odd"), ("c", "odder")]);
        assert_eq!(
            errors(&[well, failed]).as_deref(),
            Some(
                "3 errors occurred:\n\t* dc1 (LAN) [segment: s] error: 1/2 nodes reported failure\n\t* b: odd\n\t* c: \
                 odder\n\n"
            )
        );
    }
}
