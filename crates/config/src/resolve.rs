//! From the merged sources to [`Runtime`].
//!
//! Always true: faults are gathered, not returned at once, because the reference tells most of them together and only after
//! its other checks; what it stops at is returned at once. Nothing is guessed: what a source did not say comes from
//! `defaults`, or from the machine.

pub(crate) mod addresses;
mod sections;

use wire::duration::GoDuration;

use crate::definition;
use crate::error::Error;
use crate::host::{Cidr, Host, expand};
use crate::runtime::{Runtime, Watch};
use crate::written::Written;

/// What is wrong with values, told together at the end.
#[derive(Debug, Default)]
pub struct Faults {
    list: Vec<String>,
}

impl Faults {
    pub(crate) fn push(&mut self, fault: String) {
        self.list.push(fault);
    }

    pub(crate) fn into_list(self) -> Vec<String> {
        self.list
    }

    /// A duration, zero if absent.
    pub(crate) fn duration(&mut self, name: &str, text: Option<&str>) -> GoDuration {
        let Some(text) = text else {
            return GoDuration(0);
        };
        GoDuration::parse(text).unwrap_or_else(|error| {
            self.push(format!("{name}: invalid duration: {text:?}: {error}"));
            GoDuration(0)
        })
    }

    /// A duration that must not be below a minimum.
    fn duration_of_at_least(&mut self, name: &str, text: Option<&str>, min: GoDuration) -> GoDuration {
        let duration = self.duration(name, text);
        if duration < min {
            self.push(format!("{name}: duration '{}' cannot be less than: {min}", text.unwrap_or_default()));
        }
        duration
    }
}

/// Reads merged settings, gathering faults.
struct Reader<'a> {
    merged: &'a Written,
    host: &'a Host,
    dev: bool,
    faults: Faults,
    warnings: &'a mut Vec<String>,
}

impl Reader<'_> {
    fn bool(&self, path: &str) -> bool {
        self.merged.bool(path).unwrap_or(false)
    }

    fn integer(&self, path: &str) -> i64 {
        self.merged.integer(path).unwrap_or(0)
    }

    fn text(&self, path: &str) -> String {
        self.merged.text(path).unwrap_or_default().to_owned()
    }

    fn duration(&mut self, path: &str) -> GoDuration {
        self.duration_named(path, path)
    }

    fn duration_named(&mut self, name: &str, path: &str) -> GoDuration {
        self.faults.duration(name, self.merged.text(path))
    }

    /// A rate; below zero there is no limit.
    fn rate(&self, path: &str) -> Option<f64> {
        Some(self.merged.float(path).unwrap_or(0.0)).filter(|rate| *rate >= 0.0)
    }

    /// Addresses that need not be IP addresses yet, with their templates expanded.
    fn address_texts(&mut self, path: &str) -> Vec<String> {
        let mut addresses = Vec::new();
        for text in self.merged.texts(path) {
            if text.is_empty() {
                continue;
            }
            match expand(text, self.host) {
                Err(error) => self.faults.push(format!("{path}: error parsing {text:?}: {error}")),
                Ok(expanded) if expanded == *text => addresses.push(expanded),
                Ok(expanded) => addresses.extend(expanded.split_whitespace().map(str::to_owned)),
            }
        }
        addresses
    }
}

/// Resolves what the sources said. Gives the faults that the reference tells after its other checks.
pub(crate) fn resolve(
    merged: Written,
    dev: bool,
    host: &Host,
    warnings: &mut Vec<String>,
) -> Result<(Runtime, Vec<String>), Error> {
    let mut reader = Reader { merged: &merged, host, dev, faults: Faults::default(), warnings };
    let mut runtime = reader.runtime()?;
    let mut faults = reader.faults.into_list();
    if runtime.node_name.is_empty() && merged.text("node_name").unwrap_or_default().is_empty() {
        faults.push("node_name: the host has no name".to_owned());
    }
    runtime.merged = merged;
    Ok((runtime, faults))
}

impl Reader<'_> {
    fn runtime(&mut self) -> Result<Runtime, Error> {
        let merged = self.merged;
        let server = self.bool("server");
        let dns = self.dns()?;
        let check_definitions =
            merged.root.sections("checks").iter().map(|section| definition::check(section, &mut self.faults)).collect();
        let service_definitions = merged
            .root
            .sections("services")
            .iter()
            .map(|section| definition::service(section, &mut self.faults))
            .collect();
        let ports = self.ports(server)?;
        let addresses = self.addresses(&ports)?;
        let telemetry = self.telemetry();
        let performance = self.performance()?;
        let raft = self.raft(performance.raft_multiplier);
        let serf_lan_allowed_cidrs = allowed_cidrs("serf_lan_allowed_cidrs", merged)?;
        let serf_wan_allowed_cidrs = allowed_cidrs("serf_wan_allowed_cidrs", merged)?;
        let ui = self.ui();
        let datacenter = self.text("datacenter").to_lowercase();
        let primary = self.text("primary_datacenter").to_lowercase();
        let sync = self.sync();
        let mut runtime = Runtime {
            dev_mode: self.dev,
            server,
            bootstrap: self.bool("bootstrap"),
            bootstrap_expect: self.integer("bootstrap_expect"),
            primary_datacenter: if primary.is_empty() { datacenter.clone() } else { primary },
            datacenter,
            node_name: self.node_name(),
            node_id: self.text("node_id"),
            node_meta: merged.text_map("node_meta"),
            locality: merged.root.section("locality").map(|section| definition::Locality {
                region: section.text("region").unwrap_or_default().to_owned(),
                zone: section.text("zone").unwrap_or_default().to_owned(),
            }),
            data_dir: self.text("data_dir").into(),
            pid_file: self.text("pid_file"),
            agent_checks: self.agent_checks(),
            gossip_lan: self.gossip("gossip_lan", "reconnect_timeout"),
            gossip_wan: self.gossip("gossip_wan", "reconnect_timeout_wan"),
            acl: self.acl(),
            autopilot: self.autopilot(),
            dns,
            http: self.http(),
            addresses,
            ports,
            unix_sockets: self.unix_sockets(),
            serf_lan_allowed_cidrs,
            serf_wan_allowed_cidrs,
            encrypt: self.encrypt(),
            logging: self.logging(),
            limits: self.limits(),
            joining: self.joining(),
            performance,
            raft,
            sync,
            telemetry,
            ui,
            check_definitions,
            service_definitions,
            watches: merged
                .root
                .frees("watches")
                .iter()
                .map(|parameters| Watch { parameters: parameters.clone() })
                .collect(),
            default_query_time: self.duration("default_query_time"),
            max_query_time: self.duration("max_query_time"),
            session_ttl_min: self.duration("session_ttl_min"),
            discovery_max_stale: self.duration("discovery_max_stale"),
            leave_on_terminate: merged.bool("leave_on_terminate").unwrap_or(!server),
            skip_leave_on_interrupt: merged.bool("skip_leave_on_interrupt").unwrap_or(server),
            rejoin_after_leave: self.bool("rejoin_after_leave"),
            server_rejoin_age_max: self.faults.duration_of_at_least(
                "server_rejoin_age_max",
                merged.text("server_rejoin_age_max"),
                SERVER_REJOIN_AGE_MIN,
            ),
            translate_wan_addrs: self.bool("translate_wan_addrs"),
            disable_coordinates: self.bool("disable_coordinates"),
            disable_host_node_id: self.bool("disable_host_node_id"),
            disable_keyring_file: self.bool("disable_keyring_file"),
            disable_http_unprintable_char_filter: self.bool("disable_http_unprintable_char_filter"),
            disable_remote_exec: self.bool("disable_remote_exec"),
            disable_update_check: self.bool("disable_update_check"),
            disable_anonymous_signature: self.bool("disable_anonymous_signature"),
            enable_debug: self.bool("enable_debug"),
            merged: Written::default(),
        };
        self.check_other_sections()?;
        if runtime.bootstrap_expect == 1 {
            runtime.bootstrap = true;
            runtime.bootstrap_expect = 0;
            self.warnings.push("BootstrapExpect is set to 1; this is the same as Bootstrap mode.".to_owned());
        }
        Ok(runtime)
    }

    fn node_name(&self) -> String {
        let name = self.text("node_name");
        let name = if name.is_empty() { &self.host.hostname } else { &name };
        name.trim().to_owned()
    }
}

/// A server that was away for longer refuses to start; less than this would refuse after ordinary maintenance.
const SERVER_REJOIN_AGE_MIN: GoDuration = GoDuration(6 * 3600 * 1_000_000_000);

/// Networks that gossip is accepted from. Compat: an empty list that was written accepts nobody.
fn allowed_cidrs(path: &str, merged: &Written) -> Result<Option<Vec<Cidr>>, Error> {
    if !merged.has(path) {
        return Ok(None);
    }
    let mut faults = Vec::new();
    let mut networks = Vec::new();
    for text in merged.texts(path) {
        match Cidr::parse(text) {
            Some(network) => networks.push(network),
            None => faults.push(format!("invalid cidr: {text}")),
        }
    }
    if faults.is_empty() {
        return Ok(Some(networks));
    }
    Err(Error::new(format!("{path}: {}", crate::error::several(&faults))))
}
