//! `validate`: would the agent start with this configuration?
//!
//! Not here: reading it, which `config` does; the binary hands that in.

use crate::cli::flags::{Flag, Kind};
use crate::cli::{Command, Exit, Invocation, ToValidate};

const FLAGS: &[Flag] = &[
    Flag::new("config-format", Kind::Text, "Read every file as this format, whatever its extension: 'hcl' or 'json'."),
    Flag::new("quiet", Kind::Bool, "Say nothing when the configuration is valid."),
];

pub const COMMANDS: &[Command] = &[Command {
    path: "validate",
    synopsis: "Validate config files/directories",
    shape: "[options] FILE_OR_DIRECTORY...",
    about: "Reads configuration files and directories as the agent would and says whether it would\nstart with them. \
            Give everything the agent would be given: a fragment alone may not be\nvalid.\n\nExits with 0 if the \
            configuration is valid and with 1 if not.",
    flags: &[FLAGS],
    run: Some(run),
}];

fn run(invocation: &mut Invocation<'_>) -> Exit {
    let what = ToValidate {
        paths: invocation.parsed.arguments.clone(),
        format: invocation.parsed.text("config-format").to_owned(),
    };
    if what.paths.is_empty() {
        return Err("Must specify at least one config file or directory".into());
    }
    if !matches!(what.format.as_str(), "" | "json" | "hcl") {
        // Compat: the reference leaves this quote open.
        return Err("-config-format must be either 'hcl' or 'json".into());
    }
    let warnings =
        (invocation.program.validate)(&what).map_err(|reason| format!("Config validation failed: {reason}"))?;
    if !invocation.parsed.bool("quiet") {
        for warning in warnings {
            invocation.io.complain(warning);
        }
        invocation.io.say("Configuration is valid!");
    }
    Ok(0)
}
