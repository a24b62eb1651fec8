//! Developer commands: `cargo xtask <command>`.
//!
//! `test` is the one command that says whether the tree is good; it changes nothing that git tracks. `fix` is the one
//! that edits. What they need besides Rust (components of the toolchain, Python environments) they fetch, or say what
//! is missing.

mod fuzz;
mod proof;
mod python;
mod step;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::step::{Steps, cargo};

const USAGE: &str = "Usage: cargo xtask <command>

  test                      format, lints, every test, Python clients; stops at the first failure
  fix                       formats, and applies what clippy can fix by itself
  fuzz [target] [seconds]   fuzzes one target (default: each in turn), 60 seconds unless told
  python                    only the Python flows of `test`
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = enter_root().and_then(|()| match words[..] {
        ["test"] => proof::test(),
        ["python"] => proof::python_only(),
        ["fix"] => fix(),
        ["fuzz", ref rest @ ..] => fuzz::run(rest),
        _ => {
            eprint!("{USAGE}");
            anyhow::bail!("no such command: {:?}", words.join(" "))
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nxtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Every command works from the repository's root, wherever it was called.
fn enter_root() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("xtask lies two levels down")?;
    std::env::set_current_dir(root).with_context(|| format!("cannot enter {}", root.display()))
}

fn fix() -> Result<()> {
    let mut steps = Steps::new(2);
    steps.run(&mut cargo("clippy --fix --allow-dirty --allow-staged --workspace --all-targets"))?;
    steps.run(&mut cargo("fmt --all"))?;
    steps.done();
    Ok(())
}
