//! Service and check definitions as `DebugConfig` shows them.

use serde_json::{Map, Value, json};

use crate::definition::{CheckDefinition, Proxy, ServiceDefinition, Upstream};

/// A check of the agent itself.
pub(super) fn check(check: &CheckDefinition) -> Value {
    let mut map = common(check);
    map.insert("EnterpriseMeta".to_owned(), json!({}));
    map.insert("ID".to_owned(), json!(check.id));
    map.insert("ServiceID".to_owned(), json!(check.service_id));
    map.insert("Token".to_owned(), json!("hidden"));
    Value::Object(map)
}

/// A check of a service.
fn check_type(check: &CheckDefinition) -> Value {
    let mut map = common(check);
    map.insert("CheckID".to_owned(), json!(check.id));
    map.insert("ProxyGRPC".to_owned(), json!(""));
    map.insert("ProxyHTTP".to_owned(), json!(""));
    Value::Object(map)
}

fn common(check: &CheckDefinition) -> Map<String, Value> {
    let shown = json!({
        "AliasNode": check.alias_node,
        "AliasService": check.alias_service,
        "Body": check.body,
        "DeregisterCriticalServiceAfter": check.deregister_critical_service_after.to_string(),
        "DisableRedirects": check.disable_redirects,
        "DockerContainerID": check.docker_container_id,
        "FailuresBeforeCritical": check.failures_before_critical,
        "FailuresBeforeWarning": check.failures_before_warning,
        "GRPC": check.grpc,
        "GRPCUseTLS": check.grpc_use_tls,
        "H2PING": check.h2ping,
        "H2PingUseTLS": check.h2ping_use_tls,
        "HTTP": check.http,
        "Header": check.header,
        "Interval": check.interval.to_string(),
        "Method": check.method,
        "Name": check.name,
        "Notes": check.notes,
        "OSService": check.os_service,
        "OutputMaxSize": check.output_max_size,
        "ScriptArgs": check.script_args,
        "Shell": check.shell,
        "Status": check.status,
        "SuccessBeforePassing": check.success_before_passing,
        "TCP": check.tcp,
        "TCPUseTLS": check.tcp_use_tls,
        "TLSServerName": check.tls_server_name,
        "TLSSkipVerify": check.tls_skip_verify,
        "TTL": check.ttl.to_string(),
        "Timeout": check.timeout.to_string(),
        "UDP": check.udp,
    });
    match shown {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

pub(super) fn service(service: &ServiceDefinition) -> Value {
    let tagged: Map<String, Value> = service
        .tagged_addresses
        .iter()
        .map(|(tag, address)| (tag.clone(), json!({"Address": address.address, "Port": address.port})))
        .collect();
    let connect = service.connect.as_ref().map(|connect| {
        json!({
            "Native": connect.native,
            "PeerMeta": null,
            "SidecarService": connect.sidecar_service.as_deref().map(self::service),
        })
    });
    let locality = service.locality.as_ref().map(|locality| json!({"Region": locality.region, "Zone": locality.zone}));
    json!({
        "Address": service.address,
        // Compat: files only ever fill the list, yet the empty single check is shown.
        "Check": check_type(&CheckDefinition::default()),
        "Checks": service.checks.iter().map(check_type).collect::<Vec<_>>(),
        "Connect": connect,
        "EnableTagOverride": service.enable_tag_override,
        "EnterpriseMeta": {},
        "ID": service.id,
        "Kind": service.kind,
        "Locality": locality,
        "Meta": service.meta,
        "Name": service.name,
        "Port": service.port,
        "Proxy": service.proxy.as_ref().map(proxy),
        "SocketPath": service.socket_path,
        "TaggedAddresses": tagged,
        "Tags": service.tags,
        "Token": "hidden",
        "Weights": {"Passing": service.weights.passing, "Warning": service.weights.warning},
    })
}

fn proxy(proxy: &Proxy) -> Value {
    let paths: Vec<Value> = proxy
        .expose
        .paths
        .iter()
        .map(|path| {
            json!({
                "ListenerPort": path.listener_port,
                "LocalPathPort": path.local_path_port,
                "ParsedFromCheck": false,
                "Path": path.path,
                "Protocol": path.protocol,
            })
        })
        .collect();
    json!({
        "AccessLogs": {
            "DisableListenerLogs": false,
            "Enabled": false,
            "JSONFormat": "",
            "Path": "",
            "TextFormat": "",
            "Type": "",
        },
        "Config": proxy.config,
        "DestinationServiceID": proxy.destination_service_id,
        "DestinationServiceName": proxy.destination_service_name,
        "EnvoyExtensions": [],
        "Expose": {"Checks": proxy.expose.checks, "Paths": paths},
        "LocalServiceAddress": proxy.local_service_address,
        "LocalServicePort": proxy.local_service_port,
        "LocalServiceSocketPath": proxy.local_service_socket_path,
        "MeshGateway": {"Mode": proxy.mesh_gateway_mode},
        "Mode": proxy.mode,
        "MutualTLSMode": "",
        "TransparentProxy": {
            "DialedDirectly": proxy.dialed_directly,
            "OutboundListenerPort": proxy.outbound_listener_port,
        },
        "Upstreams": proxy.upstreams.iter().map(upstream).collect::<Vec<_>>(),
    })
}

fn upstream(upstream: &Upstream) -> Value {
    json!({
        "CentrallyConfigured": false,
        "Config": upstream.config,
        "Datacenter": upstream.datacenter,
        "DestinationName": upstream.destination_name,
        "DestinationNamespace": upstream.destination_namespace,
        "DestinationPartition": upstream.destination_partition,
        "DestinationPeer": upstream.destination_peer,
        "DestinationType": upstream.destination_type,
        "IngressHosts": [],
        "LocalBindAddress": upstream.local_bind_address,
        "LocalBindPort": upstream.local_bind_port,
        "LocalBindSocketMode": upstream.local_bind_socket_mode,
        "LocalBindSocketPath": upstream.local_bind_socket_path,
        "MeshGateway": {"Mode": upstream.mesh_gateway_mode},
    })
}
