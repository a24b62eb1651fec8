//! The keys of `service` and `check` blocks.

use super::{Key, Schema, Shape, boolean, integer, sections, text, text_map, texts, whole};

pub static SERVICE: Schema = Schema {
    keys: &[
        text("kind"),
        text("id"),
        text("name"),
        texts("tags"),
        text("address"),
        Key::of("tagged_addresses", Shape::SectionMap(&SERVICE_ADDRESS)),
        text_map("meta"),
        integer("port"),
        text("socket_path"),
        whole("check", &CHECK),
        sections("checks", &CHECK),
        text("token"),
        whole("weights", &WEIGHTS),
        boolean("enable_tag_override"),
        whole("proxy", &PROXY),
        whole("connect", &CONNECT),
        whole("locality", &LOCALITY),
    ],
};

pub static CHECK: Schema = Schema {
    keys: &[
        text("id"),
        text("name"),
        text("notes"),
        text("service_id").alias(&["serviceid"]),
        text("token"),
        text("status"),
        texts("args").alias(&["scriptargs"]),
        text("http"),
        Key::of("header", Shape::TextsMap),
        text("method"),
        text("body"),
        boolean("disable_redirects"),
        integer("output_max_size"),
        text("tcp"),
        boolean("tcp_use_tls"),
        text("udp"),
        text("interval"),
        text("docker_container_id").alias(&["dockercontainerid"]),
        text("shell"),
        text("grpc"),
        boolean("grpc_use_tls"),
        text("tls_server_name"),
        boolean("tls_skip_verify").alias(&["tlsskipverify"]),
        text("alias_node"),
        text("alias_service"),
        text("timeout"),
        text("ttl"),
        text("h2ping"),
        boolean("h2ping_use_tls"),
        text("os_service"),
        integer("success_before_passing"),
        integer("failures_before_warning"),
        integer("failures_before_critical"),
        text("deregister_critical_service_after").alias(&["deregistercriticalserviceafter"]),
    ],
};

static SERVICE_ADDRESS: Schema = Schema { keys: &[text("address"), integer("port")] };

static WEIGHTS: Schema = Schema { keys: &[integer("passing"), integer("warning")] };

pub(super) static LOCALITY: Schema = Schema { keys: &[text("region"), text("zone")] };

static CONNECT: Schema = Schema { keys: &[boolean("native"), whole("sidecar_service", &SERVICE)] };

static PROXY: Schema = Schema {
    keys: &[
        text("destination_service_name"),
        text("destination_service_id"),
        text("local_service_address"),
        integer("local_service_port"),
        text("local_service_socket_path"),
        whole("transparent_proxy", &TRANSPARENT_PROXY),
        text("mode"),
        Key::of("config", Shape::Free),
        sections("upstreams", &UPSTREAM),
        whole("mesh_gateway", &MESH_GATEWAY),
        whole("expose", &EXPOSE),
    ],
};

static TRANSPARENT_PROXY: Schema = Schema { keys: &[integer("outbound_listener_port"), boolean("dialed_directly")] };

static UPSTREAM: Schema = Schema {
    keys: &[
        text("destination_type"),
        text("destination_namespace"),
        text("destination_partition"),
        text("destination_peer"),
        text("destination_name"),
        text("datacenter"),
        text("local_bind_address"),
        integer("local_bind_port"),
        text("local_bind_socket_path"),
        text("local_bind_socket_mode"),
        Key::of("config", Shape::Free),
        whole("mesh_gateway", &MESH_GATEWAY),
    ],
};

static MESH_GATEWAY: Schema = Schema { keys: &[text("mode")] };

static EXPOSE: Schema = Schema { keys: &[boolean("checks"), integer("port"), sections("paths", &EXPOSE_PATH)] };

static EXPOSE_PATH: Schema =
    Schema { keys: &[integer("listener_port"), text("path"), text("protocol"), integer("local_path_port")] };
