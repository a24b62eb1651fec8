//! What servers say to each other.

use std::sync::OnceLock;

use raft::eraftpb::{Entry, Message, MessageType};
use replica::{
    Configuration, LogStore, MemoryLog, Moment, Parcel, Replica, Settings, Timing, Unconnected, Unwatched, message,
    number_of,
};
use state::Limits;

/// Servers of the cluster that hears the messages; the first is the one that is asked.
const SERVERS: [&str; 3] = ["a", "b", "c"];

fn configuration() -> &'static Configuration {
    static CONFIGURATION: OnceLock<Configuration> = OnceLock::new();
    CONFIGURATION.get_or_init(|| Configuration::founding(7, SERVERS.map(|id| (id.to_owned(), format!("{id}:8300")))))
}

/// Messages, each behind its length in two bytes: what is read is written as it was, and a server that hears it all goes on.
pub fn raft_messages(data: &[u8]) {
    let settings = Settings {
        id: SERVERS[0].to_owned(),
        limits: Limits::default(),
        timing: Timing::of_multiplier(1),
        seed: 1,
        founding: Some(configuration().clone()),
    };
    let store: Box<dyn LogStore> = Box::new(MemoryLog::default());
    let opened = Replica::open(store, settings, Moment(1), Box::new(Unwatched), Box::new(Unconnected));
    let Ok((mut replica, _)) = opened else { panic!("an empty store can be opened") };
    let (mut rest, mut now) = (data, Moment(1));
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(behind.len());
        let (bytes, left) = behind.split_at(length);
        rest = left;
        let Some(parcel) = message::decode(bytes) else { continue };
        let mut again = Vec::new();
        assert!(message::encode(&parcel, &mut again), "what is read can be written");
        assert_eq!(message::decode(&again).as_ref(), Some(&parcel), "and read again");
        now = now.after_ns(50_000_000);
        // A server may refuse to go on; it may not break.
        if replica.step(parcel, None, now).is_err() || replica.turn(now).is_err() {
            return;
        }
    }
}

/// A vote is asked for, a leader speaks, another one takes over.
#[must_use]
pub fn message_seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let [this, leader, other] = SERVERS.map(number_of);
    let message = |kind: MessageType, from: u64, term: u64| {
        let mut message = Message { to: this, from, term, ..Message::default() };
        message.set_msg_type(kind);
        message
    };
    let written = |message: Message, configuration: Option<Configuration>| {
        let mut bytes = Vec::new();
        let cluster = 7;
        assert!(message::encode(&Parcel { cluster, message, configuration }, &mut bytes), "it is one that travels");
        let length = u16::try_from(bytes.len()).expect("seeds are short").to_le_bytes();
        [&length[..], &bytes].concat()
    };
    let entry = |index: u64, term: u64| Entry { index, term, ..Entry::default() };
    let mut append = message(MessageType::MsgAppend, leader, 2);
    append.set_entries(vec![entry(1, 2), entry(2, 2)].into());
    append.commit = 2;
    let mut overwrite = message(MessageType::MsgAppend, other, 3);
    (overwrite.index, overwrite.log_term) = (2, 2);
    overwrite.set_entries(vec![entry(3, 3)].into());
    let heartbeat = message(MessageType::MsgHeartbeat, leader, 2);
    let vote = Message { index: 9, log_term: 2, ..message(MessageType::MsgRequestVote, other, 3) };
    let hand_over = message(MessageType::MsgTimeoutNow, leader, 2);
    let follows = [
        written(message(MessageType::MsgRequestPreVote, leader, 2), Some(configuration().clone())),
        written(append, None),
        written(heartbeat, None),
        written(vote, None),
        written(overwrite, None),
    ];
    let leads = [
        written(hand_over, None),
        written(message(MessageType::MsgRequestVoteResponse, leader, 3), None),
        written(message(MessageType::MsgAppendResponse, other, 3), None),
    ];
    vec![("raft_messages", "follows", follows.concat()), ("raft_messages", "leads", leads.concat())]
}
