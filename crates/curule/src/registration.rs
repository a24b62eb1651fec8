//! Services of configuration files as `services register` sends them: the bodies of registrations with the agent.
//!
//! Always true: only what was written is sent, with the defaults that reading files sets.
//! Not here: what keys mean (`config`), the sending (`api::cli`).

use config::definition::{CheckDefinition, Proxy, ServiceDefinition, Upstream};
use serde_json::{Map, Value, json};
use wire::duration::GoDuration;

/// Members that are empty or zero are left out, as Go's client does.
struct Body(Map<String, Value>);

impl Body {
    fn new() -> Body {
        Body(Map::new())
    }

    fn put(&mut self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        let empty = match &value {
            Value::Null | Value::Bool(false) => true,
            Value::String(text) => text.is_empty(),
            Value::Array(values) => values.is_empty(),
            Value::Object(members) => members.is_empty(),
            Value::Number(number) => number.as_i64() == Some(0),
            Value::Bool(true) => false,
        };
        if !empty {
            self.0.insert(name.to_owned(), value);
        }
    }

    fn put_span(&mut self, name: &str, span: GoDuration) {
        if !span.is_zero() {
            self.put(name, span.to_string());
        }
    }
}

/// The body of a registration.
pub fn body(definition: &ServiceDefinition) -> Value {
    let mut body = Body::new();
    body.put("Kind", definition.kind.as_str());
    body.put("ID", definition.id.as_str());
    body.put("Name", definition.name.as_str());
    body.put("Tags", definition.tags.clone());
    body.put("Port", definition.port);
    body.put("Address", definition.address.as_str());
    body.put("SocketPath", definition.socket_path.as_str());
    let addresses = definition.tagged_addresses.iter();
    let addresses = addresses.map(|(name, at)| (name.clone(), json!({ "Address": at.address, "Port": at.port })));
    body.put("TaggedAddresses", addresses.collect::<Map<_, _>>());
    body.put("EnableTagOverride", definition.enable_tag_override);
    body.put("Meta", json!(definition.meta));
    body.put("Weights", json!({ "Passing": definition.weights.passing, "Warning": definition.weights.warning }));
    body.put("Checks", definition.checks.iter().map(check).collect::<Vec<_>>());
    // Compat: the reference forgets the token on the way, and registers with that of the request.
    body.put("Token", definition.token.expose());
    if let Some(settings) = &definition.proxy {
        body.0.insert("Proxy".to_owned(), proxy(settings));
    }
    if let Some(connect) = &definition.connect {
        let mut mesh = Body::new();
        mesh.put("Native", connect.native);
        if let Some(sidecar) = &connect.sidecar_service {
            mesh.0.insert("SidecarService".to_owned(), self::body(sidecar));
        }
        body.0.insert("Connect".to_owned(), Value::Object(mesh.0));
    }
    if let Some(locality) = &definition.locality {
        body.put("Locality", json!({ "Region": locality.region, "Zone": locality.zone }));
    }
    Value::Object(body.0)
}

fn check(definition: &CheckDefinition) -> Value {
    let mut body = Body::new();
    body.put("CheckID", definition.id.as_str());
    body.put("Name", definition.name.as_str());
    body.put("Notes", definition.notes.as_str());
    body.put("Status", definition.status.as_str());
    // Compat: the reference forgets ScriptArgs, DisableRedirects, OutputMaxSize and OSService on the way, so that such
    // checks are refused or different; they are sent as written.
    body.put("ScriptArgs", definition.script_args.clone());
    body.put("DisableRedirects", definition.disable_redirects);
    body.put("OutputMaxSize", definition.output_max_size);
    body.put("OSService", definition.os_service.as_str());
    body.put("DockerContainerID", definition.docker_container_id.as_str());
    body.put("Shell", definition.shell.as_str());
    body.put_span("Interval", definition.interval);
    body.put_span("Timeout", definition.timeout);
    body.put_span("TTL", definition.ttl);
    body.put("HTTP", definition.http.as_str());
    body.put("Header", json!(definition.header));
    body.put("Method", definition.method.as_str());
    body.put("Body", definition.body.as_str());
    body.put("TCP", definition.tcp.as_str());
    body.put("TCPUseTLS", definition.tcp_use_tls);
    body.put("UDP", definition.udp.as_str());
    body.put("GRPC", definition.grpc.as_str());
    body.put("GRPCUseTLS", definition.grpc_use_tls);
    body.put("H2PING", definition.h2ping.as_str());
    if !definition.h2ping.is_empty() {
        // Absent would be on.
        body.0.insert("H2PingUseTLS".to_owned(), definition.h2ping_use_tls.into());
    }
    body.put("TLSServerName", definition.tls_server_name.as_str());
    body.put("TLSSkipVerify", definition.tls_skip_verify);
    body.put("AliasNode", definition.alias_node.as_str());
    body.put("AliasService", definition.alias_service.as_str());
    body.put("SuccessBeforePassing", definition.success_before_passing);
    body.put("FailuresBeforeWarning", definition.failures_before_warning);
    body.put("FailuresBeforeCritical", definition.failures_before_critical);
    body.put_span("DeregisterCriticalServiceAfter", definition.deregister_critical_service_after);
    Value::Object(body.0)
}

fn proxy(settings: &Proxy) -> Value {
    let mut body = Body::new();
    body.put("DestinationServiceName", settings.destination_service_name.as_str());
    body.put("DestinationServiceID", settings.destination_service_id.as_str());
    body.put("LocalServiceAddress", settings.local_service_address.as_str());
    body.put("LocalServicePort", settings.local_service_port);
    body.put("LocalServiceSocketPath", settings.local_service_socket_path.as_str());
    body.put("Mode", settings.mode.as_str());
    let mut transparent = Body::new();
    transparent.put("OutboundListenerPort", settings.outbound_listener_port);
    transparent.put("DialedDirectly", settings.dialed_directly);
    body.put("TransparentProxy", transparent.0);
    body.put("Config", settings.config.clone());
    body.put("Upstreams", settings.upstreams.iter().map(upstream).collect::<Vec<_>>());
    body.put("MeshGateway", mesh_gateway(&settings.mesh_gateway_mode));
    let mut expose = Body::new();
    expose.put("Checks", settings.expose.checks);
    let paths = settings.expose.paths.iter().map(|path| {
        let mut body = Body::new();
        body.put("ListenerPort", path.listener_port);
        body.put("Path", path.path.as_str());
        body.put("LocalPathPort", path.local_path_port);
        body.put("Protocol", path.protocol.as_str());
        Value::Object(body.0)
    });
    expose.put("Paths", paths.collect::<Vec<_>>());
    body.put("Expose", expose.0);
    Value::Object(body.0)
}

fn mesh_gateway(mode: &str) -> Map<String, Value> {
    let mut body = Body::new();
    body.put("Mode", mode);
    body.0
}

fn upstream(definition: &Upstream) -> Value {
    let mut body = Body::new();
    body.put("DestinationType", definition.destination_type.as_str());
    body.put("DestinationNamespace", definition.destination_namespace.as_str());
    body.put("DestinationPartition", definition.destination_partition.as_str());
    body.put("DestinationPeer", definition.destination_peer.as_str());
    body.put("DestinationName", definition.destination_name.as_str());
    body.put("Datacenter", definition.datacenter.as_str());
    body.put("LocalBindAddress", definition.local_bind_address.as_str());
    body.put("LocalBindPort", definition.local_bind_port);
    body.put("LocalBindSocketPath", definition.local_bind_socket_path.as_str());
    body.put("LocalBindSocketMode", definition.local_bind_socket_mode.as_str());
    body.put("Config", definition.config.clone());
    body.put("MeshGateway", mesh_gateway(&definition.mesh_gateway_mode));
    Value::Object(body.0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::definitions::read_services;

    const FILE: &str = r#"
        services {
          id = "w1" name = "web" tags = ["a"] port = 80 address = "1.2.3.4" meta { k = "v" } enable_tag_override = true
          tagged_addresses { lan { address = "5.6.7.8" port = 9 } } weights { passing = 3 warning = 2 }
          check { id = "c1" name = "cn" args = ["a", "b"] interval = "90s" deregister_critical_service_after = "1h30m" }
          checks = [{ ttl = "30s" }, { h2ping = "a:1" interval = "1s" h2ping_use_tls = false }]
        }
        services { name = "side" connect { sidecar_service {} } locality { region = "r" } }
        services {
          name = "proxy" kind = "connect-proxy" port = 1
          proxy { destination_service_name = "web" config { a = 1 } upstreams = [{ destination_name = "db" local_bind_port = 5 }] }
        }"#;

    #[test]
    fn definitions_of_files_become_bodies() {
        let file = std::env::temp_dir().join(format!("curule-services-{}.hcl", std::process::id()));
        std::fs::write(&file, FILE).unwrap();
        let read = read_services(&[file.to_str().unwrap().to_owned()]);
        std::fs::remove_file(&file).unwrap();
        let weights = json!({ "Passing": 1, "Warning": 1 });
        let expect: Vec<Value> = vec![
            json!({
                "ID": "w1", "Name": "web", "Tags": ["a"], "Port": 80, "Address": "1.2.3.4", "Meta": { "k": "v" },
                "EnableTagOverride": true, "TaggedAddresses": { "lan": { "Address": "5.6.7.8", "Port": 9 } },
                "Weights": { "Passing": 3, "Warning": 2 },
                "Checks": [
                    { "TTL": "30s", "OutputMaxSize": 4096 },
                    { "H2PING": "a:1", "H2PingUseTLS": false, "Interval": "1s", "OutputMaxSize": 4096 },
                    {
                        "CheckID": "c1", "Name": "cn", "ScriptArgs": ["a", "b"], "Interval": "1m30s",
                        "DeregisterCriticalServiceAfter": "1h30m0s", "OutputMaxSize": 4096
                    },
                ],
            }),
            json!({
                "Name": "side", "Weights": weights, "Locality": { "Region": "r", "Zone": "" },
                "Connect": { "SidecarService": { "Weights": weights } },
            }),
            json!({
                "Name": "proxy", "Kind": "connect-proxy", "Port": 1, "Weights": weights,
                "Proxy": {
                    "DestinationServiceName": "web", "Config": { "a": 1 },
                    "Upstreams": [{ "DestinationType": "service", "DestinationName": "db", "LocalBindPort": 5 }],
                },
            }),
        ];
        assert_eq!(read.unwrap().bodies, expect);
    }
}
