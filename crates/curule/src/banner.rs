//! What an agent prints before its log, line by line as the reference lays it out: people and scripts read it.

use std::fmt::Write as _;

use config::runtime::Runtime;

use crate::{BUILD_DATE, COMPATIBLE_VERSION};

/// Prints it to the standard output.
pub fn print(runtime: &Runtime, node_id: &str) {
    print!("{}", text(runtime, node_id));
}

/// The reference aligns the names to the right, at this column.
const COLUMN: usize = 22;

fn text(runtime: &Runtime, node_id: &str) -> String {
    let port = |port: Option<u16>| port.map_or(-1, i32::from);
    let (addresses, ports) = (&runtime.addresses, &runtime.ports);
    let client: Vec<String> = addresses.client.iter().map(ToString::to_string).collect();
    let segment = if runtime.server { "<all>" } else { "" };
    let policy = &runtime.acl.default_policy;
    let rows = [
        ("Version", format!("'{COMPATIBLE_VERSION}'")),
        ("Build Date", format!("'{}'", BUILD_DATE.replace('T', " ").replace('Z', " +0000 UTC"))),
        ("Node ID", format!("'{node_id}'")),
        ("Node name", format!("'{}'", runtime.node_name)),
        ("Datacenter", format!("'{}' (Segment: '{segment}')", runtime.datacenter)),
        ("Servers", format!("{} (Bootstrap: {})", runtime.server, runtime.bootstrap)),
        (
            "Client Addr",
            format!(
                // Nothing listens for HTTPS and gRPC yet, whatever is configured.
                "[{}] (HTTP: {}, HTTPS: -1, gRPC: -1, gRPC-TLS: -1, DNS: {})",
                client.join(" "),
                port(ports.http),
                port(ports.dns)
            ),
        ),
        (
            "Cluster Addr",
            format!("{} (LAN: {}, WAN: {})", addresses.advertise_lan, ports.serf_lan, port(ports.serf_wan)),
        ),
        ("Gossip Encryption", "false".to_owned()),
        ("Auto-Encrypt-TLS", "false".to_owned()),
        ("ACL Enabled", "false".to_owned()),
        ("ACL Default Policy", if policy.is_empty() { "allow".to_owned() } else { policy.clone() }),
    ];
    let mut text = "==> Starting Consul agent...\n".to_owned();
    for (name, value) in rows {
        let _ = writeln!(text, "{name:>COLUMN$}: {value}");
    }
    text.push_str("\n==> Log data will now stream in as it occurs:\n\n");
    text
}
