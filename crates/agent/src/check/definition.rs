//! A check as users write it.
//!
//! Always true: what decodes keeps every field, so that a definition written to disk and read back is the same;
//! `validate` refuses with the reference's texts.
//! Not here: whether the check's service exists, and permission to run scripts (`script::permission`).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};
use wire::duration::GoDuration;

/// What to check and how often. It decodes from JSON as the reference reads it: `Args` and `ScriptArgs` are one, and a
/// check over `H2PING` encrypts unless told otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", from = "Written")]
pub struct CheckType {
    #[serde(rename = "CheckID")]
    pub check_id: String,
    pub name: String,
    pub status: String,
    pub notes: String,
    #[serde(serialize_with = "null_when_empty")]
    pub script_args: Vec<String>,
    #[serde(rename = "HTTP")]
    pub http: String,
    #[serde(rename = "H2PING")]
    pub h2ping: String,
    #[serde(rename = "H2PingUseTLS")]
    pub h2ping_use_tls: bool,
    #[serde(serialize_with = "null_when_no_header")]
    pub header: BTreeMap<String, Vec<String>>,
    pub method: String,
    pub body: String,
    pub disable_redirects: bool,
    #[serde(rename = "TCP")]
    pub tcp: String,
    #[serde(rename = "TCPUseTLS")]
    pub tcp_use_tls: bool,
    #[serde(rename = "UDP")]
    pub udp: String,
    pub interval: GoDuration,
    pub alias_node: String,
    pub alias_service: String,
    #[serde(rename = "DockerContainerID")]
    pub docker_container_id: String,
    pub shell: String,
    #[serde(rename = "GRPC")]
    pub grpc: String,
    #[serde(rename = "GRPCUseTLS")]
    pub grpc_use_tls: bool,
    #[serde(rename = "OSService")]
    pub os_service: String,
    #[serde(rename = "TLSServerName")]
    pub tls_server_name: String,
    #[serde(rename = "TLSSkipVerify")]
    pub tls_skip_verify: bool,
    pub timeout: GoDuration,
    #[serde(rename = "TTL")]
    pub ttl: GoDuration,
    pub success_before_passing: i64,
    pub failures_before_warning: i64,
    pub failures_before_critical: i64,
    /// Asked instead of `http` when checks are exposed through a proxy.
    #[serde(rename = "ProxyHTTP")]
    pub proxy_http: String,
    /// Asked instead of `grpc` when checks are exposed through a proxy.
    #[serde(rename = "ProxyGRPC")]
    pub proxy_grpc: String,
    pub deregister_critical_service_after: GoDuration,
    pub output_max_size: i64,
}

/// A check on its own, as `/v1/agent/check/register` takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "WrittenDefinition")]
pub struct CheckDefinition {
    pub id: String,
    pub service_id: String,
    pub token: String,
    pub namespace: String,
    pub partition: String,
    /// Carries the id, the name, the status and the notes too.
    pub check: CheckType,
}

/// What runs when the check is started; a definition has exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ttl,
    Http,
    Tcp,
    Udp,
    Grpc,
    Docker,
    OsService,
    Script,
    H2Ping,
    Alias,
}

impl CheckType {
    /// Refuses what cannot be run. The API puts `Invalid check: ` before the text.
    pub fn validate(&self) -> Result<(), &'static str> {
        let has_interval_kind = !self.script_args.is_empty()
            || [&self.http, &self.tcp, &self.udp, &self.grpc, &self.h2ping, &self.os_service]
                .iter()
                .any(|target| !target.is_empty());
        let interval = self.interval > GoDuration::ZERO;
        let ttl = self.ttl > GoDuration::ZERO;
        if interval && ttl {
            return Err("Interval and TTL cannot both be specified");
        }
        if has_interval_kind && !interval {
            return Err("Interval must be > 0 for Script, HTTP, H2PING, TCP, UDP or OSService checks");
        }
        if has_interval_kind && self.is_alias() {
            return Err("Interval cannot be set for Alias checks");
        }
        if self.is_alias() && ttl {
            return Err("TTL must be not be set for Alias checks");
        }
        if !has_interval_kind && !self.is_alias() && !ttl {
            return Err("TTL must be > 0 for TTL checks");
        }
        if self.output_max_size < 0 {
            return Err("MaxOutputMaxSize must be positive");
        }
        if self.failures_before_warning > self.failures_before_critical {
            return Err("FailuresBeforeWarning can't be higher than FailuresBeforeCritical");
        }
        Ok(())
    }

    /// Nothing was written at all; such entries in lists are passed over.
    pub fn is_empty(&self) -> bool {
        *self == CheckType::default()
    }

    pub fn is_alias(&self) -> bool {
        !self.alias_node.is_empty() || !self.alias_service.is_empty()
    }

    pub fn is_script(&self) -> bool {
        !self.script_args.is_empty()
    }

    /// What the reference would start; nothing means `Check type is not valid`.
    pub fn kind(&self) -> Option<Kind> {
        let interval = self.interval > GoDuration::ZERO;
        let named = |target: &String| interval && !target.is_empty();
        let candidates = [
            (self.ttl > GoDuration::ZERO, Kind::Ttl),
            (named(&self.http), Kind::Http),
            (named(&self.tcp), Kind::Tcp),
            (named(&self.udp), Kind::Udp),
            (named(&self.grpc), Kind::Grpc),
            (self.is_script() && named(&self.docker_container_id), Kind::Docker),
            (named(&self.os_service), Kind::OsService),
            (self.is_script() && interval && self.docker_container_id.is_empty(), Kind::Script),
            (named(&self.h2ping), Kind::H2Ping),
            (self.is_alias(), Kind::Alias),
        ];
        candidates.into_iter().find_map(|(applies, kind)| applies.then_some(kind))
    }

    /// The word in `HealthCheck.Type`.
    ///
    /// Compat: with several targets in one definition the reference names another kind than it runs.
    pub fn type_name(&self) -> &'static str {
        let interval = self.interval > GoDuration::ZERO;
        let named = |target: &String| interval && !target.is_empty();
        let candidates = [
            (named(&self.grpc), "grpc"),
            (named(&self.http), "http"),
            (self.ttl > GoDuration::ZERO, "ttl"),
            (named(&self.tcp), "tcp"),
            (named(&self.udp), "udp"),
            (self.is_alias(), "alias"),
            (self.is_script() && named(&self.docker_container_id), "docker"),
            (self.is_script(), "script"),
            (named(&self.h2ping), "h2ping"),
            (named(&self.os_service), "os_service"),
        ];
        candidates.into_iter().find_map(|(applies, name)| applies.then_some(name)).unwrap_or_default()
    }

    /// The interval between runs, never below the floor.
    pub fn interval_floored(&self) -> Duration {
        self.interval.to_std().max(super::INTERVAL_MIN)
    }

    /// The check's own timeout, or the kind's.
    pub fn timeout_or(&self, default: Duration) -> Duration {
        if self.timeout > GoDuration::ZERO { self.timeout.to_std() } else { default }
    }

    /// How long the check's service may stay critical before it is removed; `floor` is the agent's minimum.
    pub fn deregister_after(&self, floor: Duration) -> Option<Duration> {
        (self.deregister_critical_service_after > GoDuration::ZERO)
            .then(|| self.deregister_critical_service_after.to_std().max(floor))
    }
}

fn null_when_empty<S: Serializer>(list: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    if list.is_empty() { serializer.serialize_none() } else { list.serialize(serializer) }
}

fn null_when_no_header<S: Serializer>(
    header: &BTreeMap<String, Vec<String>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if header.is_empty() { serializer.serialize_none() } else { header.serialize(serializer) }
}

/// The keys of a check inside a service.
#[derive(Deserialize, Default)]
#[serde(default, rename = "CheckType|Alias", rename_all = "PascalCase")]
struct Written {
    #[serde(rename = "CheckID")]
    check_id: String,
    name: String,
    status: String,
    notes: String,
    #[serde(rename = "args")]
    args: Vec<String>,
    #[serde(alias = "script_args")]
    script_args: Vec<String>,
    #[serde(rename = "HTTP")]
    http: String,
    #[serde(rename = "H2PING")]
    h2ping: String,
    #[serde(rename = "H2PingUseTLS")]
    h2ping_use_tls: Option<bool>,
    header: BTreeMap<String, Vec<String>>,
    method: String,
    body: String,
    disable_redirects: bool,
    #[serde(rename = "TCP")]
    tcp: String,
    #[serde(rename = "TCPUseTLS", alias = "tcp_use_tls")]
    tcp_use_tls: bool,
    #[serde(rename = "UDP")]
    udp: String,
    interval: GoDuration,
    alias_node: String,
    alias_service: String,
    #[serde(rename = "DockerContainerID", alias = "docker_container_id")]
    docker_container_id: String,
    shell: String,
    #[serde(rename = "GRPC")]
    grpc: String,
    #[serde(rename = "GRPCUseTLS", alias = "grpc_use_tls")]
    grpc_use_tls: bool,
    #[serde(rename = "OSService")]
    os_service: String,
    #[serde(rename = "TLSServerName", alias = "tls_server_name")]
    tls_server_name: String,
    #[serde(rename = "TLSSkipVerify", alias = "tls_skip_verify")]
    tls_skip_verify: bool,
    timeout: GoDuration,
    #[serde(rename = "TTL")]
    ttl: GoDuration,
    success_before_passing: i64,
    failures_before_warning: i64,
    failures_before_critical: i64,
    #[serde(rename = "ProxyHTTP")]
    proxy_http: String,
    #[serde(rename = "ProxyGRPC")]
    proxy_grpc: String,
    #[serde(alias = "deregister_critical_service_after")]
    deregister_critical_service_after: GoDuration,
    output_max_size: i64,
    /// Compat: accepted and without effect; the service around the check decides.
    #[serde(rename = "ServiceID")]
    #[allow(dead_code)]
    #[serde(alias = "service_id")]
    service_id: String,
}

impl From<Written> for CheckType {
    fn from(written: Written) -> CheckType {
        CheckType {
            script_args: either(written.script_args, written.args),
            h2ping_use_tls: written.h2ping_use_tls.unwrap_or(!written.h2ping.is_empty()),
            check_id: written.check_id,
            name: written.name,
            status: written.status,
            notes: written.notes,
            http: written.http,
            h2ping: written.h2ping,
            header: written.header,
            method: written.method,
            body: written.body,
            disable_redirects: written.disable_redirects,
            tcp: written.tcp,
            tcp_use_tls: written.tcp_use_tls,
            udp: written.udp,
            interval: written.interval,
            alias_node: written.alias_node,
            alias_service: written.alias_service,
            docker_container_id: written.docker_container_id,
            shell: written.shell,
            grpc: written.grpc,
            grpc_use_tls: written.grpc_use_tls,
            os_service: written.os_service,
            tls_server_name: written.tls_server_name,
            tls_skip_verify: written.tls_skip_verify,
            timeout: written.timeout,
            ttl: written.ttl,
            success_before_passing: written.success_before_passing,
            failures_before_warning: written.failures_before_warning,
            failures_before_critical: written.failures_before_critical,
            proxy_http: written.proxy_http,
            proxy_grpc: written.proxy_grpc,
            deregister_critical_service_after: written.deregister_critical_service_after,
            output_max_size: written.output_max_size,
        }
    }
}

fn either(first: Vec<String>, second: Vec<String>) -> Vec<String> {
    if first.is_empty() { second } else { first }
}

/// The keys of a check on its own. It lists them again because a decoder that knows Go's rules sees no flattening.
#[derive(Deserialize, Default)]
#[serde(default, rename = "CheckDefinition|Alias", rename_all = "PascalCase")]
struct WrittenDefinition {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    notes: String,
    #[serde(rename = "ServiceID", alias = "service_id")]
    service_id: String,
    token: String,
    status: String,
    #[serde(rename = "args")]
    args: Vec<String>,
    #[serde(alias = "script_args")]
    script_args: Vec<String>,
    #[serde(rename = "HTTP")]
    http: String,
    #[serde(rename = "H2PING")]
    h2ping: String,
    #[serde(rename = "H2PingUseTLS")]
    h2ping_use_tls: Option<bool>,
    header: BTreeMap<String, Vec<String>>,
    method: String,
    body: String,
    #[serde(alias = "disable_redirects")]
    disable_redirects: bool,
    #[serde(rename = "TCP")]
    tcp: String,
    #[serde(rename = "TCPUseTLS", alias = "tcp_use_tls")]
    tcp_use_tls: bool,
    #[serde(rename = "UDP")]
    udp: String,
    interval: GoDuration,
    #[serde(rename = "DockerContainerID", alias = "docker_container_id")]
    docker_container_id: String,
    shell: String,
    #[serde(rename = "GRPC")]
    grpc: String,
    #[serde(rename = "GRPCUseTLS", alias = "grpc_use_tls")]
    grpc_use_tls: bool,
    #[serde(rename = "OSService")]
    os_service: String,
    #[serde(rename = "TLSServerName", alias = "tls_server_name")]
    tls_server_name: String,
    #[serde(rename = "TLSSkipVerify", alias = "tls_skip_verify")]
    tls_skip_verify: bool,
    alias_node: String,
    alias_service: String,
    timeout: GoDuration,
    #[serde(rename = "TTL")]
    ttl: GoDuration,
    success_before_passing: i64,
    failures_before_warning: i64,
    failures_before_critical: i64,
    #[serde(alias = "deregister_critical_service_after")]
    deregister_critical_service_after: GoDuration,
    output_max_size: i64,
    namespace: String,
    partition: String,
}

impl From<WrittenDefinition> for CheckDefinition {
    fn from(written: WrittenDefinition) -> CheckDefinition {
        let check = CheckType {
            check_id: written.id.clone(),
            name: written.name,
            status: written.status,
            notes: written.notes,
            script_args: either(written.script_args, written.args),
            h2ping_use_tls: written.h2ping_use_tls.unwrap_or(!written.h2ping.is_empty()),
            http: written.http,
            h2ping: written.h2ping,
            header: written.header,
            method: written.method,
            body: written.body,
            disable_redirects: written.disable_redirects,
            tcp: written.tcp,
            tcp_use_tls: written.tcp_use_tls,
            udp: written.udp,
            interval: written.interval,
            alias_node: written.alias_node,
            alias_service: written.alias_service,
            docker_container_id: written.docker_container_id,
            shell: written.shell,
            grpc: written.grpc,
            grpc_use_tls: written.grpc_use_tls,
            os_service: written.os_service,
            tls_server_name: written.tls_server_name,
            tls_skip_verify: written.tls_skip_verify,
            timeout: written.timeout,
            ttl: written.ttl,
            success_before_passing: written.success_before_passing,
            failures_before_warning: written.failures_before_warning,
            failures_before_critical: written.failures_before_critical,
            proxy_http: String::new(),
            proxy_grpc: String::new(),
            deregister_critical_service_after: written.deregister_critical_service_after,
            output_max_size: written.output_max_size,
        };
        CheckDefinition {
            id: written.id,
            service_id: written.service_id,
            token: written.token,
            namespace: written.namespace,
            partition: written.partition,
            check,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CheckDefinition, CheckType, Kind};
    use wire::duration::GoDuration;
    use wire::json::{self, Options};

    fn read(body: &str) -> CheckDefinition {
        json::from_slice(body.as_bytes(), Options::STRICT_ALIASES).unwrap()
    }

    /// What the reference answered to these bodies.
    #[test]
    fn what_cannot_run_is_refused() {
        fn check(body: &str, expect: &str) {
            let got = read(body).check.validate().err().unwrap_or_default();
            assert_eq!(got, expect, "validating {body}");
        }
        let interval = "Interval must be > 0 for Script, HTTP, H2PING, TCP, UDP or OSService checks";
        check(r#"{"Interval":"1s"}"#, "TTL must be > 0 for TTL checks");
        check(r#"{"Interval":"1s","TTL":"5s","HTTP":"http://x/"}"#, "Interval and TTL cannot both be specified");
        check(r#"{"HTTP":"http://x/"}"#, interval);
        check(r#"{"Args":["a"]}"#, interval);
        check(
            r#"{"Interval":"1s","HTTP":"http://x/","AliasService":"web"}"#,
            "Interval cannot be set for Alias checks",
        );
        check(r#"{"TTL":"5s","AliasService":"web"}"#, "TTL must be not be set for Alias checks");
        check(r#"{"Interval":"1s","HTTP":"http://x/","OutputMaxSize":-1}"#, "MaxOutputMaxSize must be positive");
        check(
            r#"{"Interval":"1s","HTTP":"x","FailuresBeforeWarning":3,"FailuresBeforeCritical":2}"#,
            "FailuresBeforeWarning can't be higher than FailuresBeforeCritical",
        );
        check(r#"{"Interval":"1s","AliasService":"web"}"#, "");
        check(r#"{"ttl":"5s"}"#, "");
    }

    #[test]
    fn keys_are_found_in_either_spelling() {
        let read = read(
            r#"{"id":"i","Name":"n","service_id":"s","args":["a","b"],"docker_container_id":"d","interval":2000000000,
                "Timeout":"1500ms","tls_skip_verify":true,"deregister_critical_service_after":"1m"}"#,
        );
        assert_eq!((read.id.as_str(), read.service_id.as_str()), ("i", "s"));
        let check = read.check;
        assert_eq!(check.check_id, "i");
        assert_eq!(check.script_args, ["a", "b"]);
        assert_eq!(check.interval, GoDuration::from_secs(2));
        assert_eq!(check.timeout, GoDuration::from_millis(1500));
        assert!(check.tls_skip_verify);
        assert_eq!(check.kind(), Some(Kind::Docker));
        assert_eq!(check.type_name(), "docker");
        assert_eq!(
            check.deregister_after(std::time::Duration::from_secs(90)),
            Some(std::time::Duration::from_secs(90))
        );
    }

    #[test]
    fn h2ping_encrypts_unless_told_otherwise() {
        assert!(read(r#"{"H2PING":"a:1"}"#).check.h2ping_use_tls);
        assert!(!read(r#"{"H2PING":"a:1","H2PingUseTLS":false}"#).check.h2ping_use_tls);
        assert!(!read(r#"{"HTTP":"a:1"}"#).check.h2ping_use_tls);
    }

    #[test]
    fn a_definition_survives_being_stored() {
        let check = read(r#"{"Name":"n","HTTP":"http://x/","Interval":"10s","Header":{"a":["b","c"]}}"#).check;
        let stored = json::to_string(&check).unwrap();
        assert!(stored.contains(r#""ScriptArgs":null,"HTTP":"http://x/""#), "{stored}");
        assert!(stored.contains(r#""Interval":10000000000,"#), "{stored}");
        let back: CheckType = json::from_slice(stored.as_bytes(), Options::LENIENT).unwrap();
        assert_eq!(back, check);
        assert!(CheckType::default().is_empty());
    }

    #[test]
    fn the_kind_that_runs_is_not_always_the_kind_that_is_named() {
        let check = read(r#"{"Interval":"10s","HTTP":"http://x/","GRPC":"x:1"}"#).check;
        assert_eq!(check.kind(), Some(Kind::Http));
        assert_eq!(check.type_name(), "grpc");
    }
}
