//! What stands behind a name of the zone.

use std::net::IpAddr;

use bytes::Bytes;
use domain::base::Name;
use domain::base::iana::Rtype;
use rand::Rng;
use state::Error;
use state::catalog::{CatalogNodeServices, Node, NodeQuery};

use super::address::{self, ip};
use super::service::{by_tag, ingress, mesh};
use super::{Answerer, Asked, Found, Miss};
use crate::labels::{self, Labels, Lookup, Place};
use crate::name;
use crate::record::{Content, Record, wants};
use crate::request::Question;

impl<R: Rng> Answerer<'_, R> {
    /// The answer, and whether it is the same for whoever asks.
    pub(super) fn look_up(&mut self, asked: Asked<'_>, found: &mut Found) -> (Result<(), Miss>, bool) {
        let labels = Labels::new(&asked.question.name, asked.zone.labels);
        let Some(lookup) = labels::parse(&labels, asked.question.rtype == Rtype::SRV) else {
            return (Err(Miss::Name), true);
        };
        let result = match lookup {
            Lookup::Service { service, tag, place } => {
                self.is_here(place.datacenter).and_then(|()| self.service(asked, by_tag(service, tag, place), found))
            }
            Lookup::Connect { service, place } => {
                self.is_here(place.datacenter).and_then(|()| self.service(asked, mesh(service), found))
            }
            Lookup::Ingress { service, place } => {
                self.is_here(place.datacenter).and_then(|()| self.service(asked, ingress(service), found))
            }
            // Nothing has a virtual address here. Compat: no error, and no SOA record either.
            Lookup::Virtual { .. } => Ok(()),
            Lookup::Node { node, place } => self.node(asked, node, place, found),
            Lookup::Address(ip) => {
                self.encoded_address(asked, &labels, ip, found);
                Ok(())
            }
            Lookup::Query { id_or_name, datacenter } => {
                return (self.is_here(datacenter).and_then(|()| self.query(asked, id_or_name, found)), false);
            }
        };
        (result, true)
    }

    /// Other datacenters are not known here, so that no name leads there.
    fn is_here(&self, datacenter: Option<&str>) -> Result<(), Miss> {
        let own = &self.settings().datacenter;
        if datacenter.is_none_or(|asked| asked.eq_ignore_ascii_case(own)) { Ok(()) } else { Err(Miss::Name) }
    }

    /// Compat: types that nodes do not have are answered without an SOA record and before the node is looked
    /// for.
    fn node(&mut self, asked: Asked<'_>, node: &str, place: Place<'_>, found: &mut Found) -> Result<(), Miss> {
        let Question { name, rtype, .. } = asked.question;
        if ![Rtype::A, Rtype::AAAA, Rtype::ANY, Rtype::TXT].contains(rtype) {
            return Ok(());
        }
        self.is_here(place.datacenter)?;
        let peer_name = place.peer.unwrap_or_default().to_owned();
        let query = CatalogNodeServices(NodeQuery { node: node.to_owned(), peer_name, ..NodeQuery::default() });
        let context = self.context;
        let known = context.ask(&query).map_err(miss)?;
        let node = known.answer.ok_or(Miss::Name)?.node;
        if *rtype != Rtype::TXT {
            let mut records = self.node_records(&node, *rtype, name, asked.depth);
            found.answer.append(&mut records);
        }
        let ttl_s = self.settings().node_ttl_s;
        if matches!(*rtype, Rtype::TXT | Rtype::ANY) {
            push_metadata(&node, name, ttl_s, &mut found.answer);
        } else if self.settings().enable_additional_node_meta_txt {
            push_metadata(&node, name, ttl_s, &mut found.additional);
        }
        Ok(())
    }

    /// The address of a node, or the name that stands in its place with what that leads to.
    pub(super) fn node_records(&mut self, node: &Node, rtype: Rtype, owner: &Name<Bytes>, depth: u8) -> Vec<Record> {
        let ttl_s = self.settings().node_ttl_s;
        if let Some(ip) = ip(address::of_node(node, rtype)) {
            return Vec::from_iter(wants(rtype, ip).then(|| Record::address(owner.clone(), ttl_s, ip)));
        }
        let Some(target) = name::from_text(&node.address) else { return Vec::new() };
        let mut records = vec![Record { owner: owner.clone(), ttl_s, content: Content::Cname(target.clone()) }];
        records.append(&mut self.follow(&target, depth));
        records
    }

    /// An address that the name itself spells out.
    ///
    /// Compat: asked for another type it goes into the additional section; the owner is folded.
    fn encoded_address(&self, asked: Asked<'_>, labels: &Labels, ip: IpAddr, found: &mut Found) {
        let Some(owner) = name::below(&[labels.all()], &asked.zone.name) else { return };
        let record = Record::address(owner, self.settings().node_ttl_s, ip);
        let own = if ip.is_ipv4() { Rtype::A } else { Rtype::AAAA };
        let matches = asked.question.rtype == own || asked.question.rtype == Rtype::ANY;
        if matches { found.answer.push(record) } else { found.additional.push(record) }
    }
}

/// The metadata of a node, one TXT record for each pair.
///
/// Compat: the value alone when the key begins with `rfc1035-`, whatever its case.
pub(super) fn push_metadata(node: &Node, owner: &Name<Bytes>, ttl_s: u32, records: &mut Vec<Record>) {
    const PLAIN: &str = "rfc1035-";
    for (key, value) in node.meta.iter().flatten() {
        let plain = key.get(..PLAIN.len()).is_some_and(|start| start.eq_ignore_ascii_case(PLAIN));
        let text = if plain { value.clone() } else { attribute(key, value) };
        records.push(Record { owner: owner.clone(), ttl_s, content: Content::Txt(text.into()) });
    }
}

/// A pair as RFC 1464 writes it: the backquote quotes itself, `=` in keys, and spaces around keys.
fn attribute(key: &str, value: &str) -> String {
    let bare = key.trim_start_matches(' ');
    let leading = key.len() - bare.len();
    let trailing = bare.len() - bare.trim_end_matches(' ').len();
    let inner = bare.trim_end_matches(' ').replace('`', "``").replace('=', "`=");
    format!("{}{inner}{}={}", "` ".repeat(leading), "` ".repeat(trailing), value.replace('`', "``"))
}

/// What a refused lookup looks like.
pub(super) fn miss(error: Error) -> Miss {
    if matches!(error, Error::NotFound(_)) { Miss::Name } else { Miss::Failed }
}

#[cfg(test)]
mod tests {
    use super::attribute;

    #[test]
    fn pairs_are_quoted() {
        assert_eq!(attribute("k=x", "v`1=2"), "k`=x=v``1=2");
        assert_eq!(attribute("  a b ", " c "), "` ` a b` = c ");
        assert_eq!(attribute("", ""), "=");
    }
}
