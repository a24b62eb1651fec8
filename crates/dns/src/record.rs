//! The records that answers are made of.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use domain::base::Name;

/// A domain name of ours.
pub(crate) type OwnName = Arc<Name<Vec<u8>>>;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub owner: OwnName,
    pub ttl: u32,
    pub data: Data,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Cname(OwnName),
    Ptr(OwnName),
    Ns(OwnName),
    Srv { weight: u16, port: u16, target: OwnName },
    Txt(String),
    Soa { mname: OwnName, rname: OwnName, serial: u32, refresh: u32, retry: u32, expire: u32, minimum: u32 },
}

impl Data {
    /// The record of an address.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Data::A(address),
            IpAddr::V6(address) => Data::Aaaa(address),
        }
    }
}

/// A name from text; `None` when no DNS name can be made of it.
pub(crate) fn name(text: &str) -> Option<OwnName> {
    Name::from_str(text).ok().map(Arc::new)
}

/// An address as the label of an `.addr` name.
pub(crate) fn hex(address: IpAddr) -> String {
    let mut label = String::with_capacity(32);
    let octets: &[u8] = match &address {
        IpAddr::V4(address) => &address.octets(),
        IpAddr::V6(address) => &address.octets(),
    };
    for octet in octets {
        let _ = write!(label, "{octet:02x}");
    }
    label
}

/// Node metadata as text, escaped as RFC 1464 asks; keys with the prefix `rfc1035-` stand for bare values.
pub(crate) fn meta_text(key: &str, value: &str) -> String {
    if key.starts_with("rfc1035-") {
        return value.to_owned();
    }
    let mut text = String::with_capacity(key.len() + value.len() + 1);
    for character in key.chars() {
        if matches!(character, '=' | '`') {
            text.push('`');
        }
        text.push(character);
    }
    text.push('=');
    text.push_str(&value.replace('`', "``"));
    text
}

#[cfg(test)]
mod tests {
    use super::{hex, meta_text};

    #[test]
    fn metadata_is_escaped() {
        assert_eq!(meta_text("a=b", "c=d"), "a`=b=c=d");
        assert_eq!(meta_text("rfc1035-x", "bare = text"), "bare = text");
    }

    #[test]
    fn addresses_have_labels() {
        assert_eq!(hex("10.0.0.255".parse().unwrap()), "0a0000ff");
        assert_eq!(hex("fd00::6".parse().unwrap()), "fd000000000000000000000000000006");
    }
}
