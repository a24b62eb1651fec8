//! Queries that Serf agents answer among themselves, without telling anybody: is a node there, whose is a name, and
//! changes of the keyring.

use bytes::Bytes;

use super::event::{AskedId, QueryEvent};
use super::key::{KeyOperation, truncated};
use super::message::{ConflictMember, KeyResponse, Message};
use super::pool::Pool;
use super::{KeyringChange, Output};
use crate::io::{Level, Now};
use crate::keyring::{Key, Keyring, KeyringError};

/// What their names begin with.
pub(super) const PREFIX: &str = "_serf_";
pub(super) const PING: &str = "_serf_ping";
pub(super) const CONFLICT: &str = "_serf_conflict";

/// What a key takes in a list of keys at the least: 16 bytes in base64 and a length.
const LISTED_KEY_MIN: usize = 25;

/// How many changes of the keyring may wait to be kept.
const KEPT_WAITING_MAX: usize = 64;

impl Pool {
    /// Answers a query whose name begins with [`PREFIX`].
    pub(super) fn answer_internal(&mut self, now: Now, query: &QueryEvent) {
        if query.name == PING {
            // That it arrived is acknowledged if so asked; there is nothing else to say.
            return;
        }
        if query.name == CONFLICT {
            self.vote(now, query);
            return;
        }
        match KeyOperation::named(&query.name) {
            Some(KeyOperation::List) => self.list_keys(now, query.asked),
            Some(operation) => self.change_keyring(now, query, operation),
            None => self.complain(now, Level::Warn, || {
                let name = query.name.strip_prefix(PREFIX).unwrap_or_default();
                format!("serf: Unhandled internal query '{name}'")
            }),
        }
    }

    /// Says who has a name, unless it is ours.
    fn vote(&mut self, now: Now, query: &QueryEvent) {
        let name = String::from_utf8_lossy(&query.payload);
        if name == self.config.name {
            return;
        }
        self.log(Level::Debug, format!("serf: Got conflict resolution query for '{name}'"));
        let member = self.roster.get(&name).map(ConflictMember::from);
        self.answer(now, query.asked, Message::ConflictResponse(member).encode(), "conflict query");
    }

    fn change_keyring(&mut self, now: Now, query: &QueryEvent, operation: KeyOperation) {
        let key = match Message::decode(&query.payload) {
            Ok(Message::KeyRequest(request)) => request.key,
            other => {
                let error = other.err().map(|error| error.to_string()).unwrap_or_default();
                self.complain(now, Level::Error, || format!("serf: Failed to decode key request: {error}"));
                self.answer_key(now, query.asked, KeyResponse::default());
                return;
            }
        };
        let refused = |message: String| KeyResponse { message, ..KeyResponse::default() };
        let Some(keyring) = &mut self.keyring else {
            let why = "No keyring to modify (encryption not enabled)";
            self.log(Level::Error, format!("serf: {why}"));
            self.answer_key(now, query.asked, refused(why.to_owned()));
            return;
        };
        let (heard, done, failed) = match operation {
            KeyOperation::Install => ("install-key", install(keyring, &key), "install key"),
            KeyOperation::Use => ("use-key", make_primary(keyring, &key), "change primary key"),
            KeyOperation::Remove => ("remove-key", remove(keyring, &key), "remove key"),
            KeyOperation::List => return,
        };
        let changed = keyring.clone();
        self.log(Level::Info, format!("serf: Received {heard} query"));
        match done {
            Ok(()) => {
                let change = KeyringChange(self.next_id());
                if self.unkept.len() >= KEPT_WAITING_MAX {
                    // Whoever asked gets no answer, and sees that this node did not say yes.
                    self.unkept.pop_first();
                }
                self.unkept.insert(change, query.asked);
                self.out.push(Output::KeyringChanged { change, keyring: changed });
            }
            Err(why) => {
                self.log(Level::Error, format!("serf: Failed to {failed}: {why}"));
                self.answer_key(now, query.asked, refused(why.to_string()));
            }
        }
    }

    /// A changed keyring was written to its file, or could not be.
    pub(super) fn keyring_kept(&mut self, now: Now, change: KeyringChange, result: Result<(), String>) {
        let Some(asked) = self.unkept.remove(&change) else {
            return;
        };
        let response = match result {
            Ok(()) => KeyResponse { result: true, ..KeyResponse::default() },
            Err(message) => {
                self.log(Level::Error, format!("serf: Failed to write keyring file: {message}"));
                KeyResponse { message, ..KeyResponse::default() }
            }
        };
        self.answer_key(now, asked, response);
    }

    fn list_keys(&mut self, now: Now, asked: AskedId) {
        let Some(keyring) = &self.keyring else {
            let why = "Keyring is empty (encryption not enabled)";
            self.log(Level::Error, format!("serf: {why}"));
            self.answer_key(now, asked, KeyResponse { message: why.to_owned(), ..KeyResponse::default() });
            return;
        };
        let keys: Vec<String> = keyring.keys().iter().map(Key::to_base64).collect();
        let primary_key = keyring.primary().to_base64();
        self.log(Level::Info, "serf: Received list-keys query".to_owned());
        let limit = self.config.query_response_size_limit;
        let all = keys.len();
        let mut response = KeyResponse { result: true, keys, primary_key, message: String::new() };
        // Compat: all are tried first, then as many as could fit at the best, then one less each time.
        let mut fit = all.min(limit / LISTED_KEY_MIN);
        loop {
            let payload = Message::KeyResponse(response.clone()).encode();
            if self.answer_length(asked, payload) <= limit {
                break;
            }
            response.keys.truncate(fit);
            response.message = truncated(fit, all);
            match fit.checked_sub(1) {
                Some(fewer) => fit = fewer,
                None => {
                    self.log(Level::Error, "serf: Failed to truncate response so that it fits into message".to_owned());
                    return;
                }
            }
        }
        if !response.message.is_empty() {
            self.log(Level::Warn, format!("serf: {}", response.message));
        }
        self.answer_key(now, asked, response);
    }

    fn answer_key(&mut self, now: Now, asked: AskedId, response: KeyResponse) {
        self.answer(now, asked, Message::KeyResponse(response).encode(), "key query");
    }

    fn answer(&mut self, now: Now, asked: AskedId, payload: Bytes, what: &str) {
        if let Err(error) = self.respond(now, asked, payload) {
            self.complain(now, Level::Error, || format!("serf: Failed to respond to {what}: {error}"));
        }
    }
}

fn install(keyring: &mut Keyring, key: &[u8]) -> Result<(), KeyringError> {
    keyring.install(Key::new(key)?)
}

/// Compat: what cannot be a key is a key that is not there.
fn make_primary(keyring: &mut Keyring, key: &[u8]) -> Result<(), KeyringError> {
    keyring.use_key(&Key::new(key).map_err(|_| KeyringError::Unknown)?)
}

fn remove(keyring: &mut Keyring, key: &[u8]) -> Result<(), KeyringError> {
    match Key::new(key) {
        Ok(key) => keyring.remove(&key),
        // Compat: removing what is not there succeeds.
        Err(_) => Ok(()),
    }
}
