//! Config entries: what operators say centrally about services, proxies, gateways and the mesh (`/v1/config`).
//!
//! Always true:
//! - An entry that is stored was normalized and found valid by the rules of its kind.
//! - A kind is accepted only if its rules are known here; entries of other kinds in an archive are carried along
//!   untouched, never shown.
//! - No two entries of a kind have names that differ by case alone.
//!
//! Not here: what the entries do. A kind is one file: its noun, its needs, how it is normalized, what is refused.

mod body;
mod central;
mod envoy;
mod exported_services;
mod file_system_certificate;
mod filter;
mod gateway;
mod graph;
mod jwt_provider;
mod mesh;
mod proxy_defaults;
mod query;
mod sameness_group;
mod service_defaults;
mod service_intentions;
mod service_resolver;
mod service_router;
mod service_splitter;
mod wrapped;

use std::collections::BTreeMap;
use std::sync::Arc;

use acl::{Authorizer, Need};
use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::body::{Body, KINDS};
pub(crate) use self::central::merged;
pub use self::central::{ConfigEntryResolveServiceConfig, ServiceConfig, UpstreamName, is_completed};
pub use self::envoy::EnvoyExtension;
pub use self::exported_services::{ConfigEntryResolvedExports, Consumer, ExportedService, ExportedServices};
pub use self::file_system_certificate::FileSystemCertificate;
pub use self::filter::{Selectable, service_defaults_shape};
pub use self::gateway::{IngressGateway, LinkedService, Listener, TerminatingGateway};
use self::graph::Proposed;
pub use self::jwt_provider::JwtProvider;
pub use self::mesh::Mesh;
pub use self::proxy_defaults::ProxyDefaults;
pub use self::query::{ConfigEntryGet, ConfigEntryList, ConfigEntryListAll};
pub use self::sameness_group::SamenessGroup;
pub use self::service_defaults::ServiceDefaults;
pub use self::service_intentions::ServiceIntentions;
pub use self::service_resolver::ServiceResolver;
pub use self::service_router::ServiceRouter;
pub use self::service_splitter::ServiceSplitter;
use crate::catalog::faults_text;
use crate::{Apply, Error, Index, Indexes, Outcome, Seen, State, Topic};

/// Index of all entries.
const INDEX: &str = "config-entries";
/// Index of what gateways stand before.
pub(crate) const GATEWAY_SERVICES: &str = "gateway-services";

/// Free words about an entry. `None` is Go's nil.
pub type Meta = Option<BTreeMap<String, String>>;

/// One entry: what its kind has, and what all kinds have.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Entry {
    kind: &'static str,
    #[serde(flatten)]
    pub body: Body,
    #[serde(skip_serializing_if = "no_meta")]
    pub meta: Meta,
    /// Differs when what is said differs. Its value means nothing.
    pub hash: u64,
    pub create_index: Index,
    pub modify_index: Index,
}

#[allow(clippy::ref_option, reason = "serde passes the field by reference")]
fn no_meta(meta: &Meta) -> bool {
    meta.as_ref().is_none_or(BTreeMap::is_empty)
}

/// What the fields of an entry beside its body are read as.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Common {
    meta: Meta,
    hash: u64,
    create_index: Index,
    modify_index: Index,
}

/// What of that a person may write.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Written {
    meta: Meta,
    /// Taken, and computed anew.
    #[serde(rename = "Hash")]
    _hash: u64,
}

/// The rules of one kind.
pub(crate) trait Rules {
    fn name(&self) -> &str;
    /// What reading it takes: one of these; nothing when everybody may.
    fn read_needs(&self) -> Vec<Need<'_>>;
    /// What writing it takes: all of these.
    fn write_needs(&self) -> Vec<Need<'_>>;
    /// The other services that it leads to.
    fn related(&self) -> Vec<&str> {
        Vec::new()
    }
    /// Brings what was written into the one form that is stored.
    fn normalize(&mut self) -> Result<(), String>;
    /// Refuses what makes no sense.
    fn validate(&self, meta: &Meta) -> Result<(), String>;
}

impl Entry {
    /// An entry that says only what `body` says.
    #[must_use]
    pub fn new(body: Body) -> Self {
        let kind = body.kind();
        Entry { kind, body, meta: None, hash: 0, create_index: Index(0), modify_index: Index(0) }
    }

    /// An entry of this kind and name that says nothing, as deletions name what they mean.
    pub fn named(kind: &str, name: &str) -> Result<Self, Error> {
        let unknown = || Error::failed(format!("invalid config entry kind: {kind}"));
        Body::named(kind, name).map(Entry::new).ok_or_else(unknown)
    }

    /// Reads what a person wrote, in HCL or JSON.
    pub fn from_tree(tree: &Value) -> Result<Self, String> {
        let kind = tree.get("Kind").or_else(|| tree.get("kind"));
        let kind = kind.ok_or("Payload does not contain a kind/Kind key at the top level")?;
        let kind = kind.as_str().ok_or("Kind value in payload is not a string")?;
        let (body, Written { meta, .. }, unused) = Body::from_tree(kind, tree)?;
        check_unused(&unused)?;
        Ok(Entry { meta, ..Entry::new(body) })
    }

    /// The entry in the form that is stored, if it is valid by itself.
    pub fn checked(mut self) -> Result<Self, Error> {
        self.normalize()?;
        self.body.rules().validate(&self.meta).map_err(Error::failed)?;
        Ok(self)
    }

    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    #[must_use]
    pub fn name(&self) -> &str {
        self.body.rules().name()
    }

    /// Whether reading it takes more than `may` grants.
    #[must_use]
    pub fn is_readable(&self, may: &dyn Authorizer) -> bool {
        let needs = self.body.rules().read_needs();
        needs.is_empty() || needs.into_iter().any(|need| may.allows(need))
    }

    fn normalize(&mut self) -> Result<(), Error> {
        self.body.rules_mut().normalize().map_err(Error::failed)?;
        self.hash = 0;
        let bare = Entry { create_index: Index(0), modify_index: Index(0), ..self.clone() };
        self.hash = fnv(&wire::msgpack::to_vec(&bare).unwrap_or_default());
        Ok(())
    }

    /// Whether both say the same.
    fn says_what(&self, other: &Entry) -> bool {
        self.body == other.body && self.meta == other.meta
    }

    fn key(&self) -> Key {
        key(self.kind, self.name())
    }
}

/// Keys that no field answers to.
fn check_unused(unused: &[String]) -> Result<(), String> {
    let faults: Vec<String> = unused
        .iter()
        .filter(|key| !matches!(key.as_str(), "CreateIndex" | "ModifyIndex" | "kind" | "Kind"))
        .map(|key| {
            let lower = key.to_lowercase();
            let quoted = wire::json::quote(key);
            if lower.ends_with("namespace") {
                format!("invalid config key {quoted}, namespaces are a consul enterprise feature")
            } else if lower.contains("jwt") {
                format!("invalid config key {quoted}, api-gateway jwt validation is a consul enterprise feature")
            } else {
                format!("invalid config key {quoted}")
            }
        })
        .collect();
    several(&faults)
}

/// Several faults as one refusal; none is none.
fn several(faults: &[String]) -> Result<(), String> {
    if faults.is_empty() { Ok(()) } else { Err(faults_text(faults)) }
}

/// Protocols whose requests can be looked at.
fn is_http(protocol: &str) -> bool {
    matches!(protocol, "http" | "http2" | "grpc")
}

/// Nothing was said.
fn unset<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Bounds of [`Meta`].
const META_MAX_PAIRS: usize = 64;
const META_KEY_MAX_BYTES: usize = 128;
const META_VALUE_MAX_BYTES: usize = 512;

fn meta_faults(meta: &Meta) -> Vec<String> {
    let mut faults = Vec::new();
    let pairs = || meta.iter().flatten();
    if pairs().count() > META_MAX_PAIRS {
        faults.push(format!("Meta exceeds maximum element count {META_MAX_PAIRS}"));
    }
    for (key, value) in pairs() {
        let quoted = wire::json::quote(key);
        if key.len() > META_KEY_MAX_BYTES {
            faults.push(format!("Meta key {quoted} exceeds maximum length {META_KEY_MAX_BYTES}"));
        }
        if value.len() > META_VALUE_MAX_BYTES {
            faults.push(format!("Meta value for key {quoted} exceeds maximum length {META_VALUE_MAX_BYTES}"));
        }
    }
    faults
}

fn check_meta(meta: &Meta) -> Result<(), String> {
    several(&meta_faults(meta))
}

/// FNV-1a.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Log message type 22, which has a wrapping of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigEntryRequest {
    pub op: Op,
    pub datacenter: String,
    /// With a check-and-set its `modify_index` is what is checked.
    pub entry: Box<Entry>,
}

/// What is to become of the entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// The word of records in archives, which need none.
    #[default]
    #[serde(rename = "")]
    None,
    #[serde(rename = "upsert")]
    Upsert,
    #[serde(rename = "upsert-cas")]
    UpsertCas,
    #[serde(rename = "upsert-with-status-cas")]
    UpsertWithStatusCas,
    #[serde(rename = "delete")]
    Delete,
    #[serde(rename = "delete-cas")]
    DeleteCas,
}

impl Op {
    /// Whether it takes an entry away.
    #[must_use]
    pub fn deletes(self) -> bool {
        matches!(self, Op::Delete | Op::DeleteCas)
    }
}

/// Kind, and name without case.
type Key = (&'static str, String);

fn key(kind: &'static str, name: &str) -> Key {
    (kind, name.to_lowercase())
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    /// In order of kind, so that a kind is a range.
    by_key: OrdMap<Key, Arc<Entry>>,
}

impl Table {
    pub(crate) fn get(&self, kind: &'static str, name: &str) -> Option<&Arc<Entry>> {
        self.by_key.get(&key(kind, name))
    }

    /// The entries of one kind, by name.
    pub(crate) fn of_kind(&self, kind: &'static str) -> impl Iterator<Item = &Arc<Entry>> {
        let range = self.by_key.range((kind, String::new())..);
        range.take_while(move |((of, _), _)| *of == kind).map(|(_, entry)| entry)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.by_key.values()
    }

    pub(crate) fn restore(&mut self, entry: Entry, indexes: &mut Indexes) {
        indexes.raise(INDEX, entry.modify_index);
        self.by_key.insert(entry.key(), Arc::new(entry));
    }
}

impl ConfigEntryRequest {
    pub(crate) fn prepare(&mut self, _state: &State) -> Result<(), Error> {
        let cas = self.entry.modify_index;
        self.entry.normalize()?;
        self.entry.modify_index = cas;
        if self.op.deletes() {
            return Ok(());
        }
        self.entry.body.rules().validate(&self.entry.meta).map_err(Error::failed)
    }

    pub(crate) fn authorize(&self, _state: &State, may: &dyn Authorizer) -> Result<(), Error> {
        let needs = self.entry.body.rules().write_needs();
        Ok(needs.into_iter().try_for_each(|need| may.require(need))?)
    }
}

/// Answers [`Outcome::Decided`].
pub(crate) fn apply(state: &mut State, apply: &mut Apply, request: ConfigEntryRequest) -> Outcome {
    let ConfigEntryRequest { op, entry, .. } = request;
    let existing = state.config_entry.by_key.get(&entry.key()).cloned();
    let decided = match op {
        Op::Upsert | Op::UpsertCas | Op::UpsertWithStatusCas => upsert(state, apply, op, existing.as_deref(), *entry),
        Op::Delete | Op::DeleteCas => delete(state, apply, op, existing.as_deref(), &entry),
        Op::None => Err(Error::failed("invalid config entry operation type: ")),
    };
    decided.map_or_else(Outcome::Failed, Outcome::Decided)
}

fn upsert(state: &mut State, apply: &mut Apply, op: Op, existing: Option<&Entry>, entry: Entry) -> Result<bool, Error> {
    // Compat: what says nothing new has happened, whatever index was asked for.
    if existing.is_some_and(|existing| existing.says_what(&entry)) {
        return Ok(true);
    }
    let found = existing.map(|existing| existing.modify_index).unwrap_or_default();
    if op != Op::Upsert && found != entry.modify_index {
        return Ok(false);
    }
    let create_index = existing.map_or(apply.index, |existing| existing.create_index);
    let entry = Entry { create_index, modify_index: apply.index, ..entry };
    Proposed::new(&state.config_entry, entry.key(), Some(&entry)).check(existing).map_err(Error::failed)?;
    if entry.name().is_empty() {
        return Err(Error::failed("failed inserting config entry: object missing primary index"));
    }
    touched(state, apply, &entry);
    state.config_entry.by_key.insert(entry.key(), Arc::new(entry));
    Ok(true)
}

fn delete(
    state: &mut State,
    apply: &mut Apply,
    op: Op,
    existing: Option<&Entry>,
    asked: &Entry,
) -> Result<bool, Error> {
    // Compat: what is not there counts as deleted, with a check too.
    let Some(existing) = existing else { return Ok(true) };
    if op == Op::DeleteCas && existing.modify_index != asked.modify_index {
        return Ok(false);
    }
    Proposed::new(&state.config_entry, existing.key(), None).check(Some(existing)).map_err(Error::failed)?;
    touched(state, apply, existing);
    state.config_entry.by_key.remove(&existing.key());
    Ok(true)
}

/// The entry of this kind and name, noted as seen.
pub(crate) fn look_up<'a>(state: &'a State, seen: &mut Seen, kind: &'static str, name: &str) -> Option<&'a Entry> {
    seen.note(Topic::ConfigEntry(kind, name.to_lowercase().into()));
    state.config_entry.get(kind, name).map(|entry| &**entry)
}

/// Whether a name stands for a place outside.
pub(crate) fn is_destination(state: &State, seen: &mut Seen, name: &str) -> bool {
    let entry = look_up(state, seen, "service-defaults", name);
    matches!(entry.map(|entry| &entry.body), Some(Body::ServiceDefaults(defaults)) if defaults.destination.is_some())
}

/// Every name that stands for a place outside.
pub(crate) fn destinations(state: &State, seen: &mut Seen) -> Vec<String> {
    seen.note(Topic::ConfigKind("service-defaults"));
    let entries = state.config_entry.of_kind("service-defaults");
    let outside = entries
        .filter(|entry| matches!(&entry.body, Body::ServiceDefaults(defaults) if defaults.destination.is_some()));
    outside.map(|entry| entry.name().to_owned()).collect()
}

/// What a service speaks, as its defaults or those of all proxies say it.
pub(crate) fn protocol(state: &State, seen: &mut Seen, service: &str) -> String {
    look_up(state, seen, "service-defaults", service);
    look_up(state, seen, "proxy-defaults", proxy_defaults::GLOBAL);
    Proposed::new(&state.config_entry, ("", String::new()), None).protocol(service)
}

impl State {
    /// Whether there is an entry of the same kind and name.
    #[must_use]
    pub fn has_config_entry(&self, entry: &Entry) -> bool {
        self.config_entry.by_key.contains_key(&entry.key())
    }
}

fn touched(state: &mut State, apply: &mut Apply, entry: &Entry) {
    state.indexes.raise(INDEX, apply.index);
    if matches!(entry.body, Body::IngressGateway(_) | Body::TerminatingGateway(_)) {
        state.indexes.raise(GATEWAY_SERVICES, apply.index);
    }
    apply.touch(Topic::ConfigEntries);
    apply.touch(Topic::ConfigKind(entry.kind));
    apply.touch(Topic::ConfigEntry(entry.kind, entry.name().to_lowercase().into()));
}
