//! What `?filter=` may select in health checks. Their definitions and indexes cannot be.

use filter::Shape::{Int, List, String, Struct};
use filter::{Record, Shape, Value};

use super::HealthCheck;

/// Rows of `/v1/health/node/:name`, `/v1/health/checks/:name` and `/v1/health/state/:state`.
#[must_use]
pub fn check_shape() -> &'static Shape {
    &CHECK
}

pub(crate) const CHECK: Shape = Struct(&[
    ("Node", String),
    ("CheckID", String),
    ("Name", String),
    ("Status", String),
    ("Notes", String),
    ("Output", String),
    ("ServiceID", String),
    ("ServiceName", String),
    ("ServiceTags", List(&String)),
    ("Type", String),
    ("Interval", String),
    ("Timeout", String),
    ("ExposedPort", Int),
    ("PeerName", String),
]);

impl Record for HealthCheck {
    fn field(&self, name: &str) -> Value<'_> {
        match name {
            "Node" => Value::Str(&self.node),
            "CheckID" => Value::Str(&self.check_id),
            "Name" => Value::Str(&self.name),
            "Status" => Value::Str(&self.status),
            "Notes" => Value::Str(&self.notes),
            "Output" => Value::Str(&self.output),
            "ServiceID" => Value::Str(&self.service_id),
            "ServiceName" => Value::Str(&self.service_name),
            "ServiceTags" => Value::Strings(&self.service_tags),
            "Type" => Value::Str(&self.r#type),
            "Interval" => Value::Str(&self.interval),
            "Timeout" => Value::Str(&self.timeout),
            "ExposedPort" => Value::Int(self.exposed_port),
            "PeerName" => Value::Str(&self.peer_name),
            _ => Value::Nil,
        }
    }
}
