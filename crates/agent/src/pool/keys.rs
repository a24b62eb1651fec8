//! Keys of a pool: where they are kept, and changing them everywhere.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;

use gossip::keyring::{Key, Keyring, LAN_FILE, WAN_FILE};
use gossip::serf::KeyOperation;
use gossip::serf::consul::PoolKind;

use super::GossipSettings;
use super::member::{Pool, name_of};
use crate::persist::write_private;

/// What is done to keys; keys are base64.
#[derive(Clone, PartialEq, Eq)]
pub enum KeyringOperation {
    List,
    Install(String),
    Use(String),
    Remove(String),
}

impl fmt::Debug for KeyringOperation {
    /// Keys are secrets: they cannot be printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyringOperation::List => "List",
            KeyringOperation::Install(_) => "Install",
            KeyringOperation::Use(_) => "Use",
            KeyringOperation::Remove(_) => "Remove",
        })
    }
}

/// What the members of one pool made of it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KeyringResponse {
    pub wan: bool,
    pub datacenter: String,
    pub segment: String,
    pub messages: BTreeMap<String, String>,
    /// How many members have each key.
    pub keys: BTreeMap<String, usize>,
    pub primary_keys: BTreeMap<String, usize>,
    pub num_nodes: usize,
    /// Empty when all went well.
    pub error: String,
}

impl fmt::Debug for KeyringResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyringResponse")
            .field("wan", &self.wan)
            .field("messages", &self.messages)
            .field("num_nodes", &self.num_nodes)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl Pool {
    pub(super) async fn keys(
        &self,
        operation: &KeyringOperation,
        relay_factor: u8,
        datacenter: &str,
    ) -> KeyringResponse {
        let mut response = KeyringResponse {
            wan: self.kind() == PoolKind::Wan,
            datacenter: datacenter.to_owned(),
            ..KeyringResponse::default()
        };
        let (what, key) = match operation {
            KeyringOperation::List => (KeyOperation::List, Ok(Vec::new())),
            KeyringOperation::Install(key) => (KeyOperation::Install, bytes_of(key)),
            KeyringOperation::Use(key) => (KeyOperation::Use, bytes_of(key)),
            KeyringOperation::Remove(key) => (KeyOperation::Remove, bytes_of(key)),
        };
        let answered = match key {
            Ok(key) => self.change_keys(what, key, relay_factor).await,
            Err(error) => Err(error),
        };
        match answered {
            Ok(answer) => {
                response.error = answer.error().unwrap_or_default();
                response.messages = answer.messages;
                response.keys = answer.keys;
                response.primary_keys = answer.primary_keys;
                response.num_nodes = answer.members;
            }
            Err(error) => response.error = error,
        }
        response
    }
}

/// Whether they make a key is for the members to say.
fn bytes_of(key: &str) -> Result<Vec<u8>, String> {
    wire::base64::decode(key.as_bytes()).map_err(|error| error.to_string())
}

/// Where the keys of a pool are kept.
pub(super) struct Keyrings {
    path: Option<PathBuf>,
    current: Option<Keyring>,
}

impl Keyrings {
    /// The keys of an earlier life, else those of the configuration, else none.
    pub(super) fn open(all: &GossipSettings, kind: PoolKind) -> Result<Keyrings, String> {
        let fail = |error: &dyn fmt::Display| format!("Failed to configure keyring: {error}");
        let configured = match &all.encrypt {
            Some(key) => Some(Keyring::new(Key::from_base64(key).map_err(|error| fail(&error))?)),
            None => None,
        };
        let name = if kind == PoolKind::Lan { LAN_FILE } else { WAN_FILE };
        let pool = name_of(kind);
        let path = all.data_dir.as_ref().filter(|_| all.keyring_file).map(|dir| dir.join(name));
        let Some(path) = path else { return Ok(Keyrings { path: None, current: configured }) };
        let current = match fs::read(&path) {
            Ok(text) => {
                let kept = Keyring::from_file(&text).map_err(|error| fail(&error))?;
                if let Some(configured) = &configured
                    && !kept.keys().contains(configured.primary())
                {
                    // Compat: what is kept wins.
                    tracing::warn!(target: "agent", keyring = pool, "keyring doesn't include key provided with -encrypt, using keyring");
                }
                Some(kept)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(configured) = &configured {
                    write_private(&path, configured.to_first_file().as_bytes()).map_err(|error| fail(&error))?;
                }
                configured
            }
            Err(error) => return Err(fail(&error)),
        };
        Ok(Keyrings { path: current.is_some().then_some(path), current })
    }

    pub(super) fn current(&self) -> Option<Keyring> {
        self.current.clone()
    }

    pub(super) fn write(&self, keyring: &Keyring) -> Result<(), String> {
        let Some(path) = &self.path else { return Ok(()) };
        write_private(path, keyring.to_file().as_bytes()).map_err(|error| error.to_string())
    }
}
