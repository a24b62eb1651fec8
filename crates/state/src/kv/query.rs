//! Reads of the key/value store.

use std::sync::Arc;

use acl::{Authorizer, Need, Resource};
use serde::{Deserialize, Serialize};

use super::Entry;
use crate::{Error, Found, Index, Query, Seen, State, Topic};

/// The fields of `structs.KeyRequest` that say what is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct KeyQuery {
    pub key: String,
}

/// The fields of `structs.KeyListRequest` that say what is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct KeyList {
    pub prefix: String,
    /// The reference's own spelling.
    #[serde(rename = "Seperator")]
    pub separator: String,
    /// `acl.enable_key_list_policy`: the list itself needs `key:list`.
    #[serde(skip)]
    pub list_policy: bool,
}

/// One key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KvGet(pub KeyQuery);

impl Query for KvGet {
    const METHOD: &'static str = "KVS.Get";
    type Answer = Option<Arc<Entry>>;

    fn authorize(&self, _state: &State, may: &dyn Authorizer) -> Result<(), Error> {
        Ok(may.require(Need::read(Resource::Key(&self.0.key)))?)
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        seen.note(Topic::Key(self.0.key.as_str().into()));
        let entry = state.kv.get(&self.0.key).cloned();
        let index = entry.as_ref().map_or_else(|| table_index(state), |entry| entry.modify_index);
        Ok(Found::new(index, entry))
    }

    fn redact(&self, _answer: &mut Self::Answer, _may: &dyn Authorizer) -> bool {
        false
    }
}

/// Every entry below a prefix.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KvList(pub KeyQuery);

impl Query for KvList {
    const METHOD: &'static str = "KVS.List";
    type Answer = Vec<Arc<Entry>>;

    fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        Ok(())
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        let (index, entries) = list(state, seen, &self.0.key);
        Ok(Found::new(index, entries))
    }

    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool {
        keep_readable(answer, may)
    }
}

/// The keys below a prefix, cut after the first separator past it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KvKeys(pub KeyList);

impl Query for KvKeys {
    const METHOD: &'static str = "KVS.ListKeys";
    /// Entries, because redaction comes before keys are cut and merged: see [`KeyList::cut`].
    type Answer = Vec<Arc<Entry>>;

    fn authorize(&self, _state: &State, may: &dyn Authorizer) -> Result<(), Error> {
        if self.0.list_policy {
            may.require(Need::list(Resource::KeyPrefix(&self.0.prefix)))?;
        }
        Ok(())
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        let (index, entries) = list(state, seen, &self.0.prefix);
        Ok(Found::new(index, entries))
    }

    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool {
        keep_readable(answer, may)
    }
}

impl KeyList {
    /// The keys to show: each cut after the first separator past the prefix, each cut key once.
    #[must_use]
    pub fn cut<'a>(&self, entries: &'a [Arc<Entry>]) -> Vec<&'a str> {
        let mut keys: Vec<&str> = Vec::new();
        for entry in entries {
            let key = &*entry.key;
            let past = key.get(self.prefix.len()..).unwrap_or("");
            let end = match past.find(&self.separator) {
                Some(at) if !self.separator.is_empty() => self.prefix.len() + at + self.separator.len(),
                _ => key.len(),
            };
            // Keys come in order, so equal cuts are neighbours.
            if keys.last() != Some(&&key[..end]) {
                keys.push(&key[..end]);
            }
        }
        keys
    }
}

fn list(state: &State, seen: &mut Seen, prefix: &str) -> (Index, Vec<Arc<Entry>>) {
    seen.note(Topic::KeyPrefix(prefix.into()));
    let entries: Vec<_> = state.kv.below(prefix).cloned().collect();
    if prefix.is_empty() {
        return (table_index(state), entries);
    }
    let highest = entries.iter().map(|entry| entry.modify_index).max().unwrap_or_default();
    let below = highest.max(state.tombstone.highest(prefix));
    (if below.is_zero() { table_index(state) } else { below }, entries)
}

fn table_index(state: &State) -> Index {
    state.indexes.max(&["kvs", "tombstones"])
}

fn keep_readable(entries: &mut Vec<Arc<Entry>>, may: &dyn Authorizer) -> bool {
    let before = entries.len();
    entries.retain(|entry| may.allows(Need::read(Resource::Key(&entry.key))));
    entries.len() != before
}
