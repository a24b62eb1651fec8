//! Log indexes, and the table of the highest index per table and per service.
//!
//! The names in [`Indexes`] are those of the reference's own `index` table (`kvs`, `nodes`,
//! `service.web` …), because snapshot archives carry them.

use std::fmt;
use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

/// A position in the replicated log. Zero means "never".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Index(pub u64);

impl Index {
    /// Whether this is the zero index.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Highest index by name; a name that was never written has index zero.
#[derive(Debug, Clone, Default)]
pub struct Indexes {
    by_name: OrdMap<Arc<str>, Index>,
}

impl Indexes {
    /// The index under `name`, zero when there is none.
    #[must_use]
    pub fn get(&self, name: &str) -> Index {
        self.by_name.get(name).copied().unwrap_or_default()
    }

    /// The highest of several names.
    #[must_use]
    pub fn max(&self, names: &[&str]) -> Index {
        names.iter().map(|name| self.get(name)).max().unwrap_or_default()
    }

    /// Whether `name` was ever written and not forgotten since.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Raises the index under `name` to `index`; never lowers it.
    pub fn raise(&mut self, name: &str, index: Index) {
        match self.by_name.get_mut(name) {
            Some(current) => *current = index.max(*current),
            None => {
                self.by_name.insert(name.into(), index);
            }
        }
    }

    /// Forgets `name` (a service whose last instance went away).
    pub fn forget(&mut self, name: &str) {
        self.by_name.remove(name);
    }

    /// All names with their indexes, in name order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Index)> {
        self.by_name.iter().map(|(name, index)| (&**name, *index))
    }
}
