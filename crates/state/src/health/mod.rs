//! Health checks as the catalog stores them (`/v1/health`).
//!
//! Always true:
//! - A check is on a node that exists; a check of a service is on an instance that exists.
//! - `ServiceName` and `ServiceTags` are those of the instance when the check was last written.
//! - A check that turns critical, or goes away, takes with it the sessions that are bound to it.
//! - Writing what is already there moves no index and wakes nobody.
//!
//! Not here: running checks, which is the agents' work.

pub(crate) mod filter;
mod query;
mod table;
mod write;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wire::duration::GoDuration;

pub use self::filter::check_shape;
pub(crate) use self::query::with_checks;
pub use self::query::{
    ChecksInState, HealthFilter, HealthNodeChecks, HealthServiceChecks, HealthServiceNodes, StateQuery,
};
pub(crate) use self::table::Table;
pub(crate) use self::write::{
    default_id, effective_id, prepare_check, put_check, remove_check, remove_checks_of, remove_checks_on,
};
use crate::Index;
use crate::catalog::fold;

/// The states of checks.
pub const PASSING: &str = "passing";
pub const WARNING: &str = "warning";
pub const CRITICAL: &str = "critical";

/// A check of a node or of a service on it (`structs.HealthCheck`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HealthCheck {
    pub node: String,
    #[serde(rename = "CheckID")]
    pub check_id: String,
    pub name: String,
    /// `passing`, `warning`, `critical`; kept as sent, since the reference does not refuse other words.
    pub status: String,
    pub notes: String,
    pub output: String,
    #[serde(rename = "ServiceID")]
    pub service_id: String,
    pub service_name: String,
    pub service_tags: Vec<String>,
    pub r#type: String,
    pub interval: String,
    pub timeout: String,
    pub exposed_port: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub peer_name: String,
    pub definition: Definition,
    pub create_index: Index,
    pub modify_index: Index,
}

/// How a check is run, as far as the catalog carries it (`structs.HealthCheckDefinition`). Durations are
/// text in JSON (but for `TTL`: Compat, a
/// number) and nanoseconds in stored bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(
    default,
    rename = "HealthCheckDefinition|Alias|struct { Interval interface {}; Timeout interface {}; DeregisterCriticalServiceAfter interface {}; TTL interface {}; *structs.Alias }",
    rename_all = "PascalCase"
)]
pub struct Definition {
    #[serde(with = "wire::duration::as_string", skip_serializing_if = "GoDuration::is_zero")]
    pub interval: GoDuration,
    #[serde(with = "wire::duration::as_string", skip_serializing_if = "GoDuration::is_zero")]
    pub timeout: GoDuration,
    #[serde(with = "wire::duration::as_string", skip_serializing_if = "GoDuration::is_zero")]
    pub deregister_critical_service_after: GoDuration,
    #[serde(rename = "HTTP", skip_serializing_if = "String::is_empty")]
    pub http: String,
    #[serde(rename = "TLSServerName", skip_serializing_if = "String::is_empty")]
    pub tls_server_name: String,
    #[serde(rename = "TLSSkipVerify", skip_serializing_if = "std::ops::Not::not")]
    pub tls_skip_verify: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub header: BTreeMap<String, Vec<String>>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub method: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub body: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub disable_redirects: bool,
    #[serde(rename = "TCP", skip_serializing_if = "String::is_empty")]
    pub tcp: String,
    #[serde(rename = "TCPUseTLS", skip_serializing_if = "std::ops::Not::not")]
    pub tcp_use_tls: bool,
    #[serde(rename = "UDP", skip_serializing_if = "String::is_empty")]
    pub udp: String,
    #[serde(rename = "H2PING", skip_serializing_if = "String::is_empty")]
    pub h2ping: String,
    #[serde(rename = "OSService", skip_serializing_if = "String::is_empty")]
    pub os_service: String,
    #[serde(rename = "H2PingUseTLS", skip_serializing_if = "std::ops::Not::not")]
    pub h2ping_use_tls: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub output_max_size: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub script_args: Vec<String>,
    #[serde(rename = "DockerContainerID", skip_serializing_if = "String::is_empty")]
    pub docker_container_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub shell: String,
    #[serde(rename = "GRPC", skip_serializing_if = "String::is_empty")]
    pub grpc: String,
    #[serde(rename = "GRPCUseTLS", skip_serializing_if = "std::ops::Not::not")]
    pub grpc_use_tls: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub alias_node: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub alias_service: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub session_name: String,
    #[serde(rename = "TTL", skip_serializing_if = "GoDuration::is_zero")]
    pub ttl: GoDuration,
}

impl HealthCheck {
    /// Whether writing `other` over this would change nothing but indexes.
    ///
    /// Compat: `Type`, `Interval`, `Timeout` and `ExposedPort` do not count, so that changing nothing else is
    /// not stored; agents of different versions would otherwise write in turns.
    #[must_use]
    pub fn same_content(&self, other: &HealthCheck) -> bool {
        fold(&self.node) == fold(&other.node)
            && self.check_id == other.check_id
            && self.name == other.name
            && self.status == other.status
            && self.notes == other.notes
            && self.output == other.output
            && self.service_id == other.service_id
            && self.service_name == other.service_name
            && self.service_tags == other.service_tags
            && self.definition == other.definition
    }
}

impl Definition {
    /// What kind of check this defines, `""` when nothing says so.
    fn kind(&self) -> &'static str {
        let interval = self.interval.0 > 0;
        let script = interval && !self.script_args.is_empty();
        match () {
            () if interval && !self.grpc.is_empty() => "grpc",
            () if interval && !self.http.is_empty() => "http",
            () if self.ttl.0 > 0 => "ttl",
            () if interval && !self.tcp.is_empty() => "tcp",
            () if interval && !self.udp.is_empty() => "udp",
            () if !self.alias_node.is_empty() || !self.alias_service.is_empty() => "alias",
            () if script && !self.docker_container_id.is_empty() => "docker",
            () if !self.script_args.is_empty() => "script",
            () if interval && !self.h2ping.is_empty() => "h2ping",
            () if interval && !self.os_service.is_empty() => "os_service",
            () => "",
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
