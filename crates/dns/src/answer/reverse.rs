//! Names of addresses (`in-addr.arpa`, `ip6.arpa`).

use bytes::Bytes;
use domain::base::Name;
use domain::base::iana::{Rcode, Rtype};
use rand::Rng;
use state::catalog::{CatalogListNodes, CatalogServiceNodes, NodesQuery, ServiceQuery};

use super::address::ip;
use super::{Answered, Answerer, Outcome, Subject, Zone, fail_recursion};
use crate::labels;
use crate::message::Reply;
use crate::name::{self, Starts};
use crate::record::{Content, Record};

/// Whether a name is below `arpa`.
pub(super) fn covers(name: &Name<Bytes>) -> bool {
    let wire = name.as_slice();
    Starts::of(wire).of_last(1).is_some_and(|start| wire[start..].eq_ignore_ascii_case(b"\x04arpa\0"))
}

impl<R: Rng> Answerer<'_, R> {
    /// Compat: the type of the question does not matter, and the reply is not shortened.
    pub(super) fn reverse(self, octets: &mut Vec<u8>) -> Answered {
        let question = &self.request.question;
        let settings = self.settings();
        let compress = !settings.disable_compression;
        let mut reply = Reply::new(Rcode::NOERROR);
        reply.authoritative = true;
        reply.recursion_available = !settings.recursors.is_empty();
        // Reverse names belong to no zone of ours; the main one speaks for them.
        let labels = Starts::of(settings.domain.as_slice()).len();
        let zone = Zone { name: settings.domain.clone(), labels, canonical: settings.domain.clone() };
        if question.rtype == Rtype::SOA {
            reply.authority.extend(self.soa(&zone));
        }
        let mut outcome = Outcome::Reply;
        match self.name_of_address() {
            Some(target) => {
                reply.answer.push(Record { owner: question.name.clone(), ttl_s: 0, content: Content::Ptr(target) });
            }
            None if reply.recursion_available => {
                fail_recursion(self.request, compress, octets);
                return Answered { outcome: Outcome::Recurse, subject: Subject::Reverse };
            }
            None => {
                reply.rcode = Rcode::NXDOMAIN;
                reply.authority.extend(self.soa(&zone));
            }
        }
        reply.write(self.request, compress, octets);
        if octets.is_empty() {
            outcome = Outcome::Ignore;
        }
        Answered { outcome, subject: Subject::Reverse }
    }

    /// The first node with the address, else the first service.
    fn name_of_address(&self) -> Option<Name<Bytes>> {
        let wanted = labels::reverse(&self.request.question.name)?;
        let (context, domain) = (self.context, &self.settings().domain);
        let nodes = CatalogListNodes(NodesQuery::default());
        let nodes = context.ask(&nodes).ok()?.answer;
        if let Some(node) = nodes.iter().find(|node| ip(&node.address) == Some(wanted)) {
            return name::below(&[&node.node, "node", &node.datacenter], domain);
        }
        let address = wanted.to_string();
        let services = ServiceQuery { service_address: address.clone(), ..ServiceQuery::default() };
        let services = context.ask(&CatalogServiceNodes(services)).ok()?;
        let row = services.answer.iter().find(|row| row.service().address == address)?;
        name::below(&[&row.service().service, "service", &row.node().datacenter], domain)
    }
}
