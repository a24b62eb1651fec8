//! What is seen of a running agent from outside: metrics, log lines as they are written, the machine.
//!
//! Streams end with their client or with the agent; what a slow client does not take is dropped, never kept.

use ::agent::host::Host;
use ::agent::logbook;
use acl::Access;
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::Api;
use crate::http::{Asker, Body, Failure, Guard, REASON, Reply, Request, Route, indented};

/// Pieces of a stream that wait for its client.
const STREAM_PIECES: usize = 16;
/// Log lines are joined into pieces of up to this many bytes.
const PIECE_BYTES: usize = 16 << 10;

const PROMETHEUS_OFF: &str = "Prometheus is not enabled since its retention time is not positive";

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route {
            pattern: "/v1/agent/metrics",
            methods: &["GET"],
            guard: Guard::Agent(Access::Read),
            handler: |api, req, asker| Box::pin(metrics(api, req, asker)),
        },
        Route {
            pattern: "/v1/agent/metrics/stream",
            methods: &["GET"],
            guard: Guard::Agent(Access::Read),
            handler: |api, req, asker| Box::pin(metrics_stream(api, req, asker)),
        },
        Route {
            pattern: "/v1/agent/monitor",
            methods: &["GET"],
            guard: Guard::Agent(Access::Read),
            handler: |api, req, asker| Box::pin(monitor(api, req, asker)),
        },
        Route {
            pattern: "/v1/agent/host",
            methods: &["GET"],
            guard: Guard::Operator(Access::Read),
            handler: |api, req, asker| Box::pin(host(api, req, asker)),
        },
    ]
}

/// Whether the text format is asked for, by parameter or by the media types that Prometheus sends.
fn wants_prometheus(req: &Request) -> bool {
    let accepted = req.header("accept").unwrap_or_default();
    let is_text = accepted.split(',').any(|wanted| {
        let mut parts = wanted.split(';').map(str::trim);
        match parts.next() {
            Some("application/openmetrics-text") => true,
            Some("text/plain") => parts.any(|parameter| matches!(parameter, "version=0.4.0" | "version=0.0.4")),
            _ => false,
        }
    });
    is_text || req.param("format") == Some("prometheus")
}

async fn metrics(api: &Api, req: &mut Request, _asker: &Asker) -> Result<Reply, Failure> {
    if !wants_prometheus(req) {
        return Ok(Reply::json(&*api.telemetry.snapshot()));
    }
    Ok(match api.telemetry.prometheus() {
        Some(text) => Reply::bytes("text/plain; version=0.0.4; charset=utf-8", text.into()),
        // Compat: 200 and nothing, with the reason in a header.
        None => Reply::empty().with_header(REASON, PROMETHEUS_OFF),
    })
}

async fn metrics_stream(api: &Api, _req: &mut Request, _asker: &Asker) -> Result<Reply, Failure> {
    let mut intervals = api.telemetry.interval_stream();
    let (pieces, body) = mpsc::channel(STREAM_PIECES);
    tokio::spawn(async move {
        loop {
            let summary = tokio::select! {
                summary = intervals.next() => summary,
                () = pieces.closed() => return,
            };
            let Some(summary) = summary else { return };
            let Ok(json) = wire::json::to_vec(&*summary) else { return };
            if pieces.send(Ok(indented(&json, true))).await.is_err() {
                return;
            }
        }
    });
    Ok(Reply { body: Body::Stream(body), ..Reply::empty() })
}

async fn monitor(api: &Api, req: &mut Request, _asker: &Asker) -> Result<Reply, Failure> {
    let name = req.filled("loglevel").unwrap_or("INFO");
    let level = logbook::level_of(name).ok_or_else(|| Failure::bad_request(format!("Unknown log level: {name}")))?;
    let mut lines = api.logbook.subscribe(level, req.has("logjson"));
    let (pieces, body) = mpsc::channel(STREAM_PIECES);
    tokio::spawn(async move {
        loop {
            let line = tokio::select! {
                line = lines.next() => line,
                () = pieces.closed() => return,
            };
            let Some(line) = line else { return };
            let mut piece = line.to_vec();
            while piece.len() < PIECE_BYTES {
                let Some(line) = lines.try_next() else { break };
                piece.extend_from_slice(&line);
            }
            if pieces.send(Ok(Bytes::from(piece))).await.is_err() {
                return;
            }
        }
    });
    Ok(Reply { body: Body::Stream(body), ..Reply::empty() })
}

async fn host(_api: &Api, _req: &mut Request, _asker: &Asker) -> Result<Reply, Failure> {
    let host =
        tokio::task::spawn_blocking(Host::collect).await.map_err(|error| Failure::internal(error.to_string()))?;
    Ok(Reply::json(&host))
}
