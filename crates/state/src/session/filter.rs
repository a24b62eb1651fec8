//! What a filter may select in sessions.
//!
//! Compat: the reference's `/v1/session` endpoints do not look at `?filter=` at all; this is for our own rows.

use filter::Shape::{Int, List, String, Struct};
use filter::{Record, Shape, Value};

use super::{ServiceCheck, Session};

/// Sessions.
#[must_use]
pub fn session_shape() -> &'static Shape {
    &SESSION
}

const SESSION: Shape = Struct(&[
    ("ID", String),
    ("Name", String),
    ("Node", String),
    ("LockDelay", Int),
    ("Behavior", String),
    ("TTL", String),
    ("NodeChecks", List(&String)),
    ("ServiceChecks", List(&Struct(&[("ID", String), ("Namespace", String)]))),
    ("Checks", List(&String)),
]);

impl Record for Session {
    fn field(&self, name: &str) -> Value<'_> {
        match name {
            "ID" => Value::Str(&self.id),
            "Name" => Value::Str(&self.name),
            "Node" => Value::Str(&self.node),
            "LockDelay" => Value::Int(self.lock_delay),
            "Behavior" => Value::Str(&self.behavior),
            "TTL" => Value::Str(&self.ttl),
            "NodeChecks" => Value::Strings(self.node_checks.as_deref().unwrap_or_default()),
            "ServiceChecks" => Value::records(self.service_checks.as_deref().unwrap_or_default()),
            "Checks" => Value::Strings(&self.checks),
            _ => Value::Nil,
        }
    }
}

impl Record for ServiceCheck {
    fn field(&self, name: &str) -> Value<'_> {
        match name {
            "ID" => Value::Str(&self.id),
            "Namespace" => Value::Str(&self.namespace),
            _ => Value::Nil,
        }
    }
}
