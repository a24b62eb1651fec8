//! Requests as they come off the wire.
//!
//! Always true: a [`Request`] has exactly one question and was readable to its end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use domain::base::iana::{Class, Opcode, Rtype};
use domain::base::name::ToName;
use domain::base::opt::{Opt, UnknownOptData};
use domain::base::{Message, Name, ParsedRecord};

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) id: u16,
    pub(crate) opcode: Opcode,
    pub(crate) recursion_desired: bool,
    pub(crate) checking_disabled: bool,
    pub(crate) question: Question,
    pub(crate) edns: Option<Edns>,
}

#[derive(Debug, Clone)]
pub(crate) struct Question {
    /// As asked, letter case included.
    pub(crate) name: Name<Bytes>,
    pub(crate) rtype: Rtype,
    pub(crate) class: Class,
}

/// What the OPT record of a request says that answers depend on.
#[derive(Debug)]
pub(crate) struct Edns {
    pub(crate) udp_size: u16,
    pub(crate) subnet: Option<Subnet>,
}

/// The client subnet option (RFC 7871).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subnet {
    family: u16,
    pub(crate) netmask: u8,
    pub(crate) address: IpAddr,
}

/// Why a request gets no proper answer.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Nothing at all is sent, or replies could be bounced between servers.
    Silent,
    /// An operation other than asking.
    NotImplemented(Head),
    /// With the question, if that at least was readable.
    Malformed(Head, Option<Question>),
}

/// The id and the flags of a request as sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head(pub(crate) [u8; 4]);

/// Code of the client subnet option.
pub(crate) const CLIENT_SUBNET: u16 = 8;

/// More records than any asker has reason to send; what the reference's library puts up with.
const MAX_ANSWER: u16 = 1;
const MAX_AUTHORITY: u16 = 1;
const MAX_ADDITIONAL: u16 = 2;

impl Request {
    pub(crate) fn parse(octets: &[u8]) -> Result<Self, Refusal> {
        let message = Message::from_octets(octets).map_err(|_| Refusal::Silent)?;
        let head = Head(octets.first_chunk().copied().ok_or(Refusal::Silent)?);
        let header = message.header();
        if header.qr() {
            return Err(Refusal::Silent);
        }
        let opcode = header.opcode();
        if opcode != Opcode::QUERY && opcode != Opcode::NOTIFY {
            return Err(Refusal::NotImplemented(head));
        }
        let counts = message.header_counts();
        if counts.qdcount() != 1
            || counts.ancount() > MAX_ANSWER
            || counts.nscount() > MAX_AUTHORITY
            || counts.arcount() > MAX_ADDITIONAL
        {
            return Err(Refusal::Malformed(head, None));
        }
        let question = message.sole_question().map_err(|_| Refusal::Malformed(head, None))?;
        let question =
            Question { name: question.qname().to_bytes(), rtype: question.qtype(), class: question.qclass() };
        let records = counts.ancount() + counts.nscount() + counts.arcount();
        let edns = match if records == 0 { Some(None) } else { edns(message) } {
            Some(edns) => edns,
            None => return Err(Refusal::Malformed(head, Some(question))),
        };
        Ok(Request {
            id: header.id(),
            opcode,
            recursion_desired: header.rd(),
            checking_disabled: header.cd(),
            question,
            edns,
        })
    }

    pub(crate) fn subnet(&self) -> Option<&Subnet> {
        self.edns.as_ref().and_then(|edns| edns.subnet.as_ref())
    }
}

/// The OPT record of a message; `None` when it or anything else is unreadable.
fn edns(message: Message<&[u8]>) -> Option<Option<Edns>> {
    let mut edns = None;
    for record in message.iter() {
        let (record, _) = record.ok()?;
        if record.rtype() == Rtype::OPT {
            edns = Some(Edns::parse(&record)?);
        }
    }
    Some(edns)
}

impl Edns {
    fn parse(record: &ParsedRecord<'_, &[u8]>) -> Option<Self> {
        let udp_size = record.class().to_int();
        let content = record.to_record::<Opt<_>>().ok()??;
        let mut subnet = None;
        for option in content.data().iter::<UnknownOptData<_>>() {
            let option = option.ok()?;
            if option.code().to_int() == CLIENT_SUBNET && subnet.is_none() {
                subnet = Some(Subnet::parse(option.as_slice())?);
            }
        }
        Some(Edns { udp_size, subnet })
    }
}

impl Subnet {
    fn parse(octets: &[u8]) -> Option<Self> {
        let (head, address) = octets.split_at_checked(4)?;
        let (family, netmask, scope) = (u16::from_be_bytes([head[0], head[1]]), head[2], head[3]);
        let address = match family {
            0 if netmask == 0 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            1 if netmask <= 32 && scope <= 32 => IpAddr::from(Ipv4Addr::from(padded::<4>(address)?)),
            2 if netmask <= 128 && scope <= 128 => IpAddr::from(Ipv6Addr::from(padded::<16>(address)?)),
            _ => return None,
        };
        Some(Subnet { family, netmask, address })
    }

    /// The option as it is echoed, with the scope of the answer.
    pub(crate) fn compose(&self, scope: u8, octets: &mut Vec<u8>) {
        octets.extend_from_slice(&self.family.to_be_bytes());
        octets.extend_from_slice(&[self.netmask, scope]);
        let (bits, bytes, width) = match self.address {
            _ if self.family == 0 => return,
            IpAddr::V4(ip) => (u128::from(ip.to_bits()) << 96, ip.to_bits().to_be_bytes().len(), 32),
            IpAddr::V6(ip) => (ip.to_bits(), 16, 128),
        };
        let kept = u32::from(self.netmask).min(width);
        let masked = if kept == 0 { 0 } else { bits & (u128::MAX << (128 - kept)) };
        let needed = usize::from(self.netmask).div_ceil(8).min(bytes);
        octets.extend_from_slice(&masked.to_be_bytes()[..needed]);
    }
}

fn padded<const N: usize>(octets: &[u8]) -> Option<[u8; N]> {
    let mut all = [0; N];
    all.get_mut(..octets.len())?.copy_from_slice(octets);
    Some(all)
}
