//! Raft log records and what their first byte says.
//!
//! A record is one type byte and a body. The same numbers tag the records of `state.bin`, where some have other bodies.
//! Invariant: `split(join(kind, body))` is what was joined; bit 128 is never part of a [`MessageType`].
//! Not here: the bodies (`state`), and which types must be known.

use std::fmt;

use serde::Serialize;

use crate::msgpack;

/// Says of a record that a server which does not know its type may pass over it.
const IGNORABLE: u8 = 128;

/// The type of a record. Numbers without a name are carried as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageType(u8);

impl MessageType {
    pub const REGISTER: MessageType = MessageType(0);
    pub const DEREGISTER: MessageType = MessageType(1);
    pub const KVS: MessageType = MessageType(2);
    pub const SESSION: MessageType = MessageType(3);
    /// Written until Consul 1.10.
    pub const LEGACY_ACL: MessageType = MessageType(4);
    pub const TOMBSTONE: MessageType = MessageType(5);
    pub const COORDINATE_BATCH_UPDATE: MessageType = MessageType(6);
    pub const PREPARED_QUERY: MessageType = MessageType(7);
    pub const TXN: MessageType = MessageType(8);
    pub const AUTOPILOT: MessageType = MessageType(9);
    /// Enterprise only.
    pub const AREA: MessageType = MessageType(10);
    pub const ACL_BOOTSTRAP: MessageType = MessageType(11);
    pub const INTENTION: MessageType = MessageType(12);
    pub const CONNECT_CA: MessageType = MessageType(13);
    /// Snapshots only.
    pub const CONNECT_CA_PROVIDER_STATE: MessageType = MessageType(14);
    /// Snapshots only.
    pub const CONNECT_CA_CONFIG: MessageType = MessageType(15);
    /// Snapshots only.
    pub const INDEX: MessageType = MessageType(16);
    pub const ACL_TOKEN_SET: MessageType = MessageType(17);
    pub const ACL_TOKEN_DELETE: MessageType = MessageType(18);
    pub const ACL_POLICY_SET: MessageType = MessageType(19);
    pub const ACL_POLICY_DELETE: MessageType = MessageType(20);
    pub const CONNECT_CA_LEAF: MessageType = MessageType(21);
    pub const CONFIG_ENTRY: MessageType = MessageType(22);
    pub const ACL_ROLE_SET: MessageType = MessageType(23);
    pub const ACL_ROLE_DELETE: MessageType = MessageType(24);
    pub const ACL_BINDING_RULE_SET: MessageType = MessageType(25);
    pub const ACL_BINDING_RULE_DELETE: MessageType = MessageType(26);
    pub const ACL_AUTH_METHOD_SET: MessageType = MessageType(27);
    pub const ACL_AUTH_METHOD_DELETE: MessageType = MessageType(28);
    /// Snapshots only.
    pub const CHUNKING_STATE: MessageType = MessageType(29);
    pub const FEDERATION_STATE: MessageType = MessageType(30);
    pub const SYSTEM_METADATA: MessageType = MessageType(31);
    pub const SERVICE_VIRTUAL_IP: MessageType = MessageType(32);
    pub const FREE_VIRTUAL_IP: MessageType = MessageType(33);
    /// Snapshots only.
    pub const KIND_SERVICE_NAMES: MessageType = MessageType(34);
    pub const PEERING_WRITE: MessageType = MessageType(35);
    pub const PEERING_DELETE: MessageType = MessageType(36);
    pub const PEERING_TERMINATE_BY_ID: MessageType = MessageType(37);
    pub const PEERING_TRUST_BUNDLE_WRITE: MessageType = MessageType(38);
    pub const PEERING_TRUST_BUNDLE_DELETE: MessageType = MessageType(39);
    pub const PEERING_SECRETS_WRITE: MessageType = MessageType(40);
    /// Changes nothing.
    pub const RAFT_LOG_VERIFIER_CHECKPOINT: MessageType = MessageType(41);
    pub const RESOURCE_OPERATION: MessageType = MessageType(42);
    pub const UPDATE_VIRTUAL_IP: MessageType = MessageType(43);

    /// The type with this number; `None` with bit 128 set.
    pub const fn new(number: u8) -> Option<MessageType> {
        if number & IGNORABLE == 0 { Some(MessageType(number)) } else { None }
    }

    pub const fn number(self) -> u8 {
        self.0
    }

    /// The name that `consul snapshot inspect` prints, for the numbers that have one.
    pub fn name(self) -> Option<&'static str> {
        NAMES.get(usize::from(self.0)).copied().filter(|name| !name.is_empty())
    }
}

/// In order of number. Compat: the reference has no name for 37.
const NAMES: [&str; 44] = [
    "Register",
    "Deregister",
    "KVS",
    "Session",
    "ACL",
    "Tombstone",
    "CoordinateBatchUpdate",
    "PreparedQuery",
    "Txn",
    "Autopilot",
    "Area",
    "ACLBootstrap",
    "Intention",
    "ConnectCA",
    "ConnectCAProviderState",
    "ConnectCAConfig",
    "Index",
    "ACLToken",
    "ACLTokenDelete",
    "ACLPolicy",
    "ACLPolicyDelete",
    "ConnectCALeaf",
    "ConfigEntry",
    "ACLRole",
    "ACLRoleDelete",
    "ACLBindingRule",
    "ACLBindingRuleDelete",
    "ACLAuthMethod",
    "ACLAuthMethodDelete",
    "ChunkingState",
    "FederationState",
    "SystemMetadata",
    "ServiceVirtualIP",
    "FreeVirtualIP",
    "KindServiceName",
    "Peering",
    "PeeringDelete",
    "",
    "PeeringTrustBundle",
    "PeeringTrustBundleDelete",
    "PeeringSecret",
    "RaftLogVerifierCheckpoint",
    "Resource",
    "UpdateManualVirtualIPRequestType",
];

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "Unknown({})", self.0),
        }
    }
}

/// A record taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'b> {
    pub kind: MessageType,
    /// Whether it may be passed over by those who do not know its type.
    pub ignorable: bool,
    pub body: &'b [u8],
}

/// Takes a record apart; `None` for no bytes at all.
pub fn split(record: &[u8]) -> Option<Record<'_>> {
    let (first, body) = record.split_first()?;
    Some(Record { kind: MessageType(first & !IGNORABLE), ignorable: first & IGNORABLE != 0, body })
}

/// Puts a record together from a body that is encoded already.
pub fn join(kind: MessageType, body: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(1 + body.len());
    record.push(kind.0);
    record.extend_from_slice(body);
    record
}

/// Puts a record together, encoding its body.
pub fn encode<T: Serialize + ?Sized>(kind: MessageType, body: &T) -> Result<Vec<u8>, msgpack::Error> {
    let mut record = vec![kind.0];
    msgpack::write_to(&mut record, body)?;
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::{MessageType, Record, encode, join, split};

    #[test]
    fn records_come_apart_as_they_were_joined() {
        let record = join(MessageType::KVS, b"body");
        assert_eq!(record, b"\x02body");
        assert_eq!(split(&record), Some(Record { kind: MessageType::KVS, ignorable: false, body: b"body" }));
        assert_eq!(
            split(&[128 | 6, 0xc0]),
            Some(Record { kind: MessageType::COORDINATE_BATCH_UPDATE, ignorable: true, body: &[0xc0] })
        );
        assert_eq!(split(&[]), None);
        assert_eq!(encode(MessageType::TOMBSTONE, "a"), Ok(vec![5, 0xa1, b'a']));
    }

    #[test]
    fn names_stand_at_their_numbers() {
        for (kind, name) in [
            (MessageType::REGISTER, "Register"),
            (MessageType::INDEX, "Index"),
            (MessageType::CHUNKING_STATE, "ChunkingState"),
            (MessageType::RESOURCE_OPERATION, "Resource"),
        ] {
            assert_eq!(kind.to_string(), name);
        }
        assert_eq!(MessageType::new(99).map(|kind| kind.to_string()), Some("Unknown(99)".to_owned()));
        assert_eq!(MessageType::new(200), None);
        assert_eq!(MessageType::UPDATE_VIRTUAL_IP.name(), Some("UpdateManualVirtualIPRequestType"));
        assert_eq!(MessageType::PEERING_TERMINATE_BY_ID.to_string(), "Unknown(37)");
        assert_eq!(MessageType::new(44).and_then(MessageType::name), None);
    }
}
