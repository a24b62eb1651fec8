//! Reads of config entries.

use std::sync::Arc;

use acl::Authorizer;
use serde::{Deserialize, Serialize};

use super::{Entry, INDEX, KINDS};
use crate::{Error, Found, Query, Seen, State, Topic};

/// One entry.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ConfigEntryGet {
    pub kind: String,
    pub name: String,
}

impl Query for ConfigEntryGet {
    const METHOD: &'static str = "ConfigEntry.Get";
    type Answer = Option<Arc<Entry>>;

    fn authorize(&self, _state: &State, may: &dyn Authorizer) -> Result<(), Error> {
        let entry = Entry::named(&self.kind, &self.name)?;
        let needs = entry.body.rules().read_needs();
        match needs.last() {
            Some(last) if !entry.is_readable(may) => Ok(may.require(*last)?),
            _ => Ok(()),
        }
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        let kind = Entry::named(&self.kind, &self.name)?.kind();
        seen.note(Topic::ConfigEntry(kind, self.name.to_lowercase().into()));
        let entry = state.config_entry.get(kind, &self.name).cloned();
        Ok(Found::new(state.indexes.get(INDEX), entry))
    }

    fn redact(&self, _answer: &mut Self::Answer, _may: &dyn Authorizer) -> bool {
        false
    }
}

/// The entries of one kind, or of all kinds when none is named.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ConfigEntryList {
    pub kind: String,
}

impl Query for ConfigEntryList {
    const METHOD: &'static str = "ConfigEntry.List";
    type Answer = Vec<Arc<Entry>>;

    fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        if self.kind.is_empty() {
            return Ok(());
        }
        Entry::named(&self.kind, "").map(|_| ())
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        let index = state.indexes.get(INDEX);
        if self.kind.is_empty() {
            seen.note(Topic::ConfigEntries);
            return Ok(Found::new(index, state.config_entry.iter().cloned().collect()));
        }
        let kind = Entry::named(&self.kind, "")?.kind();
        seen.note(Topic::ConfigKind(kind));
        Ok(Found::new(index, state.config_entry.of_kind(kind).cloned().collect()))
    }

    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool {
        keep_readable(answer, may)
    }
}

/// The entries of several kinds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ConfigEntryListAll {
    /// None means those that there were when this question was first asked.
    pub kinds: Vec<String>,
}

/// Compat: the kinds of 1.8, which servers of that age mean when they say none.
const FIRST_KINDS: &[&str] = &[
    "service-defaults",
    "proxy-defaults",
    "service-router",
    "service-splitter",
    "service-resolver",
    "ingress-gateway",
    "terminating-gateway",
];

impl Query for ConfigEntryListAll {
    const METHOD: &'static str = "ConfigEntry.ListAll";
    type Answer = Vec<Arc<Entry>>;

    fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        Ok(())
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        let asked = |kind: &str| match self.kinds.as_slice() {
            [] => FIRST_KINDS.contains(&kind),
            kinds => kinds.iter().any(|asked| asked == kind),
        };
        for kind in KINDS.iter().filter(|kind| asked(kind)) {
            seen.note(Topic::ConfigKind(kind));
        }
        let entries = state.config_entry.iter().filter(|entry| asked(entry.kind())).cloned().collect();
        Ok(Found::new(state.indexes.get(INDEX), entries))
    }

    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool {
        keep_readable(answer, may)
    }
}

fn keep_readable(entries: &mut Vec<Arc<Entry>>, may: &dyn Authorizer) -> bool {
    let before = entries.len();
    entries.retain(|entry| entry.is_readable(may));
    entries.len() != before
}
