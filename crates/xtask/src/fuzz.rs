//! `fuzz`: runs the targets of `fuzz/` under cargo-fuzz, which needs a nightly toolchain.
//!
//! The same targets run, bounded, as an ordinary test; this is for looking longer.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::step::{Steps, succeeds};

const SECONDS_DEFAULT: u32 = 60;

pub fn run(arguments: &[&str]) -> Result<()> {
    let known = targets()?;
    let (chosen, seconds) = match *arguments {
        [] => (known, SECONDS_DEFAULT),
        [target] => (vec![target.to_owned()], SECONDS_DEFAULT),
        [target, seconds] => {
            let seconds = seconds.parse().with_context(|| format!("{seconds:?} is no number of seconds"))?;
            (vec![target.to_owned()], seconds)
        }
        _ => bail!("fuzz takes a target and seconds"),
    };
    let nightly = |arguments: &[&str]| succeeds(Command::new("cargo").arg("+nightly").args(arguments));
    if !nightly(&["--version"]) {
        bail!("fuzzing needs a nightly toolchain: rustup toolchain install nightly --profile minimal");
    }
    if !nightly(&["fuzz", "--version"]) {
        bail!("fuzzing needs cargo-fuzz: cargo install cargo-fuzz --locked");
    }
    let mut steps = Steps::new(chosen.len());
    for target in chosen {
        // What is found goes to a corpus that git ignores; the seeds stay as they are.
        let (corpus, seeds) = (format!("fuzz/corpus/{target}"), format!("fuzz/seeds/{target}"));
        fs::create_dir_all(&corpus).with_context(|| format!("cannot make {corpus}"))?;
        let mut command = Command::new("cargo");
        command.args(["+nightly", "fuzz", "run", &target, &corpus, &seeds, "--"]);
        steps.run(command.arg(format!("-max_total_time={seconds}")).arg("-timeout=10"))?;
    }
    steps.done();
    Ok(())
}

fn targets() -> Result<Vec<String>> {
    let dir = "fuzz/fuzz_targets";
    let mut targets = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {dir}"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        targets.extend(name.strip_suffix(".rs").map(str::to_owned));
    }
    targets.sort();
    Ok(targets)
}
