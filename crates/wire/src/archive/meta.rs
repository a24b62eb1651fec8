//! `meta.json`: what raft knew when the snapshot was taken.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{json, msgpack};

/// The only version of this structure that is written; version 0 had no configuration.
const VERSION: i64 = 1;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename = "raft.SnapshotMeta", rename_all = "PascalCase")]
pub struct SnapshotMeta {
    pub version: i64,
    /// `<term>-<index>-<milliseconds>`.
    #[serde(rename = "ID")]
    pub id: String,
    pub index: u64,
    pub term: u64,
    /// The servers' addresses once more, msgpack in base64, for readers of version 0.
    #[serde(with = "crate::base64::or_null")]
    pub peers: Bytes,
    pub configuration: Configuration,
    pub configuration_index: u64,
    /// Bytes of state.
    pub size: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename = "raft.Configuration", rename_all = "PascalCase")]
pub struct Configuration {
    #[serde(with = "crate::nil_when_empty")]
    pub servers: Vec<Server>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename = "raft.Server", rename_all = "PascalCase")]
pub struct Server {
    /// 0 votes, 1 does not, 2 is on its way to vote.
    pub suffrage: i64,
    #[serde(rename = "ID")]
    pub id: String,
    pub address: String,
}

impl SnapshotMeta {
    /// The description of a snapshot taken at `index` of `term`, `taken_ms` after the Unix epoch.
    pub fn new(index: u64, term: u64, taken_ms: u64, configuration: Configuration, configuration_index: u64) -> Self {
        let addresses: Vec<&str> = configuration.servers.iter().map(|server| server.address.as_str()).collect();
        let peers = msgpack::to_vec(&addresses).expect("a list of texts can be encoded");
        SnapshotMeta {
            version: VERSION,
            id: format!("{term}-{index}-{taken_ms}"),
            index,
            term,
            peers: Bytes::from(peers),
            configuration,
            configuration_index,
            size: 0,
        }
    }

    /// The same, with the number of bytes of state filled in.
    #[must_use]
    pub fn with_size(self, size: u64) -> Self {
        SnapshotMeta { size: i64::try_from(size).unwrap_or(i64::MAX), ..self }
    }

    /// Reads `meta.json`.
    pub fn parse(text: &[u8]) -> Result<SnapshotMeta, json::Error> {
        let options = json::Options { mode: json::Mode::Unmarshal, ..json::Options::LENIENT };
        json::from_slice(text, options)
    }
}
