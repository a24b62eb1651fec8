//! What is fuzzed: each target takes any bytes and says by a panic that a promise was broken.
//!
//! `fuzz/` runs the targets under cargo-fuzz, as long as one likes; `tests/targets.rs` runs each over its seeds and
//! mutations of them on every test run, so that the targets cannot rot. A target is more than "does not crash" where
//! it can be: what was decoded is encoded and decoded again, what is applied twice comes to the same.
//!
//! Always true: a target depends on its input alone; it opens nothing and starts nothing.

mod bodies;
mod calls;
mod commands;
mod configuration;
mod membership;
mod messages;
mod names;
mod texts;
mod world;

pub use calls::call_seeds;
pub use commands::command_seeds;

/// A target: the name of its file in `fuzz/fuzz_targets` and of its seeds' directory.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 16] = [
    Target { name: "config_files", run: config_files },
    Target { name: "dns_packets", run: dns_packets },
    Target { name: "filters", run: filters },
    Target { name: "go_texts", run: go_texts },
    Target { name: "gossip_keyrings", run: gossip_keyrings },
    Target { name: "gossip_machines", run: gossip_machines },
    Target { name: "gossip_packets", run: gossip_packets },
    Target { name: "gossip_snapshots", run: gossip_snapshots },
    Target { name: "gossip_streams", run: gossip_streams },
    Target { name: "hcl_texts", run: hcl_texts },
    Target { name: "json_bodies", run: json_bodies },
    Target { name: "log_entries", run: log_entries },
    Target { name: "msgpack_values", run: msgpack_values },
    Target { name: "raft_messages", run: raft_messages },
    Target { name: "rpc_connections", run: rpc_connections },
    Target { name: "snapshot_archives", run: snapshot_archives },
];

pub use bodies::json_bodies;
pub use calls::rpc_connections;
pub use commands::{log_entries, msgpack_values, snapshot_archives};
pub use configuration::{config_files, hcl_texts};
pub use membership::{
    gossip_keyrings, gossip_machines, gossip_packets, gossip_seeds, gossip_snapshots, gossip_streams,
};
pub use messages::{message_seeds, raft_messages};
pub use names::dns_packets;
pub use texts::{filters, go_texts};
