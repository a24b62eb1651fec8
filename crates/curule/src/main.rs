//! The binary. `curule agent` runs an agent, every other command is a client of one. Under the name `consul`
//! it behaves the same.

mod agent_command;
mod banner;
mod bootstrap_entries;
mod definitions;
mod node_id;
mod registration;
mod role;
mod settings;
mod usage;
mod watches;

use std::process::ExitCode;

use api::cli::{Io, Program, Version};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The release of the reference whose surface this has: clients and scripts compare it.
pub const COMPATIBLE_VERSION: &str = "1.22.0";
/// The protocols of the agents that are understood.
pub const PROTOCOL_MIN: u32 = 2;
pub const PROTOCOL_MAX: u32 = 3;
/// When this was built, as far as a reproducible build can say.
pub const BUILD_DATE: &str = "1970-01-01T00:00:01Z";

fn main() -> ExitCode {
    let mut arguments: Vec<String> =
        std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let invoked = if arguments.is_empty() { String::new() } else { arguments.remove(0) };
    if arguments.first().is_some_and(|command| command == "agent") {
        // Huge pages would make each of the allocator's arenas resident whole: 40 MiB for an idle agent that
        // uses 5. A kernel that cannot do this costs memory and nothing else.
        let _ = nix::sys::prctl::set_thp_disable(true);
        return ExitCode::from(agent_command::run(&arguments[1..]));
    }
    let name = invoked.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("curule").to_owned();
    let program = Program {
        name,
        version: Version {
            version: COMPATIBLE_VERSION.to_owned(),
            build_date: BUILD_DATE.to_owned(),
            protocol: 2,
            protocol_min: PROTOCOL_MIN,
            protocol_max: PROTOCOL_MAX,
            ..Version::default()
        },
        validate: Box::new(definitions::validate),
        read_services: Box::new(definitions::read_services),
        elsewhere: vec![("agent", "Runs a Consul agent")],
    };
    let code = api::cli::run(&program, &arguments, &mut Io::of_process());
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
