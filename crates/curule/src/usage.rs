//! What `agent -h` prints: every flag, laid out as the help of the other commands is.

use std::fmt::Write as _;

use api::cli::{USAGE_WIDTH, wrapped};
use config::go_flags::Kind;

/// The whole help.
pub fn help() -> String {
    let mut text = "Usage: consul agent [options]\n\n  Starts an agent, which runs until it is interrupted or told to leave. Every \
                    option can also stand in\n  a configuration file.\n\nCommand Options\n"
        .to_owned();
    for flag in config::flags::flag_set().flags() {
        let value = if flag.kind == Kind::Bool { "" } else { "=<value>" };
        let _ = write!(text, "\n  -{}{value}\n{}\n", flag.name, wrapped(flag.usage, USAGE_WIDTH, "     "));
    }
    text
}
