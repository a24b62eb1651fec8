//! The one list of commands.
//!
//! Always true: a command that is not here does not exist, and none is here whose routes are not built.

use crate::cli::{Command, keygen, validate, version};

const TABLE: &[&[Command]] = &[
    version::COMMANDS,
    validate::COMMANDS,
    keygen::COMMANDS,
    crate::agent::cli::COMMANDS,
    crate::catalog::cli::COMMANDS,
    crate::config_entry::cli::COMMANDS,
    crate::coordinate::cli::COMMANDS,
    crate::event::cli::COMMANDS,
    crate::kv::cli::COMMANDS,
    crate::lock::cli::COMMANDS,
    crate::operator::cli::COMMANDS,
    crate::snapshot::cli::COMMANDS,
    crate::watch::cli::COMMANDS,
];

pub const VERSION: &Command = &version::COMMANDS[0];

pub fn all() -> impl Iterator<Item = &'static Command> {
    TABLE.iter().flat_map(|group| group.iter())
}

pub fn find(path: &str) -> Option<&'static Command> {
    all().find(|command| command.path == path)
}

/// Some commands say a flag error a second time, below the list of flags.
///
/// Compat: an accident of the reference that scripts comparing stderr would notice.
pub fn flag_error_echo(path: &str, error: &str) -> Option<String> {
    match path {
        "validate" | "snapshot inspect" => Some(error.to_owned()),
        _ if path.starts_with("operator raft") || path.starts_with("operator autopilot") => {
            Some(format!("Failed to parse args: {error}"))
        }
        _ => None,
    }
}
