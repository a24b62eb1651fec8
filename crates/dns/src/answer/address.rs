//! Which of its addresses an instance or a node is reached at.
//!
//! Not here: addresses for other datacenters (`translate_wan_addrs`).

use std::net::IpAddr;

use domain::base::iana::Rtype;
use state::catalog::{CheckServiceNode, Node};

const LAN_V4: &str = "lan_ipv4";
const LAN_V6: &str = "lan_ipv6";

/// Where an instance is.
pub(super) enum Address<'a> {
    /// At the address of its node.
    Node(IpAddr),
    /// At its own.
    Own(IpAddr),
    /// Behind a name.
    Name(&'a str),
}

/// The address of a node as it serves a question of this type.
pub(super) fn of_node(node: &Node, rtype: Rtype) -> &str {
    let tagged = |tag: &'static str| {
        node.tagged_addresses.as_ref().and_then(|tagged| tagged.get(tag)).map_or("", String::as_str)
    };
    choose(rtype, &node.address, tagged)
}

/// Where an instance is; `asked` is the question's name as text, behind which it cannot be.
pub(super) fn of_instance<'a>(
    instance: &'a CheckServiceNode,
    rtype: Rtype,
    is_asked: impl FnOnce(&str) -> bool,
) -> Option<Address<'a>> {
    let (service, node) = (&*instance.service, &*instance.node);
    let tagged = |tag: &'static str| {
        service.tagged_addresses.as_ref().and_then(|all| all.get(tag)).map_or("", |one| one.address.as_str())
    };
    let own = choose(rtype, &service.address, tagged);
    let of_node = of_node(node, rtype);
    if own.is_empty() {
        return match ip(of_node) {
            _ if of_node.is_empty() => None,
            // An address other than the node's main one has no name of its own.
            Some(ip) if of_node != node.address => Some(Address::Own(ip)),
            Some(ip) => Some(Address::Node(ip)),
            None => Some(Address::Name(of_node)),
        };
    }
    match (ip(own), ip(of_node)) {
        (Some(ip), _) => Some(Address::Own(ip)),
        (None, Some(ip)) if is_asked(own) => Some(Address::Node(ip)),
        (None, _) => Some(Address::Name(own)),
    }
}

/// An address, with IPv4 in IPv6 clothes undressed.
pub(super) fn ip(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(|ip: IpAddr| ip.to_canonical())
}

/// Compat: an address tagged for the family wins, and IPv6 wins where both will do; the main address is
/// given whatever its family.
fn choose<'a>(rtype: Rtype, main: &'a str, tagged: impl Fn(&'static str) -> &'a str) -> &'a str {
    let (v4, v6) = (tagged(LAN_V4), tagged(LAN_V6));
    if rtype != Rtype::A && !v6.is_empty() {
        v6
    } else if rtype != Rtype::AAAA && !v4.is_empty() {
        v4
    } else {
        main
    }
}
