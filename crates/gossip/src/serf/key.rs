//! Changing the keys of the whole pool, and hearing who did.
//!
//! Not here: what keys do (`keyring`), what a member does when asked (`internal`).

use std::collections::BTreeMap;

use bytes::Bytes;

use super::message::{KeyRequest, Message};
use super::query::QueryParams;

/// What to do with a key on every member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyOperation {
    Install,
    Use,
    Remove,
    List,
}

impl KeyOperation {
    fn query(self) -> &'static str {
        match self {
            KeyOperation::Install => "_serf_install-key",
            KeyOperation::Use => "_serf_use-key",
            KeyOperation::Remove => "_serf_remove-key",
            KeyOperation::List => "_serf_list-keys",
        }
    }

    pub(super) fn named(query: &str) -> Option<KeyOperation> {
        [KeyOperation::Install, KeyOperation::Use, KeyOperation::Remove, KeyOperation::List]
            .into_iter()
            .find(|operation| operation.query() == query)
    }

    /// The query that does it. Listing takes no key.
    pub(super) fn params(self, key: &[u8], relay_factor: u8) -> QueryParams {
        QueryParams {
            name: self.query().to_owned(),
            payload: Message::KeyRequest(KeyRequest { key: Bytes::copy_from_slice(key) }).encode(),
            relay_factor,
            ..QueryParams::default()
        }
    }
}

/// What the members made of it (`KeyringResponse`). Keys are base64.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KeyAnswer {
    /// What members had to say, by name.
    pub messages: BTreeMap<String, String>,
    /// How many were asked.
    pub members: usize,
    pub responses: usize,
    pub errors: usize,
    /// How many members have each key.
    pub keys: BTreeMap<String, usize>,
    pub primary_keys: BTreeMap<String, usize>,
}

impl std::fmt::Debug for KeyAnswer {
    // Keys are secrets: they cannot be printed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyAnswer")
            .field("messages", &self.messages)
            .field("members", &self.members)
            .field("responses", &self.responses)
            .field("errors", &self.errors)
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

/// How many keys one member may tell of: more do not fit into a response of the greatest size.
const KEYS_PER_MEMBER_MAX: usize = 64 * 1024 / 25;

impl KeyAnswer {
    pub(super) fn new(members: usize) -> KeyAnswer {
        KeyAnswer { members, ..KeyAnswer::default() }
    }

    /// Takes in what one member says; answers whether all have spoken.
    pub(super) fn take_in(&mut self, from: &str, payload: &[u8]) -> bool {
        self.responses += 1;
        let response = match payload.first() {
            Some(8) => Message::decode(payload),
            _ => {
                self.refused(from, format!("Invalid key query response type: {}", shown(payload)));
                return self.is_complete();
            }
        };
        let Ok(Message::KeyResponse(response)) = response else {
            self.refused(from, format!("Failed to decode key query response: {}", shown(payload)));
            return self.is_complete();
        };
        if !response.result {
            self.refused(from, response.message);
        } else if !response.message.is_empty() {
            self.messages.insert(from.to_owned(), response.message);
        }
        for key in response.keys.into_iter().take(KEYS_PER_MEMBER_MAX) {
            *self.keys.entry(key).or_default() += 1;
        }
        // Compat: members that told no primary key are counted under "".
        *self.primary_keys.entry(response.primary_key).or_default() += 1;
        self.is_complete()
    }

    fn refused(&mut self, from: &str, message: String) {
        self.errors += 1;
        self.messages.insert(from.to_owned(), message);
    }

    fn is_complete(&self) -> bool {
        self.responses == self.members
    }

    /// Why it did not succeed everywhere.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        let of = self.members;
        if self.errors != 0 {
            return Some(format!("{}/{of} nodes reported failure", self.errors));
        }
        (!self.is_complete()).then(|| format!("{}/{of} nodes reported success", self.responses))
    }
}

/// Bytes as Go prints a slice of them.
fn shown(bytes: &[u8]) -> String {
    let numbers: Vec<_> = bytes.iter().map(u8::to_string).collect();
    format!("[{}]", numbers.join(" "))
}

/// What a member says that has more keys than fit.
pub(super) fn truncated(shown: usize, all: usize) -> String {
    format!("truncated key list response, showing first {shown} of {all} keys")
}

#[cfg(test)]
mod tests {
    use super::{KeyAnswer, KeyOperation};
    use crate::serf::message::{KeyResponse, Message};

    fn says(response: KeyResponse) -> Vec<u8> {
        Message::KeyResponse(response).encode().to_vec()
    }

    #[test]
    fn operations_have_the_names_of_the_reference() {
        assert_eq!(KeyOperation::named("_serf_install-key"), Some(KeyOperation::Install));
        assert_eq!(KeyOperation::named("_serf_use-key"), Some(KeyOperation::Use));
        assert_eq!(KeyOperation::named("_serf_remove-key"), Some(KeyOperation::Remove));
        assert_eq!(KeyOperation::named("_serf_list-keys"), Some(KeyOperation::List));
        assert_eq!(KeyOperation::named("_serf_ping"), None);
        assert_eq!(KeyOperation::List.params(&[], 3).payload[..], *b"\x07\x81\xa3Key\xa0");
    }

    #[test]
    fn keys_are_counted() {
        let mut answer = KeyAnswer::new(2);
        let listed = |keys: &[&str]| {
            says(KeyResponse {
                result: true,
                message: String::new(),
                keys: keys.iter().map(|key| (*key).to_owned()).collect(),
                primary_key: "A".into(),
            })
        };
        assert!(!answer.take_in("n1", &listed(&["A", "B"])));
        assert_eq!(answer.error().unwrap(), "1/2 nodes reported success");
        assert!(answer.take_in("n2", &listed(&["A"])));
        assert_eq!((answer.keys["A"], answer.keys["B"], answer.primary_keys["A"]), (2, 1, 2));
        assert_eq!(answer.error(), None);
        assert!(answer.messages.is_empty());
    }

    #[test]
    fn refusals_are_told() {
        let mut answer = KeyAnswer::new(3);
        answer.take_in("n1", &says(KeyResponse { message: "no".into(), ..KeyResponse::default() }));
        answer.take_in("n2", &[1, 2]);
        assert!(answer.take_in("n3", &[8, 0x81]));
        assert_eq!(answer.error().unwrap(), "3/3 nodes reported failure");
        assert_eq!(answer.messages["n1"], "no");
        assert_eq!(answer.messages["n2"], "Invalid key query response type: [1 2]");
        assert_eq!(answer.messages["n3"], "Failed to decode key query response: [8 129]");
    }
}
