//! `operator` and `keyring`: looking after the cluster itself.

mod autopilot;
mod keyring;
mod raft;
mod usage;

use crate::cli::Command;

pub const COMMANDS: &[Command] = &[
    keyring::KEYRING,
    Command::group_of_options(
        "operator",
        "Provides cluster-level tools for operators",
        "Tools for the health and size of the cluster. Some change how it runs: know what you do.",
    ),
    Command::group_of_options(
        "operator autopilot",
        "Provides tools for modifying Autopilot configuration",
        autopilot::ABOUT,
    ),
    autopilot::GET_CONFIG,
    autopilot::SET_CONFIG,
    autopilot::STATE,
    Command::group_of_options(
        "operator raft",
        "Provides cluster-level tools for operators",
        "Looks at the consensus of the servers.",
    ),
    raft::LIST_PEERS,
    raft::REMOVE_PEER,
    raft::TRANSFER_LEADER,
    Command::group("operator usage", "Provides cluster-level usage information", "Counts what is registered."),
    usage::INSTANCES,
];

#[cfg(test)]
mod tests;
