//! Names that stand in the place of addresses, and what they lead to.
//!
//! Always true: what upstream resolvers say is cut down to addresses and aliases, a bounded number of them.

use std::collections::HashMap;

use bytes::Bytes;
use domain::base::iana::{Class, Rtype};
use domain::base::name::ToName;
use domain::base::{Message, Name};
use domain::rdata::{A, Aaaa, Cname};
use rand::Rng;

use super::{Answerer, Asked, Found, Zone};
use crate::record::{Content, Record};
use crate::request::Question;

/// Most records that are taken over from one upstream answer.
const MAX_RECORDS: usize = 64;
/// Most names outside the zone that one request may have resolved.
const MAX_WANTED: usize = 16;
/// Most aliases that are followed within the zone for one request: each costs a lookup, and instances of one
/// service may all lead to another.
const MAX_FOLLOWED: usize = 64;

/// What upstream resolvers said about names outside the zone.
#[derive(Debug, Clone, Default)]
pub struct Aliases {
    by_name: HashMap<Name<Bytes>, Vec<Record>>,
}

impl Aliases {
    /// Takes over what a resolver answered about `name`; an unreadable answer, or none, counts as an empty one.
    pub fn learn(&mut self, name: Name<Bytes>, answer: Option<&[u8]>) {
        self.by_name.insert(name, answer.and_then(read).unwrap_or_default());
    }
}

fn read(octets: &[u8]) -> Option<Vec<Record>> {
    let message = Message::from_octets(octets).ok()?;
    let mut records = Vec::new();
    for record in message.answer().ok()?.take(MAX_RECORDS) {
        let record = record.ok()?;
        if record.class() != Class::IN {
            continue;
        }
        let content = match record.rtype() {
            Rtype::A => Content::A(record.to_record::<A>().ok()??.data().addr()),
            Rtype::AAAA => Content::Aaaa(record.to_record::<Aaaa>().ok()??.data().addr()),
            Rtype::CNAME => Content::Cname(record.to_record::<Cname<_>>().ok()??.data().cname().to_bytes()),
            _ => continue,
        };
        records.push(Record { owner: record.owner().to_bytes(), ttl_s: record.ttl().as_secs(), content });
    }
    Some(records)
}

impl<R: Rng> Answerer<'_, R> {
    /// What a name leads to: looked up here when it is in the zone, else known or wanted from upstream.
    pub(super) fn follow(&mut self, target: &Name<Bytes>, depth: u8) -> Vec<Record> {
        let zone = Zone::of(target, self.settings());
        if let Some(zone) = zone.filter(|zone| zone.name.len() < target.len()) {
            self.followed += 1;
            let Some(depth) = depth.checked_sub(1).filter(|_| self.followed <= MAX_FOLLOWED) else {
                tracing::error!(name = %target, "names lead to each other without an end");
                return Vec::new();
            };
            let question = Question { name: target.clone(), rtype: Rtype::ANY, class: Class::IN };
            let mut found = Found::default();
            // An alias that leads nowhere is shown all the same.
            let _ = self.look_up(Asked { question: &question, zone: &zone, depth }, &mut found);
            return found.answer;
        }
        if let Some(known) = self.context.aliases.by_name.get(target) {
            return known.clone();
        }
        let more = self.wanted.len() < MAX_WANTED && !self.wanted.contains(target);
        if more && !self.settings().recursors.is_empty() {
            self.wanted.push(target.clone());
        }
        Vec::new()
    }
}
