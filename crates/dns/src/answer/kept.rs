//! Replies that are alike but for the order of their addresses: made once, dealt anew for each asker.
//!
//! Always true: a kept reply is given only to a request that is the same to the byte but for its id, and only while
//! state and settings are the very ones that it was made from; what is dealt is as random as what was made; what
//! is kept stays below its bound.
//!
//! Not here: who may be given one. Replies are kept for askers that may see everything, nobody else's are.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use rand::Rng;
use state::State;

use super::Subject;
use crate::record::{Content, Record};
use crate::request::Question;
use crate::settings::Settings;

/// Kept replies may take so many bytes together, the requests that lead to them included.
const BYTES_MAX: usize = 1 << 20;
/// What an entry takes besides its contents.
const ENTRY_OVERHEAD: usize = 256;
/// The id of a message, which is the asker's.
const ID_BYTES: usize = 2;
/// The header of a message.
const HEADER_BYTES: usize = 12;
/// Type and class behind the name of a question.
const QUESTION_TAIL_BYTES: usize = 4;
/// An OPT record that holds no options.
const OPT_BYTES: usize = 11;
/// What a record has besides its owner and its address: type, class, lifetime, length.
const RECORD_BYTES: usize = 10;

/// The kept replies of one loop.
#[derive(Default)]
pub(crate) struct Kept {
    /// Held, so that nothing else can take their place in memory and be taken for them.
    made_from: Option<(Arc<State>, Arc<Settings>)>,
    by_request: HashMap<Box<[u8]>, Deal>,
    bytes: usize,
}

impl Kept {
    /// Forgets everything if it was made from something else.
    pub(crate) fn renew(&mut self, state: &Arc<State>, settings: &Arc<Settings>) {
        let is_same = |(own, own_settings): &(Arc<State>, Arc<Settings>)| {
            Arc::ptr_eq(own, state) && Arc::ptr_eq(own_settings, settings)
        };
        if !self.made_from.as_ref().is_some_and(is_same) {
            self.forget();
            self.made_from = Some((Arc::clone(state), Arc::clone(settings)));
        }
    }

    /// Forgets everything, and lets go of the state.
    pub(crate) fn forget(&mut self) {
        self.made_from = None;
        self.by_request.clear();
        self.bytes = 0;
    }

    /// Writes the reply to a request if there is one.
    pub(crate) fn deal(&mut self, request: &[u8], rng: &mut impl Rng, reply: &mut Vec<u8>) -> Option<Subject> {
        let (id, rest) = request.split_at_checked(ID_BYTES)?;
        let deal = self.by_request.get_mut(rest)?;
        deal.write(id, rng, reply);
        Some(deal.subject)
    }

    /// Keeps what a request is answered with.
    pub(crate) fn keep(&mut self, request: &[u8], deal: Deal) {
        let Some((_, rest)) = request.split_at_checked(ID_BYTES) else { return };
        let size = rest.len() + deal.bytes() + ENTRY_OVERHEAD;
        // Options such as cookies make each request another one.
        if size > BYTES_MAX / 8 || rest.len() > deal.before.len() + OPT_BYTES {
            return;
        }
        // The next askers pay once.
        if self.bytes + size > BYTES_MAX {
            self.by_request.clear();
            self.bytes = 0;
        }
        self.bytes += size;
        self.by_request.insert(rest.into(), deal);
    }
}

/// A reply whose answers are addresses of one family, any of them in any order.
#[derive(Debug)]
pub(crate) struct Deal {
    subject: Subject,
    /// All there are.
    addresses: Vec<IpAddr>,
    /// How many of them a reply has.
    count: usize,
    /// The reply up to its answers, less the id.
    before: Box<[u8]>,
    /// Each answer up to its address.
    record: Box<[u8]>,
    /// The reply behind its answers.
    behind: Box<[u8]>,
}

impl Deal {
    /// The addresses of a reply's answers if they are all that differs between them.
    pub(crate) fn addresses(answers: &[Record], question: &Question) -> Option<Vec<IpAddr>> {
        let first = answers.first()?;
        let mut addresses = Vec::with_capacity(answers.len());
        for record in answers {
            let ip = match record.content {
                Content::A(ip) => IpAddr::V4(ip),
                Content::Aaaa(ip) => IpAddr::V6(ip),
                _ => return None,
            };
            let is_alike = record.owner.as_slice() == question.name.as_slice()
                && record.ttl_s == first.ttl_s
                && record.rtype() == first.rtype();
            if !is_alike {
                return None;
            }
            addresses.push(ip);
        }
        Some(addresses)
    }

    /// Takes a written reply apart that has some of these addresses for answers; `None` if it does not look so.
    pub(crate) fn of(reply: &[u8], addresses: Vec<IpAddr>, question: &Question, subject: Subject) -> Option<Deal> {
        let width = if addresses.first()?.is_ipv4() { 4 } else { 16 };
        let begin = HEADER_BYTES + question.name.as_slice().len() + QUESTION_TAIL_BYTES;
        let count = usize::from(u16::from_be_bytes([*reply.get(6)?, *reply.get(7)?]));
        let is_pointer = reply.get(begin)? & 0xc0 == 0xc0;
        let owner = if is_pointer { 2 } else { question.name.as_slice().len() };
        let size = owner + RECORD_BYTES + width;
        let (before, rest) = reply.split_at_checked(begin)?;
        let (answers, behind) = rest.split_at_checked(size * count)?;
        let record = answers.get(..size - width)?;
        let is_alike = answers.chunks(size).all(|answer| answer.starts_with(record));
        (is_alike && count <= addresses.len()).then(|| Deal {
            subject,
            count,
            before: before[ID_BYTES..].into(),
            record: record.into(),
            behind: behind.into(),
            addresses,
        })
    }

    fn bytes(&self) -> usize {
        let parts = self.before.len() + self.record.len() + self.behind.len();
        parts + self.addresses.len() * size_of::<IpAddr>()
    }

    /// Draws anew: each choice in each order is as likely as any other, whatever was drawn before.
    fn write(&mut self, id: &[u8], rng: &mut impl Rng, reply: &mut Vec<u8>) {
        reply.clear();
        reply.extend_from_slice(id);
        reply.extend_from_slice(&self.before);
        for at in 0..self.count {
            let drawn = rng.random_range(at..self.addresses.len());
            self.addresses.swap(at, drawn);
            reply.extend_from_slice(&self.record);
            match self.addresses[at] {
                IpAddr::V4(ip) => reply.extend_from_slice(&ip.octets()),
                IpAddr::V6(ip) => reply.extend_from_slice(&ip.octets()),
            }
        }
        reply.extend_from_slice(&self.behind);
    }
}
