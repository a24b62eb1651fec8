//! What a filter may select in config entries: those of `service-defaults`, as in the reference.

use filter::Shape::{Bool, Int, List, Map, String, Struct, Uint, Uint32};
use filter::{Record, Shape, Value};
use serde_json::Value as Tree;

use super::{Entry, Meta};

/// Entries of `service-defaults`.
#[must_use]
pub fn service_defaults_shape() -> &'static Shape {
    &SERVICE_DEFAULTS
}

const MESH_GATEWAY: Shape = Struct(&[("Mode", String)]);

const UPSTREAM: Shape = Struct(&[
    ("Name", String),
    ("Peer", String),
    ("EnvoyListenerJSON", String),
    ("EnvoyClusterJSON", String),
    ("Protocol", String),
    ("ConnectTimeoutMs", Int),
    ("Limits", Struct(&[("MaxConnections", Int), ("MaxPendingRequests", Int), ("MaxConcurrentRequests", Int)])),
    (
        "PassiveHealthCheck",
        Struct(&[
            ("Interval", Int),
            ("MaxFailures", Uint32),
            ("EnforcingConsecutive5xx", Uint32),
            ("MaxEjectionPercent", Uint32),
            ("BaseEjectionTime", Int),
        ]),
    ),
    ("MeshGateway", MESH_GATEWAY),
    ("BalanceOutboundConnections", String),
]);

const ROUTE_RATE_LIMITS: Shape = Struct(&[
    ("PathExact", String),
    ("PathPrefix", String),
    ("PathRegex", String),
    ("RequestsPerSecond", Int),
    ("RequestsMaxBurst", Int),
]);

const SERVICE_DEFAULTS: Shape = Struct(&[
    ("Kind", String),
    ("Name", String),
    ("Protocol", String),
    ("Mode", String),
    ("TransparentProxy", Struct(&[("OutboundListenerPort", Int), ("DialedDirectly", Bool)])),
    ("MutualTLSMode", String),
    ("MeshGateway", MESH_GATEWAY),
    (
        "Expose",
        Struct(&[
            ("Checks", Bool),
            (
                "Paths",
                List(&Struct(&[
                    ("ListenerPort", Int),
                    ("Path", String),
                    ("LocalPathPort", Int),
                    ("Protocol", String),
                    ("ParsedFromCheck", Bool),
                ])),
            ),
        ]),
    ),
    ("ExternalSNI", String),
    ("UpstreamConfig", Struct(&[("Overrides", List(&UPSTREAM)), ("Defaults", UPSTREAM)])),
    ("Destination", Struct(&[("Addresses", List(&String)), ("Port", Int)])),
    ("MaxInboundConnections", Int),
    ("LocalConnectTimeoutMs", Int),
    ("LocalRequestTimeoutMs", Int),
    ("BalanceInboundConnections", String),
    (
        "RateLimits",
        Struct(&[(
            "InstanceLevel",
            Struct(&[("RequestsPerSecond", Int), ("RequestsMaxBurst", Int), ("Routes", List(&ROUTE_RATE_LIMITS))]),
        )]),
    ),
    (
        "EnvoyExtensions",
        List(&Struct(&[("Name", String), ("Required", Bool), ("ConsulVersion", String), ("EnvoyVersion", String)])),
    ),
    ("Meta", Map(&String)),
    ("Hash", Uint),
    ("CreateIndex", Uint),
    ("ModifyIndex", Uint),
]);

/// An entry as a filter looks at it: as it is shown, with zeros for what is not shown.
pub struct Selectable {
    tree: Tree,
    meta: Meta,
}

impl Selectable {
    #[must_use]
    pub fn new(entry: &Entry) -> Self {
        Selectable { tree: serde_json::to_value(entry).unwrap_or_default(), meta: entry.meta.clone() }
    }
}

impl Record for Selectable {
    fn field(&self, name: &str) -> Value<'_> {
        match name {
            "Meta" => Value::map(self.meta.as_ref()),
            _ => Part { shape: &SERVICE_DEFAULTS, tree: Some(&self.tree) }.member(name),
        }
    }
}

/// A struct somewhere inside.
#[derive(Clone, Copy)]
struct Part<'a> {
    shape: &'static Shape,
    tree: Option<&'a Tree>,
}

impl<'a> Part<'a> {
    fn member(self, name: &str) -> Value<'a> {
        let Struct(fields) = self.shape else { return Value::Nil };
        let Some((_, shape)) = fields.iter().find(|(field, _)| *field == name) else { return Value::Nil };
        Part { shape, tree: self.tree.and_then(|tree| tree.get(name)) }.value()
    }

    fn value(self) -> Value<'a> {
        match self.shape {
            String => Value::Str(self.tree.and_then(Tree::as_str).unwrap_or_default()),
            Bool => Value::Bool(self.tree.and_then(Tree::as_bool).unwrap_or_default()),
            Int => Value::Int(self.tree.and_then(Tree::as_i64).unwrap_or_default()),
            Uint | Uint32 => Value::Uint(self.tree.and_then(Tree::as_u64).unwrap_or_default()),
            List(shape) => {
                let items = self.tree.and_then(Tree::as_array).into_iter().flatten();
                Value::List(Box::new(items.map(move |item| Part { shape, tree: Some(item) }.value())))
            }
            Struct(_) => Value::View(Box::new(self)),
            _ => Value::Nil,
        }
    }
}

impl Record for Part<'_> {
    fn field(&self, name: &str) -> Value<'_> {
        self.member(name)
    }
}
