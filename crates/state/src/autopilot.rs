//! The replicated configuration of autopilot (`/v1/operator/autopilot/configuration`).

use acl::{Authorizer, Need, Resource};
use serde::{Deserialize, Serialize};
use wire::duration::GoDuration;

use crate::{Apply, Error, Found, Index, Indexes, Outcome, Query, Seen, State, Topic};

/// How servers are looked after (`structs.AutopilotConfig`). Durations are strings in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Config {
    pub cleanup_dead_servers: bool,
    #[serde(with = "wire::duration::as_string")]
    pub last_contact_threshold: GoDuration,
    pub max_trailing_logs: u64,
    pub min_quorum: u64,
    #[serde(with = "wire::duration::as_string")]
    pub server_stabilization_time: GoDuration,
    pub redundancy_zone_tag: String,
    pub disable_upgrade_migration: bool,
    pub upgrade_version_tag: String,
    pub create_index: Index,
    pub modify_index: Index,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            cleanup_dead_servers: true,
            last_contact_threshold: GoDuration(200_000_000),
            max_trailing_logs: 250,
            min_quorum: 0,
            server_stabilization_time: GoDuration(10_000_000_000),
            redundancy_zone_tag: String::new(),
            disable_upgrade_migration: false,
            upgrade_version_tag: String::new(),
            create_index: Index(0),
            modify_index: Index(0),
        }
    }
}

/// Log message type 9.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AutopilotSetConfigRequest {
    #[serde(rename = "Datacenter")]
    pub datacenter: String,
    #[serde(rename = "Config")]
    pub config: Config,
    /// Only if the stored configuration has `config.modify_index`.
    #[serde(rename = "CAS")]
    pub cas: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    config: Option<Config>,
}

impl Table {
    pub(crate) fn get(&self) -> Option<&Config> {
        self.config.as_ref()
    }

    pub(crate) fn restore(&mut self, config: Config, indexes: &mut Indexes) {
        indexes.raise("autopilot-config", config.modify_index);
        self.config = Some(config);
    }
}

impl State {
    /// The stored configuration; `None` before a leader wrote the first one.
    #[must_use]
    pub fn autopilot_config(&self) -> Option<&Config> {
        self.autopilot.get()
    }
}

impl AutopilotSetConfigRequest {
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "the shape that all commands share")]
    pub(crate) fn prepare(&mut self, _state: &State) -> Result<(), Error> {
        Ok(())
    }

    pub(crate) fn authorize(&self, _state: &State, may: &dyn Authorizer) -> Result<(), Error> {
        Ok(may.require(Need::write(Resource::Operator))?)
    }
}

/// Answers [`Outcome::Decided`].
pub(crate) fn apply(state: &mut State, apply: &mut Apply, request: AutopilotSetConfigRequest) -> Outcome {
    let existing = state.autopilot.get();
    if request.cas {
        let current = existing.map(|config| config.modify_index).unwrap_or_default();
        if current != request.config.modify_index {
            return Outcome::Decided(false);
        }
    }
    let create_index = existing.map_or(apply.index, |config| config.create_index);
    let stored = existing.map(|config| config.modify_index).unwrap_or_default();
    let config = Config { create_index, modify_index: stored, ..request.config };
    if existing == Some(&config) {
        return Outcome::Decided(true);
    }
    state.autopilot.config = Some(Config { modify_index: apply.index, ..config });
    state.indexes.raise("autopilot-config", apply.index);
    apply.touch(Topic::Autopilot);
    Outcome::Decided(true)
}

/// The configuration; `None` before a leader wrote the first one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct AutopilotGet {}

impl Query for AutopilotGet {
    const METHOD: &'static str = "Operator.AutopilotGetConfiguration";
    type Answer = Option<Config>;

    fn authorize(&self, _state: &State, may: &dyn Authorizer) -> Result<(), Error> {
        Ok(may.require(Need::read(Resource::Operator))?)
    }

    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error> {
        seen.note(Topic::Autopilot);
        Ok(Found::new(state.indexes.get("autopilot-config"), state.autopilot.get().cloned()))
    }

    fn redact(&self, _answer: &mut Self::Answer, _may: &dyn Authorizer) -> bool {
        false
    }
}
