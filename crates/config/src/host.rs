//! What the configuration needs to know about the machine: its name, its addresses, its limits.
//!
//! Always true: resolving a configuration asks nothing but this value, so a test can be any machine.

use std::net::IpAddr;

#[derive(Debug, Clone, Default)]
pub struct Host {
    pub hostname: String,
    pub interfaces: Vec<InterfaceAddress>,
    /// The interface of the default route.
    pub default_interface: Option<String>,
    /// How many files this process may have open, if known.
    pub max_open_files: Option<u64>,
}

/// One address of one network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceAddress {
    pub interface: String,
    pub address: IpAddr,
    pub prefix_length: u32,
    pub up: bool,
    pub loopback: bool,
}

impl Host {
    /// The machine that this process runs on.
    pub fn of_this_process() -> Host {
        Host {
            hostname: nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default(),
            interfaces: interfaces(),
            default_interface: default_interface(),
            max_open_files: nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
                .ok()
                .map(|(soft, _)| soft),
        }
    }

    /// The private IPv4 addresses of the active interfaces; those of the loopback only if there is no other.
    pub fn private_ipv4(&self) -> Vec<IpAddr> {
        let up = || self.interfaces.iter().filter(|entry| entry.up);
        let loopback_only = up().all(|entry| entry.loopback);
        up().filter(|entry| loopback_only || !entry.loopback)
            .map(|entry| entry.address)
            .filter(|address| address.is_ipv4() && is_in(PRIVATE, *address))
            .collect()
    }

    pub fn public_ipv6(&self) -> Vec<IpAddr> {
        self.interfaces
            .iter()
            .map(|entry| entry.address)
            .filter(|address| address.is_ipv6() && !is_in(PRIVATE, *address))
            .collect()
    }

    /// Forwardable addresses on the interface of the default route: IPv4 first, larger networks first.
    fn on_default_route(&self) -> Vec<&InterfaceAddress> {
        self.sorted(|entry| Some(&entry.interface) == self.default_interface.as_ref())
    }

    fn sorted(&self, wanted: impl Fn(&InterfaceAddress) -> bool) -> Vec<&InterfaceAddress> {
        let mut found: Vec<&InterfaceAddress> =
            self.interfaces.iter().filter(|entry| wanted(entry) && !is_in(NOT_FORWARDABLE, entry.address)).collect();
        found.sort_by_key(|entry| (entry.address.is_ipv6(), entry.prefix_length));
        found
    }
}

/// Address blocks that count as private when an advertise address is looked for.
const PRIVATE: &[&str] = &[
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "::1/128",
    "fe80::/10",
    "fc00::/7",
    "fec0::/10",
    "2001:db8::/32",
];

/// The special-purpose blocks of RFC 6890, which `GetPrivateIP` means by private.
const RFC_6890: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",
    "255.255.255.255/32",
    "::1/128",
    "::/128",
    "64:ff9b::/96",
    "::ffff:0:0/96",
    "100::/64",
    "2001::/23",
    "2001:2::/48",
    "2001:db8::/32",
    "2001:10::/28",
    "2002::/16",
    "fc00::/7",
    "fe80::/10",
];

/// Blocks that routers do not forward.
const NOT_FORWARDABLE: &[&str] = &[
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "192.0.0.0/24",
    "240.0.0.0/4",
    "255.255.255.255/32",
    "::1/128",
    "::/128",
    "::ffff:0:0/96",
    "fe80::/10",
    "224.0.0.0/4",
    "ff00::/8",
];

fn is_in(blocks: &[&str], address: IpAddr) -> bool {
    blocks.iter().filter_map(|block| Cidr::parse(block)).any(|block| block.contains(address))
}

/// A network in CIDR notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    pub network: IpAddr,
    pub prefix_length: u32,
}

impl Cidr {
    /// Reads `address/length`; bits after the length are dropped.
    pub fn parse(text: &str) -> Option<Cidr> {
        let (address, length) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let prefix_length: u32 = length.parse().ok()?;
        if prefix_length > bits(address) {
            return None;
        }
        Some(Cidr { network: masked(address, prefix_length), prefix_length })
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        let address = if self.network.is_ipv4() { address.to_canonical() } else { address };
        self.network.is_ipv4() == address.is_ipv4() && masked(address, self.prefix_length) == self.network
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix_length)
    }
}

fn bits(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn masked(address: IpAddr, prefix_length: u32) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - prefix_length).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - prefix_length).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

fn interfaces() -> Vec<InterfaceAddress> {
    let Ok(found) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    found
        .filter_map(|entry| {
            let address = ip_of(entry.address.as_ref()?)?;
            let prefix_length = match entry.netmask.as_ref().and_then(ip_of) {
                Some(IpAddr::V4(mask)) => mask.to_bits().leading_ones(),
                Some(IpAddr::V6(mask)) => mask.to_bits().leading_ones(),
                None => bits(address),
            };
            Some(InterfaceAddress {
                interface: entry.interface_name,
                address,
                prefix_length,
                up: entry.flags.contains(nix::net::if_::InterfaceFlags::IFF_UP),
                loopback: entry.flags.contains(nix::net::if_::InterfaceFlags::IFF_LOOPBACK),
            })
        })
        .collect()
}

fn ip_of(address: &nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(IpAddr::V4(v4.ip()));
    }
    address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()))
}

/// The interface of the IPv4 default route, as Linux tells it.
fn default_interface() -> Option<String> {
    let table = std::fs::read_to_string("/proc/net/route").ok()?;
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace();
        let interface = fields.next()?;
        let destination = fields.next()?;
        let mask = fields.nth(5)?;
        (destination == "00000000" && mask == "00000000").then(|| interface.to_owned())
    })
}

/// Replaces the go-sockaddr expressions (`{{ GetPrivateIP }}`) of an address setting by addresses.
///
/// Built: `GetPrivateIP(s)`, `GetPublicIP(s)`, `GetInterfaceIP(s) "name"`. All other expressions are refused.
pub fn expand(template: &str, host: &Host) -> Result<String, String> {
    let mut expanded = String::new();
    let mut rest = template;
    while let Some(start) = rest.find("{{") {
        let Some(end) = rest[start..].find("}}") else {
            return Err(unparsable(template, "unclosed action"));
        };
        expanded.push_str(&rest[..start]);
        let expression = rest[start + 2..start + end].trim();
        expanded.push_str(&evaluate(template, expression, host)?);
        rest = &rest[start + end + 2..];
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn evaluate(template: &str, expression: &str, host: &Host) -> Result<String, String> {
    let (function, argument) = match expression.split_once(char::is_whitespace) {
        Some((function, argument)) => (function, argument.trim()),
        None => (expression, ""),
    };
    let is_private = |entry: &&InterfaceAddress| is_in(RFC_6890, entry.address);
    let all = |found: Vec<&InterfaceAddress>| {
        found.iter().map(|entry| entry.address.to_string()).collect::<Vec<_>>().join(" ")
    };
    let first = |found: Option<&InterfaceAddress>| found.map(|entry| entry.address.to_string()).unwrap_or_default();
    Ok(match (function, argument) {
        ("GetPrivateIP", "") => first(host.on_default_route().into_iter().find(is_private)),
        ("GetPublicIP", "") => first(host.on_default_route().into_iter().find(|entry| !is_private(entry))),
        ("GetPrivateIPs", "") => all(host.sorted(|entry| is_private(&entry))),
        ("GetPublicIPs", "") => all(host.sorted(|entry| !is_private(&entry))),
        ("GetInterfaceIP" | "GetInterfaceIPs", quoted) => {
            let name = quoted
                .strip_prefix('"')
                .and_then(|name| name.strip_suffix('"'))
                .filter(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte)));
            let Some(name) = name else {
                return Err(unparsable(template, "only the plain name of one interface is understood here"));
            };
            let found = host.sorted(|entry| entry.interface == name);
            if function == "GetInterfaceIP" { first(found.first().copied()) } else { all(found) }
        }
        (
            "GetAllInterfaces"
            | "GetDefaultInterfaces"
            | "GetPrivateInterfaces"
            | "GetPublicInterfaces"
            | "GetPrivateIP"
            | "GetPublicIP"
            | "GetPrivateIPs"
            | "GetPublicIPs",
            _,
        ) => {
            return Err(unparsable(template, &format!("{expression:?} is not built yet")));
        }
        _ => {
            return Err(unparsable(
                template,
                &format!("template: sockaddr.Parse:1: function {function:?} not defined"),
            ));
        }
    })
}

fn unparsable(template: &str, reason: &str) -> String {
    format!("unable to parse template {template:?}: {reason}")
}

#[cfg(test)]
mod tests {
    use super::{Cidr, Host, InterfaceAddress, expand};

    fn host() -> Host {
        let entry = |interface: &str, address: &str, prefix_length, loopback| InterfaceAddress {
            interface: interface.to_owned(),
            address: address.parse().expect("address"),
            prefix_length,
            up: true,
            loopback,
        };
        Host {
            hostname: "h".to_owned(),
            interfaces: vec![
                entry("lo", "127.0.0.1", 8, true),
                entry("eth0", "fd00::2", 64, false),
                entry("eth0", "10.0.0.5", 24, false),
                entry("eth1", "8.8.4.4", 24, false),
            ],
            default_interface: Some("eth0".to_owned()),
            max_open_files: None,
        }
    }

    #[test]
    fn templates_are_expanded() {
        let check = |template: &str, expected: &str| {
            assert_eq!(expand(template, &host()).as_deref(), Ok(expected), "{template}");
        };
        check("1.2.3.4", "1.2.3.4");
        check("{{ GetPrivateIP }}", "10.0.0.5");
        check("{{GetPublicIP}}", "");
        check("{{ GetPublicIPs }}", "8.8.4.4");
        check("127.0.0.1 {{ GetInterfaceIP \"eth1\" }}", "127.0.0.1 8.8.4.4");
        check("{{ GetInterfaceIPs \"eth0\" }}", "10.0.0.5 fd00::2");
        check("{{ GetInterfaceIP \"nope\" }}", "");
    }

    #[test]
    fn other_templates_are_refused() {
        for template in
            ["{{ GetFoo }}", "{{ GetAllInterfaces | attr \"x\" }}", "{{ GetPrivateIP", "{{ GetInterfaceIP \"e.*\" }}"]
        {
            assert!(expand(template, &host()).is_err(), "{template}");
        }
    }

    #[test]
    fn advertise_candidates_leave_the_loopback_out_if_they_can() {
        assert_eq!(host().private_ipv4(), ["10.0.0.5".parse::<std::net::IpAddr>().expect("address")]);
        let lonely = Host { interfaces: host().interfaces[..1].to_vec(), ..host() };
        assert_eq!(lonely.private_ipv4().len(), 1);
    }

    #[test]
    fn networks() {
        assert_eq!(Cidr::parse("10.1.2.3/8").expect("reads").to_string(), "10.0.0.0/8");
        assert_eq!(Cidr::parse("::1/0").expect("reads").to_string(), "::/0");
        for wrong in ["1.2.3", "1.2.3.4", "1.2.3.4/33", "1.2.3.4/", "1.2.3.4/+1", "a/8"] {
            assert!(Cidr::parse(wrong).is_none(), "{wrong}");
        }
    }
}
