//! Fitting an answer into a packet.

use domain::base::iana::{Class, OptRcode, Rcode};
use domain::base::message_builder::{AdditionalBuilder, PushError, TreeCompressor};
use domain::base::opt::ClientSubnet;
use domain::base::wire::Composer;
use domain::base::{Message, MessageBuilder, Serial, Ttl};
use domain::rdata::{A, Aaaa, Cname, Ns, Ptr, Soa, Srv, Txt};

use crate::record::{Data, Record};
use crate::{Reply, Settings};

/// How the answer travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// A UDP answer without EDNS.
const UDP_PLAIN: usize = 512;
/// Answers in a plain UDP packet at most, whatever is configured.
const UDP_ANSWERS_MAX: usize = 8;
/// The largest UDP answer, whatever a client says it takes.
const UDP_MAX: usize = 65_467;
/// The largest TCP answer.
const TCP_MAX: usize = 65_523;
/// Answers over TCP at most, to begin with.
const TCP_ANSWERS_MAX: usize = 4096;
/// Service records over TCP at most: each brings others along.
const TCP_SRV_MAX: usize = 1024;

/// What a request says of the answer that it takes.
struct Takes {
    /// The size that EDNS names.
    edns: Option<u16>,
    subnet: Option<ClientSubnet>,
}

impl Takes {
    fn of(request: &Message<&[u8]>) -> Self {
        let Some(opt) = request.opt() else { return Takes { edns: None, subnet: None } };
        let subnet = opt.opt().iter::<ClientSubnet>().filter_map(Result::ok).next();
        Takes { edns: Some(opt.udp_payload_size()), subnet }
    }
}

/// The subnet that a resolver names for its client.
pub(crate) fn client_subnet(request: &Message<&[u8]>) -> Option<std::net::IpAddr> {
    Takes::of(request).subnet.map(|subnet| subnet.addr())
}

/// The answer as a packet. `None` only if not even an empty answer can be made.
#[must_use]
pub fn encode(request: &Message<&[u8]>, mut reply: Reply, settings: &Settings, transport: Transport) -> Option<Vec<u8>> {
    let takes = Takes::of(request);
    let is_srv = reply.answers.iter().any(|record| matches!(record.data, Data::Srv { .. }));
    let (size, count) = match (transport, takes.edns) {
        (Transport::Tcp, _) => (TCP_MAX, if is_srv { TCP_SRV_MAX } else { TCP_ANSWERS_MAX }),
        (Transport::Udp, Some(size)) if usize::from(size) > UDP_PLAIN => {
            (usize::from(size).min(UDP_MAX) - 8, usize::MAX)
        }
        (Transport::Udp, _) => (UDP_PLAIN, settings.udp_answer_limit.clamp(1, UDP_ANSWERS_MAX)),
    };
    let whole = reply.answers.len();
    if whole > count {
        reply.answers.truncate(count);
        drop_lost_extras(&mut reply);
    }
    loop {
        let truncated = settings.enable_truncate && reply.answers.len() < whole;
        let packet = compose(request, &reply, settings, &takes, truncated, size);
        if let Some(packet) = packet {
            return Some(packet);
        }
        if !reply.authority.is_empty() && !reply.answers.is_empty() {
            reply.authority.clear();
        } else if reply.answers.len() > 1 {
            // Large sets shrink fast, small ones one by one.
            let keep = reply.answers.len() - (reply.answers.len() / 16).max(1);
            reply.answers.truncate(keep);
            drop_lost_extras(&mut reply);
        } else if reply.additional.is_empty() {
            return None;
        } else {
            reply.additional.clear();
        }
    }
}

/// Keeps the extras that belong to answers which are still there, and no texts.
fn drop_lost_extras(reply: &mut Reply) {
    let targets: Vec<_> = reply
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            Data::Srv { target, .. } | Data::Cname(target) => Some(target.clone()),
            _ => None,
        })
        .collect();
    reply.additional.retain(|extra| !matches!(extra.data, Data::Txt(_)) && targets.contains(&extra.owner));
}

fn compose(
    request: &Message<&[u8]>,
    reply: &Reply,
    settings: &Settings,
    takes: &Takes,
    truncated: bool,
    size: usize,
) -> Option<Vec<u8>> {
    if settings.disable_compression {
        let builder = MessageBuilder::from_target(Vec::with_capacity(512)).ok()?;
        return write(builder, request, reply, settings, takes, truncated, size).ok().map(AdditionalBuilder::finish);
    }
    let builder = MessageBuilder::from_target(TreeCompressor::new(Vec::with_capacity(512))).ok()?;
    let written = write(builder, request, reply, settings, takes, truncated, size).ok()?;
    Some(written.finish().into_target())
}

fn write<T: Composer>(
    mut builder: MessageBuilder<T>,
    request: &Message<&[u8]>,
    reply: &Reply,
    settings: &Settings,
    takes: &Takes,
    truncated: bool,
    size: usize,
) -> Result<AdditionalBuilder<T>, PushError> {
    builder.set_push_limit(size);
    let header = builder.header_mut();
    header.set_id(request.header().id());
    header.set_opcode(request.header().opcode());
    header.set_rd(request.header().rd());
    header.set_qr(true);
    header.set_aa(reply.authoritative);
    header.set_ra(!settings.recursors.is_empty());
    header.set_tc(truncated);
    header.set_rcode(reply.rcode);
    let mut questions = builder.question();
    if let Ok(question) = request.sole_question() {
        questions.push(question)?;
    }
    let mut answers = questions.answer();
    for record in &reply.answers {
        push(record, |push| push.answer(&mut answers))?;
    }
    let mut authority = answers.authority();
    for record in &reply.authority {
        push(record, |push| push.authority(&mut authority))?;
    }
    let mut additional = authority.additional();
    for record in &reply.additional {
        push(record, |push| push.additional(&mut additional))?;
    }
    if let Some(payload) = takes.edns {
        additional.opt(|opt| {
            opt.set_udp_payload_size(payload);
            opt.set_rcode(OptRcode::from(reply.rcode));
            if let Some(subnet) = takes.subnet {
                // Only prepared queries look at where the client is.
                let depends = reply.depends_on_subnet && reply.rcode == Rcode::NOERROR;
                let scope = if depends { subnet.source_prefix_len() } else { 0 };
                let echoed = ClientSubnet::new(subnet.source_prefix_len(), scope, subnet.addr());
                opt.push(&echoed)?;
            }
            Ok(())
        })?;
    }
    Ok(additional)
}

/// A record on its way into one of the sections, whose builders are types of their own.
struct Push<'a>(&'a Record);

macro_rules! into_section {
    ($name:ident, $builder:ident) => {
        fn $name<T: Composer>(
            &self,
            section: &mut domain::base::message_builder::$builder<T>,
        ) -> Result<(), PushError> {
            let Record { owner, ttl, data } = self.0;
            let (owner, ttl, class) = (&**owner, Ttl::from_secs(*ttl), Class::IN);
            match data {
                Data::A(address) => section.push((owner, class, ttl, A::new(*address))),
                Data::Aaaa(address) => section.push((owner, class, ttl, Aaaa::new(*address))),
                Data::Cname(target) => section.push((owner, class, ttl, Cname::new(&**target))),
                Data::Ptr(target) => section.push((owner, class, ttl, Ptr::new(&**target))),
                Data::Ns(target) => section.push((owner, class, ttl, Ns::new(&**target))),
                Data::Srv { weight, port, target } => {
                    section.push((owner, class, ttl, Srv::new(1, *weight, *port, &**target)))
                }
                Data::Txt(text) => match Txt::<Vec<u8>>::build_from_slice(text.as_bytes()) {
                    Ok(text) => section.push((owner, class, ttl, text)),
                    // Longer than a record can be: left out.
                    Err(_) => Ok(()),
                },
                Data::Soa { mname, rname, serial, refresh, retry, expire, minimum } => section.push((
                    owner,
                    class,
                    ttl,
                    Soa::new(
                        &**mname,
                        &**rname,
                        Serial(*serial),
                        Ttl::from_secs(*refresh),
                        Ttl::from_secs(*retry),
                        Ttl::from_secs(*expire),
                        Ttl::from_secs(*minimum),
                    ),
                )),
            }
        }
    };
}

impl Push<'_> {
    into_section!(answer, AnswerBuilder);
    into_section!(authority, AuthorityBuilder);
    into_section!(additional, AdditionalBuilder);
}

fn push(record: &Record, into: impl FnOnce(&Push<'_>) -> Result<(), PushError>) -> Result<(), PushError> {
    into(&Push(record))
}

