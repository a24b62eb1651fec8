//! Services and checks of configuration files, as the agent and the command line need them.

use agent::check::definition::{CheckDefinition, CheckType};
use agent::service::{Connect, ServiceDefinition};
use api::cli::{ServiceDefinitions, ToValidate};
use config::definition as written;
use config::{Flags, Sources};
use state::catalog::{
    Expose, ExposePath, Locality, MeshGateway, Proxy, ServiceAddress, TransparentProxy, Upstream, Weights,
};

use crate::{bootstrap_entries, registration};

/// A check of a configuration file.
pub fn check(written: &written::CheckDefinition) -> CheckDefinition {
    CheckDefinition {
        id: written.id.clone(),
        service_id: written.service_id.clone(),
        token: written.token.expose().to_owned(),
        check: check_type(written),
        ..CheckDefinition::default()
    }
}

fn check_type(written: &written::CheckDefinition) -> CheckType {
    CheckType {
        check_id: written.id.clone(),
        name: written.name.clone(),
        status: written.status.clone(),
        notes: written.notes.clone(),
        script_args: written.script_args.clone(),
        http: written.http.clone(),
        h2ping: written.h2ping.clone(),
        h2ping_use_tls: written.h2ping_use_tls,
        header: written.header.clone(),
        method: written.method.clone(),
        body: written.body.clone(),
        disable_redirects: written.disable_redirects,
        tcp: written.tcp.clone(),
        tcp_use_tls: written.tcp_use_tls,
        udp: written.udp.clone(),
        interval: written.interval,
        alias_node: written.alias_node.clone(),
        alias_service: written.alias_service.clone(),
        docker_container_id: written.docker_container_id.clone(),
        shell: written.shell.clone(),
        grpc: written.grpc.clone(),
        grpc_use_tls: written.grpc_use_tls,
        os_service: written.os_service.clone(),
        tls_server_name: written.tls_server_name.clone(),
        tls_skip_verify: written.tls_skip_verify,
        timeout: written.timeout,
        ttl: written.ttl,
        success_before_passing: written.success_before_passing,
        failures_before_warning: written.failures_before_warning,
        failures_before_critical: written.failures_before_critical,
        deregister_critical_service_after: written.deregister_critical_service_after,
        output_max_size: written.output_max_size,
        ..CheckType::default()
    }
}

/// A service of a configuration file.
pub fn service(written: &written::ServiceDefinition) -> ServiceDefinition {
    ServiceDefinition {
        kind: written.kind.clone(),
        id: written.id.clone(),
        name: written.name.clone(),
        tags: written.tags.clone(),
        address: written.address.clone(),
        tagged_addresses: written
            .tagged_addresses
            .iter()
            .map(|(name, place)| (name.clone(), ServiceAddress { address: place.address.clone(), port: place.port }))
            .collect(),
        meta: written.meta.clone(),
        port: written.port,
        socket_path: written.socket_path.clone(),
        check: None,
        checks: written.checks.iter().map(check_type).collect(),
        weights: Some(Weights { passing: written.weights.passing, warning: written.weights.warning }),
        token: written.token.expose().to_owned(),
        enable_tag_override: written.enable_tag_override,
        proxy: written.proxy.as_ref().map(proxy),
        connect: written.connect.as_ref().map(|connect| Connect {
            native: connect.native,
            sidecar_service: connect.sidecar_service.as_deref().map(|sidecar| Box::new(service(sidecar))),
        }),
        locality: written
            .locality
            .as_ref()
            .map(|locality| Locality { region: locality.region.clone(), zone: locality.zone.clone() }),
    }
}

fn proxy(written: &written::Proxy) -> Proxy {
    let mesh_gateway = |mode: &str| MeshGateway { mode: mode.to_owned() };
    Proxy {
        destination_service_name: written.destination_service_name.clone(),
        destination_service_id: written.destination_service_id.clone(),
        local_service_address: written.local_service_address.clone(),
        local_service_port: written.local_service_port,
        local_service_socket_path: written.local_service_socket_path.clone(),
        mode: written.mode.clone(),
        config: Some(written.config.clone()).filter(|config| !config.is_empty()),
        upstreams: written
            .upstreams
            .iter()
            .map(|upstream| Upstream {
                destination_type: upstream.destination_type.clone(),
                destination_namespace: upstream.destination_namespace.clone(),
                destination_partition: upstream.destination_partition.clone(),
                destination_peer: upstream.destination_peer.clone(),
                destination_name: upstream.destination_name.clone(),
                datacenter: upstream.datacenter.clone(),
                local_bind_address: upstream.local_bind_address.clone(),
                local_bind_port: upstream.local_bind_port,
                local_bind_socket_path: upstream.local_bind_socket_path.clone(),
                local_bind_socket_mode: upstream.local_bind_socket_mode.clone(),
                config: Some(upstream.config.clone()).filter(|config| !config.is_empty()),
                mesh_gateway: mesh_gateway(&upstream.mesh_gateway_mode),
                ..Upstream::default()
            })
            .collect(),
        mesh_gateway: mesh_gateway(&written.mesh_gateway_mode),
        expose: Expose {
            checks: written.expose.checks,
            paths: written
                .expose
                .paths
                .iter()
                .map(|path| ExposePath {
                    listener_port: path.listener_port,
                    path: path.path.clone(),
                    local_path_port: path.local_path_port,
                    protocol: path.protocol.clone(),
                    ..ExposePath::default()
                })
                .collect(),
        },
        transparent_proxy: TransparentProxy {
            outbound_listener_port: written.outbound_listener_port,
            dialed_directly: written.dialed_directly,
        },
        ..Proxy::default()
    }
}

/// Refuses definitions that no agent would register, naming each.
pub fn check_all(runtime: &config::runtime::Runtime) -> Result<(), String> {
    for written in &runtime.service_definitions {
        let definition = service(written);
        for check in definition.all_checks() {
            check
                .validate()
                .map_err(|reason| format!("service {:?}: check {:?}: {reason}", written.name, check.name))?;
        }
        // Compat: a service without a name passes here; whoever registers it refuses it.
        if !written.name.is_empty() {
            definition.validate().map_err(|error| {
                let error = error.to_string();
                let reason = error.strip_prefix("Validation failed: ").unwrap_or(&error);
                format!("service {:?}: {reason}", written.name)
            })?;
        }
    }
    for written in &runtime.check_definitions {
        check(written).check.validate().map_err(|reason| format!("check {:?}: {reason}", written.name))?;
    }
    bootstrap_entries::compile(runtime)?;
    Ok(())
}

/// `validate`: warnings, or why the configuration is none.
pub fn validate(asked: &ToValidate) -> Result<Vec<String>, String> {
    let flags = Flags {
        config_paths: asked.paths.clone(),
        config_format: Some(asked.format.clone()).filter(|format| !format.is_empty()),
        ..Flags::default()
    };
    let loaded = config::load_here(flags).map_err(|error| error.to_string())?;
    check_all(&loaded.runtime)?;
    Ok(loaded.warnings)
}

/// `services register FILE`: the service definitions of files, as bodies of the agent API.
pub fn read_services(paths: &[String]) -> Result<ServiceDefinitions, String> {
    let flags = Flags { config_paths: paths.to_vec(), dev: true, ..Flags::default() };
    let sources = Sources::read(flags).map_err(|error| error.to_string())?;
    let loaded = config::load(&sources, &config::Host::of_this_process()).map_err(|error| error.to_string())?;
    check_all(&loaded.runtime)?;
    let bodies = loaded.runtime.service_definitions.iter().map(registration::body).collect();
    Ok(ServiceDefinitions { warnings: loaded.warnings, bodies })
}
