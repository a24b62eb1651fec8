//! Replies and how they are written, names compressed.
//!
//! Always true: targets of SRV records are written in full (RFC 2782), yet later names may point at them;
//! names are compressed only against names of the same letter case.

use bytes::Bytes;
use domain::base::Name;
use domain::base::iana::{Class, Opcode, Rcode, Rtype};

use crate::name::Starts;
use crate::record::{Content, Record};
use crate::request::{CLIENT_SUBNET, Head, Question, Refusal, Request};

/// A reply but for what it repeats of its request.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) rcode: Rcode,
    pub(crate) authoritative: bool,
    pub(crate) truncated: bool,
    pub(crate) recursion_available: bool,
    pub(crate) answer: Vec<Record>,
    pub(crate) authority: Vec<Record>,
    pub(crate) additional: Vec<Record>,
    /// Whether the answer is the same for whoever asks, so that a client subnet has no part in it.
    pub(crate) global: bool,
}

/// The sections of a reply, or the part of them that is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sections<'a> {
    pub(crate) answer: &'a [Record],
    pub(crate) authority: &'a [Record],
    pub(crate) additional: &'a [Record],
}

impl Reply {
    pub(crate) fn new(rcode: Rcode) -> Self {
        Reply {
            rcode,
            authoritative: false,
            truncated: false,
            recursion_available: false,
            answer: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
            global: true,
        }
    }

    pub(crate) fn sections(&self) -> Sections<'_> {
        Sections { answer: &self.answer, authority: &self.authority, additional: &self.additional }
    }

    /// Writes the whole reply in place of what was in `octets`.
    pub(crate) fn write(&self, request: &Request, compress: bool, octets: &mut Vec<u8>) {
        self.write_part(self.sections(), request, compress, octets);
    }

    /// Writes the reply with other sections than its own.
    pub(crate) fn write_part(&self, part: Sections<'_>, request: &Request, compress: bool, octets: &mut Vec<u8>) {
        octets.clear();
        let asks = request.opcode == Opcode::QUERY;
        let flags = Flags {
            opcode: request.opcode,
            authoritative: self.authoritative,
            truncated: self.truncated,
            recursion_desired: asks && request.recursion_desired,
            recursion_available: self.recursion_available,
            checking_disabled: asks && request.checking_disabled,
            rcode: self.rcode,
        };
        let counts =
            [1, part.answer.len(), part.authority.len(), part.additional.len() + usize::from(request.edns.is_some())];
        flags.write(request.id, counts, octets);
        let mut writer = Writer::new(octets, compress);
        writer.question(&request.question);
        for record in part.answer.iter().chain(part.authority).chain(part.additional) {
            writer.record(record);
        }
        self.write_edns(request, octets);
    }

    /// Compat: version and flags of the request are not repeated.
    fn write_edns(&self, request: &Request, octets: &mut Vec<u8>) {
        let Some(edns) = &request.edns else { return };
        octets.push(0);
        octets.extend_from_slice(&Rtype::OPT.to_int().to_be_bytes());
        octets.extend_from_slice(&edns.udp_size.to_be_bytes());
        octets.extend_from_slice(&[0; 4]);
        let length_at = reserve_length(octets);
        if let Some(subnet) = &edns.subnet {
            let failed = [Rcode::NXDOMAIN, Rcode::SERVFAIL, Rcode::REFUSED, Rcode::NOTIMP].contains(&self.rcode);
            let scope = if self.global || failed { 0 } else { subnet.netmask };
            octets.extend_from_slice(&CLIENT_SUBNET.to_be_bytes());
            let option_at = reserve_length(octets);
            subnet.compose(scope, octets);
            fill_length(octets, option_at);
        }
        fill_length(octets, length_at);
    }
}

/// Writes what answers a request that is no proper one; `false` when nothing is to be sent.
///
/// Compat: flags are repeated, and the question when there was one, but no OPT record.
pub(crate) fn write_refusal(refusal: Refusal, octets: &mut Vec<u8>) -> bool {
    const REPLY: u8 = 0x80;
    const OPCODE: u8 = 0x78;
    /// All but AA and Z.
    const REPEATED: [u8; 2] = [0x03, 0xb0];
    octets.clear();
    let (Head([high, low, first, second]), opcode, rcode, question) = match refusal {
        Refusal::Silent => return false,
        Refusal::NotImplemented(head) => (head, head.0[2] & OPCODE, Rcode::NOTIMP, None),
        Refusal::Malformed(head, question) => (head, 0, Rcode::FORMERR, question),
    };
    octets.extend_from_slice(&[high, low]);
    octets.extend_from_slice(&[REPLY | opcode | first & REPEATED[0], second & REPEATED[1] | rcode.to_int()]);
    octets.extend_from_slice(&[0, u8::from(question.is_some()), 0, 0, 0, 0, 0, 0]);
    if let Some(question) = question {
        Writer::new(octets, false).question(&question);
    }
    true
}

struct Flags {
    opcode: Opcode,
    authoritative: bool,
    truncated: bool,
    recursion_desired: bool,
    recursion_available: bool,
    checking_disabled: bool,
    rcode: Rcode,
}

impl Flags {
    fn write(&self, id: u16, counts: [usize; 4], octets: &mut Vec<u8>) {
        let first = 0x80
            | (self.opcode.to_int() << 3)
            | (u8::from(self.authoritative) << 2)
            | (u8::from(self.truncated) << 1)
            | u8::from(self.recursion_desired);
        let second = (u8::from(self.recursion_available) << 7)
            | (u8::from(self.checking_disabled) << 4)
            | (self.rcode.to_int() & 0x0f);
        octets.extend_from_slice(&id.to_be_bytes());
        octets.extend_from_slice(&[first, second]);
        for count in counts {
            octets.extend_from_slice(&u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
}

fn reserve_length(octets: &mut Vec<u8>) -> usize {
    octets.extend_from_slice(&[0; 2]);
    octets.len()
}

fn fill_length(octets: &mut [u8], at: usize) {
    let length = u16::try_from(octets.len() - at).unwrap_or(u16::MAX);
    octets[at - 2..at].copy_from_slice(&length.to_be_bytes());
}

struct Writer<'a> {
    octets: &'a mut Vec<u8>,
    /// The question's name and where it is written: nearly every owner is this name.
    question: Option<(Name<Bytes>, u16)>,
    written: Option<Written>,
}

impl<'a> Writer<'a> {
    fn new(octets: &'a mut Vec<u8>, compress: bool) -> Self {
        Writer { octets, question: None, written: compress.then(Written::default) }
    }

    fn question(&mut self, question: &Question) {
        self.question = u16::try_from(self.octets.len()).ok().map(|at| (question.name.clone(), at));
        self.spell(&question.name, true);
        self.octets.extend_from_slice(&question.rtype.to_int().to_be_bytes());
        self.octets.extend_from_slice(&question.class.to_int().to_be_bytes());
    }

    fn record(&mut self, record: &Record) {
        self.name(&record.owner, true);
        self.octets.extend_from_slice(&record.rtype().to_int().to_be_bytes());
        self.octets.extend_from_slice(&Class::IN.to_int().to_be_bytes());
        self.octets.extend_from_slice(&record.ttl_s.to_be_bytes());
        let length_at = reserve_length(self.octets);
        match &record.content {
            Content::A(ip) => self.octets.extend_from_slice(&ip.octets()),
            Content::Aaaa(ip) => self.octets.extend_from_slice(&ip.octets()),
            Content::Cname(name) | Content::Ns(name) | Content::Ptr(name) => self.name(name, true),
            Content::Srv { weight, port, target } => {
                // Compat: every instance has the same priority.
                const PRIORITY: u16 = 1;
                for number in [PRIORITY, *weight, *port] {
                    self.octets.extend_from_slice(&number.to_be_bytes());
                }
                self.name(target, false);
            }
            Content::Txt(text) => self.strings(text.as_bytes()),
            Content::Soa(soa) => {
                self.name(&soa.server, true);
                self.name(&soa.mailbox, true);
                for number in [soa.serial, soa.refresh, soa.retry, soa.expire, soa.min_ttl] {
                    self.octets.extend_from_slice(&number.to_be_bytes());
                }
            }
        }
        fill_length(self.octets, length_at);
    }

    fn strings(&mut self, text: &[u8]) {
        const MAX_STRING_BYTES: usize = 255;
        if text.is_empty() {
            self.octets.push(0);
        }
        for string in text.chunks(MAX_STRING_BYTES) {
            self.octets.push(u8::try_from(string.len()).unwrap_or(u8::MAX));
            self.octets.extend_from_slice(string);
        }
    }

    fn name(&mut self, name: &Name<Bytes>, may_point: bool) {
        if may_point
            && self.written.is_some()
            && let Some((question, at)) = &self.question
            && question.as_slice() == name.as_slice()
            && !name.is_root()
        {
            self.octets.extend_from_slice(&(POINTER | *at).to_be_bytes());
            return;
        }
        self.spell(name, may_point);
    }

    fn spell(&mut self, name: &Name<Bytes>, may_point: bool) {
        let wire = name.as_slice();
        let Some(written) = &mut self.written else {
            self.octets.extend_from_slice(wire);
            return;
        };
        let starts = Starts::of(wire);
        let mut hashes = [0; 128];
        let mut hash = FNV_OFFSET;
        let mut end = wire.len() - 1;
        for (at, slot) in starts.iter().zip(&mut hashes[..starts.len()]).rev() {
            for byte in &wire[at..end] {
                hash = (hash ^ u32::from(*byte)).wrapping_mul(FNV_PRIME);
            }
            *slot = hash;
            end = at;
        }
        let base = self.octets.len();
        for (start, hash) in starts.iter().zip(hashes) {
            match written.find(hash, &wire[start..], self.octets) {
                Some(at) if may_point => {
                    self.octets.extend_from_slice(&wire[..start]);
                    self.octets.extend_from_slice(&(POINTER | at).to_be_bytes());
                    return;
                }
                Some(_) => {}
                None => written.note(hash, base + start),
            }
        }
        self.octets.extend_from_slice(wire);
    }
}

const FNV_OFFSET: u32 = 0x811c_9dc5;
const FNV_PRIME: u32 = 0x0100_0193;
/// The bits that make a pointer of an offset.
const POINTER: u16 = 0xc000;
/// Offsets from here on do not fit a pointer.
const MAX_POINTED: u16 = 0x4000;

/// Where names and their ends were written, by hash. A slot with offset zero is free: the header is there.
#[derive(Default)]
struct Written {
    slots: Vec<(u32, u16)>,
    used: usize,
}

impl Written {
    fn find(&self, hash: u32, wanted: &[u8], octets: &[u8]) -> Option<u16> {
        self.probe(hash)
            .map(|slot| self.slots[slot])
            .take_while(|(_, at)| *at != 0)
            .find(|(own, at)| *own == hash && reads_as(octets, usize::from(*at), wanted))
            .map(|(_, at)| at)
    }

    fn note(&mut self, hash: u32, at: usize) {
        let Some(at) = u16::try_from(at).ok().filter(|at| *at < MAX_POINTED) else { return };
        if self.used * 4 >= self.slots.len() * 3 {
            let old = std::mem::take(&mut self.slots);
            self.slots = vec![(0, 0); (old.len() * 2).max(32)];
            self.used = 0;
            for (hash, at) in old.into_iter().filter(|(_, at)| *at != 0) {
                self.put(hash, at);
            }
        }
        self.put(hash, at);
    }

    fn put(&mut self, hash: u32, at: u16) {
        let free = self.probe(hash).find(|slot| self.slots[*slot].1 == 0);
        if let Some(slot) = free {
            self.slots[slot] = (hash, at);
            self.used += 1;
        }
    }

    /// All slots, beginning with that of the hash. Their number is a power of two.
    fn probe(&self, hash: u32) -> impl Iterator<Item = usize> + use<> {
        let len = self.slots.len();
        (0..len).map(move |step| ((hash ^ (hash >> 15)) as usize + step) & (len - 1))
    }
}

/// Whether the name that is written at `at` is `wanted`. Pointers lead back only, so that this ends.
fn reads_as(octets: &[u8], mut at: usize, mut wanted: &[u8]) -> bool {
    loop {
        let Some(&length) = octets.get(at) else { return false };
        if length & 0xc0 == 0xc0 {
            let Some(&low) = octets.get(at + 1) else { return false };
            let target = usize::from(u16::from_be_bytes([length & 0x3f, low]));
            if target >= at {
                return false;
            }
            at = target;
            continue;
        }
        let end = usize::from(length) + 1;
        match (octets.get(at..at + end), wanted.split_at_checked(end)) {
            (Some(label), Some((other, rest))) if label == other => wanted = rest,
            _ => return false,
        }
        if length == 0 {
            return wanted.is_empty();
        }
        at += end;
    }
}
