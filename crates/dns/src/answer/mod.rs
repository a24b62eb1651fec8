//! From the bytes of a request to the bytes of its reply, on one state.
//!
//! Always true: a reply is complete, or the [`Outcome`] names what is missing and nothing is sent yet; names
//! that lead to each other are followed a bounded number of times.
//!
//! Not here: sockets and upstream resolvers.

mod address;
mod alias;
mod authority;
mod kept;
mod lookup;
mod reverse;
mod service;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use acl::Authorizer;
use bytes::Bytes;
use domain::base::Name;
use domain::base::iana::{Rcode, Rtype};
use rand::Rng;
use state::State;

pub use self::alias::Aliases;
use self::kept::Deal;
pub(crate) use self::kept::Kept;
use crate::message::{self, Reply};
use crate::name::Starts;
use crate::record::Record;
use crate::request::{Question, Request};
use crate::settings::Settings;
use crate::truncate;

/// What a request is answered from.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub state: &'a State,
    pub settings: &'a Settings,
    pub may: &'a dyn Authorizer,
    pub transport: Transport,
    /// The address of whoever asks.
    pub source: Option<IpAddr>,
    /// Seconds since 1970: the serial number of the zone.
    pub now_s: u64,
    /// What upstream resolvers said about names outside the zone.
    pub aliases: &'a Aliases,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// What is to be done with a request, and what it was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    pub outcome: Outcome,
    pub subject: Subject,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The reply is written.
    Reply,
    /// Nothing is to be sent.
    Ignore,
    /// The reply that stands for now says that recursion failed: pass the request on to upstream resolvers.
    Recurse,
    /// The reply that stands would be better with the addresses of these names; ask for them and answer
    /// again.
    Resolve(Vec<Name<Bytes>>),
}

/// What a question was about: measured apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Domain(Rtype),
    Reverse,
    /// Names outside the zone, and what is no question.
    Elsewhere,
}

/// How often names may lead to other names of the zone.
const MAX_DEPTH: u8 = 3;

/// Answers one request into `reply`.
pub fn answer(context: &Context<'_>, request: &[u8], rng: &mut impl Rng, reply: &mut Vec<u8>) -> Answered {
    answer_once(context, request, rng, reply, &mut None)
}

/// The same over UDP, and keeps the reply for those who ask the same if that can be done. `kept` is of this state and
/// these settings.
pub(crate) fn answer_and_keep(
    context: &Context<'_>,
    request: &[u8],
    rng: &mut impl Rng,
    reply: &mut Vec<u8>,
    kept: &mut Kept,
) -> Answered {
    let mut deal = None;
    let answered = answer_once(context, request, rng, reply, &mut deal);
    if let Some(deal) = deal.filter(|_| answered.outcome == Outcome::Reply && context.may.allows_everything()) {
        kept.keep(request, deal);
    }
    answered
}

/// `deal` becomes what those who ask the same can be answered with, if anything.
fn answer_once(
    context: &Context<'_>,
    request: &[u8],
    rng: &mut impl Rng,
    reply: &mut Vec<u8>,
    deal: &mut Option<Deal>,
) -> Answered {
    let request = match Request::parse(request) {
        Ok(request) => request,
        Err(refusal) => {
            let outcome = if message::write_refusal(refusal, reply) { Outcome::Reply } else { Outcome::Ignore };
            return Answered { outcome, subject: Subject::Elsewhere };
        }
    };
    let settings = context.settings;
    let recursion_available = !settings.recursors.is_empty();
    let zone = Zone::of(&request.question.name, settings);
    // A DS record belongs to the zone above.
    let above = recursion_available && request.question.rtype == Rtype::DS;
    let answerer = Answerer { context, request: &request, rng, wanted: Vec::new(), followed: 0, any_order: false };
    match zone {
        Some(zone) if !above => answerer.within(&zone, reply, deal),
        None if !above && reverse::covers(&request.question.name) => answerer.reverse(reply),
        _ => {
            let outcome = if recursion_available {
                fail_recursion(&request, !settings.disable_compression, reply);
                Outcome::Recurse
            } else {
                // Compat: neither authoritative nor with an OPT record.
                let request = Request { edns: None, ..request };
                Reply::new(Rcode::REFUSED).write(&request, !settings.disable_compression, reply);
                Outcome::Reply
            };
            Answered { outcome, subject: Subject::Elsewhere }
        }
    }
}

/// What is sent when no upstream resolver answers.
fn fail_recursion(request: &Request, compress: bool, octets: &mut Vec<u8>) {
    let mut reply = Reply::new(Rcode::SERVFAIL);
    reply.recursion_available = true;
    reply.write(request, compress, octets);
}

/// The zone as a question names it: letter case is the asker's.
struct Zone {
    name: Name<Bytes>,
    /// Number of labels.
    labels: usize,
    /// The same zone as configured.
    canonical: Name<Bytes>,
}

impl Zone {
    /// The zone that a name belongs to, the longer one of two.
    fn of(name: &Name<Bytes>, settings: &Settings) -> Option<Zone> {
        let wire = name.as_slice();
        let starts = Starts::of(wire);
        let within = |zone: &Name<Bytes>| {
            let labels = Starts::of(zone.as_slice()).len();
            let start = starts.of_last(labels)?;
            wire[start..].eq_ignore_ascii_case(zone.as_slice()).then(|| Zone {
                name: name.range_from(start),
                labels,
                canonical: zone.clone(),
            })
        };
        let alternative = settings.alt_domain.as_ref().and_then(within);
        match (within(&settings.domain), alternative) {
            (Some(zone), Some(other)) if other.labels > zone.labels => Some(other),
            (zone, other) => zone.or(other),
        }
    }
}

/// The answer to a question while it is put together.
#[derive(Default)]
struct Found {
    answer: Vec<Record>,
    additional: Vec<Record>,
}

/// Why a lookup gives no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Miss {
    /// There is no such name.
    Name,
    /// There is, but nothing of this type.
    Kind,
    Failed,
}

struct Answerer<'a, R> {
    context: &'a Context<'a>,
    request: &'a Request,
    rng: &'a mut R,
    /// Names that upstream resolvers should be asked for.
    wanted: Vec<Name<Bytes>>,
    /// How many aliases were followed for this request.
    followed: usize,
    /// The answer is one record for each instance, in an order that was drawn.
    any_order: bool,
}

/// A question with where its name belongs: the one that was sent, or one that it leads to.
#[derive(Clone, Copy)]
struct Asked<'a> {
    question: &'a Question,
    zone: &'a Zone,
    /// How often the answer may still lead to other names.
    depth: u8,
}

impl<R: Rng> Answerer<'_, R> {
    fn settings(&self) -> &Settings {
        self.context.settings
    }

    /// Answers a question about the zone.
    fn within(mut self, zone: &Zone, octets: &mut Vec<u8>, deal: &mut Option<Deal>) -> Answered {
        let question = &self.request.question;
        let mut reply = Reply::new(Rcode::NOERROR);
        reply.authoritative = true;
        reply.recursion_available = !self.settings().recursors.is_empty();
        match question.rtype {
            Rtype::SOA => {
                reply.answer.extend(self.soa(zone));
                (reply.authority, reply.additional) = self.servers(zone);
            }
            Rtype::NS => (reply.answer, reply.additional) = self.servers(zone),
            Rtype::AXFR => reply.rcode = Rcode::NOTIMP,
            _ => {
                let mut found = Found::default();
                let asked = Asked { question, zone, depth: MAX_DEPTH };
                let (result, global) = self.look_up(asked, &mut found);
                (reply.answer, reply.additional, reply.global) = (found.answer, found.additional, global);
                reply.rcode = match result {
                    Ok(()) | Err(Miss::Kind) => Rcode::NOERROR,
                    Err(Miss::Name) => Rcode::NXDOMAIN,
                    Err(Miss::Failed) => Rcode::SERVFAIL,
                };
                if matches!(result, Err(Miss::Kind | Miss::Name)) {
                    reply.authority.extend(self.soa(zone));
                }
            }
        }
        let subject = Subject::Domain(question.rtype);
        let may_differ = self.any_order && reply.authority.is_empty() && reply.additional.is_empty();
        let addresses = may_differ.then(|| Deal::addresses(&reply.answer, question)).flatten();
        truncate::write(reply, self.request, self.context.transport, self.context.settings, octets);
        *deal = addresses.and_then(|addresses| Deal::of(octets, addresses, question, subject));
        let outcome = if self.wanted.is_empty() { Outcome::Reply } else { Outcome::Resolve(self.wanted) };
        Answered { outcome, subject }
    }
}
