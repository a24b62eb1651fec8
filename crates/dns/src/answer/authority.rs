//! The zone's own records: where it begins and who serves it.

use rand::Rng;
use rand::seq::SliceRandom;

use domain::base::iana::Rtype;

use super::service::instances;
use super::{Answerer, Zone};
use crate::name;
use crate::record::{Content, Record, SoaContent};

/// The service that servers register themselves as.
const SERVERS: &str = "consul";
/// Most servers that are named.
const MAX_SERVERS: usize = 3;

impl<R: Rng> Answerer<'_, R> {
    /// Compat: the owner is the zone as configured, whatever its case in the question.
    pub(super) fn soa(&self, zone: &Zone) -> Option<Record> {
        let soa = self.settings().soa;
        let content = Content::Soa(Box::new(SoaContent {
            server: name::below(&["ns"], &zone.canonical)?,
            mailbox: name::below(&["hostmaster"], &zone.canonical)?,
            // Seconds in 32 bits, as serial numbers wrap.
            serial: (self.context.now_s & u64::from(u32::MAX)) as u32,
            refresh: soa.refresh,
            retry: soa.retry,
            expire: soa.expire,
            min_ttl: soa.min_ttl,
        }));
        Some(Record { owner: zone.canonical.clone(), ttl_s: soa.min_ttl, content })
    }

    /// NS records of some healthy servers, and their addresses.
    pub(super) fn servers(&mut self, zone: &Zone) -> (Vec<Record>, Vec<Record>) {
        let (mut servers, mut addresses) = (Vec::new(), Vec::new());
        let query = instances(SERVERS, self.settings());
        let context = self.context;
        let Ok(known) = context.ask(&query) else {
            return (servers, addresses);
        };
        let mut known = known.answer;
        known.shuffle(self.rng);
        for instance in &known {
            let node = &*instance.node;
            // Compat: a backslash passes for a letter.
            let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'\\';
            if !node.node.bytes().all(valid) {
                continue;
            }
            let parts = [&*node.node.to_ascii_lowercase(), "node", &*node.datacenter.to_ascii_lowercase()];
            let Some(target) = name::below(&parts, &zone.canonical) else { continue };
            servers.push(Record {
                owner: zone.name.clone(),
                ttl_s: self.settings().node_ttl_s,
                content: Content::Ns(target.clone()),
            });
            let mut records = self.node_records(node, Rtype::ANY, &target, super::MAX_DEPTH);
            addresses.append(&mut records);
            if servers.len() == MAX_SERVERS {
                break;
            }
        }
        (servers, addresses)
    }
}
