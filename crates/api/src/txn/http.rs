//! `/v1/txn`.

use http::StatusCode;
use serde::Serialize;
use state::catalog::Node;
use state::kv::Entry;
use state::txn::{CheckOp, KvOp, NodeOp, Op, ServiceOp, TxnError, TxnRead, TxnRequest, TxnResponse, Verb};
use state::{Command, Index, Outcome};

use super::sent::{Sent, TxnOps};
use super::shown::Shown;
use crate::Api;
use crate::http::{Asker, Failure, Guard, Reply, Request, Route, datacenter, decode, read_options, set_txn_meta};

/// A transaction may hold this many operations.
const OPS_MAX: usize = 128;
const LIMIT_PAGE: &str = "https://developer.hashicorp.com/docs/agent/config/config-files#txn_max_req_len";

/// The routes of this concept.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![Route {
        pattern: "/v1/txn",
        methods: &["PUT"],
        guard: Guard::Executed,
        handler: |api, req, asker| Box::pin(serve(api, req, asker)),
    }]
}

async fn serve(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    let limit = api.settings.txn_max_req_len.max(api.settings.kv_max_value_size);
    let body = req.body(limit, |size| Failure::body_too_large(size, limit, LIMIT_PAGE)).await?;
    let TxnOps(sent) =
        decode::strict(&body).map_err(|error| Failure::bad_request(format!("Failed to parse body: {error}")))?;
    if sent.len() > OPS_MAX {
        return Err(Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("Transaction contains too many operations ({} > {OPS_MAX})", sent.len()),
        ));
    }
    let mut ops = Vec::with_capacity(sent.len());
    let mut refusals = Vec::new();
    let mut is_write = false;
    // An operation without content is passed over.
    for sent in sent.into_iter().filter(Sent::is_filled) {
        // Compat: a KV verb that nobody knows does not count as a write, another one does.
        let is_kv = sent.kv.is_some();
        match operation(api, sent)? {
            Ok(op) => ops.push(op),
            Err(what) => {
                is_write |= !is_kv;
                refusals.push(TxnError { op_index: ops.len(), what });
                ops.push(Op::default());
            }
        }
    }
    let request = TxnRequest { datacenter: api.settings.datacenter.clone(), ops };
    let unknown: Vec<usize> = refusals.iter().map(|refusal| refusal.op_index).collect();
    let known = request.refusals(&*asker.may).into_iter().filter(|refusal| !unknown.contains(&refusal.op_index));
    refusals.extend(known);
    refusals.sort_by_key(|refusal| refusal.op_index);
    if !is_write && request.ops.iter().all(|op| op.is_read() || *op == Op::default()) {
        return read(api, req, asker, request, refusals).await;
    }
    datacenter(api, req)?;
    let mut response =
        if refusals.is_empty() { write(api, asker, request).await? } else { TxnResponse::failed(refusals) };
    response.redact(&*asker.may);
    let status = status(&response);
    Ok(Reply::json(&Shown::new(&response)).with_status(status))
}

/// The operation that was sent, or why it is none.
fn operation(api: &Api, sent: Sent) -> Result<Result<Op, String>, Failure> {
    let mut op = Op::default();
    if let Some(kv) = sent.kv {
        let (size, limit) = (kv.value.0.len(), api.settings.kv_max_value_size);
        if size > limit {
            let text = format!("Value for key {:?} is too large ({size} > {limit} bytes)", kv.key);
            return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, text));
        }
        let verb = state::kv::Op::parse(&kv.verb.0);
        if verb == state::kv::Op::Unknown {
            return Ok(Err(format!("unknown KV operation: {}", kv.verb.0)));
        }
        let dir_ent = Entry {
            key: kv.key.into(),
            value: kv.value,
            flags: kv.flags,
            session: kv.session.into(),
            modify_index: Index(kv.index),
            ..Entry::default()
        };
        op.kv = Some(KvOp { verb, dir_ent });
    } else if let Some(sent) = sent.node {
        let verb = Verb::parse(&sent.verb.0);
        if verb == Verb::Unknown {
            return Ok(Err(format!("unknown node operation: {}", sent.verb.0)));
        }
        let mut node = Node::from(sent.node);
        if node.datacenter.is_empty() {
            node.datacenter.clone_from(&api.settings.datacenter);
        }
        op.node = Some(NodeOp { verb, node });
    } else if let Some(sent) = sent.service {
        let verb = Verb::parse(&sent.verb.0);
        if verb == Verb::Unknown {
            return Ok(Err(format!("unknown service operation: {}", sent.verb.0)));
        }
        op.service = Some(ServiceOp { verb, node: sent.node, service: sent.service.into() });
    } else if let Some(sent) = sent.check {
        let verb = Verb::parse(&sent.verb.0);
        if verb == Verb::Unknown {
            return Ok(Err(format!("unknown check operation: {}", sent.verb.0)));
        }
        op.check = Some(CheckOp { verb, check: sent.check.into() });
    }
    Ok(Ok(op))
}

async fn write(api: &Api, asker: &Asker, request: TxnRequest) -> Result<TxnResponse, Failure> {
    let delayed = lock_refusals(&request);
    match api.cluster.write(Command::Txn(request), &*asker.may).await? {
        Outcome::Txn(response) => Ok(response),
        // A lock-delay still runs: nothing was proposed.
        _ => Ok(TxnResponse::failed(delayed)),
    }
}

fn lock_refusals(request: &TxnRequest) -> Vec<TxnError> {
    let ops = request.ops.iter().enumerate();
    ops.filter_map(|(op_index, op)| {
        let kv = op.kv.as_ref().filter(|kv| kv.verb == state::kv::Op::Lock)?;
        Some(TxnError { op_index, what: format!("failed to lock key {:?} due to lock delay", kv.dir_ent.key) })
    })
    .collect()
}

/// The answer of a transaction of reads carries the read's facts inside (`structs.TxnReadResponse`).
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ReadResponse<'a> {
    #[serde(flatten)]
    shown: Shown<'a>,
    #[serde(flatten)]
    meta: crate::http::BodyMeta,
}

async fn read(
    api: &Api,
    req: &Request,
    asker: &Asker,
    request: TxnRequest,
    refusals: Vec<TxnError>,
) -> Result<Reply, Failure> {
    let mut options = read_options(api, req)?;
    options.read.min_index = Index(0);
    if !refusals.is_empty() {
        // Compat: a refused read says nothing of the leader, inside and outside.
        let meta = crate::http::BodyMeta::default();
        let refused = TxnResponse::failed(refusals);
        let mut reply =
            Reply::json(&ReadResponse { shown: Shown::new(&refused), meta }).with_status(StatusCode::CONFLICT);
        set_txn_meta(&mut reply.headers, &server::QueryMeta::default());
        return Ok(reply);
    }
    datacenter(api, req)?;
    let answer = api.cluster.read(&TxnRead { ops: request.ops }, &options.read, &asker.may).await?;
    let status = status(&answer.answer);
    // Compat: the index is not filled in, and so shown as the least that there is.
    let meta = crate::http::BodyMeta { index: 1, consistency_level: "", ..crate::http::BodyMeta::new(&answer.meta) };
    let mut reply = Reply::json(&ReadResponse { shown: Shown::new(&answer.answer), meta }).with_status(status);
    set_txn_meta(&mut reply.headers, &answer.meta);
    Ok(reply)
}

fn status(response: &TxnResponse) -> StatusCode {
    if response.errors.is_some() { StatusCode::CONFLICT } else { StatusCode::OK }
}
