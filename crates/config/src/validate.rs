//! What a configuration must satisfy, in the order in which the reference looks.
//!
//! Always true: the first broken rule is the one told; gathered faults of single values are told in the middle, where the
//! reference tells them; protection that was asked for and is not built stops the start at the end.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use base64::Engine;

use crate::error::{Error, several};
use crate::host::Host;
use crate::resolve::addresses::is_any;
use crate::runtime::{Listen, Runtime};
use crate::unbuilt;

/// Longest DNS label.
const MAX_LABEL_BYTES: usize = 63;
const META_MAX_PAIRS: usize = 64;
const META_KEY_MAX_BYTES: usize = 128;
const META_VALUE_MAX_BYTES: usize = 512;
const META_RESERVED_PREFIX: &str = "consul-";
/// Compat: keys with the reserved prefix that a mesh gateway may carry.
const META_OF_MESH_GATEWAYS: &[&str] = &["consul-wan-federation"];
/// Files that an idle agent has open.
const FILES_AT_REST: u64 = 20;

fn refuse_if(broken: bool, message: impl Into<String>) -> Result<(), Error> {
    if broken { Err(Error::new(message)) } else { Ok(()) }
}

pub(crate) fn validate(
    runtime: &Runtime,
    host: &Host,
    faults: Vec<String>,
    warnings: &mut Vec<String>,
) -> Result<(), Error> {
    identity(runtime, warnings)?;
    addresses(runtime)?;
    servers(runtime)?;
    values(runtime)?;
    uniqueness(runtime)?;
    refuse_if(!faults.is_empty(), several(&faults))?;
    mesh(runtime)?;
    warn(runtime, warnings);
    let connections = runtime.limits.http_max_conns_per_client;
    if let (Some(max), Ok(wanted)) = (host.max_open_files, u64::try_from(connections))
        && wanted > 0
    {
        let needed = wanted.saturating_add(FILES_AT_REST);
        refuse_if(
            max < needed,
            format!(
                "system allows a max of {max} file descriptors, but limits.http_max_conns_per_client: {connections} needs at \
             least {needed}"
            ),
        )?;
    }
    if runtime.agent_checks.enable_remote_scripts && !runtime.acl.enabled && runtime.http.allow_write_from.is_empty() {
        warnings.push(
            "using enable-script-checks without ACLs and without allow_write_http_from is DANGEROUS, use \
             enable-local-script-checks instead, see \
             https://www.hashicorp.com/blog/protecting-consul-from-rce-risk-in-specific-configurations/"
                .to_owned(),
        );
    }
    let refusals = unbuilt::refusals(&runtime.merged);
    refuse_if(!refusals.is_empty(), several(&refusals))?;
    Ok(())
}

/// Looks at the data directory. Apart, because it asks the disk.
pub(crate) fn data_dir(runtime: &Runtime) -> Result<(), Error> {
    if runtime.dev_mode {
        return Ok(());
    }
    match std::fs::metadata(&runtime.data_dir) {
        Ok(metadata) => {
            let shown = runtime.data_dir.display().to_string();
            refuse_if(!metadata.is_dir(), format!("data_dir {shown:?} is not a directory"))?;
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::new(format!("Error getting info on data_dir: {error}"))),
    }
}

fn identity(runtime: &Runtime, warnings: &mut Vec<String>) -> Result<(), Error> {
    let protocol = runtime.raft.protocol;
    refuse_if(protocol != 3, format!("raft_protocol version {protocol} is not supported by this version of Consul"))?;
    basic_name("datacenter", &runtime.datacenter, false)?;
    refuse_if(runtime.data_dir.as_os_str().is_empty() && !runtime.dev_mode, "data_dir cannot be empty")?;
    ui(runtime)?;
    let name = &runtime.node_name;
    refuse_if(name.is_empty(), "node_name cannot be empty")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '\\';
    if !name.chars().all(plain) {
        warnings.push(format!(
            "Node name {name:?} will not be discoverable via DNS due to invalid characters. Valid characters include all \
             alpha-numerics and dashes."
        ));
    } else if name.len() > MAX_LABEL_BYTES {
        warnings.push(format!(
            "Node name {name:?} will not be discoverable via DNS due to it being too long. Valid lengths are between 1 and \
             63 bytes."
        ));
    }
    let zone_alone =
        runtime.locality.as_ref().is_some_and(|locality| locality.region.is_empty() && !locality.zone.is_empty());
    refuse_if(zone_alone, "locality is invalid: zone cannot be set without region")?;
    Ok(())
}

fn ui(runtime: &Runtime) -> Result<(), Error> {
    let path = &runtime.ui.content_path;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-');
    refuse_if(
        !path.chars().all(plain),
        format!("ui-content-path can only contain alphanumeric, -, _, or /. received: {path:?}"),
    )?;
    let versioned = path
        .strip_prefix("/v")
        .and_then(|rest| rest.strip_suffix('/'))
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()));
    refuse_if(versioned, format!("ui-content-path cannot have 'v[0-9]'. received: {path:?}"))?;
    let merged = &runtime.merged;
    basic_name("ui_config.metrics_provider", merged.text("ui_config.metrics_provider").unwrap_or_default(), true)?;
    let options = merged.text("ui_config.metrics_provider_options_json").unwrap_or_default();
    refuse_if(
        !options.is_empty() && hcl::json::parse(options).is_err(),
        format!(
            "ui_config.metrics_provider_options_json must be empty or a string containing a valid JSON object. received: \
         {options:?}"
        ),
    )?;
    let base = merged.text("ui_config.metrics_proxy.base_url").unwrap_or_default();
    refuse_if(
        !base.is_empty() && !is_http_url(base),
        format!("ui_config.metrics_proxy.base_url must be a valid http or https URL. received: {base:?}"),
    )?;
    for (key, url) in merged.text_map("ui_config.dashboard_url_templates") {
        basic_name("ui_config.dashboard_url_templates key names", &key, false)?;
        refuse_if(
            !is_http_url(&url),
            format!("ui_config.dashboard_url_templates values must be a valid http or https URL. received: {base:?}"),
        )?;
    }
    Ok(())
}

fn is_http_url(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.starts_with("http:") || lower.starts_with("https:")
}

fn basic_name(field: &str, value: &str, may_be_empty: bool) -> Result<(), Error> {
    if value.is_empty() {
        refuse_if(!may_be_empty, format!("{field} cannot be empty"))?;
        return Ok(());
    }
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    refuse_if(
        !value.chars().all(plain),
        format!("{field} can only contain lowercase alphanumeric, - or _ characters. received: {value:?}"),
    )?;
    Ok(())
}

fn addresses(runtime: &Runtime) -> Result<(), Error> {
    let addresses = &runtime.addresses;
    refuse_if(addresses.advertise_lan.is_unspecified(), "Advertise address cannot be 0.0.0.0, :: or [::]")?;
    refuse_if(addresses.advertise_wan.is_unspecified(), "Advertise WAN address cannot be 0.0.0.0, :: or [::]")?;
    let segmented = runtime.merged.text("segment").is_some_and(|segment| !segment.is_empty())
        || !runtime.merged.root.sections("segments").is_empty();
    refuse_if(segmented, "Network segments are not supported in this version of Consul")?;
    let unix = addresses.dns.iter().any(|listen| matches!(listen, Listen::Unix(_)));
    refuse_if(unix, "DNS address cannot be a unix socket")?;
    let any_recursor = runtime.dns.recursors.iter().any(|recursor| is_any(recursor));
    refuse_if(any_recursor, "DNS recursor address cannot be 0.0.0.0, :: or [::]")?;
    let first_label = runtime.dns.alt_domain.split_once('.').map(|(label, _)| label);
    let reserved = first_label.is_some_and(|label| {
        ["service", "connect", "node", "query", "addr"].contains(&label) || label == runtime.datacenter
    });
    refuse_if(
        reserved,
        format!("alt_domain cannot start with {{service,connect,node,query,addr,{}}}", runtime.datacenter),
    )?;
    Ok(())
}

fn servers(runtime: &Runtime) -> Result<(), Error> {
    let expect = runtime.bootstrap_expect;
    refuse_if(runtime.bootstrap && !runtime.server, "'bootstrap = true' requires 'server = true'")?;
    refuse_if(expect < 0, format!("bootstrap_expect cannot be {expect}. Must be greater than or equal to zero"))?;
    refuse_if(expect > 0 && !runtime.server, "'bootstrap_expect > 0' requires 'server = true'")?;
    refuse_if(expect > 0 && runtime.dev_mode, "'bootstrap_expect > 0' not allowed in dev mode")?;
    refuse_if(expect > 0 && runtime.bootstrap, "'bootstrap_expect > 0' and 'bootstrap = true' are mutually exclusive")?;
    Ok(())
}

fn values(runtime: &Runtime) -> Result<(), Error> {
    refuse_if(
        runtime.agent_checks.output_max_size < 1,
        "check_output_max_size must be positive, to discard check output use the discard_check_output flag",
    )?;
    let trailing = runtime.autopilot.max_trailing_logs;
    refuse_if(
        trailing < 0,
        format!("autopilot.max_trailing_logs cannot be {trailing}. Must be greater than or equal to zero"),
    )?;
    basic_name("primary_datacenter", &runtime.primary_datacenter, true)?;
    refuse_if(
        !runtime.dev_mode && runtime.ui.enabled && !runtime.ui.dir.is_empty(),
        "Both the ui_config.enabled and ui_config.dir (or -ui and -ui-dir) were specified, please provide only one.\n\
         If trying to use your own web UI resources, use ui_config.dir or the -ui-dir flag.\n\
         The web UI is included in the binary so use ui_config.enabled or the -ui flag to enable it",
    )?;
    for (key, limit) in
        [("udp_answer_limit", runtime.dns.udp_answer_limit), ("a_record_limit", runtime.dns.a_record_limit)]
    {
        refuse_if(limit < 0, format!("dns_config.{key} cannot be {limit}. Must be greater than or equal to zero"))?;
    }
    metadata(&runtime.node_meta, false).map_err(|fault| Error::new(format!("node_meta invalid: {fault}")))?;
    if let Some(offset) = base64_fault(runtime.encrypt.key.expose()) {
        return Err(Error::new(format!("encrypt has invalid key: illegal base64 data at input byte {offset}")));
    }
    if runtime.server {
        let backend = runtime.merged.text("raft_logstore.backend").unwrap_or("default");
        refuse_if(
            !matches!(backend, "boltdb" | "wal" | "default"),
            "raft_logstore.backend must be one of 'boltdb' or 'wal'",
        )?;
        let segment = runtime.merged.integer("raft_logstore.wal.segment_size_mb").unwrap_or(0);
        refuse_if(segment < 1, "raft_logstore.wal.segment_size_mb cannot be less than 1MB")?;
        refuse_if(segment > 1024, "raft_logstore.wal.segment_size_mb cannot be greater than 1024 (1GiB)")?;
    }
    Ok(())
}

/// Where a text stops being base64. Compat: a group that is too short is told by its first byte.
fn base64_fault(text: &str) -> Option<usize> {
    if base64::engine::general_purpose::STANDARD.decode(text).is_ok() {
        return None;
    }
    let digits = text.trim_end_matches('=');
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/');
    Some(digits.find(|c| !plain(c)).unwrap_or(digits.len() - digits.len() % 4))
}

/// Whether node or service metadata may be stored as it is.
pub(crate) fn metadata(meta: &BTreeMap<String, String>, of_mesh_gateway: bool) -> Result<(), String> {
    if meta.len() > META_MAX_PAIRS {
        return Err(format!("Node metadata cannot contain more than {META_MAX_PAIRS} key/value pairs"));
    }
    for (key, value) in meta {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let reserved = key.starts_with(META_RESERVED_PREFIX)
            && !(of_mesh_gateway && META_OF_MESH_GATEWAYS.contains(&key.as_str()));
        let fault = if key.is_empty() {
            "Key cannot be blank".to_owned()
        } else if !key.chars().all(plain) {
            "Key contains invalid characters".to_owned()
        } else if key.len() > META_KEY_MAX_BYTES {
            format!("Key is too long (limit: {META_KEY_MAX_BYTES} characters)")
        } else if reserved {
            format!("Key prefix '{META_RESERVED_PREFIX}' is reserved for internal use")
        } else if value.len() > META_VALUE_MAX_BYTES {
            format!("Value is too long (limit: {META_VALUE_MAX_BYTES} characters)")
        } else {
            continue;
        };
        return Err(format!("Couldn't load metadata pair ('{key}', '{value}'): {fault}"));
    }
    Ok(())
}

/// No two of these may share an address.
fn uniqueness(runtime: &Runtime) -> Result<(), Error> {
    let addresses = &runtime.addresses;
    let mut used: BTreeMap<String, &str> = BTreeMap::new();
    let mut claim = |name: &'static str, address: String| match used.insert(address.clone(), name) {
        Some(other) => Err(Error::new(format!("{name} address {address} already configured for {other}"))),
        None => Ok(()),
    };
    for (name, list) in [("DNS", &addresses.dns), ("HTTP", &addresses.http), ("HTTPS", &addresses.https)] {
        for listen in list {
            claim(
                name,
                match listen {
                    Listen::Socket(socket) => socket.to_string(),
                    Listen::Unix(file) => file.display().to_string(),
                },
            )?;
        }
    }
    let advertised: [(&'static str, Option<SocketAddr>); 3] = [
        ("RPC Advertise", Some(addresses.rpc_advertise)),
        ("Serf Advertise LAN", Some(addresses.serf_lan_advertise)),
        ("Serf Advertise WAN", addresses.serf_wan_advertise),
    ];
    for (name, socket) in advertised {
        if let Some(socket) = socket {
            claim(name, socket.to_string())?;
        }
    }
    Ok(())
}

/// Rules between settings of which nothing is built yet.
fn mesh(runtime: &Runtime) -> Result<(), Error> {
    let merged = &runtime.merged;
    let on = |path: &str| merged.bool(path) == Some(true);
    if on("connect.enable_mesh_gateway_wan_federation") {
        let setting = "'connect.enable_mesh_gateway_wan_federation = true'";
        refuse_if(!runtime.server, format!("{setting} requires 'server = true'"))?;
        refuse_if(
            runtime.node_name.contains('/'),
            format!("{setting} requires that 'node_name' not contain '/' characters"),
        )?;
        let joins = !runtime.joining.wan.addresses.is_empty();
        refuse_if(joins, format!("'retry_join_wan' is incompatible with {setting}"))?;
    }
    if !merged.texts("primary_gateways").is_empty() {
        refuse_if(!runtime.server, "'primary_gateways' requires 'server = true'")?;
        refuse_if(
            runtime.primary_datacenter == runtime.datacenter,
            "'primary_gateways' should only be configured in a secondary datacenter",
        )?;
    }
    let provider = merged.text("connect.ca_provider").unwrap_or_default();
    refuse_if(
        !matches!(provider, "" | "consul" | "vault" | "aws-pca"),
        format!("{provider} is not a valid CA provider"),
    )?;
    refuse_if(runtime.server && on("auto_encrypt.tls"), "auto_encrypt.tls can only be used on a client.")?;
    refuse_if(!runtime.server && on("auto_encrypt.allow_tls"), "auto_encrypt.allow_tls can only be used on a server.")?;
    let reconnect = merged.text("advertise_reconnect_timeout").unwrap_or_default();
    let is_zero = reconnect.is_empty() || wire::duration::GoDuration::parse(reconnect).is_ok_and(|span| span.0 == 0);
    refuse_if(runtime.server && !is_zero, "advertise_reconnect_timeout can only be used on a client")?;
    refuse_if(
        on("auto_config.enabled") && on("auto_encrypt.tls"),
        "both auto_encrypt.tls and auto_config.enabled cannot be set to true.",
    )?;
    Ok(())
}

fn warn(runtime: &Runtime, warnings: &mut Vec<String>) {
    let (bootstrap, expect) = (runtime.bootstrap, runtime.bootstrap_expect);
    let more = "See https://developer.hashicorp.com/docs/internals/consensus.html#deployment-table";
    if !runtime.server {
        if runtime.merged.bool("rpc.enable_streaming") == Some(true) {
            warnings.push("rpc.enable_streaming = true has no effect when not running in server mode".to_owned());
        }
        return;
    }
    if !runtime.dev_mode && !bootstrap && expect == 2 {
        warnings
            .push(format!("bootstrap_expect = 2: A cluster with 2 servers will provide no failure tolerance. {more}"));
    }
    if !bootstrap && expect > 2 && expect % 2 == 0 {
        warnings.push(format!(
            "bootstrap_expect is even number: A cluster with an even number of servers does not achieve optimum fault \
             tolerance. {more}"
        ));
    }
    if bootstrap && expect == 0 {
        warnings.push("bootstrap = true: do not enable unless necessary".to_owned());
    }
    if !runtime.dev_mode && !bootstrap && expect > 1 {
        warnings.push(format!("bootstrap_expect > 0: expecting {expect} servers"));
    }
    let streaming = |path: &str| runtime.merged.bool(path).unwrap_or(true);
    if streaming("use_streaming_backend") && !streaming("rpc.enable_streaming") {
        warnings
            .push("use_streaming_backend = true requires rpc.enable_streaming on servers to work properly".to_owned());
    }
}
