//! What a name asks for (Consul documentation, "DNS", "Lookups").
//!
//! Always true: names are compared in lower case, and the text of the question is kept for answers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use domain::base::iana::Rtype;

use crate::Settings;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// The zone itself.
    Apex,
    Node(String),
    Service { name: String, tag: String, kind: ServiceKind },
    PreparedQuery(String),
    /// An address written as a name.
    Address(IpAddr),
    /// `<service>.virtual`: no virtual addresses are given out yet.
    Virtual,
    /// Below the domain, but nothing that exists.
    Nothing,
}

/// Which instances stand for a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceKind {
    Plain,
    Connect,
    Ingress,
}

/// Where a name lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Zone {
    /// Below one of the agent's domains, which is given as it was asked.
    Own { lookup: Lookup, domain: String },
    /// A reverse name.
    Reverse(IpAddr),
    /// Somebody else's.
    Foreign,
}

/// Finds out what a name (labels in order, without the root) asks for.
#[must_use]
pub fn classify(labels: &[String], qtype: Rtype, settings: &Settings) -> Zone {
    let lower: Vec<String> = labels.iter().map(|label| label.to_lowercase()).collect();
    // The longer of the two domains is tried first, as one may end in the other.
    let mut domains = [settings.domain.as_str(), settings.alt_domain.as_str()];
    domains.sort_by_key(|domain| std::cmp::Reverse(domain.len()));
    for domain in domains.into_iter().filter(|domain| !domain.is_empty()) {
        let suffix: Vec<String> = domain.to_lowercase().split('.').map(str::to_owned).collect();
        if lower.ends_with(&suffix) {
            let rest = lower.len() - suffix.len();
            let asked = labels[rest..].join(".");
            return Zone::Own { lookup: lookup(&lower[..rest], qtype, settings), domain: asked };
        }
    }
    reverse(&lower).map_or(Zone::Foreign, Zone::Reverse)
}

fn lookup(labels: &[String], qtype: Rtype, settings: &Settings) -> Lookup {
    if labels.is_empty() {
        return Lookup::Apex;
    }
    let words = ["service", "connect", "virtual", "ingress", "node", "query", "addr"];
    for at in (0..labels.len()).rev() {
        let word = labels[at].as_str();
        if words.contains(&word) {
            return keyword(word, &labels[..at], &labels[at + 1..], settings);
        }
        // Compat: for SRV the word "service" may be left out behind an RFC 2782 name.
        if qtype == Rtype::SRV && word.starts_with('_') {
            return keyword("service", &labels[..=at], &labels[at + 1..], settings);
        }
    }
    Lookup::Nothing
}

fn keyword(word: &str, before: &[String], after: &[String], settings: &Settings) -> Lookup {
    let own = settings.datacenter.to_lowercase();
    let is_here = match after {
        [] => true,
        [datacenter] => *datacenter == own,
        [datacenter, dc] => *datacenter == own && dc == "dc",
        _ => false,
    };
    let Some((last, tag)) = before.split_last() else { return Lookup::Nothing };
    if !is_here {
        return Lookup::Nothing;
    }
    match word {
        "service" => service(last, tag),
        "connect" => Lookup::Service { name: last.clone(), tag: String::new(), kind: ServiceKind::Connect },
        "ingress" => Lookup::Service { name: last.clone(), tag: String::new(), kind: ServiceKind::Ingress },
        "virtual" => Lookup::Virtual,
        "node" => Lookup::Node(before.join(".")),
        "query" => match before {
            [query, tcp] if query.starts_with('_') && tcp == "_tcp" => Lookup::PreparedQuery(query[1..].to_owned()),
            _ => Lookup::PreparedQuery(before.join(".")),
        },
        _ => match before {
            [hex] => address(hex).map_or(Lookup::Nothing, Lookup::Address),
            _ => Lookup::Nothing,
        },
    }
}

fn service(last: &str, before: &[String]) -> Lookup {
    let kind = ServiceKind::Plain;
    // RFC 2782: _service._tag, where _tcp stands for no tag at all.
    if let ([name], Some(tag)) = (before, last.strip_prefix('_'))
        && let Some(name) = name.strip_prefix('_')
    {
        let tag = if tag == "tcp" { "" } else { tag };
        return Lookup::Service { name: name.to_owned(), tag: tag.to_owned(), kind };
    }
    Lookup::Service { name: last.to_owned(), tag: before.join("."), kind }
}

fn address(hex: &str) -> Option<IpAddr> {
    match hex.len() {
        8 => u32::from_str_radix(hex, 16).ok().map(|bits| Ipv4Addr::from_bits(bits).into()),
        32 => u128::from_str_radix(hex, 16).ok().map(|bits| Ipv6Addr::from_bits(bits).into()),
        _ => None,
    }
    .filter(|_| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The address of a name below `in-addr.arpa` or `ip6.arpa`.
fn reverse(labels: &[String]) -> Option<IpAddr> {
    let words: Vec<&str> = labels.iter().map(String::as_str).collect();
    match words.as_slice() {
        [d, c, b, a, "in-addr", "arpa"] => {
            let octets = [a, b, c, d].map(|octet| octet.parse().ok());
            Some(Ipv4Addr::new(octets[0]?, octets[1]?, octets[2]?, octets[3]?).into())
        }
        [nibbles @ .., "ip6", "arpa"] if nibbles.len() == 32 => {
            let hex: String = nibbles.iter().rev().copied().collect();
            address(&hex).filter(|_| hex.len() == 32)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use domain::base::iana::Rtype;

    use super::{Lookup, ServiceKind, Zone, classify};
    use crate::settings::tests::settings;

    fn check(name: &str, expect: &Lookup) {
        let qtype = if name.starts_with('_') { Rtype::SRV } else { Rtype::A };
        let labels: Vec<String> = name.split('.').map(str::to_owned).collect();
        match classify(&labels, qtype, &settings()) {
            Zone::Own { lookup, .. } => assert_eq!(lookup, *expect, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
    }

    fn service(name: &str, tag: &str) -> Lookup {
        Lookup::Service { name: name.into(), tag: tag.into(), kind: ServiceKind::Plain }
    }

    #[test]
    fn names_are_told_apart() {
        check("web.service.consul", &service("web", ""));
        check("v1.x.web.service.dc1.consul", &service("web", "v1.x"));
        check("Web.Service.DC1.dc.Consul", &service("web", ""));
        check("_web._v1.service.consul", &service("web", "v1"));
        check("_web._tcp.consul", &service("web", ""));
        check("web.service.dc9.consul", &Lookup::Nothing);
        check("web.service.a.b.consul", &Lookup::Nothing);
        check("a.b.node.consul", &Lookup::Node("a.b".into()));
        check("q.one.query.consul", &Lookup::PreparedQuery("q.one".into()));
        check("_q._tcp.query.consul", &Lookup::PreparedQuery("q".into()));
        check("0a000001.addr.dc1.consul", &Lookup::Address("10.0.0.1".parse().unwrap()));
        check("+a000001.addr.consul", &Lookup::Nothing);
        check("zz.addr.consul", &Lookup::Nothing);
        check("service.consul", &Lookup::Nothing);
        check("foo.consul", &Lookup::Nothing);
        check("consul", &Lookup::Apex);
        check("web.service.other.test", &service("web", ""));
    }

    #[test]
    fn reverse_and_foreign_names_are_told_apart() {
        let zone = |name: &str| {
            let labels: Vec<String> = name.split('.').map(str::to_owned).collect();
            classify(&labels, Rtype::PTR, &settings())
        };
        assert_eq!(zone("1.2.3.10.in-addr.arpa"), Zone::Reverse("10.3.2.1".parse().unwrap()));
        let v6 = format!("{}ip6.arpa", "1.".to_owned() + &"0.".repeat(31));
        assert_eq!(zone(&v6), Zone::Reverse("::1".parse().unwrap()));
        assert_eq!(zone("300.2.3.10.in-addr.arpa"), Zone::Foreign);
        assert_eq!(zone("example.com"), Zone::Foreign);
    }
}
