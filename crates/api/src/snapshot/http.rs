//! `/v1/snapshot`: the whole state as an archive, and back.

use acl::{Access, Need, Resource};
use bytes::Bytes;
use server::ReadMode;

use crate::Api;
use crate::http::{Asker, Body, Failure, Guard, Reply, Request, Route, datacenter, set_meta};

/// An archive over this is refused: the state it holds would not fit a server's memory either.
const ARCHIVE_MAX: usize = 4 << 30;

/// The routes of this concept.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![Route {
        pattern: "/v1/snapshot",
        methods: &["GET", "PUT"],
        guard: Guard::Handler("acl:write, as an archive holds every secret"),
        handler: |api, req, asker| Box::pin(serve(api, req, asker)),
    }]
}

async fn serve(api: &Api, req: &mut Request, asker: &Asker) -> Result<Reply, Failure> {
    datacenter(api, req)?;
    asker.may.require(Need { resource: Resource::Acl, access: Access::Write })?;
    if req.method == http::Method::PUT { restore(api, req).await } else { save(api, req).await }
}

async fn save(api: &Api, req: &mut Request) -> Result<Reply, Failure> {
    // Compat: of the read options only this one is looked at.
    let mode = if req.has("stale") { ReadMode::Stale } else { ReadMode::Default };
    let (archive, meta) = api.cluster.save_snapshot(mode).await?;
    let mut reply = Reply { body: Body::Full(archive), ..Reply::empty() };
    reply.headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/x-gzip"));
    set_meta(&mut reply.headers, &meta, false);
    Ok(reply)
}

async fn restore(api: &Api, req: &mut Request) -> Result<Reply, Failure> {
    let archive: Bytes = req
        .body(ARCHIVE_MAX, |size| {
            Failure::new(
                http::StatusCode::PAYLOAD_TOO_LARGE,
                format!("Request body({size} bytes) too large, max size: {ARCHIVE_MAX} bytes."),
            )
        })
        .await?;
    api.cluster.restore_snapshot(archive).await?;
    Ok(Reply::empty())
}
