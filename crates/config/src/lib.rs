//! Configuration: as written, merged, as meant.
//!
//! Read in this order: [`flags`] (the command line of `agent`), [`sources`] (files and their merge), [`schema`] (all keys),
//! [`written`] (what sources said), [`resolve`] (what it means), [`runtime`] (the result).
//!
//! Always true: [`load`] is a function of its arguments (files are read before, by [`Sources::read`]; the machine is
//! a value, [`Host`]); a [`Runtime`] has passed every check that needs no other crate; error and warning texts are those of
//! the reference.
//!
//! Not here: validation of service and check definitions (they are carried as written, see [`definition`]), the node ID
//! file, reloading.

pub mod debug_config;
mod decode;
mod defaults;
pub mod definition;
mod deprecated;
mod error;
pub mod flags;
pub mod go_flags;
pub mod host;
pub mod resolve;
pub mod runtime;
pub mod schema;
pub mod sources;
mod unbuilt;
mod validate;
pub mod written;

pub use decode::Format;
pub use error::Error;
pub use flags::Flags;
pub use host::Host;
pub use runtime::Runtime;
pub use sources::Sources;

/// What [`load`] gives: the configuration, and what the user should be told about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub runtime: Runtime,
    pub warnings: Vec<String>,
}

/// Merges, resolves and validates.
pub fn load(sources: &Sources, host: &Host) -> Result<Loaded, Error> {
    let (merged, mut warnings) = sources.merge()?;
    let (runtime, faults) = resolve::resolve(merged, sources.flags.dev, host, &mut warnings)?;
    validate::validate(&runtime, host, faults, &mut warnings)?;
    Ok(Loaded { runtime, warnings })
}

/// Reads the files that the flags name, then [`load`]s on this machine.
pub fn load_here(flags: Flags) -> Result<Loaded, Error> {
    let sources = Sources::read(flags)?;
    let loaded = load(&sources, &Host::of_this_process())?;
    validate::data_dir(&loaded.runtime)?;
    Ok(loaded)
}

#[cfg(test)]
mod tests;
