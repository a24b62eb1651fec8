//! Ports, and the addresses that the agent binds, listens at and advertises.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::Reader;
use crate::error::Error;
use crate::host::expand;
use crate::runtime::{Addresses, Listen, Ports, UnixSockets};

/// An address setting before it is paired with a port.
enum Address {
    Ip(IpAddr),
    Unix(String),
}

impl Reader<'_> {
    /// A port: `None` for off. Compat: anything below one is off.
    fn port(&mut self, path: &str) -> Option<u16> {
        let number = self.merged.integer(path).filter(|number| *number > 0)?;
        let port = u16::try_from(number);
        if port.is_err() {
            self.faults.push(format!("{path}: invalid port: {number}"));
        }
        port.ok()
    }

    pub(super) fn ports(&mut self, server: bool) -> Result<Ports, Error> {
        let is_written_below_one = |path: &str| self.merged.integer(path).is_none_or(|number| number <= 0);
        let (no_server, no_serf_lan) = (is_written_below_one("ports.server"), is_written_below_one("ports.serf_lan"));
        let (dns, http, https) = (self.port("ports.dns"), self.port("ports.http"), self.port("ports.https"));
        let server_port = self.port("ports.server");
        let grpc = self.port("ports.grpc");
        let grpc_tls = self.port("ports.grpc_tls");
        // Compat: a server has gRPC over TLS on this port unless it says otherwise.
        let grpc_tls = if !self.merged.has("ports.grpc_tls") && server { Some(8503) } else { grpc_tls };
        let (serf_lan, serf_wan) = (self.port("ports.serf_lan"), self.port("ports.serf_wan"));
        let mut bound = |path: &str| self.port(path).map_or(-1, i64::from);
        let (proxy_min, proxy_max) = (bound("ports.proxy_min_port"), bound("ports.proxy_max_port"));
        let (sidecar_min, sidecar_max) = (bound("ports.sidecar_min_port"), bound("ports.sidecar_max_port"));
        let (expose_min, expose_max) = (bound("ports.expose_min_port"), bound("ports.expose_max_port"));
        if no_server {
            return Err(Error::new("server-port must be greater than zero"));
        }
        if no_serf_lan {
            return Err(Error::new("serf-lan-port must be greater than zero"));
        }
        for (name, min, max) in
            [("proxy", proxy_min, proxy_max), ("sidecar", sidecar_min, sidecar_max), ("expose", expose_min, expose_max)]
        {
            if max < min {
                return Err(Error::new(format!(
                    "{name}_min_port must be less than {name}_max_port. To disable, set both to zero."
                )));
            }
        }
        // A port above the range is a gathered fault by now: the start fails, whatever stands here.
        let (server, serf_lan) = (server_port.unwrap_or(0), serf_lan.unwrap_or(0));
        Ok(Ports {
            dns,
            http,
            https,
            grpc,
            grpc_tls,
            server,
            serf_lan,
            serf_wan,
            sidecar_min,
            sidecar_max,
            expose_min,
            expose_max,
        })
    }

    /// The addresses of one setting, separated by spaces.
    fn address_list(&mut self, path: &str) -> Vec<Address> {
        let text = self.text(path);
        let expanded = match expand(&text, self.host) {
            Ok(expanded) => expanded,
            Err(error) => {
                self.faults.push(format!("{path}: error parsing {text:?}: {error}"));
                return Vec::new();
            }
        };
        let mut list = Vec::new();
        for word in expanded.split_whitespace() {
            if let Some(file) = word.strip_prefix("unix://") {
                list.push(Address::Unix(file.to_owned()));
                continue;
            }
            match ip(word) {
                Some(address) => list.push(Address::Ip(address)),
                None => {
                    self.faults.push(format!("{path}: invalid ip address: {word}"));
                    return Vec::new();
                }
            }
        }
        list
    }

    /// The IP addresses of one setting.
    fn ips(&mut self, path: &str) -> Vec<IpAddr> {
        let mut ips = Vec::new();
        for address in self.address_list(path) {
            match address {
                Address::Ip(address) => ips.push(address),
                Address::Unix(_) => {
                    self.faults.push(format!("{path} cannot be a unix socket"));
                    return Vec::new();
                }
            }
        }
        ips
    }

    /// The one IP address of a setting, if it has any.
    fn single_ip(&mut self, path: &str) -> Option<IpAddr> {
        let mut list = self.address_list(path);
        if list.len() > 1 {
            let shown: Vec<String> = list
                .iter()
                .map(|address| match address {
                    Address::Ip(address) => address.to_string(),
                    Address::Unix(file) => file.clone(),
                })
                .collect();
            self.faults.push(format!("{path}: multiple addresses found: {}", shown.join(" ")));
            return None;
        }
        match list.pop()? {
            Address::Ip(address) => Some(address),
            Address::Unix(_) => {
                self.faults.push(format!("{path} cannot be a unix socket"));
                None
            }
        }
    }

    fn bind(&mut self) -> Result<IpAddr, Error> {
        let mut list = self.address_list("bind_addr");
        if list.len() > 1 {
            return Err(Error::new(
                "bind_addr cannot contain multiple addresses. Use 'addresses.{dns,http,https}' instead.",
            ));
        }
        match list.pop() {
            Some(Address::Ip(address)) => Ok(address),
            Some(Address::Unix(_)) => Err(Error::new("bind_addr cannot be a unix socket")),
            None => {
                // The reference says only this, also when the reason is a template that it could not expand.
                let reason = self.faults.list.pop().filter(|fault| fault.starts_with("bind_addr: "));
                let reason = reason.map(|fault| format!(" ({fault})")).unwrap_or_default();
                Err(Error::new(format!("bind_addr cannot be empty{reason}")))
            }
        }
    }

    fn detected(&self, any: IpAddr) -> Result<IpAddr, Error> {
        let (kind, found) = match any {
            IpAddr::V4(_) => ("private IPv4", self.host.private_ipv4()),
            IpAddr::V6(_) => ("public IPv6", self.host.public_ipv6()),
        };
        match found[..] {
            [address] => Ok(address),
            [] => Err(Error::new(format!("No {kind} address found"))),
            _ => Err(Error::new(format!(
                "Multiple {kind} addresses found. Please configure one with 'bind' and/or 'advertise'."
            ))),
        }
    }

    /// The address of one family: the setting's own, or the general one if that is of this family.
    fn of_family(&mut self, path: &str, general: IpAddr, v4: bool) -> Result<Option<IpAddr>, Error> {
        let address = self.single_ip(path).or_else(|| (general.is_ipv4() == v4).then_some(general));
        match address {
            Some(address) if address.is_ipv4() != v4 => {
                let family = if v4 { "ipv4" } else { "ipv6" };
                Err(Error::new(format!("{path} must be an {family} address")))
            }
            other => Ok(other),
        }
    }

    pub(super) fn addresses(&mut self, ports: &Ports) -> Result<Addresses, Error> {
        let bind = self.bind()?;
        for (path, what) in [("advertise_addr", "Advertise"), ("advertise_addr_wan", "Advertise WAN")] {
            if is_any(self.merged.text(path).unwrap_or_default()) {
                return Err(Error::new(format!("{what} address cannot be 0.0.0.0, :: or [::]")));
            }
        }
        let mut advertise_lan = self.single_ip("advertise_addr").unwrap_or(bind);
        // Compat: the reference looks twice, and tells a fault in this address twice.
        self.single_ip("advertise_addr");
        if advertise_lan.is_unspecified() {
            advertise_lan = self.detected(advertise_lan)?;
        }
        let serf_lan = self.single_ip("serf_lan").unwrap_or(bind);
        let serf_wan = self.single_ip("serf_wan").unwrap_or(bind);
        let lan_v4 = self.of_family("advertise_addr_ipv4", advertise_lan, true)?;
        let lan_v6 = self.of_family("advertise_addr_ipv6", advertise_lan, false)?;
        let advertise_wan = self.single_ip("advertise_addr_wan").unwrap_or(advertise_lan);
        let wan_v4 = self.of_family("advertise_addr_wan_ipv4", advertise_wan, true)?;
        let wan_v6 = self.of_family("advertise_addr_wan_ipv6", advertise_wan, false)?;

        let client = self.ips("client_addr");
        if client.is_empty() {
            self.warnings.push(
                "client_addr is empty, client services (DNS, HTTP, HTTPS, GRPC) will not be listening for connections"
                    .to_owned(),
            );
        }
        let mut tagged: BTreeMap<String, String> = self.merged.text_map("tagged_addresses");
        let all = [
            ("lan", Some(advertise_lan)),
            ("lan_ipv4", lan_v4),
            ("lan_ipv6", lan_v6),
            ("wan", Some(advertise_wan)),
            ("wan_ipv4", wan_v4),
            ("wan_ipv6", wan_v6),
        ];
        tagged.extend(all.into_iter().filter_map(|(tag, address)| Some((tag.to_owned(), address?.to_string()))));
        Ok(Addresses {
            bind,
            advertise_lan,
            advertise_wan,
            dns: self.listen("addresses.dns", &client, ports.dns),
            http: self.listen("addresses.http", &client, ports.http),
            https: self.listen("addresses.https", &client, ports.https),
            grpc: self.listen("addresses.grpc", &client, ports.grpc),
            grpc_tls: self.listen("addresses.grpc_tls", &client, ports.grpc_tls),
            client,
            rpc_bind: SocketAddr::new(bind, ports.server),
            rpc_advertise: SocketAddr::new(advertise_lan, ports.server),
            serf_lan_bind: SocketAddr::new(serf_lan, ports.serf_lan),
            serf_lan_advertise: SocketAddr::new(advertise_lan, ports.serf_lan),
            serf_wan_bind: ports.serf_wan.map(|port| SocketAddr::new(serf_wan, port)),
            serf_wan_advertise: ports.serf_wan.map(|port| SocketAddr::new(advertise_wan, port)),
            tagged,
        })
    }

    /// Where a face listens: its own addresses, or else the client addresses; nowhere if its port is off.
    fn listen(&mut self, path: &str, client: &[IpAddr], port: Option<u16>) -> Vec<Listen> {
        let own = self.address_list(path);
        let Some(port) = port else { return Vec::new() };
        if own.is_empty() {
            return client.iter().map(|address| Listen::Socket(SocketAddr::new(*address, port))).collect();
        }
        own.into_iter()
            .map(|address| match address {
                Address::Ip(address) => Listen::Socket(SocketAddr::new(address, port)),
                Address::Unix(file) => Listen::Unix(file.into()),
            })
            .collect()
    }

    pub(super) fn unix_sockets(&self) -> UnixSockets {
        UnixSockets {
            user: self.text("unix_sockets.user"),
            group: self.text("unix_sockets.group"),
            mode: self.text("unix_sockets.mode"),
        }
    }
}

fn ip(text: &str) -> Option<IpAddr> {
    let text = if text == "[::]" { "::" } else { text };
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// Whether a text is one of the addresses that mean every interface.
pub(crate) fn is_any(text: &str) -> bool {
    matches!(text, "0.0.0.0" | "::" | "[::]")
}
