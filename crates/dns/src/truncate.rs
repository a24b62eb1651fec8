//! Which part of a reply is sent: what fits the transport and what configuration allows.
//!
//! Always true: additional records are given up before a reply grows longer than the asker said it can take;
//! with several answers, answers are too.

use std::collections::{HashMap, HashSet};

use crate::answer::Transport;
use crate::message::{Reply, Sections};
use crate::record::{Content, Record};
use crate::request::Request;
use crate::settings::Settings;

/// What every asker can take over UDP.
const PLAIN_UDP_BYTES: usize = 512;
/// The longest datagram less IP's longest header and room for UDP's.
const MAX_UDP_BYTES: usize = 65535 - 68;
/// The header of UDP, which the reference counts into the size that the asker can take.
const UDP_HEADER_BYTES: usize = 8;
/// Upper bound of `udp_answer_limit`.
const MAX_UDP_ANSWERS: usize = 8;
/// The longest message over TCP less its own header.
const MAX_TCP_BYTES: usize = 65523;
const MAX_TCP_ANSWERS: usize = 4096;
/// More SRV records do not fit into a message anyway.
const MAX_TCP_SERVERS: usize = 1024;

/// Writes the reply, or the part of it that may be sent.
pub(crate) fn write(
    mut reply: Reply,
    request: &Request,
    transport: Transport,
    settings: &Settings,
    octets: &mut Vec<u8>,
) {
    let compress = !settings.disable_compression;
    let all = reply.answer.len();
    let bounds = match transport {
        Transport::Udp => Bounds::udp(request, all, settings, compress),
        Transport::Tcp => Bounds::tcp(&reply, compress),
    };
    reply.answer.truncate(bounds.answers);
    let cut_by_count = reply.answer.len() < all;
    let mut fit = Fit { request, bounds, octets };
    if cut_by_count && transport == Transport::Udp {
        reply.additional = for_targets(&reply.answer, &reply.additional);
    }
    let fits = fit.excess(&reply, reply.sections()) == 0;
    if !fits {
        fit.shorten(&mut reply);
    }
    let cut = match transport {
        Transport::Udp => reply.answer.len() < all,
        // Compat: answers beyond the count go without notice.
        Transport::Tcp => reply.answer.len() < all.min(fit.bounds.answers),
    };
    reply.truncated = cut && settings.enable_truncate;
    // The trial is the reply where nothing is different.
    if !fits || reply.truncated || fit.bounds.compress != compress {
        reply.write(request, compress, fit.octets);
    }
}

struct Bounds {
    answers: usize,
    bytes: usize,
    /// Whether sizes are those of compressed messages.
    compress: bool,
}

impl Bounds {
    fn udp(request: &Request, answers: usize, settings: &Settings, compress: bool) -> Self {
        let offered = request.edns.as_ref().map_or(0, |edns| usize::from(edns.udp_size));
        let size = offered.clamp(PLAIN_UDP_BYTES, MAX_UDP_BYTES);
        let bytes = size - UDP_HEADER_BYTES;
        let most = settings.udp_answer_limit.min(MAX_UDP_ANSWERS);
        if size == PLAIN_UDP_BYTES && answers > most {
            // Compat: measured without compression, so that whoever passes it on uncompressed still can.
            Bounds { answers: most, bytes, compress: false }
        } else {
            Bounds { answers: usize::MAX, bytes, compress }
        }
    }

    fn tcp(reply: &Reply, compress: bool) -> Self {
        let servers = matches!(reply.answer.first(), Some(Record { content: Content::Srv { .. }, .. }));
        let answers = if servers { MAX_TCP_SERVERS } else { MAX_TCP_ANSWERS };
        Bounds { answers, bytes: MAX_TCP_BYTES, compress }
    }
}

struct Fit<'a> {
    request: &'a Request,
    bounds: Bounds,
    /// Where trial messages are written.
    octets: &'a mut Vec<u8>,
}

impl Fit<'_> {
    /// By how much this part of the reply is too long.
    fn excess(&mut self, reply: &Reply, part: Sections<'_>) -> usize {
        reply.write_part(part, self.request, self.bounds.compress, self.octets);
        self.octets.len().saturating_sub(self.bounds.bytes)
    }

    fn shorten(&mut self, reply: &mut Reply) {
        if reply.answer.len() > 1 {
            reply.authority.clear();
            let answers = self.most(reply.answer.len(), |fit, count| {
                let answer = &reply.answer[..count];
                let additional = for_targets(answer, &reply.additional);
                fit.excess(reply, Sections { answer, authority: &[], additional: &additional }) == 0
            });
            // Even when one alone is too long, it is sent.
            reply.answer.truncate(answers.max(1));
            reply.additional = for_targets(&reply.answer, &reply.additional);
        }
        if self.excess(reply, reply.sections()) > 0 {
            let kept = self.most(reply.additional.len(), |fit, count| {
                let part = Sections { additional: &reply.additional[..count], ..reply.sections() };
                fit.excess(reply, part) == 0
            });
            reply.additional.truncate(kept);
        }
    }

    /// The greatest count up to `all` that fits, zero if none does.
    fn most(&mut self, all: usize, mut fits: impl FnMut(&mut Self, usize) -> bool) -> usize {
        let (mut fitting, mut beyond) = (0, all + 1);
        while beyond - fitting > 1 {
            let middle = fitting + (beyond - fitting) / 2;
            if fits(self, middle) { fitting = middle } else { beyond = middle }
        }
        fitting
    }
}

/// The additional records that these answers need: one for each target.
///
/// Compat: TXT records go, and so does what belongs to answers that are not SRV records. The reference loses
/// the OPT record here too; that one stays, since without it askers take EDNS for not spoken.
fn for_targets(answers: &[Record], additional: &[Record]) -> Vec<Record> {
    if additional.is_empty() {
        return Vec::new();
    }
    let mut by_owner = HashMap::with_capacity(additional.len());
    for record in additional {
        by_owner.entry(&record.owner).or_insert(record);
    }
    let mut kept = Vec::with_capacity(answers.len());
    let mut resolved = HashSet::with_capacity(answers.len());
    for answer in answers {
        let Content::Srv { target, .. } = &answer.content else { continue };
        let mut target = target;
        while resolved.insert(target)
            && let Some(record) = by_owner.get(target)
        {
            kept.push(Record::clone(record));
            let Content::Cname(next) = &record.content else { break };
            target = next;
        }
    }
    kept
}
