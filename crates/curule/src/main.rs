//! The binary: hands the command line to `api::cli` together with the parts that `api` must not know.

use std::process::ExitCode;

use api::cli::{Io, Program, ServiceDefinitions, Version};

/// The release of the reference whose surface this has; scripts compare it.
const COMPATIBLE_VERSION: &str = "1.22.0";

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let invoked = if arguments.is_empty() { String::new() } else { arguments.remove(0) };
    let name = invoked.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("curule").to_owned();
    let program = Program {
        name,
        version: Version {
            version: COMPATIBLE_VERSION.to_owned(),
            build_date: "1970-01-01T00:00:01Z".to_owned(),
            protocol: 2,
            protocol_min: 2,
            protocol_max: 3,
            ..Version::default()
        },
        validate: Box::new(|_| Err("configuration is not read yet".to_owned())),
        read_services: Box::new(|_| -> Result<ServiceDefinitions, String> { Err("configuration is not read yet".to_owned()) }),
        elsewhere: Vec::new(),
    };
    let code = api::cli::run(&program, &arguments, &mut Io::of_process());
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
