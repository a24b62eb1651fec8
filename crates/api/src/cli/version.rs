//! `version`: what this is and which protocol it speaks.

use serde::Serialize;

use crate::cli::flags::{Flag, Kind};
use crate::cli::{Command, Exit, Invocation, text};

const FLAGS: &[Flag] = &[Flag::new("format", Kind::Text, "Output format {pretty|json}").or("pretty")];

pub const COMMANDS: &[Command] = &[Command {
    path: "version",
    synopsis: "Prints the version",
    shape: "[options]",
    about: "",
    flags: &[FLAGS],
    run: Some(run),
}];

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown<'a> {
    version: &'a str,
    revision: &'a str,
    prerelease: &'a str,
    build_date: &'a str,
    #[serde(rename = "RPC")]
    rpc: Protocols,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Protocols {
    default: u32,
    min: u32,
    max: u32,
}

fn run(invocation: &mut Invocation<'_>) -> Exit {
    let version = &invocation.program.version;
    let out = match invocation.parsed.text("format") {
        "pretty" => {
            let dash = if version.prerelease.is_empty() { "" } else { "-" };
            // Compat: scripts look for "Consul v" on the first line.
            let mut out = format!("Consul v{}{dash}{}\n", version.version, version.prerelease);
            if !version.revision.is_empty() {
                out.push_str(&format!("Revision {}\n", version.revision));
            }
            let more = if version.protocol < version.protocol_max {
                format!(
                    " (agent will automatically use protocol >{} when speaking to compatible agents)",
                    version.protocol
                )
            } else {
                String::new()
            };
            out.push_str(&format!(
                "Build Date {}\nProtocol {} spoken by default, understands {} to {}{more}\n",
                version.build_date, version.protocol, version.protocol_min, version.protocol_max
            ));
            out
        }
        "json" => {
            let shown = Shown {
                version: &version.version,
                revision: &version.revision,
                prerelease: &version.prerelease,
                build_date: &version.build_date,
                rpc: Protocols { default: version.protocol, min: version.protocol_min, max: version.protocol_max },
            };
            let compact =
                wire::json::to_string(&shown).map_err(|error| format!("Failed to marshal version info: {error}"))?;
            text::indented(&compact, "   ")
        }
        other => return Err(format!("Unknown format: {other}").into()),
    };
    invocation.io.say(out);
    Ok(0)
}
