//! Resource records of the kinds that answers are made of.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use domain::base::Name;
use domain::base::iana::Rtype;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) owner: Name<Bytes>,
    pub(crate) ttl_s: u32,
    pub(crate) content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Cname(Name<Bytes>),
    Ns(Name<Bytes>),
    Ptr(Name<Bytes>),
    Srv {
        weight: u16,
        port: u16,
        target: Name<Bytes>,
    },
    /// One text of any length; the wire form cuts it into strings.
    Txt(Box<str>),
    Soa(Box<SoaContent>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SoaContent {
    pub(crate) server: Name<Bytes>,
    pub(crate) mailbox: Name<Bytes>,
    pub(crate) serial: u32,
    pub(crate) refresh: u32,
    pub(crate) retry: u32,
    pub(crate) expire: u32,
    pub(crate) min_ttl: u32,
}

impl Record {
    pub(crate) fn address(owner: Name<Bytes>, ttl_s: u32, ip: IpAddr) -> Self {
        let content = match ip {
            IpAddr::V4(ip) => Content::A(ip),
            IpAddr::V6(ip) => Content::Aaaa(ip),
        };
        Record { owner, ttl_s, content }
    }

    pub(crate) fn rtype(&self) -> Rtype {
        match self.content {
            Content::A(_) => Rtype::A,
            Content::Aaaa(_) => Rtype::AAAA,
            Content::Cname(_) => Rtype::CNAME,
            Content::Ns(_) => Rtype::NS,
            Content::Ptr(_) => Rtype::PTR,
            Content::Srv { .. } => Rtype::SRV,
            Content::Txt(_) => Rtype::TXT,
            Content::Soa(_) => Rtype::SOA,
        }
    }
}

/// Whether a question of this type is answered with addresses of the family of `ip`.
///
/// Compat: TXT questions about services are answered with addresses.
pub(crate) fn wants(rtype: Rtype, ip: IpAddr) -> bool {
    match rtype {
        Rtype::SRV | Rtype::ANY | Rtype::NS | Rtype::TXT => true,
        Rtype::A => ip.is_ipv4(),
        Rtype::AAAA => ip.is_ipv6(),
        _ => false,
    }
}
