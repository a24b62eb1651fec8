//! The flags of `agent`, and the configuration keys that they stand for.

use std::fmt;

use crate::go_flags::{Flag, FlagError, FlagSet, Kind, Words};
use crate::written::{Setting, Written};

/// What the command line of `agent` says.
#[derive(Clone, Default)]
pub struct Flags {
    /// The flags that are configuration keys.
    pub written: Written,
    /// `-config-file` and `-config-dir`, in the order given.
    pub config_paths: Vec<String>,
    pub config_format: Option<String>,
    pub dev: bool,
    /// `-hcl`: fragments that win over everything else.
    pub hcl: Vec<String>,
    /// Deprecations.
    pub warnings: Vec<String>,
}

impl fmt::Debug for Flags {
    /// Without the text of fragments: it may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flags")
            .field("written", &self.written)
            .field("config_paths", &self.config_paths)
            .field("config_format", &self.config_format)
            .field("dev", &self.dev)
            .finish_non_exhaustive()
    }
}

/// A flag, and where its value goes.
struct AgentFlag {
    name: &'static str,
    target: Target,
    usage: &'static str,
}

#[derive(Clone, Copy)]
enum Target {
    Bool(&'static str),
    Integer(&'static str),
    Text(&'static str),
    Texts(&'static str),
    /// `key:value`, repeated.
    Pairs(&'static str),
    ConfigPath,
    ConfigFormat,
    Dev,
    Hcl,
}

const fn flag(name: &'static str, target: Target, usage: &'static str) -> AgentFlag {
    AgentFlag { name, target, usage }
}

const AGENT_FLAGS: &[AgentFlag] = &[
    flag("advertise", Target::Text("advertise_addr"), "Address that other agents reach this one at."),
    flag("advertise-wan", Target::Text("advertise_addr_wan"), "Address that other datacenters reach this agent at."),
    flag(
        "allow-write-http-from",
        Target::Texts("http_config.allow_write_http_from"),
        "Network (CIDR) that may use writing HTTP methods. Repeatable.",
    ),
    flag("alt-domain", Target::Text("alt_domain"), "Second DNS domain to answer for."),
    flag(
        "auto-reload-config",
        Target::Bool("auto_reload_config"),
        "Watch configuration files and reload them when they change.",
    ),
    flag("bind", Target::Text("bind_addr"), "Address for traffic within the cluster."),
    flag("bootstrap", Target::Bool("bootstrap"), "Let this server elect itself."),
    flag(
        "bootstrap-expect",
        Target::Integer("bootstrap_expect"),
        "Number of servers to wait for before the first election.",
    ),
    flag("check_output_max_size", Target::Integer("check_output_max_size"), "Bytes of check output that are kept."),
    flag("client", Target::Text("client_addr"), "Address for HTTP, HTTPS, DNS and gRPC."),
    flag(
        "config-dir",
        Target::ConfigPath,
        "Directory whose .json and .hcl files are read in the order of their names. Repeatable.",
    ),
    flag("config-file", Target::ConfigPath, "Configuration file ending in .json or .hcl. Repeatable."),
    flag(
        "config-format",
        Target::ConfigFormat,
        "Read all configuration files as 'hcl' or 'json', whatever their names.",
    ),
    flag("data-dir", Target::Text("data_dir"), "Directory for the agent's state."),
    flag("datacenter", Target::Text("datacenter"), "Datacenter of this agent."),
    flag(
        "default-query-time",
        Target::Text("default_query_time"),
        "How long a blocking query waits if it does not say.",
    ),
    flag("dev", Target::Dev, "Development mode: one server, nothing on disk."),
    flag(
        "disable-host-node-id",
        Target::Bool("disable_host_node_id"),
        "Make a random node ID instead of deriving it from the host.",
    ),
    flag("disable-keyring-file", Target::Bool("disable_keyring_file"), "Do not keep gossip keys on disk."),
    flag("dns-port", Target::Integer("ports.dns"), "Port for DNS."),
    flag("domain", Target::Text("domain"), "DNS domain to answer for."),
    flag(
        "enable-local-script-checks",
        Target::Bool("enable_local_script_checks"),
        "Allow script checks that are defined in configuration files.",
    ),
    flag(
        "enable-script-checks",
        Target::Bool("enable_script_checks"),
        "Allow script checks, also those registered over HTTP.",
    ),
    flag("encrypt", Target::Text("encrypt"), "Key for gossip encryption."),
    flag("grpc-port", Target::Integer("ports.grpc"), "Port for gRPC."),
    flag("grpc-tls-port", Target::Integer("ports.grpc_tls"), "Port for gRPC over TLS."),
    flag("hcl", Target::Hcl, "Configuration in HCL, winning over all files and flags. Repeatable."),
    flag("http-port", Target::Integer("ports.http"), "Port for HTTP."),
    flag("https-port", Target::Integer("ports.https"), "Port for HTTPS."),
    flag("join", Target::Texts("start_join"), "Older name of -retry-join."),
    flag("join-wan", Target::Texts("start_join_wan"), "Older name of -retry-join-wan."),
    flag("log-file", Target::Text("log_file"), "File to log to."),
    flag("log-json", Target::Bool("log_json"), "Log lines as JSON."),
    flag("log-level", Target::Text("log_level"), "Least severe level that is logged."),
    flag("log-rotate-bytes", Target::Integer("log_rotate_bytes"), "Size at which a new log file is begun."),
    flag("log-rotate-duration", Target::Text("log_rotate_duration"), "Age at which a new log file is begun."),
    flag("log-rotate-max-files", Target::Integer("log_rotate_max_files"), "Number of old log files to keep."),
    flag("max-query-time", Target::Text("max_query_time"), "Longest time that a blocking query may wait."),
    flag("node", Target::Text("node_name"), "Name of this node; unique in the cluster."),
    flag("node-id", Target::Text("node_id"), "ID of this node; by default random and kept in the data directory."),
    flag("node-meta", Target::Pairs("node_meta"), "Metadata of this node as `key:value`. Repeatable."),
    flag("non-voting-server", Target::Bool("read_replica"), "Older name of -read-replica (Enterprise only)."),
    flag("pid-file", Target::Text("pid_file"), "File to write the process ID to."),
    flag("primary-gateway", Target::Texts("primary_gateways"), "Mesh gateway of the primary datacenter. Repeatable."),
    flag("protocol", Target::Integer("protocol"), "RPC protocol version."),
    flag("raft-protocol", Target::Integer("raft_protocol"), "Raft protocol version."),
    flag("read-replica", Target::Bool("read_replica"), "Server that replicates without voting (Enterprise only)."),
    flag("recursor", Target::Texts("recursors"), "Upstream DNS server. Repeatable."),
    flag("rejoin", Target::Bool("rejoin_after_leave"), "Join again after a graceful leave."),
    flag("retry-interval", Target::Text("retry_interval"), "Time between attempts to join."),
    flag("retry-interval-wan", Target::Text("retry_interval_wan"), "Time between attempts to join over the WAN."),
    flag("retry-join", Target::Texts("retry_join"), "Agent to join, tried until it succeeds. Repeatable."),
    flag(
        "retry-join-wan",
        Target::Texts("retry_join_wan"),
        "Server to join over the WAN, tried until it succeeds. Repeatable.",
    ),
    flag("retry-max", Target::Integer("retry_max"), "Number of attempts to join; 0 for no limit."),
    flag("retry-max-wan", Target::Integer("retry_max_wan"), "Number of attempts to join over the WAN; 0 for no limit."),
    flag("segment", Target::Text("segment"), "Network segment (Enterprise only)."),
    flag(
        "serf-lan-allowed-cidrs",
        Target::Texts("serf_lan_allowed_cidrs"),
        "Network that LAN gossip is accepted from. Repeatable.",
    ),
    flag("serf-lan-bind", Target::Text("serf_lan"), "Address for LAN gossip."),
    flag("serf-lan-port", Target::Integer("ports.serf_lan"), "Port for LAN gossip."),
    flag(
        "serf-wan-allowed-cidrs",
        Target::Texts("serf_wan_allowed_cidrs"),
        "Network that WAN gossip is accepted from. Repeatable.",
    ),
    flag("serf-wan-bind", Target::Text("serf_wan"), "Address for WAN gossip."),
    flag("serf-wan-port", Target::Integer("ports.serf_wan"), "Port for WAN gossip."),
    flag("server", Target::Bool("server"), "Run as a server."),
    flag("server-port", Target::Integer("ports.server"), "Port for RPC between agents and servers."),
    flag("syslog", Target::Bool("enable_syslog"), "Log to syslog."),
    flag("ui", Target::Bool("ui_config.enabled"), "Serve the web page."),
    flag("ui-content-path", Target::Text("ui_config.content_path"), "URL path of the web page."),
    flag("ui-dir", Target::Text("ui_config.dir"), "Directory with another web page."),
];

/// The flags of `agent` for parsing and for usage texts.
pub fn flag_set() -> FlagSet {
    let flags: Vec<Flag> = AGENT_FLAGS
        .iter()
        .map(|flag| {
            let kind = match flag.target {
                Target::Bool(_) | Target::Dev => Kind::Bool,
                Target::Integer(_) => Kind::Integer,
                Target::Text(_) | Target::ConfigFormat => Kind::Text,
                Target::Texts(_) | Target::Pairs(_) | Target::ConfigPath | Target::Hcl => Kind::Texts,
            };
            Flag { name: flag.name, kind, usage: flag.usage, default: "" }
        })
        .collect();
    FlagSet::new(&flags, Words::Detailed)
}

impl Flags {
    /// Reads the arguments after `agent`.
    pub fn parse<S: AsRef<str>>(arguments: &[S]) -> Result<Flags, FlagError> {
        let parsed = flag_set().parse(arguments)?;
        if !parsed.rest.is_empty() {
            return Err(FlagError::ExtraArguments(parsed.rest));
        }
        let mut flags = Flags {
            config_paths: parsed.texts(&["config-dir", "config-file"]),
            config_format: parsed.text("config-format").map(str::to_owned),
            dev: parsed.bool("dev").unwrap_or(false),
            hcl: parsed.texts(&["hcl"]),
            ..Flags::default()
        };
        for flag in AGENT_FLAGS.iter().filter(|flag| parsed.has(flag.name)) {
            let text = parsed.text(flag.name).unwrap_or_default().to_owned();
            let (path, setting) = match flag.target {
                Target::Bool(path) => (path, Setting::Bool(parsed.bool(flag.name).unwrap_or(true))),
                Target::Integer(path) => (path, Setting::Integer(parsed.integer(flag.name).unwrap_or(0))),
                Target::Text(path) => (path, Setting::Text(text)),
                Target::Texts(path) => (path, Setting::Texts(parsed.texts(&[flag.name]))),
                Target::Pairs(path) => {
                    let pairs = parsed.texts(&[flag.name]);
                    let pairs = pairs.iter().map(|pair| pair.split_once(':').unwrap_or((pair, "")));
                    let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
                    (path, Setting::TextMap(pairs.collect()))
                }
                Target::ConfigPath | Target::ConfigFormat | Target::Dev | Target::Hcl => continue,
            };
            flags.written.put(path, setting);
        }
        flags.rename_join("start_join", "retry_join", "join", "retry-join");
        flags.rename_join("start_join_wan", "retry_join_wan", "join-wan", "retry-join-wan");
        Ok(flags)
    }

    fn rename_join(&mut self, old_key: &str, new_key: &str, old_flag: &str, new_flag: &str) {
        if let Some(Setting::Texts(addresses)) = self.written.root.remove(old_key) {
            let mut joined = self.written.texts(new_key).to_vec();
            joined.extend(addresses);
            self.written.put(new_key, Setting::Texts(joined));
            let warning = format!("The flag '-{old_flag}' is deprecated. Use the '-{new_flag}' flag instead.");
            self.warnings.push(warning);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Flags;

    #[test]
    fn flags_become_configuration_keys() {
        let flags = Flags::parse(&[
            "-dev",
            "-http-port=18500",
            "-node",
            "n1",
            "-server=false",
            "-join",
            "a",
            "-retry-join",
            "b",
            "-node-meta",
            "k:v:w",
            "-node-meta=x",
            "-config-file",
            "f.hcl",
            "-config-dir=d",
            "-hcl",
            "a = 1",
            "-ui",
        ])
        .expect("parses");
        assert!(flags.dev);
        assert_eq!(flags.written.integer("ports.http"), Some(18500));
        assert_eq!(flags.written.text("node_name"), Some("n1"));
        assert_eq!(flags.written.bool("server"), Some(false));
        assert_eq!(flags.written.bool("ui_config.enabled"), Some(true));
        assert_eq!(flags.written.texts("retry_join"), ["b", "a"]);
        let meta = flags.written.text_map("node_meta");
        assert_eq!(meta.get("k").map(String::as_str), Some("v:w"));
        assert_eq!(meta.get("x").map(String::as_str), Some(""));
        assert_eq!(flags.config_paths, ["f.hcl", "d"]);
        assert_eq!(flags.hcl, ["a = 1"]);
        assert_eq!(flags.warnings, ["The flag '-join' is deprecated. Use the '-retry-join' flag instead."]);
    }

    #[test]
    fn extra_arguments_are_refused() {
        let error = Flags::parse(&["-dev", "extra", "more"]).expect_err("refused");
        assert_eq!(error.to_string(), "Unexpected extra arguments: [extra more]");
    }

    #[test]
    fn every_flag_goes_to_a_key_of_the_schema() {
        for flag in super::flag_set().flags() {
            let value = match flag.kind {
                crate::go_flags::Kind::Integer => "1",
                crate::go_flags::Kind::Bool => "true",
                _ => "x",
            };
            Flags::parse(&[format!("-{}={value}", flag.name)]).expect("parses");
        }
    }
}
