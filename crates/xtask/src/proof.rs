//! `test`: everything that says whether the tree is good, cheapest first.

use std::process::Command;

use anyhow::{Result, bail};

use crate::python;
use crate::step::{Steps, cargo, run, succeeds};

const STEPS: usize = 4 + python::STEPS;

pub fn test() -> Result<()> {
    for component in ["rustfmt", "clippy"] {
        ensure_component(component)?;
    }
    let mut steps = Steps::new(STEPS);
    steps.run(&mut cargo("fmt --all --check"))?;
    steps.run(&mut cargo("clippy --workspace --all-targets --quiet -- -D warnings"))?;
    // With the features that the tests will build it with, so that nothing is built twice.
    steps.run(&mut cargo("build --workspace --quiet"))?;
    steps.run(&mut cargo("test --workspace --quiet"))?;
    python::flows(&mut steps)?;
    steps.done();
    Ok(())
}

pub fn python_only() -> Result<()> {
    let mut steps = Steps::new(1 + python::STEPS);
    steps.run(&mut cargo("build --workspace --quiet"))?;
    python::flows(&mut steps)?;
    steps.done();
    Ok(())
}

/// A component of the toolchain that minimal installations leave out.
fn ensure_component(name: &str) -> Result<()> {
    let subcommand = if name == "rustfmt" { "fmt" } else { name };
    if succeeds(cargo(subcommand).arg("--version")) {
        return Ok(());
    }
    eprintln!("==> {name} is missing; asking rustup for it");
    if !succeeds(Command::new("rustup").arg("--version")) {
        bail!("`cargo {subcommand}` is missing and there is no rustup to install it with; install {name}");
    }
    run(Command::new("rustup").args(["component", "add", name]))
}
