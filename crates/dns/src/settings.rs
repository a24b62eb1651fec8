//! What configuration says about DNS, ready for use: names are wire names, durations are whole seconds.
//!
//! Not here: reading configuration; `use_cache` and staleness, which belong to whoever hands in the state.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use domain::base::Name;

use crate::name;

/// The `dns_config` of configuration and what belongs to it.
#[derive(Debug, Clone)]
pub struct Settings {
    pub datacenter: String,
    pub node_name: String,
    /// Network segment of this agent.
    pub segment: String,
    /// The zone; see [`domain`].
    pub domain: Name<Bytes>,
    pub alt_domain: Option<Name<Bytes>>,
    pub node_ttl_s: u32,
    pub service_ttl: ServiceTtls,
    /// Leaves out instances in state warning.
    pub only_passing: bool,
    /// Most answers in a UDP reply of at most 512 bytes.
    pub udp_answer_limit: usize,
    /// Most A and AAAA answers; zero means all.
    pub a_record_limit: usize,
    /// Says so (TC) when answers were left out.
    pub enable_truncate: bool,
    pub disable_compression: bool,
    /// Puts the metadata of nodes into the additional section.
    pub enable_additional_node_meta_txt: bool,
    pub soa: Soa,
    pub recursors: Vec<SocketAddr>,
    pub recursor_strategy: RecursorStrategy,
    pub recursor_timeout: Duration,
}

impl Settings {
    /// The defaults of configuration.
    #[must_use]
    pub fn new(datacenter: &str, node_name: &str) -> Self {
        Settings {
            datacenter: datacenter.to_owned(),
            node_name: node_name.to_owned(),
            segment: String::new(),
            domain: name::from_text("consul.").expect("a short name of letters is a name"),
            alt_domain: None,
            node_ttl_s: 0,
            service_ttl: ServiceTtls::default(),
            only_passing: false,
            udp_answer_limit: 3,
            a_record_limit: 0,
            enable_truncate: false,
            disable_compression: false,
            enable_additional_node_meta_txt: true,
            soa: Soa::default(),
            recursors: Vec::new(),
            recursor_strategy: RecursorStrategy::default(),
            recursor_timeout: Duration::from_secs(2),
        }
    }
}

/// The values of `dns_config.soa`, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Soa {
    pub refresh: u32,
    pub retry: u32,
    pub expire: u32,
    pub min_ttl: u32,
}

impl Default for Soa {
    fn default() -> Self {
        Soa { refresh: 3600, retry: 600, expire: 86400, min_ttl: 0 }
    }
}

/// In which order upstream resolvers are tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RecursorStrategy {
    #[default]
    Sequential,
    Random,
}

/// The map of `dns_config.service_ttl`: whole names, and beginnings of names marked with a final `*`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceTtls {
    exact: BTreeMap<String, u32>,
    /// Longest first.
    prefixes: Vec<(String, u32)>,
}

impl ServiceTtls {
    /// Of several entries for one name the last counts.
    #[must_use]
    pub fn new(entries: impl IntoIterator<Item = (String, Duration)>) -> Self {
        let mut exact = BTreeMap::new();
        let mut prefixes = BTreeMap::new();
        for (name, ttl) in entries {
            let ttl = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
            match name.strip_suffix('*') {
                Some(prefix) => prefixes.insert(prefix.to_owned(), ttl),
                None => exact.insert(name, ttl),
            };
        }
        let mut prefixes: Vec<_> = prefixes.into_iter().collect();
        prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        ServiceTtls { exact, prefixes }
    }

    /// Seconds for a service.
    ///
    /// Compat: names are compared with their letter case, while questions arrive folded: an entry with
    /// capitals never counts.
    #[must_use]
    pub fn of(&self, service: &str) -> u32 {
        let by_prefix = || self.prefixes.iter().find(|(prefix, _)| service.starts_with(prefix.as_str()));
        self.exact.get(service).copied().or_else(|| by_prefix().map(|(_, ttl)| *ttl)).unwrap_or_default()
    }
}

/// A text that names neither a zone nor a resolver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadAddress(String);

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadAddress {}

/// The zone that a configured `domain` or `alt_domain` names, folded to lower case.
pub fn domain(text: &str) -> Result<Name<Bytes>, BadAddress> {
    name::from_text(&text.to_ascii_lowercase()).ok_or_else(|| BadAddress(format!("invalid DNS domain {text:?}")))
}

/// The resolver that one of `recursors` means: an address with or without a port.
pub fn recursor_address(text: &str) -> Result<SocketAddr, BadAddress> {
    const PORT: u16 = 53;
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    match bare.parse::<IpAddr>() {
        Ok(ip) => Ok(SocketAddr::new(ip, PORT)),
        Err(_) => Err(BadAddress(format!("Invalid recursor address: {text}"))),
    }
}
