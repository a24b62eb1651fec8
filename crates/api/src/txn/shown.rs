//! What a transaction came to, in the form that clients see.

use serde::Serialize;
use state::catalog::Node;
use state::kv::Entry;
use state::txn::{TxnError, TxnResponse, TxnResult};

use super::kept::{KeptCheck, KeptService};

/// `structs.TxnResponse`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Shown<'a> {
    results: Option<Vec<ShownResult<'a>>>,
    errors: Option<&'a [TxnError]>,
}

impl<'a> Shown<'a> {
    pub fn new(response: &'a TxnResponse) -> Self {
        Shown {
            results: response.results.as_ref().map(|results| results.iter().map(ShownResult::new).collect()),
            errors: response.errors.as_deref(),
        }
    }
}

/// `structs.TxnResult`.
#[derive(Serialize)]
struct ShownResult<'a> {
    #[serde(rename = "KV", skip_serializing_if = "Option::is_none")]
    kv: Option<&'a Entry>,
    #[serde(rename = "Node", skip_serializing_if = "Option::is_none")]
    node: Option<&'a Node>,
    #[serde(rename = "Service", skip_serializing_if = "Option::is_none")]
    service: Option<KeptService<'a>>,
    #[serde(rename = "Check", skip_serializing_if = "Option::is_none")]
    check: Option<KeptCheck<'a>>,
}

impl<'a> ShownResult<'a> {
    fn new(result: &'a TxnResult) -> Self {
        ShownResult {
            kv: result.kv.as_deref(),
            node: result.node.as_deref(),
            service: result.service.as_deref().map(KeptService::new),
            check: result.check.as_deref().map(KeptCheck::new),
        }
    }
}
