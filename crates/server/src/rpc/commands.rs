//! The form of each command on the wire: its log entry's struct, and the answer that its method gives.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use state::kv::Op;
use state::session::CREATE;
use state::{Command, Error, Outcome, prepared_query};
use wire::msgpack::{self, RawValue};
use wire::rpc::Empty;

use super::envelope::Fields;

/// The method that carries a command.
pub(crate) fn method(command: &Command) -> Option<&'static str> {
    match command {
        Command::Register(_) => Some("Catalog.Register"),
        Command::Deregister(_) => Some("Catalog.Deregister"),
        Command::Kvs(_) => Some("KVS.Apply"),
        Command::Session(_) => Some("Session.Apply"),
        Command::PreparedQuery(_) => Some("PreparedQuery.Apply"),
        Command::Txn(_) => Some("Txn.Apply"),
        Command::Autopilot(_) => Some("Operator.AutopilotSetConfiguration"),
        Command::ConfigEntry(request) if request.op.deletes() => Some("ConfigEntry.Delete"),
        Command::ConfigEntry(_) => Some("ConfigEntry.Apply"),
        // Those are for leaders only.
        Command::Tombstone(_) | Command::CoordinateBatchUpdate(_) | Command::Acl(_) => None,
    }
}

/// A command's arguments.
pub(crate) fn pack(command: &Command) -> Result<Vec<u8>, msgpack::Error> {
    match command {
        Command::Register(request) => msgpack::to_vec(request),
        Command::Deregister(request) => msgpack::to_vec(request),
        Command::Kvs(request) => msgpack::to_vec(request),
        Command::Session(request) => msgpack::to_vec(request),
        // Compat: whoever writes the log names it, and refuses other names.
        Command::PreparedQuery(request) if request.op == prepared_query::CREATE => {
            let mut request = request.clone();
            request.query.id.clear();
            msgpack::to_vec(&request)
        }
        Command::PreparedQuery(request) => msgpack::to_vec(request),
        Command::Txn(request) => msgpack::to_vec(request),
        Command::Autopilot(request) => msgpack::to_vec(request),
        Command::ConfigEntry(request) => msgpack::to_vec(request),
        Command::Tombstone(_) | Command::CoordinateBatchUpdate(_) | Command::Acl(_) => msgpack::to_vec(&Empty {}),
    }
}

/// The command that a method asks for; `None` for methods that write nothing.
pub(crate) fn unpack(method: &str, args: &[u8]) -> Option<Result<Command, msgpack::Error>> {
    Some(match method {
        "Catalog.Register" => msgpack::from_slice(args).map(Command::Register),
        "Catalog.Deregister" => msgpack::from_slice(args).map(Command::Deregister),
        "KVS.Apply" => msgpack::from_slice(args).map(Command::Kvs),
        "Session.Apply" => msgpack::from_slice(args).map(Command::Session),
        "PreparedQuery.Apply" => msgpack::from_slice(args).map(Command::PreparedQuery),
        "Txn.Apply" => msgpack::from_slice(args).map(Command::Txn),
        "Operator.AutopilotSetConfiguration" => msgpack::from_slice(args).map(Command::Autopilot),
        "ConfigEntry.Apply" | "ConfigEntry.Delete" => msgpack::from_slice(args).map(Command::ConfigEntry),
        _ => return None,
    })
}

/// Compat: servers, not clients, name what is created.
pub(crate) fn name_what_is_new(command: &mut Command, new_id: impl FnOnce() -> String) {
    match command {
        Command::Session(request) if request.op == CREATE && request.session.id.is_empty() => {
            request.session.id = new_id();
        }
        Command::PreparedQuery(request) if request.op == prepared_query::CREATE && request.query.id.is_empty() => {
            request.query.id = new_id();
        }
        _ => {}
    }
}

/// `structs.ConfigEntryDeleteResponse`.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Deleted {
    deleted: bool,
}

/// What a method answers when the command came to this.
pub(crate) fn pack_outcome(command_id: &str, method: &str, outcome: Outcome) -> Result<Vec<u8>, msgpack::Error> {
    match (method, outcome) {
        ("Txn.Apply", Outcome::Txn(response)) => msgpack::to_vec(&response),
        ("Session.Apply", Outcome::Created(id)) => msgpack::to_vec(&id),
        // Compat: it answers for the operations that can fail, and `false` for a plain set.
        ("KVS.Apply", outcome) => msgpack::to_vec(&(outcome == Outcome::Decided(true))),
        ("Session.Apply", _) => msgpack::to_vec(""),
        ("PreparedQuery.Apply", _) => msgpack::to_vec(command_id),
        ("Operator.AutopilotSetConfiguration", outcome) => msgpack::to_vec(&matches!(outcome, Outcome::Decided(true))),
        ("ConfigEntry.Delete", outcome) => {
            msgpack::to_vec(&Deleted { deleted: matches!(outcome, Outcome::Decided(true) | Outcome::Done) })
        }
        ("ConfigEntry.Apply", outcome) => msgpack::to_vec(&matches!(outcome, Outcome::Decided(true) | Outcome::Done)),
        _ => msgpack::to_vec(&Empty {}),
    }
}

/// What a method's answer says that a command came to.
pub(crate) fn unpack_outcome(command: &Command, body: &Bytes) -> Result<Outcome, msgpack::Error> {
    let decided = || msgpack::from_slice(body).map(Outcome::Decided);
    match command {
        Command::Kvs(request) if matches!(request.op, Op::Cas | Op::Lock | Op::Unlock | Op::DeleteCas) => decided(),
        Command::ConfigEntry(request) if request.op.deletes() => {
            msgpack::from_slice::<Deleted>(body).map(|answer| Outcome::Decided(answer.deleted))
        }
        Command::Autopilot(_) | Command::ConfigEntry(_) => decided(),
        Command::Session(request) if request.op == CREATE => msgpack::from_slice(body).map(Outcome::Created),
        Command::PreparedQuery(request) if request.op == prepared_query::CREATE => {
            msgpack::from_slice(body).map(Outcome::Created)
        }
        Command::Txn(_) => msgpack::from_slice(body).map(Outcome::Txn),
        _ => Ok(Outcome::Done),
    }
}

/// Arguments with the datacenter and the token beside them.
pub(crate) fn with_token(args: Vec<u8>, datacenter: &str) -> Result<Vec<u8>, msgpack::Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Beside<'a> {
        datacenter: &'a str,
        token: &'a str,
    }
    let beside = Fields::all(&Beside { datacenter, token: "" })?;
    // A struct that is not written as a map stays as it is.
    match Fields::decode(&args) {
        Ok(fields) => fields.and(beside).encode(),
        Err(_) => Ok(RawValue::new(args.into())?.into_bytes().to_vec()),
    }
}

/// An error that the far side put into words: what clients tell apart by its text comes back as it was.
pub(crate) fn refusal(text: &str) -> Option<Error> {
    match text {
        "Query not found" => Some(Error::not_found("Query not found")),
        _ => None,
    }
}
