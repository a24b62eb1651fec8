//! The key/value store: `/v1/kv`, and the KV verbs of `/v1/txn`.
//!
//! Always true:
//! - A key holds at most one session's lock, and only a session that exists.
//! - `LockIndex` grows by one with each new acquisition and stays while the holder re-acquires.
//! - Writing what is already there moves no index and wakes nobody.
//! - The index of a prefix covers its deletions (see [`crate::tombstone`]).
//!
//! Not here: lock-delay, which is a matter of time and belongs to the leader (see
//! [`crate::Effect::LockDelayed`] and [`crate::Command::locks`]).

mod query;
#[cfg(test)]
mod tests;

use std::ops::Bound;
use std::sync::Arc;

use acl::{Authorizer, Need, Resource};
use imbl::OrdMap;
use serde::{Deserialize, Serialize};

pub use self::query::{KeyList, KeyQuery, KvGet, KvKeys, KvList};
pub use crate::octets::Octets;
use crate::{Apply, Error, Index, Indexes, Outcome, State, Topic, tombstone};

/// One key with its value (`structs.DirEntry`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Entry {
    pub lock_index: u64,
    pub key: Arc<str>,
    /// Opaque to us; clients keep their own meaning in it.
    pub flags: u64,
    pub value: Octets,
    /// The session that holds the lock; empty when free.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub session: Arc<str>,
    pub create_index: Index,
    pub modify_index: Index,
}

impl Entry {
    /// Whether writing `other` over this would change nothing but indexes.
    fn same_content(&self, other: &Entry) -> bool {
        self.lock_index == other.lock_index
            && self.flags == other.flags
            && self.value == other.value
            && self.session == other.session
    }
}

/// What to do with a key. The words are those of `/v1/txn` and of `KVS.Apply`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Op {
    Set,
    Cas,
    Lock,
    Unlock,
    Delete,
    DeleteCas,
    DeleteTree,
    Get,
    GetOrEmpty,
    GetTree,
    CheckSession,
    CheckIndex,
    CheckNotExists,
    /// A word from a newer version: refused, never skipped.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Op {
    /// The operation of this word; `Unknown` when there is none.
    #[must_use]
    pub fn parse(word: &str) -> Self {
        match word {
            "set" => Op::Set,
            "cas" => Op::Cas,
            "lock" => Op::Lock,
            "unlock" => Op::Unlock,
            "delete" => Op::Delete,
            "delete-cas" => Op::DeleteCas,
            "delete-tree" => Op::DeleteTree,
            "get" => Op::Get,
            "get-or-empty" => Op::GetOrEmpty,
            "get-tree" => Op::GetTree,
            "check-session" => Op::CheckSession,
            "check-index" => Op::CheckIndex,
            "check-not-exists" => Op::CheckNotExists,
            _ => Op::Unknown,
        }
    }
}

/// Log message type 2.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct KvsRequest {
    pub datacenter: String,
    pub op: Op,
    /// For `Cas` and `DeleteCas` its `modify_index` is the expected one.
    pub dir_ent: Entry,
}

impl KvsRequest {
    pub(crate) fn prepare(&self) -> Result<(), Error> {
        if self.dir_ent.key.is_empty() && self.op != Op::DeleteTree {
            return Err(Error::failed("Must provide key"));
        }
        Ok(())
    }

    pub(crate) fn authorize(&self, may: &dyn Authorizer) -> Result<(), Error> {
        authorize_op(self.op, &self.dir_ent.key, may)
    }

    pub(crate) fn locks(&self) -> Option<&str> {
        (self.op == Op::Lock).then_some(&*self.dir_ent.key)
    }
}

/// The one rule of who may do what to a key, shared by `/v1/kv` and `/v1/txn`.
pub(crate) fn authorize_op(op: Op, key: &str, may: &dyn Authorizer) -> Result<(), Error> {
    match op {
        // A recursive delete needs write on the whole prefix, keys that do not exist yet included
        // (CVE-2019-12291).
        Op::DeleteTree => may.require(Need::write(Resource::KeyPrefix(key)))?,
        Op::Set | Op::Cas | Op::Lock | Op::Unlock | Op::Delete | Op::DeleteCas | Op::CheckNotExists => {
            may.require(Need::write(Resource::Key(key)))?;
        }
        Op::CheckSession | Op::CheckIndex => may.require(Need::read(Resource::Key(key)))?,
        // Reads inside a transaction are redacted on the way out.
        Op::Get | Op::GetOrEmpty | Op::GetTree => {}
        Op::Unknown => return Err(Error::failed("unknown KV operation")),
    }
    Ok(())
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    by_key: OrdMap<Arc<str>, Arc<Entry>>,
}

impl Table {
    pub(crate) fn get(&self, key: &str) -> Option<&Arc<Entry>> {
        self.by_key.get(key)
    }

    /// Every entry whose key starts with `prefix`, in key order.
    pub(crate) fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Arc<Entry>> {
        self.by_key
            .range::<_, str>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(_, entry)| entry)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(crate) fn restore(&mut self, entry: Entry, indexes: &mut Indexes) {
        indexes.raise("kvs", entry.modify_index);
        self.by_key.insert(Arc::clone(&entry.key), Arc::new(entry));
    }
}

/// Answers [`Outcome::Done`] for `Set`, `Delete` and `DeleteTree`, else [`Outcome::Decided`].
pub(crate) fn apply(state: &mut State, apply: &mut Apply, request: KvsRequest) -> Outcome {
    let entry = request.dir_ent;
    match request.op {
        Op::Set => {
            set(state, apply, entry, Holder::Keep);
            Outcome::Done
        }
        Op::Cas => Outcome::Decided(check_and_set(state, apply, entry).is_some()),
        Op::Lock => match lock(state, apply, entry) {
            Ok(locked) => Outcome::Decided(locked.is_some()),
            Err(error) => refused(&error),
        },
        Op::Unlock => match unlock(state, apply, entry) {
            Ok(unlocked) => Outcome::Decided(unlocked.is_some()),
            Err(error) => refused(&error),
        },
        Op::Delete => {
            delete(state, apply, &entry.key);
            Outcome::Done
        }
        Op::DeleteCas => Outcome::Decided(check_and_delete(state, apply, &entry.key, entry.modify_index)),
        Op::DeleteTree => {
            delete_tree(state, apply, &entry.key);
            Outcome::Done
        }
        Op::Get
        | Op::GetOrEmpty
        | Op::GetTree
        | Op::CheckSession
        | Op::CheckIndex
        | Op::CheckNotExists
        | Op::Unknown => Outcome::Failed(Error::failed("Invalid KVS operation")),
    }
}

/// Compat: the endpoint prefixes what the state store refuses.
fn refused(error: &Error) -> Outcome {
    Outcome::Failed(Error::failed(format!("raft apply failed: {error}")))
}

/// Whether a write decides who holds the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// The present holder stays.
    Keep,
    /// The written entry says who holds it.
    Replace,
}

/// Writes an entry; returns it as stored.
///
/// Compat: a plain write keeps the session but takes `LockIndex` from the request (zero over HTTP), as the
/// reference does.
pub(crate) fn set(state: &mut State, apply: &mut Apply, mut entry: Entry, holder: Holder) -> Arc<Entry> {
    let existing = state.kv.get(&entry.key);
    entry.create_index = existing.map_or(apply.index, |existing| existing.create_index);
    if holder == Holder::Keep {
        entry.session = existing.map(|existing| Arc::clone(&existing.session)).unwrap_or_default();
    }
    if let Some(existing) = existing
        && existing.same_content(&entry)
    {
        return Arc::clone(existing);
    }
    entry.modify_index = apply.index;
    let previous_holder = existing.map(|existing| Arc::clone(&existing.session)).unwrap_or_default();
    let entry = Arc::new(entry);
    if previous_holder != entry.session {
        state.session.lock_moved(&entry.key, &previous_holder, &entry.session);
    }
    state.kv.by_key.insert(Arc::clone(&entry.key), Arc::clone(&entry));
    state.indexes.raise("kvs", apply.index);
    apply.touch(Topic::Key(Arc::clone(&entry.key)));
    entry
}

/// Writes if the key is as expected: index zero means "does not exist".
pub(crate) fn check_and_set(state: &mut State, apply: &mut Apply, entry: Entry) -> Option<Arc<Entry>> {
    let expected = entry.modify_index;
    let as_expected = match state.kv.get(&entry.key) {
        None => expected.is_zero(),
        Some(existing) => !expected.is_zero() && existing.modify_index == expected,
    };
    as_expected.then(|| set(state, apply, entry, Holder::Keep))
}

/// Takes the lock for a session that exists, unless another session holds it.
pub(crate) fn lock(state: &mut State, apply: &mut Apply, mut entry: Entry) -> Result<Option<Arc<Entry>>, Error> {
    if entry.session.is_empty() {
        return Err(Error::failed("missing session"));
    }
    state.session.require(&entry.session)?;
    entry.lock_index = match state.kv.get(&entry.key) {
        None => 1,
        Some(existing) if existing.session == entry.session => existing.lock_index,
        Some(existing) if existing.session.is_empty() => existing.lock_index.saturating_add(1),
        Some(_) => return Ok(None),
    };
    Ok(Some(set(state, apply, entry, Holder::Replace)))
}

/// Gives the lock back if `entry.session` holds it. The value is overwritten too.
pub(crate) fn unlock(state: &mut State, apply: &mut Apply, mut entry: Entry) -> Result<Option<Arc<Entry>>, Error> {
    if entry.session.is_empty() {
        return Err(Error::failed("missing session"));
    }
    let Some(existing) = state.kv.get(&entry.key).filter(|existing| existing.session == entry.session) else {
        return Ok(None);
    };
    entry.lock_index = existing.lock_index;
    entry.session = Arc::default();
    Ok(Some(set(state, apply, entry, Holder::Replace)))
}

/// Removes a key; nothing happens when it does not exist.
pub(crate) fn delete(state: &mut State, apply: &mut Apply, key: &str) {
    let Some(entry) = state.kv.by_key.remove(key) else { return };
    forget(state, apply, &entry);
    tombstone::bury(state, apply, key);
}

/// Removes a key if its index is the expected one. Deleting what does not exist succeeds.
pub(crate) fn check_and_delete(state: &mut State, apply: &mut Apply, key: &str, expected: Index) -> bool {
    match state.kv.get(key) {
        None => true,
        Some(existing) if existing.modify_index == expected => {
            delete(state, apply, key);
            true
        }
        Some(_) => false,
    }
}

/// Removes every key below a prefix.
pub(crate) fn delete_tree(state: &mut State, apply: &mut Apply, prefix: &str) {
    let doomed: Vec<_> = state.kv.below(prefix).cloned().collect();
    if doomed.is_empty() {
        return;
    }
    for entry in doomed {
        state.kv.by_key.remove(&*entry.key);
        forget(state, apply, &entry);
    }
    // Compat: one tombstone for the tree, none for the whole store (its watchers see the table's index).
    if !prefix.is_empty() {
        tombstone::bury(state, apply, prefix);
    }
}

fn forget(state: &mut State, apply: &mut Apply, entry: &Entry) {
    state.session.lock_moved(&entry.key, &entry.session, "");
    state.indexes.raise("kvs", apply.index);
    apply.touch(Topic::Key(Arc::clone(&entry.key)));
}

/// A session is going away: releases one of its locks (behaviour `release`).
pub(crate) fn release_lock(state: &mut State, apply: &mut Apply, key: &str) {
    let Some(existing) = state.kv.get(key) else { return };
    let entry = Entry { session: Arc::default(), ..Entry::clone(existing) };
    set(state, apply, entry, Holder::Replace);
}
