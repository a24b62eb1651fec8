//! `/v1/config`, and `/v1/exported-services`, which spells one entry out.

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use serde::Serialize;
use serde_json::Value;
use state::config_entry::{
    ConfigEntryGet, ConfigEntryList, ConfigEntryRequest, ConfigEntryResolvedExports, Entry, Op, Selectable,
    service_defaults_shape,
};
use state::{Command, Index, Outcome};
use wire::json::{Mode, Value as Document};

use crate::Api;
use crate::http::{
    Answered, Asker, Failure, Filtering, Guard, Reply, Request, Route, datacenter, decode, parse_uint,
    parse_uint_error, read_options, serve_query,
};

/// The routes of this concept.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route {
            pattern: "/v1/exported-services",
            methods: &["GET"],
            guard: Guard::Executed,
            handler: |api, req, asker| Box::pin(exported(api, req, asker)),
        },
        Route {
            pattern: "/v1/config",
            methods: &["PUT"],
            guard: Guard::Executed,
            handler: |api, req, asker| Box::pin(put(api, req, asker)),
        },
        Route {
            pattern: "/v1/config/",
            methods: &["GET", "DELETE"],
            guard: Guard::Executed,
            handler: |api, req, asker| {
                if req.method == Method::DELETE {
                    return Box::pin(delete(api, req, asker));
                }
                match place(req) {
                    (kind, Some(name)) => Box::pin(get(api, req, asker, kind, name)),
                    (kind, None) => Box::pin(list(api, req, asker, kind)),
                }
            },
        },
    ]
}

/// Kind, and name if one is given.
fn place(req: &Request) -> (String, Option<String>) {
    match req.rest("/v1/config/").split_once('/') {
        Some((kind, name)) => (kind.to_owned(), Some(name.to_owned())),
        None => (req.rest("/v1/config/").to_owned(), None),
    }
}

async fn get(api: &Api, req: &Request, asker: &Asker, kind: String, name: String) -> Result<Reply, Failure> {
    let options = read_options(api, req)?;
    let missing = format!("Config entry not found for {} / {}", wire::json::quote(&kind), wire::json::quote(&name));
    serve_query(api, req, asker, &options, &ConfigEntryGet { kind, name }, None, |entry| {
        Ok(match entry {
            Some(entry) => Answered::json(&*entry),
            None => {
                let reply = Reply::text(missing.clone()).with_status(StatusCode::NOT_FOUND);
                Answered::Reply(Box::new(reply))
            }
        })
    })
    .await
}

async fn list(api: &Api, req: &Request, asker: &Asker, kind: String) -> Result<Reply, Failure> {
    let options = read_options(api, req)?;
    let is_known = kind.is_empty() || Entry::named(&kind, "").is_ok();
    if req.filled("filter").is_some() && is_known && kind != "service-defaults" {
        return Err(Failure::internal(format!("filtering not supported for config entry kind={kind}")));
    }
    let filtering = if is_known { Filtering::of(req, service_defaults_shape())? } else { Filtering::none() };
    serve_query(api, req, asker, &options, &ConfigEntryList { kind }, None, |mut entries| {
        entries.retain(|entry| filtering.keeps(&Selectable::new(entry)));
        Ok(Answered::json(&entries))
    })
    .await
}

/// `api.ResolvedExportedService`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Exported {
    service: String,
    consumers: Consumers,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Consumers {
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    peers: BTreeSet<String>,
}

async fn exported(api: &Api, req: &Request, asker: &Asker) -> Result<Reply, Failure> {
    let options = read_options(api, req)?;
    serve_query(api, req, asker, &options, &ConfigEntryResolvedExports {}, None, |exports| {
        let exports = exports.into_iter();
        let rows = exports.map(|(service, peers)| Exported { service, consumers: Consumers { peers } });
        Ok(Answered::json(&rows.collect::<Vec<_>>()))
    })
    .await
}

async fn put(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    let body = decode::whole(req).await?;
    let refused = |reason: String| Failure::bad_request(format!("Request decoding failed: {reason}"));
    let document = Document::parse(&body, Mode::Decoder).map_err(|error| refused(error.to_string()))?;
    let tree = match wire::weak::tree(&document) {
        Value::Null => Value::Object(serde_json::Map::new()),
        tree @ Value::Object(_) => tree,
        other => return Err(refused(format!("'' expected a map, got '{}'", wire::weak::kind(&other)))),
    };
    let entry = Entry::from_tree(&tree).map_err(refused)?;
    write(api, req, asker, (Op::Upsert, Op::UpsertCas), entry).await
}

async fn delete(api: &Api, req: &Request, asker: &Asker) -> Result<Reply, Failure> {
    let (kind, Some(name)) = place(req) else {
        return Err(Failure::not_found("Must provide both a kind and name to delete"));
    };
    let entry = Entry::named(&kind, &name).map_err(|error| Failure::bad_request(error.to_string()))?;
    let reply = write(api, req, asker, (Op::Delete, Op::DeleteCas), entry).await?;
    // Compat: only a check-and-set tells what became of it.
    Ok(if req.filled("cas").is_some() { reply } else { Reply::json(&serde_json::Map::new()) })
}

/// Writes with the first of `ops`, with the second if an index is to be checked.
async fn write(api: &Api, req: &Request, asker: &Asker, ops: (Op, Op), mut entry: Entry) -> Result<Reply, Failure> {
    let op = match req.filled("cas") {
        None => ops.0,
        Some(text) => {
            let index = parse_uint(text).ok_or_else(|| Failure::internal(parse_uint_error(text)))?;
            entry.modify_index = Index(index);
            ops.1
        }
    };
    datacenter(api, req)?;
    let request = ConfigEntryRequest { op, datacenter: api.settings.datacenter.clone(), entry: Box::new(entry) };
    match api.cluster.write(Command::ConfigEntry(request), &*asker.may).await? {
        Outcome::Decided(done) => Ok(Reply::json(&done)),
        _ => Ok(Reply::json(&true)),
    }
}
