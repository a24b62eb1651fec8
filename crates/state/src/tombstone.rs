//! Tombstones: where keys were deleted, so that the index of a prefix never runs backwards.
//!
//! Always true: the highest tombstone below a prefix is at least the index of the last deletion there, until
//! the leader reaps it (tombstone TTL, 15 minutes), after which the table's own index takes its place.

use std::ops::Bound;
use std::sync::Arc;

use acl::Authorizer;
use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::{Apply, Effect, Error, Index, Indexes, Outcome, State};

/// A deleted key, or the prefix of a deleted tree, as snapshot archives carry it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Tombstone {
    pub key: String,
    pub index: Index,
}

/// Log message type 5: reaps all tombstones up to an index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TombstoneRequest {
    pub datacenter: String,
    /// Always `reap`.
    pub op: String,
    pub reap_index: Index,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    by_key: OrdMap<Arc<str>, Index>,
}

impl Table {
    /// Highest tombstone at or below `prefix`, zero when there is none.
    pub(crate) fn highest(&self, prefix: &str) -> Index {
        self.by_key
            .range::<_, str>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(_, index)| *index)
            .max()
            .unwrap_or_default()
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = Tombstone> + '_ {
        self.by_key.iter().map(|(key, index)| Tombstone { key: key.to_string(), index: *index })
    }

    pub(crate) fn restore(&mut self, stone: Tombstone, indexes: &mut Indexes) {
        indexes.raise("tombstones", stone.index);
        self.by_key.insert(stone.key.into(), stone.index);
    }
}

/// Buries a key or the prefix of a tree.
pub(crate) fn bury(state: &mut State, apply: &mut Apply, key: &str) {
    state.tombstone.by_key.insert(key.into(), apply.index);
    state.indexes.raise("tombstones", apply.index);
    apply.effect(Effect::TombstonesMade);
}

/// Answers [`Outcome::Done`].
pub(crate) fn apply(state: &mut State, _apply: &mut Apply, request: &TombstoneRequest) -> Outcome {
    if request.op != "reap" {
        return Outcome::Failed(Error::failed(format!("Invalid Tombstone operation '{}'", request.op)));
    }
    // Nobody is woken: a reaped tombstone changes no answer, only where its index is found.
    state.tombstone.by_key = std::mem::take(&mut state.tombstone.by_key)
        .into_iter()
        .filter(|(_, index)| *index > request.reap_index)
        .collect();
    Outcome::Done
}

impl TombstoneRequest {
    pub(crate) fn authorize(&self, _state: &State, may: &dyn Authorizer) -> Result<(), Error> {
        // Only the leader itself proposes this; over any face it needs full operator rights.
        Ok(may.require(acl::Need::write(acl::Resource::Operator))?)
    }
}
