//! What a name asks for: labels below the zone, read from the right.
//!
//! Always true: reading a name looks nothing up; text taken from a name is lower case and printable, other
//! bytes are escaped as `\.` or `\123`, which no registered name can look like.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use bytes::Bytes;
use domain::base::Name;

use crate::name::Starts;

/// The labels of a name as folded text, first to last, without those of the zone.
pub(crate) struct Labels {
    /// Labels with dots between them.
    text: String,
    ends: Vec<usize>,
}

impl Labels {
    /// The labels of `name` but for the last `skipped`.
    pub(crate) fn new(name: &Name<Bytes>, skipped: usize) -> Self {
        let wire = name.as_slice();
        let starts = Starts::of(wire);
        let mut labels = Labels { text: String::with_capacity(wire.len()), ends: Vec::with_capacity(8) };
        for start in starts.iter().take(starts.len().saturating_sub(skipped)) {
            if !labels.ends.is_empty() {
                labels.text.push('.');
            }
            let length = usize::from(wire[start]);
            for byte in &wire[start + 1..=start + length] {
                labels.push_folded(*byte);
            }
            labels.ends.push(labels.text.len());
        }
        labels
    }

    fn push_folded(&mut self, byte: u8) {
        match byte {
            b'.' | b' ' | b'\'' | b'@' | b';' | b'(' | b')' | b'"' | b'\\' => {
                self.text.push('\\');
                self.text.push(char::from(byte));
            }
            0x21..=0x7e => self.text.push(char::from(byte.to_ascii_lowercase())),
            _ => {
                self.text.push('\\');
                for digit in [byte / 100, byte / 10 % 10, byte % 10] {
                    self.text.push(char::from(b'0' + digit));
                }
            }
        }
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn at(&self, index: usize) -> &str {
        self.joined(index..index + 1)
    }

    /// Several labels with dots between them.
    fn joined(&self, range: Range<usize>) -> &str {
        if range.is_empty() {
            return "";
        }
        let start = range.start.checked_sub(1).map_or(0, |before| self.ends[before] + 1);
        &self.text[start..self.ends[range.end - 1]]
    }

    /// All of them, as below the zone.
    pub(crate) fn all(&self) -> &str {
        &self.text
    }
}

/// Where to look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Place<'a> {
    pub(crate) datacenter: Option<&'a str>,
    pub(crate) peer: Option<&'a str>,
}

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookup<'a> {
    Service {
        service: &'a str,
        /// Empty for any.
        tag: &'a str,
        place: Place<'a>,
    },
    Connect {
        service: &'a str,
        place: Place<'a>,
    },
    Ingress {
        service: &'a str,
        place: Place<'a>,
    },
    Virtual {
        service: &'a str,
    },
    Node {
        node: &'a str,
        place: Place<'a>,
    },
    Query {
        id_or_name: &'a str,
        datacenter: Option<&'a str>,
    },
    Address(IpAddr),
}

/// Reads the labels of a name; `None` when they mean nothing. With `srv` the word `service` may be missing
/// behind labels that begin with an underscore (RFC 2782).
pub(crate) fn parse(labels: &Labels, srv: bool) -> Option<Lookup<'_>> {
    let (kind, parts, suffix) = (0..labels.len()).rev().find_map(|index| match labels.at(index) {
        kind @ ("service" | "connect" | "virtual" | "ingress" | "node" | "query" | "addr") => {
            Some((kind, index, index + 1))
        }
        label if srv && label.starts_with('_') => Some(("service", index + 1, index + 1)),
        _ => None,
    })?;
    let last = parts.checked_sub(1)?;
    match kind {
        "service" => {
            let place = place(labels, suffix)?;
            let (service, tag) = service_and_tag(labels, parts);
            Some(Lookup::Service { service, tag, place })
        }
        "connect" => Some(Lookup::Connect { service: labels.at(last), place: place(labels, suffix)? }),
        "ingress" => Some(Lookup::Ingress { service: labels.at(last), place: place(labels, suffix)? }),
        "virtual" => place(labels, suffix).map(|_| Lookup::Virtual { service: labels.at(last) }),
        "node" => Some(Lookup::Node { node: labels.joined(0..parts), place: place(labels, suffix)? }),
        "query" => {
            let datacenter = match labels.len() - suffix {
                0 => None,
                1 => Some(labels.at(suffix)),
                _ => return None,
            };
            Some(Lookup::Query { id_or_name: query_name(labels, parts), datacenter })
        }
        // Compat: whatever stands between `addr` and the zone is not looked at.
        _ if parts == 1 => address(labels.at(0)).map(Lookup::Address),
        _ => None,
    }
}

/// `_service._tag`, or `tag.service` with a tag of any number of labels.
fn service_and_tag(labels: &Labels, parts: usize) -> (&str, &str) {
    if parts == 2
        && let (Some(service), Some(tag)) = (labels.at(0).strip_prefix('_'), labels.at(1).strip_prefix('_'))
    {
        // Compat: the protocol every service has; a tag of this name cannot be asked for in this form.
        return (service, if tag == "tcp" { "" } else { tag });
    }
    (labels.at(parts - 1), labels.joined(0..parts - 1))
}

/// `_name._tcp`, or a name of any number of labels.
fn query_name(labels: &Labels, parts: usize) -> &str {
    let protocol = parts >= 2 && labels.at(parts - 1).starts_with('_');
    match labels.at(0).strip_prefix('_') {
        Some(_) if protocol => &labels.joined(0..parts - 1)[1..],
        _ => labels.joined(0..parts),
    }
}

/// Nothing, `<datacenter>`, or pairs of `<datacenter>.dc` and `<peer>.peer` of which only one kind may come.
fn place(labels: &Labels, from: usize) -> Option<Place<'_>> {
    let mut place = Place::default();
    match labels.len() - from {
        0 => {}
        1 => place.datacenter = Some(labels.at(from)),
        2 | 4 => {
            for index in (from..labels.len()).step_by(2) {
                match labels.at(index + 1) {
                    "dc" => place.datacenter = Some(labels.at(index)),
                    "peer" => place.peer = Some(labels.at(index)),
                    _ => return None,
                }
            }
        }
        _ => return None,
    }
    (place.datacenter.is_none() || place.peer.is_none()).then_some(place)
}

fn address(digits: &str) -> Option<IpAddr> {
    match digits.len() {
        8 => {
            let mut octets = [0; 4];
            hex::decode_to_slice(digits, &mut octets).ok()?;
            Some(IpAddr::V4(Ipv4Addr::from(octets)))
        }
        32 => {
            let mut octets = [0; 16];
            hex::decode_to_slice(digits, &mut octets).ok()?;
            Some(IpAddr::V6(Ipv6Addr::from(octets)))
        }
        _ => None,
    }
}

/// The address that a whole name below `in-addr.arpa` or `ip6.arpa` stands for.
pub(crate) fn reverse(name: &Name<Bytes>) -> Option<IpAddr> {
    let labels = Labels::new(name, 0);
    let count = labels.len().checked_sub(2)?;
    match (labels.joined(count..count + 2), count) {
        ("in-addr.arpa", 4) => {
            let mut octets = [0; 4];
            for (octet, index) in octets.iter_mut().rev().zip(0..) {
                *octet = decimal(labels.at(index))?;
            }
            Some(IpAddr::V4(Ipv4Addr::from(octets)))
        }
        ("ip6.arpa", 32) => {
            let mut bits = 0;
            for index in (0..32).rev() {
                let label = labels.at(index);
                let digit = if label.len() == 1 { u128::from_str_radix(label, 16).ok()? } else { return None };
                bits = bits << 4 | digit;
            }
            Some(IpAddr::V6(Ipv6Addr::from(bits)))
        }
        _ => None,
    }
}

fn decimal(text: &str) -> Option<u8> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::{Labels, Lookup, Place, parse, reverse};
    use crate::name;

    fn check(below_zone: &str, srv: bool, expected: Option<Lookup<'_>>) {
        let name = name::from_text(&format!("{below_zone}.consul")).unwrap();
        assert_eq!(parse(&Labels::new(&name, 1), srv), expected, "{below_zone}");
    }

    const HERE: Place<'static> = Place { datacenter: None, peer: None };
    const DC: Place<'static> = Place { datacenter: Some("dc1"), peer: None };
    const PEER: Place<'static> = Place { datacenter: None, peer: Some("east") };

    #[test]
    fn names_say_what_is_looked_for() {
        let service = |service, tag, place| Some(Lookup::Service { service, tag, place });
        let node = |node, place| Some(Lookup::Node { node, place });
        let query = |id_or_name, datacenter| Some(Lookup::Query { id_or_name, datacenter });
        check("web.service", false, service("web", "", HERE));
        check("WEB.Service", false, service("web", "", HERE));
        check("web.service.dc1", false, service("web", "", DC));
        check("web.service.dc1.dc", false, service("web", "", DC));
        check("web.service.east.peer", false, service("web", "", PEER));
        check("web.service.east.peer.dc1.dc", false, None);
        check("web.service.x.ns", false, None);
        check("web.service.a.b.c", false, None);
        check("v1.web.service", false, service("web", "v1", HERE));
        check("a.b.web.service", false, service("web", "a.b", HERE));
        check("_web._v1.service", false, service("web", "v1", HERE));
        check("_web._tcp.service", true, service("web", "", HERE));
        check("_web._tcp", true, service("web", "", HERE));
        check("_web._v1.dc1", true, service("web", "v1", DC));
        check("_web._tcp", false, None);
        check("service", false, None);
        check("web.connect", false, Some(Lookup::Connect { service: "web", place: HERE }));
        check("x.web.connect.dc1", false, Some(Lookup::Connect { service: "web", place: DC }));
        check("web.ingress", false, Some(Lookup::Ingress { service: "web", place: HERE }));
        check("web.virtual.any", false, Some(Lookup::Virtual { service: "web" }));
        check("n.node", false, node("n", HERE));
        check("a.b.node.dc1", false, node("a.b", DC));
        check("q.query", false, query("q", None));
        check("a.b.query.dc1", false, query("a.b", Some("dc1")));
        check("_a.b._tcp.query", true, query("a.b", None));
        check("a.query.dc1.dc", false, None);
        check("c0a80001.addr", false, Some(Lookup::Address([192, 168, 0, 1].into())));
        check("c0a80001.addr.what.ever", false, Some(Lookup::Address([192, 168, 0, 1].into())));
        check("c0a8000.addr", false, None);
        check("c0a8000g.addr", false, None);
        check("x.c0a80001.addr", false, None);
        check("20010db8000000000000000000000007.addr", false, Some(Lookup::Address("2001:db8::7".parse().unwrap())));
        check("nothing", false, None);
    }

    #[test]
    fn reverse_names_stand_for_addresses() {
        let of = |text: &str| reverse(&name::from_text(text).unwrap());
        assert_eq!(of("4.3.2.1.In-Addr.arpa."), Some([1, 2, 3, 4].into()));
        assert_eq!(of("3.2.1.in-addr.arpa."), None);
        assert_eq!(of("04.3.2.1.in-addr.arpa."), None);
        assert_eq!(of("256.3.2.1.in-addr.arpa."), None);
        let v6 = format!("7.{}8.b.d.0.1.0.0.2.ip6.arpa.", "0.".repeat(23));
        assert_eq!(of(&v6), Some("2001:db8::7".parse().unwrap()));
        assert_eq!(of("arpa."), None);
    }
}
