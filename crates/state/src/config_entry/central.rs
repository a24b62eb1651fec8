//! What central defaults make of a proxy or gateway (`?merge-central-config`).
//!
//! Always true: what an instance says itself stands; what it leaves open is filled from the service's defaults, then
//! from those of all proxies. Everything that was looked at is noted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use acl::{Authorizer, Need, Resource};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::proxy_defaults::GLOBAL;
use super::service_defaults::{Destination, UpstreamConfig};
use super::{Body, EnvoyExtension, INDEX, Meta, ProxyDefaults, ServiceDefaults};
use crate::catalog::{
    AccessLogs, CONNECT_PROXY, CompoundName, Expose, MeshGateway, NodeService, Proxy, TransparentProxy, Upstream,
};
use crate::{Error, Found, Index, Query, Seen, State, Topic};

type Config = Map<String, Value>;
/// Peer and name of an upstream.
type UpstreamKey = (String, String);

const WILDCARD: &str = "*";
const TRANSPARENT: &str = "transparent";
const MESH_GATEWAY: &str = "mesh_gateway";
const PROTOCOL: &str = "protocol";

/// The instance as central defaults complete it, and the index of those; `None` when they do not concern it.
pub(crate) fn merged(state: &State, seen: &mut Seen, service: &NodeService) -> Option<(Arc<NodeService>, Index)> {
    if !is_completed(service) {
        return None;
    }
    let mut merged = service.clone();
    ServiceConfig::of(state, seen, &ConfigEntryResolveServiceConfig::of(service)).complete(&mut merged.proxy);
    Some((Arc::new(merged), state.indexes.get(INDEX)))
}

/// Whether central defaults concern an instance.
#[must_use]
pub fn is_completed(service: &NodeService) -> bool {
    service.kind == CONNECT_PROXY || service.is_gateway()
}

/// What central defaults say to a proxy or gateway that says this of itself (`structs.ServiceConfigRequest`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ConfigEntryResolveServiceConfig {
    /// The service that it stands for.
    pub name: String,
    pub mesh_gateway: MeshGateway,
    pub mode: String,
    pub upstream_service_names: Vec<UpstreamName>,
}

/// An upstream (`structs.PeeredServiceName`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct UpstreamName {
    pub service_name: CompoundName,
    pub peer: String,
}

impl ConfigEntryResolveServiceConfig {
    /// What is to be asked for an instance.
    #[must_use]
    pub fn of(service: &NodeService) -> Self {
        let proxy = &service.proxy;
        let is_sidecar = service.kind == CONNECT_PROXY;
        let name = if is_sidecar { &proxy.destination_service_name } else { &service.service };
        let upstreams = proxy.upstreams.iter().filter(|upstream| is_service(upstream));
        ConfigEntryResolveServiceConfig {
            name: name.clone(),
            mesh_gateway: proxy.mesh_gateway.clone(),
            mode: proxy.mode.clone(),
            upstream_service_names: upstreams
                .map(|upstream| UpstreamName {
                    service_name: CompoundName { name: upstream.destination_name.clone() },
                    peer: upstream.destination_peer.clone(),
                })
                .collect(),
        }
    }
}

impl Query for ConfigEntryResolveServiceConfig {
    const METHOD: &'static str = "ConfigEntry.ResolveServiceConfig";
    type Answer = ServiceConfig;

    fn authorize(&self, _state: &State, may: &dyn Authorizer) -> Result<(), Error> {
        Ok(may.require(Need::read(Resource::Service(&self.name)))?)
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        Ok(Found::new(state.indexes.get(INDEX), ServiceConfig::of(state, seen, self)))
    }

    fn redact(&self, _answer: &mut Self::Answer, _may: &dyn Authorizer) -> bool {
        false
    }
}

fn proxy_defaults<'a>(state: &'a State, seen: &mut Seen) -> Option<&'a ProxyDefaults> {
    seen.note(Topic::ConfigEntry("proxy-defaults", GLOBAL.into()));
    match &state.config_entry.get("proxy-defaults", GLOBAL)?.body {
        Body::ProxyDefaults(defaults) => Some(defaults),
        _ => None,
    }
}

fn service_defaults<'a>(state: &'a State, seen: &mut Seen, name: &str) -> Option<&'a ServiceDefaults> {
    seen.note(Topic::ConfigEntry("service-defaults", name.to_lowercase().into()));
    match &state.config_entry.get("service-defaults", name)?.body {
        Body::ServiceDefaults(defaults) => Some(defaults),
        _ => None,
    }
}

/// What the entries say about one instance (`structs.ServiceConfigResponse`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceConfig {
    #[serde(rename = "ProxyConfig", with = "wire::nil_when_empty")]
    config: Config,
    #[serde(rename = "UpstreamConfigs", with = "upstream_list")]
    upstreams: BTreeMap<UpstreamKey, Config>,
    mesh_gateway: MeshGateway,
    expose: Expose,
    transparent_proxy: TransparentProxy,
    #[serde(rename = "MutualTLSMode")]
    mutual_tls_mode: String,
    mode: String,
    destination: Destination,
    access_logs: AccessLogs,
    meta: Meta,
    #[serde(rename = "EnvoyExtensions", with = "wire::nil_when_empty")]
    extensions: Vec<EnvoyExtension>,
}

/// Upstreams are sent as a list, since Go's maps have no such keys.
mod upstream_list {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{CompoundName, Config, UpstreamKey, UpstreamName};

    #[derive(Default, Serialize, Deserialize)]
    #[serde(default, rename_all = "PascalCase")]
    struct Row {
        upstream: UpstreamName,
        #[serde(with = "wire::nil_when_empty")]
        config: Config,
    }

    pub fn serialize<S: Serializer>(map: &BTreeMap<UpstreamKey, Config>, serializer: S) -> Result<S::Ok, S::Error> {
        let rows = map.iter().map(|((peer, name), config)| Row {
            upstream: UpstreamName { service_name: CompoundName { name: name.clone() }, peer: peer.clone() },
            config: config.clone(),
        });
        serializer.collect_seq(rows)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<UpstreamKey, Config>, D::Error> {
        let rows = Option::<Vec<Row>>::deserialize(d)?.unwrap_or_default();
        Ok(rows.into_iter().map(|row| ((row.upstream.peer, row.upstream.service_name.name), row.config)).collect())
    }
}

impl ServiceConfig {
    fn of(state: &State, seen: &mut Seen, asked: &ConfigEntryResolveServiceConfig) -> Self {
        let mut resolved = ServiceConfig::default();
        let mut for_all_upstreams = Config::new();
        let mut global_protocol = String::new();
        if let Some(defaults) = proxy_defaults(state, seen) {
            resolved.config = defaults.config.clone().unwrap_or_default();
            resolved.mode.clone_from(&defaults.mode);
            resolved.transparent_proxy = defaults.transparent_proxy.clone();
            resolved.mutual_tls_mode.clone_from(&defaults.mutual_tls_mode);
            resolved.mesh_gateway = defaults.mesh_gateway.clone();
            resolved.expose = defaults.expose.clone();
            resolved.access_logs = defaults.access_logs.clone();
            resolved.extensions.clone_from(&defaults.envoy_extensions);
            if let Some(gateway) = resolved.config.get(MESH_GATEWAY) {
                for_all_upstreams.insert(MESH_GATEWAY.into(), gateway.clone());
            }
            put_gateway(&mut for_all_upstreams, &defaults.mesh_gateway);
            global_protocol = defaults.protocol().unwrap_or_default().to_lowercase();
        }
        let own = service_defaults(state, seen, &asked.name);
        if let Some(defaults) = own {
            resolved.refine(defaults);
            resolved.meta = own_meta(state, &asked.name);
            put_gateway(&mut for_all_upstreams, &defaults.mesh_gateway);
        }
        resolved.resolve_upstreams(state, seen, asked, own, for_all_upstreams, &global_protocol);
        resolved
    }

    fn refine(&mut self, defaults: &ServiceDefaults) {
        self.expose.checks |= defaults.expose.checks;
        if !defaults.expose.paths.is_empty() {
            self.expose.paths.clone_from(&defaults.expose.paths);
        }
        if !defaults.mesh_gateway.mode.is_empty() {
            self.mesh_gateway = defaults.mesh_gateway.clone();
        }
        if defaults.transparent_proxy.outbound_listener_port != 0 {
            self.transparent_proxy.outbound_listener_port = defaults.transparent_proxy.outbound_listener_port;
        }
        self.transparent_proxy.dialed_directly |= defaults.transparent_proxy.dialed_directly;
        if !defaults.mode.is_empty() {
            self.mode.clone_from(&defaults.mode);
        }
        if !defaults.mutual_tls_mode.is_empty() {
            self.mutual_tls_mode.clone_from(&defaults.mutual_tls_mode);
        }
        self.destination = defaults.destination.clone().unwrap_or_default();
        for (key, value) in
            [(PROTOCOL, &defaults.protocol), ("balance_inbound_connections", &defaults.balance_inbound_connections)]
        {
            if !value.is_empty() {
                self.config.insert(key.into(), value.clone().into());
            }
        }
        for (key, value) in [
            ("max_inbound_connections", defaults.max_inbound_connections),
            ("local_connect_timeout_ms", defaults.local_connect_timeout_ms),
            ("local_request_timeout_ms", defaults.local_request_timeout_ms),
        ] {
            if value > 0 {
                self.config.insert(key.into(), value.into());
            }
        }
        self.extensions.extend(defaults.envoy_extensions.iter().cloned());
    }

    fn resolve_upstreams(
        &mut self,
        state: &State,
        seen: &mut Seen,
        asked: &ConfigEntryResolveServiceConfig,
        own: Option<&ServiceDefaults>,
        mut for_all: Config,
        global_protocol: &str,
    ) {
        let asked_for = asked.upstream_service_names.iter();
        let mut keys: BTreeSet<UpstreamKey> =
            asked_for.map(|upstream| (upstream.peer.clone(), upstream.service_name.name.clone())).collect();
        let is_transparent = asked.mode == TRANSPARENT || self.mode == TRANSPARENT;
        if keys.is_empty() && !is_transparent {
            return;
        }
        let upstream_config = own.and_then(|own| own.upstream_config.as_ref());
        let overrides: BTreeMap<UpstreamKey, &UpstreamConfig> = upstream_config
            .iter()
            .flat_map(|config| &config.overrides)
            .map(|said| ((said.peer.clone(), said.name.clone()), said))
            .collect();
        keys.extend(overrides.keys().cloned());
        let defaults = upstream_config.and_then(|config| config.defaults.clone()).map(|mut defaults| {
            if defaults.mesh_gateway.mode.is_empty() {
                defaults.mesh_gateway = self.mesh_gateway.clone();
            }
            defaults
        });
        if let Some(defaults) = &defaults {
            put_all(&mut for_all, defaults);
        }
        put_gateway(&mut for_all, &asked.mesh_gateway);
        for key in keys {
            let mut config = Config::new();
            if !global_protocol.is_empty() {
                config.insert(PROTOCOL.into(), global_protocol.into());
            }
            config.extend(for_all.iter().filter(|(_, value)| !is_empty(value)).map(|(k, v)| (k.clone(), v.clone())));
            match service_defaults(state, seen, &key.1) {
                Some(said) if !said.protocol.is_empty() => {
                    config.insert(PROTOCOL.into(), said.protocol.clone().into());
                }
                _ => {}
            }
            put_gateway(&mut config, &self.mesh_gateway);
            if let Some(defaults) = &defaults {
                put_all(&mut config, defaults);
            }
            put_gateway(&mut config, &asked.mesh_gateway);
            if let Some(said) = overrides.get(&key) {
                put_all(&mut config, said);
            }
            if !config.is_empty() {
                self.upstreams.insert(key, config);
            }
        }
        if !for_all.is_empty() || defaults.is_some() {
            self.upstreams.insert((String::new(), WILDCARD.into()), for_all);
        }
    }

    /// Fills in what a proxy leaves open.
    pub fn complete(self, proxy: &mut Proxy) {
        if !self.config.is_empty() {
            fill(proxy.config.get_or_insert_with(Config::new), &self.config);
        }
        proxy.expose.checks |= self.expose.checks;
        if proxy.expose.paths.is_empty() {
            proxy.expose.paths = self.expose.paths;
        }
        fill_logs(&mut proxy.access_logs, self.access_logs);
        proxy.envoy_extensions = self.extensions.iter().map(shown).collect();
        if proxy.mesh_gateway.mode.is_empty() {
            proxy.mesh_gateway = self.mesh_gateway;
        }
        if proxy.mode.is_empty() {
            proxy.mode = self.mode;
        }
        if proxy.transparent_proxy.outbound_listener_port == 0 {
            proxy.transparent_proxy.outbound_listener_port = self.transparent_proxy.outbound_listener_port;
        }
        proxy.transparent_proxy.dialed_directly |= self.transparent_proxy.dialed_directly;
        let mut known = BTreeSet::new();
        for upstream in proxy.upstreams.iter_mut().filter(|upstream| is_service(upstream)) {
            known.insert(key_of(upstream));
            if let Some(config) = self.upstreams.get(&key_of(upstream)) {
                complete(upstream, config);
            }
        }
        if proxy.mode == TRANSPARENT {
            let rest = self.upstreams.into_iter().filter(|(key, _)| !known.contains(key));
            proxy.upstreams.extend(rest.map(|((peer, name), config)| Upstream {
                destination_namespace: "default".into(),
                destination_partition: "default".into(),
                destination_peer: peer,
                destination_name: name,
                mesh_gateway: MeshGateway { mode: gateway_mode(&config) },
                config: Some(config),
                centrally_configured: true,
                ..Upstream::default()
            }));
        }
    }
}

fn own_meta(state: &State, name: &str) -> Meta {
    state.config_entry.get("service-defaults", name).and_then(|entry| entry.meta.clone())
}

fn is_service(upstream: &Upstream) -> bool {
    matches!(upstream.destination_type.as_str(), "" | "service")
}

fn key_of(upstream: &Upstream) -> UpstreamKey {
    (upstream.destination_peer.clone(), upstream.destination_name.clone())
}

fn complete(upstream: &mut Upstream, config: &Config) {
    if upstream.mesh_gateway.mode.is_empty() {
        upstream.mesh_gateway.mode = gateway_mode(config);
    }
    let own = upstream.config.get_or_insert_with(Config::new);
    let protocol = own.get(PROTOCOL).cloned();
    fill(own, config);
    // What peers speak is not said here.
    if !upstream.destination_peer.is_empty() {
        match protocol {
            Some(protocol) => own.insert(PROTOCOL.into(), protocol),
            None => own.remove(PROTOCOL),
        };
    }
    own.remove(MESH_GATEWAY);
}

fn gateway_mode(config: &Config) -> String {
    let gateway = config.get(MESH_GATEWAY).and_then(Value::as_object);
    let mode = gateway.and_then(|gateway| gateway.iter().find(|(key, _)| key.eq_ignore_ascii_case("mode")));
    mode.and_then(|(_, mode)| mode.as_str()).unwrap_or_default().to_owned()
}

fn put_gateway(config: &mut Config, gateway: &MeshGateway) {
    if !gateway.mode.is_empty() {
        put(config, MESH_GATEWAY, gateway);
    }
}

fn put<T: Serialize>(config: &mut Config, key: &str, value: &T) {
    config.insert(key.into(), serde_json::to_value(value).unwrap_or_default());
}

/// Everything that is said about an upstream, in the words of opaque configuration.
fn put_all(config: &mut Config, said: &UpstreamConfig) {
    for (key, value) in [
        ("envoy_listener_json", &said.envoy_listener_json),
        ("envoy_cluster_json", &said.envoy_cluster_json),
        (PROTOCOL, &said.protocol),
        ("balance_outbound_connections", &said.balance_outbound_connections),
    ] {
        if !value.is_empty() {
            put(config, key, value);
        }
    }
    if said.connect_timeout_ms != 0 {
        put(config, "connect_timeout_ms", &said.connect_timeout_ms);
    }
    put_gateway(config, &said.mesh_gateway);
    if let Some(limits) = &said.limits {
        put(config, "limits", limits);
    }
    if let Some(check) = &said.passive_health_check {
        put(config, "passive_health_check", check);
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}

/// Fills what is missing or empty, in objects inside too. Their nesting is bounded by whoever read them.
fn fill(own: &mut Config, defaults: &Config) {
    for (key, default) in defaults {
        match (own.get_mut(key), default) {
            (Some(Value::Object(own)), Value::Object(default)) => fill(own, default),
            (Some(own), _) if !is_empty(own) => {}
            _ => {
                own.insert(key.clone(), default.clone());
            }
        }
    }
}

fn fill_logs(own: &mut AccessLogs, defaults: AccessLogs) {
    own.enabled |= defaults.enabled;
    own.disable_listener_logs |= defaults.disable_listener_logs;
    for (own, default) in [
        (&mut own.r#type, defaults.r#type),
        (&mut own.path, defaults.path),
        (&mut own.json_format, defaults.json_format),
        (&mut own.text_format, defaults.text_format),
    ] {
        if own.is_empty() {
            *own = default;
        }
    }
}

/// Compat: the versions that an extension is meant for are not handed on.
fn shown(extension: &EnvoyExtension) -> Value {
    let (consul_version, envoy_version) = (String::new(), String::new());
    serde_json::to_value(EnvoyExtension { consul_version, envoy_version, ..extension.clone() }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{ConfigEntryResolveServiceConfig, ServiceConfig};
    use crate::config_entry::{ConfigEntryRequest, Entry, Op};
    use crate::{Command, Index, Query, Seen, State};

    #[test]
    fn what_is_resolved_can_be_sent() {
        let mut state = State::default();
        for (at, entry) in [
            json!({"Kind": "proxy-defaults", "Name": "global", "Config": {"a": 1.5}, "Mode": "transparent"}),
            json!({"Kind": "service-defaults", "Name": "web", "Protocol": "http", "Meta": {"k": "v"},
                "UpstreamConfig": {"Overrides": [{"Name": "db", "Peer": "east", "ConnectTimeoutMs": 5}]}}),
        ]
        .iter()
        .enumerate()
        {
            let entry = Box::new(Entry::from_tree(entry).unwrap());
            let request = ConfigEntryRequest { op: Op::Upsert, datacenter: String::new(), entry };
            state.apply(Index(at as u64 + 1), Command::ConfigEntry(request));
        }
        let asked = ConfigEntryResolveServiceConfig { name: "web".into(), ..Default::default() };
        let mut seen = Seen::default();
        let found = asked.run(&state, &mut seen).unwrap().answer;
        assert_eq!(found.config, *json!({"a": 1.5, "protocol": "http"}).as_object().unwrap());
        assert_eq!(found.upstreams.len(), 1);
        let bytes = wire::msgpack::to_vec(&found).unwrap();
        assert_eq!(wire::msgpack::from_slice::<ServiceConfig>(&bytes).unwrap(), found);
    }
}
