//! Commands and records as bytes: a message type byte and a msgpack body (protocols.md C1, C3).

use std::fmt;
use std::io::{Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use state::acl::AclCommand;
use state::config_entry::{ConfigEntryRequest, Entry, KINDS, Op};
use state::snapshot::{Foreign, Record, Restore};
use state::{Command, Index, Limits, State};
use wire::log_entry::{self, MessageType};
use wire::msgpack::{self, RawValue};
use wire::state_bin;

/// The highest id that the reference is known to use.
const LAST_KNOWN: u8 = 43;
/// Set on entries that a version which does not know them may pass over.
const IGNORABLE: u8 = 128;

/// Bytes that are no command or record.
#[derive(Debug)]
pub enum Error {
    Empty,
    UnknownKind(u8),
    Body(msgpack::Error),
    State(state_bin::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Empty => f.write_str("empty entry"),
            Error::UnknownKind(kind) => write!(f, "unknown message type {kind}"),
            Error::Body(error) => error.fmt(f),
            Error::State(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<msgpack::Error> for Error {
    fn from(error: msgpack::Error) -> Self {
        Error::Body(error)
    }
}

impl From<state_bin::Error> for Error {
    fn from(error: state_bin::Error) -> Self {
        Error::State(error)
    }
}

/// A command as a log entry.
pub fn encode(command: &Command) -> Result<Vec<u8>, Error> {
    let entry = match command {
        Command::Register(request) => log_entry::encode(MessageType::REGISTER, request),
        Command::Deregister(request) => log_entry::encode(MessageType::DEREGISTER, request),
        Command::Kvs(request) => log_entry::encode(MessageType::KVS, request),
        Command::Session(request) => log_entry::encode(MessageType::SESSION, request),
        Command::Tombstone(request) => log_entry::encode(MessageType::TOMBSTONE, request),
        Command::CoordinateBatchUpdate(batch) => {
            // Compat: the reference flags this one, for servers older than coordinates.
            let entry = log_entry::encode(MessageType::COORDINATE_BATCH_UPDATE, batch);
            entry.map(|mut entry| {
                entry[0] |= IGNORABLE;
                entry
            })
        }
        Command::PreparedQuery(request) => log_entry::encode(MessageType::PREPARED_QUERY, request),
        Command::Txn(request) => log_entry::encode(MessageType::TXN, request),
        Command::Autopilot(request) => log_entry::encode(MessageType::AUTOPILOT, request),
        Command::ConfigEntry(request) => log_entry::encode(MessageType::CONFIG_ENTRY, request),
        Command::Acl(command) => encode_acl(command),
    };
    Ok(entry?)
}

fn encode_acl(command: &AclCommand) -> Result<Vec<u8>, msgpack::Error> {
    match command {
        AclCommand::Legacy(request) => log_entry::encode(MessageType::LEGACY_ACL, request),
        AclCommand::Bootstrap(request) => log_entry::encode(MessageType::ACL_BOOTSTRAP, request),
        AclCommand::TokenSet(batch) => log_entry::encode(MessageType::ACL_TOKEN_SET, batch),
        AclCommand::TokenDelete(batch) => log_entry::encode(MessageType::ACL_TOKEN_DELETE, batch),
        AclCommand::PolicySet(batch) => log_entry::encode(MessageType::ACL_POLICY_SET, batch),
        AclCommand::PolicyDelete(batch) => log_entry::encode(MessageType::ACL_POLICY_DELETE, batch),
        AclCommand::RoleSet(batch) => log_entry::encode(MessageType::ACL_ROLE_SET, batch),
        AclCommand::RoleDelete(batch) => log_entry::encode(MessageType::ACL_ROLE_DELETE, batch),
        AclCommand::BindingRuleSet(batch) => log_entry::encode(MessageType::ACL_BINDING_RULE_SET, batch),
        AclCommand::BindingRuleDelete(batch) => log_entry::encode(MessageType::ACL_BINDING_RULE_DELETE, batch),
        AclCommand::AuthMethodSet(batch) => log_entry::encode(MessageType::ACL_AUTH_METHOD_SET, batch),
        AclCommand::AuthMethodDelete(batch) => log_entry::encode(MessageType::ACL_AUTH_METHOD_DELETE, batch),
    }
}

/// The word for a command in metric names (`consul.fsm.<word>`).
#[must_use]
pub fn word(command: &Command) -> &'static str {
    match command {
        Command::Register(_) => "register",
        Command::Deregister(_) => "deregister",
        Command::Kvs(_) => "kvs",
        Command::Session(_) => "session",
        Command::Tombstone(_) => "tombstone",
        Command::CoordinateBatchUpdate(_) => "coordinate.batch-update",
        Command::PreparedQuery(_) => "prepared-query",
        Command::Txn(_) => "txn",
        Command::Autopilot(_) => "autopilot",
        Command::ConfigEntry(_) => "config_entry",
        Command::Acl(AclCommand::Legacy(_)) => "acl",
        Command::Acl(AclCommand::Bootstrap(_) | AclCommand::TokenSet(_) | AclCommand::TokenDelete(_)) => "acl.token",
        Command::Acl(AclCommand::PolicySet(_) | AclCommand::PolicyDelete(_)) => "acl.policy",
        Command::Acl(AclCommand::RoleSet(_) | AclCommand::RoleDelete(_)) => "acl.role",
        Command::Acl(AclCommand::BindingRuleSet(_) | AclCommand::BindingRuleDelete(_)) => "acl.bindingrule",
        Command::Acl(AclCommand::AuthMethodSet(_) | AclCommand::AuthMethodDelete(_)) => "acl.authmethod",
    }
}

/// A log entry as a command; `None` when it may be passed over.
pub fn decode(entry: &[u8]) -> Result<Option<Command>, Error> {
    let log_entry::Record { kind, ignorable, body } = log_entry::split(entry).ok_or(Error::Empty)?;
    let command = match kind {
        MessageType::REGISTER => Command::Register(msgpack::from_slice(body)?),
        MessageType::DEREGISTER => Command::Deregister(msgpack::from_slice(body)?),
        MessageType::KVS => Command::Kvs(msgpack::from_slice(body)?),
        MessageType::SESSION => Command::Session(msgpack::from_slice(body)?),
        MessageType::TOMBSTONE => Command::Tombstone(msgpack::from_slice(body)?),
        MessageType::COORDINATE_BATCH_UPDATE => Command::CoordinateBatchUpdate(msgpack::from_slice(body)?),
        MessageType::PREPARED_QUERY => Command::PreparedQuery(msgpack::from_slice(body)?),
        MessageType::TXN => Command::Txn(msgpack::from_slice(body)?),
        MessageType::AUTOPILOT => Command::Autopilot(msgpack::from_slice(body)?),
        MessageType::CONFIG_ENTRY => Command::ConfigEntry(msgpack::from_slice(body)?),
        MessageType::LEGACY_ACL => Command::Acl(AclCommand::Legacy(msgpack::from_slice(body)?)),
        MessageType::ACL_BOOTSTRAP => Command::Acl(AclCommand::Bootstrap(msgpack::from_slice(body)?)),
        MessageType::ACL_TOKEN_SET => Command::Acl(AclCommand::TokenSet(msgpack::from_slice(body)?)),
        MessageType::ACL_TOKEN_DELETE => Command::Acl(AclCommand::TokenDelete(msgpack::from_slice(body)?)),
        MessageType::ACL_POLICY_SET => Command::Acl(AclCommand::PolicySet(msgpack::from_slice(body)?)),
        MessageType::ACL_POLICY_DELETE => Command::Acl(AclCommand::PolicyDelete(msgpack::from_slice(body)?)),
        MessageType::ACL_ROLE_SET => Command::Acl(AclCommand::RoleSet(msgpack::from_slice(body)?)),
        MessageType::ACL_ROLE_DELETE => Command::Acl(AclCommand::RoleDelete(msgpack::from_slice(body)?)),
        MessageType::ACL_BINDING_RULE_SET => Command::Acl(AclCommand::BindingRuleSet(msgpack::from_slice(body)?)),
        MessageType::ACL_BINDING_RULE_DELETE => Command::Acl(AclCommand::BindingRuleDelete(msgpack::from_slice(body)?)),
        MessageType::ACL_AUTH_METHOD_SET => Command::Acl(AclCommand::AuthMethodSet(msgpack::from_slice(body)?)),
        MessageType::ACL_AUTH_METHOD_DELETE => Command::Acl(AclCommand::AuthMethodDelete(msgpack::from_slice(body)?)),
        _ if ignorable => return Ok(None),
        unknown => return Err(Error::UnknownKind(unknown.number())),
    };
    Ok(Some(command))
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct IndexRow {
    key: String,
    value: Index,
}

/// Writes a state as `state.bin`.
pub fn write_state(state: &State, out: &mut dyn Write) -> Result<(), Error> {
    let header = state_bin::Header { last_index: state.applied().0 };
    let mut writer = state_bin::Writer::new(out, header)?;
    for record in state.records() {
        write_record(&mut writer, record)?;
    }
    Ok(())
}

fn write_record(writer: &mut state_bin::Writer<&mut dyn Write>, record: Record) -> Result<(), Error> {
    match record {
        Record::Register(request) => writer.write(MessageType::REGISTER, &request),
        Record::Coordinates(batch) => writer.write(MessageType::COORDINATE_BATCH_UPDATE, &batch),
        Record::Session(session) => writer.write(MessageType::SESSION, &session),
        Record::Kv(entry) => writer.write(MessageType::KVS, &entry),
        Record::Tombstone(stone) => writer.write(MessageType::TOMBSTONE, &stone),
        Record::PreparedQuery(query) => writer.write(MessageType::PREPARED_QUERY, &query),
        Record::Autopilot(config) => writer.write(MessageType::AUTOPILOT, &config),
        Record::ConfigEntry(entry) => {
            let (op, datacenter) = (Op::default(), String::new());
            writer.write(MessageType::CONFIG_ENTRY, &ConfigEntryRequest { op, datacenter, entry })
        }
        Record::AclToken(token) => writer.write(MessageType::ACL_TOKEN_SET, &token),
        Record::AclPolicy(policy) => writer.write(MessageType::ACL_POLICY_SET, &policy),
        Record::AclRole(role) => writer.write(MessageType::ACL_ROLE_SET, &role),
        Record::AclBindingRule(rule) => writer.write(MessageType::ACL_BINDING_RULE_SET, &rule),
        Record::AclAuthMethod(method) => writer.write(MessageType::ACL_AUTH_METHOD_SET, &method),
        Record::Index { name, value } => writer.write(MessageType::INDEX, &IndexRow { key: name, value }),
        Record::Foreign(foreign) => {
            let kind = MessageType::new(foreign.kind).ok_or(Error::UnknownKind(foreign.kind))?;
            writer.write(kind, &RawValue::new(foreign.body)?)
        }
    }?;
    Ok(())
}

/// Reads a `state.bin`. Unknown record types are refused; those of concepts that are not built yet are kept.
pub fn read_state(input: impl Read, limits: Limits) -> Result<State, Error> {
    let mut reader = state_bin::Reader::new(input)?;
    let mut restore = Restore::new(limits, Index(reader.header().last_index));
    while let Some((kind, body)) = reader.next_record()? {
        restore.add(read_record(kind, body)?);
    }
    Ok(restore.finish())
}

fn read_record(kind: MessageType, body: RawValue) -> Result<Record, Error> {
    fn value<T: DeserializeOwned>(body: &RawValue) -> Result<T, Error> {
        Ok(body.decode()?)
    }
    Ok(match kind {
        MessageType::REGISTER => Record::Register(value(&body)?),
        MessageType::COORDINATE_BATCH_UPDATE => Record::Coordinates(value(&body)?),
        MessageType::SESSION => Record::Session(value(&body)?),
        MessageType::KVS => Record::Kv(value(&body)?),
        MessageType::TOMBSTONE => Record::Tombstone(value(&body)?),
        MessageType::PREPARED_QUERY => Record::PreparedQuery(value(&body)?),
        MessageType::AUTOPILOT => Record::Autopilot(value(&body)?),
        // Entries of kinds without rules here are kept as they are.
        MessageType::CONFIG_ENTRY if KINDS.contains(&&*Entry::kind_of_packed(&body)?) => {
            Record::ConfigEntry(value::<ConfigEntryRequest>(&body)?.entry)
        }
        MessageType::ACL_TOKEN_SET => Record::AclToken(value(&body)?),
        MessageType::ACL_POLICY_SET => Record::AclPolicy(value(&body)?),
        MessageType::ACL_ROLE_SET => Record::AclRole(value(&body)?),
        MessageType::ACL_BINDING_RULE_SET => Record::AclBindingRule(value(&body)?),
        MessageType::ACL_AUTH_METHOD_SET => Record::AclAuthMethod(value(&body)?),
        MessageType::INDEX => {
            let IndexRow { key, value } = value(&body)?;
            Record::Index { name: key, value }
        }
        known if known.number() <= LAST_KNOWN => {
            Record::Foreign(Foreign { kind: known.number(), body: body.into_bytes() })
        }
        unknown => return Err(Error::UnknownKind(unknown.number())),
    })
}

#[cfg(test)]
mod tests {
    use state::acl::{
        AclCommand, AuthMethodBatchDelete, BindingRuleBatchDelete, LegacyRequest, PolicyBatchDelete, RoleBatchDelete,
        Token, TokenBatchDelete, TokenBatchSet, TokenBootstrap, anonymous,
    };
    use state::kv::{Entry, KvsRequest, Octets, Op};
    use state::snapshot::Record;
    use state::{Command, Index, Limits, State};
    use wire::time::GoTime;

    use super::{decode, encode, read_state, write_state};

    fn put(key: &str, value: &[u8]) -> Command {
        let dir_ent = Entry { key: key.into(), value: Octets::copied(value), ..Entry::default() };
        Command::Kvs(KvsRequest { op: Op::Set, dir_ent, ..KvsRequest::default() })
    }

    #[test]
    fn commands_come_back_as_they_were() {
        let command = put("a/b", &[0, 255, 128]);
        assert_eq!(decode(&encode(&command).unwrap()).unwrap(), Some(command));
    }

    #[test]
    fn unknown_entries_are_refused_unless_flagged() {
        assert!(decode(&[99, 0xc0]).is_err());
        assert!(decode(&[]).is_err());
        assert_eq!(decode(&[128 | 99, 0xc0]).unwrap(), None);
    }

    #[test]
    fn coordinates_may_be_passed_over_by_others() {
        let entry = encode(&Command::CoordinateBatchUpdate(Vec::new())).unwrap();
        assert_eq!(entry[0], 128 | 6);
        assert!(matches!(decode(&entry).unwrap(), Some(Command::CoordinateBatchUpdate(_))));
    }

    #[test]
    fn access_control_is_read_as_the_reference_writes_it() {
        // The ACL records and index rows of a snapshot that a Consul 1.22 wrote.
        let bytes = include_bytes!("acl_records.bin");
        let state = read_state(&bytes[..], Limits::default()).unwrap();
        let token = state.acl_token("22222222-2222-2222-2222-222222222222").unwrap();
        assert!(token.secret_id.matches("33333333-3333-3333-3333-333333333333"));
        assert_eq!(token.roles[0].name, "r1");
        assert_eq!(token.node_identities[0].datacenter, "dc1");
        assert_eq!(token.templated_policies[0].template_variables.as_ref().unwrap().name, "api");
        assert_eq!(token.expires().unwrap().since(&token.create_time).0, 3_600_000_000_000);
        let mut hashed = Token::clone(&token);
        hashed.set_hash();
        assert_eq!(hashed.hash, token.hash);
        let kinds = |state: &State| {
            let kind = |record: Record| match record {
                Record::AclToken(_) => 't',
                Record::AclPolicy(_) => 'p',
                Record::AclRole(_) => 'r',
                Record::AclBindingRule(rule) if rule.bind_vars.is_some() => 'b',
                Record::AclAuthMethod(method) if !method.max_token_ttl.is_zero() && method.config.is_some() => 'm',
                Record::Index { .. } => 'i',
                _ => '?',
            };
            state.records().map(kind).collect::<String>()
        };
        assert_eq!(kinds(&state), "tttppprbmiiiiii");
        let mut again = Vec::new();
        write_state(&state, &mut again).unwrap();
        assert!(read_state(&again[..], Limits::default()).unwrap().records().eq(state.records()));
    }

    #[test]
    fn changes_of_access_control_come_back_as_they_were() {
        let token = anonymous(GoTime::from_unix(1, 2));
        let commands = [
            (4, AclCommand::Legacy(LegacyRequest { op: "set".to_owned(), ..LegacyRequest::default() })),
            (11, AclCommand::Bootstrap(TokenBootstrap { token: token.clone(), reset_index: Index(7) })),
            (17, AclCommand::TokenSet(TokenBatchSet { tokens: vec![token], cas: true, ..TokenBatchSet::default() })),
            (18, AclCommand::TokenDelete(TokenBatchDelete { token_ids: vec!["a".to_owned()] })),
            (20, AclCommand::PolicyDelete(PolicyBatchDelete { policy_ids: vec!["a".to_owned()] })),
            (24, AclCommand::RoleDelete(RoleBatchDelete { role_ids: vec!["a".to_owned()] })),
            (26, AclCommand::BindingRuleDelete(BindingRuleBatchDelete { binding_rule_ids: vec!["a".to_owned()] })),
            (28, AclCommand::AuthMethodDelete(AuthMethodBatchDelete { auth_method_names: vec!["a".to_owned()] })),
        ];
        for (kind, command) in commands {
            let command = Command::Acl(command);
            let entry = encode(&command).unwrap();
            assert_eq!(entry[0], kind);
            assert_eq!(decode(&entry).unwrap(), Some(command));
        }
        // As the reference writes it: unknown and missing fields do not matter.
        let delete = b"\x12\x82\xa8TokenIDs\x91\xa1a\xa3New\xc0";
        let expected = AclCommand::TokenDelete(TokenBatchDelete { token_ids: vec!["a".to_owned()] });
        assert_eq!(decode(delete).unwrap(), Some(Command::Acl(expected)));
    }

    #[test]
    fn records_of_what_is_not_built_yet_survive() {
        // {"LastIndex": 7}, then a config entry of a kind without rules, a CA root, and a type that nobody knows.
        let mut bytes = b"\x81\xa9LastIndex\x07\x16\xa3\xa1x\x80\x0d\x81\xa2ID\xa1x".to_vec();
        let state = read_state(&bytes[..], Limits::default()).unwrap();
        let mut again = Vec::new();
        write_state(&state, &mut again).unwrap();
        assert_eq!(again, bytes);
        bytes.extend_from_slice(&[44, 0xc0]);
        assert!(read_state(&bytes[..], Limits::default()).is_err());
    }

    #[test]
    fn a_state_survives_the_way_through_a_snapshot() {
        let mut state = State::default();
        for at in 0..2000u64 {
            state.apply(Index(at + 1), put(&format!("key/{at}"), &vec![7; usize::try_from(at).unwrap()]));
        }
        let mut bytes = Vec::new();
        write_state(&state, &mut bytes).unwrap();
        let restored = read_state(&bytes[..], Limits::default()).unwrap();
        assert!(state.records().eq(restored.records()));
        assert_eq!(restored.applied(), Index(2000));
        for cut in [bytes.len() - 1, bytes.len() / 2] {
            assert!(read_state(&bytes[..cut], Limits::default()).is_err());
        }
    }
}
