//! Bodies of HTTP requests, as the handlers read them.

use agent::check::definition::CheckDefinition;
use agent::service::ServiceDefinition;
use serde::de::DeserializeOwned;
use state::Command;
use state::catalog::{DeregisterRequest, RegisterRequest};
use state::coordinate::Coordinate;
use state::prepared_query::{PreparedQuery, PreparedQueryRequest};
use state::session::SessionRequest;
use state::txn::TxnRequest;
use wire::json::{Mode, Options, Value, from_slice};

use crate::commands::apply;

/// Catalog, session, transaction, query and coordinate requests, and what agents are told to register.
pub fn json_bodies(data: &[u8]) {
    for mode in [Mode::Decoder, Mode::Unmarshal] {
        let _ = Value::parse(data, mode);
    }
    for options in [Options::STRICT, Options::STRICT_ALIASES, Options::LENIENT] {
        if let Ok(definition) = from_slice::<ServiceDefinition>(data, options) {
            let _ = definition.validate();
            let _ = definition.node_service();
            definition.all_checks().for_each(|check| {
                let _ = (check.validate(), check.kind(), check.type_name(), check.interval_floored());
            });
        }
        if let Ok(definition) = from_slice::<CheckDefinition>(data, options) {
            let check = &definition.check;
            let _ = (check.validate(), check.kind(), check.type_name(), check.interval_floored());
        }
    }
    take::<RegisterRequest>(data, Command::Register);
    take::<DeregisterRequest>(data, Command::Deregister);
    take::<SessionRequest>(data, Command::Session);
    take::<TxnRequest>(data, Command::Txn);
    take::<Vec<Coordinate>>(data, Command::CoordinateBatchUpdate);
    take::<PreparedQuery>(data, |query| {
        Command::PreparedQuery(PreparedQueryRequest {
            op: "create".to_owned(),
            query,
            ..PreparedQueryRequest::default()
        })
    });
}

/// Applies what can be decoded.
fn take<T: DeserializeOwned>(data: &[u8], command: impl Fn(T) -> Command) {
    if let Ok(request) = from_slice::<T>(data, Options::STRICT) {
        apply(command(request));
    }
}
