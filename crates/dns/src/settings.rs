//! What of the configuration concerns DNS. Names follow the keys of `dns_config`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Settings of the DNS face; replaced as a whole at a reload.
#[derive(Debug, Clone)]
pub struct Settings {
    pub datacenter: String,
    pub node_name: String,
    /// Without dots at its ends.
    pub domain: String,
    /// Empty when there is none.
    pub alt_domain: String,
    pub only_passing: bool,
    pub node_ttl: u32,
    /// Seconds by service name; `*` at the end of a name matches any rest.
    pub service_ttl: BTreeMap<String, u32>,
    pub enable_truncate: bool,
    pub disable_compression: bool,
    pub udp_answer_limit: usize,
    pub a_record_limit: usize,
    pub node_meta_txt: bool,
    pub soa: Soa,
    pub recursors: Vec<SocketAddr>,
    pub recursor_strategy: RecursorStrategy,
    pub recursor_timeout: Duration,
}

/// The numbers of the zone's SOA record.
#[derive(Debug, Clone, Copy)]
pub struct Soa {
    pub refresh: u32,
    pub retry: u32,
    pub expire: u32,
    pub min_ttl: u32,
}

/// In which order recursors are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecursorStrategy {
    Sequential,
    Random,
}

impl Settings {
    /// The TTL of a service: its own, else that of the longest matching wildcard, else zero.
    #[must_use]
    pub fn ttl_of_service(&self, name: &str) -> u32 {
        if let Some(ttl) = self.service_ttl.get(name) {
            return *ttl;
        }
        self.service_ttl
            .iter()
            .filter(|(pattern, _)| pattern.strip_suffix('*').is_some_and(|prefix| name.starts_with(prefix)))
            .max_by_key(|(pattern, _)| pattern.len())
            .map_or(0, |(_, ttl)| *ttl)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::{RecursorStrategy, Settings, Soa};

    /// The defaults of the reference, and an alternative domain.
    pub(crate) fn settings() -> Settings {
        Settings {
            datacenter: "dc1".into(),
            node_name: "n1".into(),
            domain: "consul".into(),
            alt_domain: "other.test".into(),
            only_passing: false,
            node_ttl: 0,
            service_ttl: BTreeMap::new(),
            enable_truncate: false,
            disable_compression: false,
            udp_answer_limit: 3,
            a_record_limit: 0,
            node_meta_txt: true,
            soa: Soa { refresh: 3600, retry: 600, expire: 86400, min_ttl: 0 },
            recursors: Vec::new(),
            recursor_strategy: RecursorStrategy::Sequential,
            recursor_timeout: Duration::from_secs(2),
        }
    }

    #[test]
    fn the_longest_wildcard_wins() {
        let mut settings = settings();
        for (name, ttl) in [("*", 1), ("we*", 2), ("web-*", 3), ("web-a", 4)] {
            settings.service_ttl.insert(name.into(), ttl);
        }
        for (name, ttl) in [("db", 1), ("web", 2), ("web-b", 3), ("web-a", 4)] {
            assert_eq!(settings.ttl_of_service(name), ttl, "{name}");
        }
    }
}
