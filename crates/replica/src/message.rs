//! Raft's messages between servers as bytes of our own: never protobuf from the network.
//!
//! Always true: what [`decode`] accepts is of a type that servers send each other, and raft can take it in without
//! panicking over its shape. Numbers are little-endian; a length is checked before anything is made room for.
//!
//! Not here: what a message means; the state that goes with a snapshot (it travels behind the message).

use raft::eraftpb::{ConfChange, Entry, EntryType, Message, MessageType};

use crate::configuration::Configuration;

/// The form of these bytes.
const VERSION: u8 = 1;
/// The largest message that is taken in: raft sends entries in messages of about 1 MiB, more only for one large entry.
pub const BYTES_MAX: usize = 64 << 20;
/// Contexts are campaign words and numbers of reads.
const CONTEXT_MAX: usize = 64;
/// No cluster lives to count higher, and the library counts on from what it is told.
const COUNT_MAX: u64 = 1 << 62;
const ENTRIES_MAX: usize = 1 << 20;

/// A message, with the configuration that belongs to its snapshot or that a new server cannot know yet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parcel {
    /// The sender's cluster ([`Configuration::cluster`]).
    pub cluster: u64,
    pub message: Message,
    /// As of the snapshot's index; for servers that have no log yet, as of now.
    pub configuration: Option<Configuration>,
}

/// The messages that servers send each other, by the numbers that are written.
const KINDS: [MessageType; 10] = [
    MessageType::MsgAppend,
    MessageType::MsgAppendResponse,
    MessageType::MsgRequestVote,
    MessageType::MsgRequestVoteResponse,
    MessageType::MsgRequestPreVote,
    MessageType::MsgRequestPreVoteResponse,
    MessageType::MsgHeartbeat,
    MessageType::MsgHeartbeatResponse,
    MessageType::MsgSnapshot,
    MessageType::MsgTimeoutNow,
];

/// The place of `MsgSnapshot` in [`KINDS`].
const SNAPSHOT: usize = 8;

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Appends a message; `false`, and nothing, when it is none that servers send each other.
pub fn encode(parcel: &Parcel, out: &mut Vec<u8>) -> bool {
    let message = &parcel.message;
    let Some(kind) = KINDS.iter().position(|kind| *kind == message.get_msg_type()) else { return false };
    out.push(VERSION);
    out.push(u8::try_from(kind).unwrap_or(u8::MAX));
    out.push(u8::from(message.reject));
    let numbers = [
        parcel.cluster,
        message.to,
        message.from,
        message.term,
        message.log_term,
        message.index,
        message.commit,
        message.commit_term,
        message.request_snapshot,
        message.reject_hint,
        message.priority.cast_unsigned(),
    ];
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
    put_bytes(out, &message.context);
    match &parcel.configuration {
        Some(configuration) => {
            out.push(1);
            put_bytes(out, &configuration.encode());
        }
        None => out.push(0),
    }
    if kind == SNAPSHOT {
        let meta = message.get_snapshot().get_metadata();
        out.extend_from_slice(&meta.index.to_le_bytes());
        out.extend_from_slice(&meta.term.to_le_bytes());
    }
    out.extend_from_slice(&u32::try_from(message.entries.len()).unwrap_or(u32::MAX).to_le_bytes());
    for entry in &message.entries {
        out.push(u8::from(entry.get_entry_type() == EntryType::EntryConfChange));
        out.extend_from_slice(&entry.term.to_le_bytes());
        out.extend_from_slice(&entry.index.to_le_bytes());
        put_bytes(out, &entry.data);
    }
    true
}

/// Takes bytes from the front.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(self.take(4)?.try_into().ok()?)).ok()
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn bytes(&mut self) -> Option<&'b [u8]> {
        let length = self.length()?;
        self.take(length)
    }
}

/// Reads one message; `None` for anything that [`encode`] does not write.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Parcel> {
    let mut reader = Reader(bytes);
    if reader.byte()? != VERSION {
        return None;
    }
    let mut message = Message::default();
    let kind = *KINDS.get(usize::from(reader.byte()?))?;
    message.set_msg_type(kind);
    message.reject = reader.flag()?;
    let cluster = reader.number()?;
    message.to = reader.number()?;
    message.from = reader.number()?;
    message.term = reader.number()?;
    message.log_term = reader.number()?;
    message.index = reader.number()?;
    message.commit = reader.number()?;
    message.commit_term = reader.number()?;
    message.request_snapshot = reader.number()?;
    message.reject_hint = reader.number()?;
    message.priority = reader.number()?.cast_signed();
    message.context = reader.bytes().filter(|context| context.len() <= CONTEXT_MAX)?.to_vec().into();
    let configuration = if reader.flag()? { Some(Configuration::decode(reader.bytes()?)?) } else { None };
    if let (Some(configuration), MessageType::MsgSnapshot) = (&configuration, kind) {
        let meta = message.mut_snapshot().mut_metadata();
        (meta.index, meta.term) = (reader.number()?, reader.number()?);
        meta.set_conf_state(configuration.conf_state());
    }
    let count = reader.length()?;
    // An entry takes 21 bytes at least.
    if count > ENTRIES_MAX || count > reader.0.len() / 21 {
        return None;
    }
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        entries.push(read_entry(&mut reader)?);
    }
    message.set_entries(entries.into());
    let parcel = Parcel { cluster, message, configuration };
    (reader.0.is_empty() && is_sound(&parcel)).then_some(parcel)
}

fn read_entry(reader: &mut Reader<'_>) -> Option<Entry> {
    let is_change = reader.flag()?;
    let mut entry = Entry { term: reader.number()?, index: reader.number()?, ..Entry::default() };
    let data = reader.bytes()?;
    if is_change {
        entry.set_entry_type(EntryType::EntryConfChange);
        read_change(data)?;
    }
    entry.data = data.to_vec().into();
    Some(entry)
}

/// Reads the change of a configuration as the library writes it, field by field: number, kind, node, context.
pub(crate) fn read_change(bytes: &[u8]) -> Option<ConfChange> {
    let mut change = ConfChange::default();
    let mut rest = Reader(bytes);
    let mut last = 0;
    while !rest.0.is_empty() {
        let key = rest.byte()?;
        let field = key >> 3;
        // Each field once, in order.
        if field <= last {
            return None;
        }
        last = field;
        match key {
            0x08 => change.id = varint(&mut rest)?,
            0x10 => change.set_change_type(match varint(&mut rest)? {
                0 => raft::eraftpb::ConfChangeType::AddNode,
                1 => raft::eraftpb::ConfChangeType::RemoveNode,
                2 => raft::eraftpb::ConfChangeType::AddLearnerNode,
                _ => return None,
            }),
            0x18 => change.node_id = varint(&mut rest)?,
            0x22 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                change.context = rest.take(length)?.to_vec().into();
            }
            _ => return None,
        }
    }
    Some(change)
}

fn varint(reader: &mut Reader<'_>) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = reader.byte()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// What raft takes for granted about messages.
fn is_sound(parcel: &Parcel) -> bool {
    let Parcel { cluster, message, configuration } = parcel;
    let follows = |at: usize, entry: &Entry| {
        message.index.checked_add(1 + at as u64) == Some(entry.index) && entry.term <= message.term && entry.term > 0
    };
    let in_order = message.entries.windows(2).all(|pair| pair[0].term <= pair[1].term);
    let brings_snapshot = message.get_msg_type() == MessageType::MsgSnapshot;
    // The library takes an entry that is not there for one of term zero.
    let is_append = message.get_msg_type() == MessageType::MsgAppend;
    let follows_something = !is_append || (message.index == 0) == (message.log_term == 0);
    let numbers =
        [message.term, message.log_term, message.index, message.commit, message.commit_term, message.reject_hint];
    let counts = numbers.into_iter().all(|number| number <= COUNT_MAX);
    let has_index = message.get_snapshot().get_metadata().index > 0;
    *cluster != 0
        && message.term > 0
        && message.to != 0
        && message.from != 0
        && message.to != message.from
        && in_order
        && follows_something
        && counts
        // All votes are equal here.
        && message.priority == 0
        && message.entries.iter().enumerate().all(|(at, entry)| follows(at, entry))
        && (!brings_snapshot || (has_index && configuration.is_some()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};
    use raft::eraftpb::{Entry, EntryType, Message, MessageType};

    use super::{Parcel, decode, encode, read_change};
    use crate::configuration::{Change, Configuration, Peer};

    fn append() -> Parcel {
        use protobuf::Message as _;
        let peer = Peer { id: "b".into(), address: "127.0.0.1:1".into(), voter: true };
        let mut change = Entry { term: 3, index: 8, ..Entry::default() };
        change.set_entry_type(EntryType::EntryConfChange);
        change.data = Change::Put(peer).to_raft().write_to_bytes().unwrap().into();
        let first = Entry { term: 2, index: 7, data: vec![1, 2, 3].into(), ..Entry::default() };
        let mut message = Message { to: 1, from: 2, term: 3, log_term: 2, index: 6, commit: 5, ..Message::default() };
        message.set_msg_type(MessageType::MsgAppend);
        message.context = b"CampaignTransfer".to_vec().into();
        message.set_entries(vec![first, change].into());
        Parcel { cluster: 5, message, configuration: None }
    }

    fn bytes(parcel: &Parcel) -> Vec<u8> {
        let mut out = Vec::new();
        assert!(encode(parcel, &mut out));
        out
    }

    #[test]
    fn messages_come_back_as_they_went() {
        let parcel = append();
        assert_eq!(decode(&bytes(&parcel)), Some(parcel));
        let configuration = Configuration::founding(3, [("a".to_owned(), "b".to_owned())]);
        let mut message = Message { to: 1, from: 2, term: 3, ..Message::default() };
        message.set_msg_type(MessageType::MsgSnapshot);
        let meta = message.mut_snapshot().mut_metadata();
        (meta.index, meta.term) = (5, 2);
        meta.set_conf_state(configuration.conf_state());
        let parcel = Parcel { cluster: 5, message, configuration: Some(configuration) };
        assert_eq!(decode(&bytes(&parcel)), Some(parcel));
    }

    #[test]
    fn what_is_cut_short_or_of_another_kind_is_refused() {
        let whole = bytes(&append());
        for cut in 0..whole.len() {
            assert_eq!(decode(&whole[..cut]), None, "{cut}");
        }
        for (at, byte) in [(0, 2), (1, 10), (2, 2)] {
            let mut other = whole.clone();
            other[at] = byte;
            assert_eq!(decode(&other), None);
        }
        let mut propose = append();
        propose.message.set_msg_type(MessageType::MsgPropose);
        assert!(!encode(&propose, &mut Vec::new()));
        // A gap between entries would make raft panic.
        let mut gap = append();
        gap.message.entries[1].index = 9;
        assert_eq!(decode(&bytes(&gap)), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), at in 0_usize..200) {
            let _ = decode(&bytes);
            let _ = read_change(&bytes);
            let mut flipped = super::tests::bytes(&append());
            if let Some(byte) = flipped.get_mut(at) {
                *byte ^= bytes.first().copied().unwrap_or(1);
            }
            let _ = decode(&flipped);
        }
    }
}
