//! What clients did and were told, and what servers applied: the material of the invariants.

use std::collections::BTreeMap;

use crate::cluster::linear::{Action, LENGTH_MAX, Operation, is_linearizable};

/// A rule that a run has broken, in words that name where.
pub type Breach = String;

/// What happened in a run.
#[derive(Debug, Default)]
pub struct History {
    /// By key.
    pub operations: BTreeMap<String, Vec<Operation>>,
    /// The hash of the state at each index, by whoever came there first.
    states: BTreeMap<u64, u64>,
    /// What each watcher was told, by server and key: index and value.
    told: BTreeMap<(u64, String), (u64, Option<u64>)>,
    /// What each key held from an index on.
    versions: BTreeMap<(String, u64), Option<u64>>,
    pub breaches: Vec<Breach>,
    /// A hash of everything that happened, to compare runs by.
    pub trace: u64,
    pub figures: Figures,
}

/// How much was tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    pub answered: u64,
    pub lost: u64,
    pub refused: u64,
    pub crashes: u64,
    pub partitions: u64,
    pub pauses: u64,
    pub leaps: u64,
    pub slow_disks: u64,
    pub full_disks: u64,
    pub snapshots: u64,
    pub installs: u64,
    pub changes: u64,
    pub hand_overs: u64,
    pub elections: u64,
    pub expired: u64,
}

impl Figures {
    /// The sum of both.
    pub fn add(&mut self, other: &Figures) {
        self.answered += other.answered;
        self.lost += other.lost;
        self.refused += other.refused;
        self.crashes += other.crashes;
        self.partitions += other.partitions;
        self.pauses += other.pauses;
        self.leaps += other.leaps;
        self.slow_disks += other.slow_disks;
        self.full_disks += other.full_disks;
        self.snapshots += other.snapshots;
        self.installs += other.installs;
        self.changes += other.changes;
        self.hand_overs += other.hand_overs;
        self.elections += other.elections;
        self.expired += other.expired;
    }
}

impl History {
    pub fn note(&mut self, what: &str, numbers: &[u64]) {
        for byte in what.bytes().chain(numbers.iter().flat_map(|number| number.to_le_bytes())) {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub fn breach(&mut self, text: String) {
        self.breaches.push(text);
    }

    pub fn operation(&mut self, key: &str, began: u64, ended: Option<u64>, action: Action) {
        // What was asked and got no answer changes nothing unless it writes.
        if ended.is_none() && matches!(action, Action::Read(_)) {
            return;
        }
        let operations = self.operations.entry(key.to_owned()).or_default();
        if operations.len() < LENGTH_MAX {
            operations.push(Operation { began, ended, action });
        }
    }

    /// Whether a key has room for more.
    #[must_use]
    pub fn has_room(&self, key: &str) -> bool {
        self.operations.get(key).is_none_or(|operations| operations.len() + 8 < LENGTH_MAX)
    }

    /// A server has come to an index with this state.
    pub fn applied(&mut self, server: u64, index: u64, hash: u64) {
        let known = *self.states.entry(index).or_insert(hash);
        if known != hash {
            self.breach(format!("server {server} has another state at index {index}"));
        }
    }

    /// A watcher of a key at a server was told of a value at an index.
    pub fn watched(&mut self, server: u64, key: &str, index: u64, value: Option<u64>) {
        if let Some((before, _)) = self.told.get(&(server, key.to_owned()))
            && *before > index
        {
            let before = *before;
            self.breach(format!("the watch of {key} at {server} went back from {before} to {index}"));
        }
        self.told.insert((server, key.to_owned()), (index, value));
        let known = *self.versions.entry((key.to_owned(), index)).or_insert(value);
        if known != value {
            self.breach(format!("{key} was {known:?} and {value:?} at index {index}"));
        }
    }

    /// A server forgets its watchers: they have to ask again elsewhere.
    pub fn unwatch(&mut self, server: u64) {
        self.told.retain(|(of, _), _| *of != server);
    }

    /// Looks for an order that explains what clients were told, key by key.
    pub fn check_order(&mut self) {
        let wrong: Vec<String> = self
            .operations
            .iter()
            .filter(|(_, operations)| !is_linearizable(operations))
            .map(|(key, operations)| format!("{key} is not linearizable: {operations:?}"))
            .collect();
        self.breaches.extend(wrong);
    }
}
