//! The Python flows: unmodified clients from PyPI drive agents of ours, in memory and durable.
//!
//! Each client has an environment of its own under `.venv`, since both provide the module `consul`. Environments are
//! kept between runs and made anew when what they should hold has changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use conformance::start;

use crate::step::{Steps, run, succeeds};

/// The clients: the environment's name and what is installed there.
const CLIENTS: [(&str, &[&str]); 2] =
    [("python-consul", &["python-consul==1.1.0", "requests"]), ("py-consul", &["py-consul==1.8.0", "requests"])];

/// How many steps [`flows`] announces: an environment and two agents for each client.
pub const STEPS: usize = CLIENTS.len() * 3;

/// Runs the flows and the example programs with each client against each kind of agent.
pub fn flows(steps: &mut Steps) -> Result<()> {
    for (name, packages) in CLIENTS {
        steps.announce(&format!("the Python environment of {name}"));
        let python = environment(name, packages)?;
        run_flows(steps, name, &python, &["-dev"])?;
        let data = tempfile::tempdir().context("no temporary directory")?;
        let data_dir = format!("-data-dir={}", data.path().display());
        run_flows(steps, name, &python, &["-server", "-bootstrap-expect=1", "-bind=127.0.0.1", &data_dir])?;
    }
    Ok(())
}

fn run_flows(steps: &mut Steps, name: &str, python: &Path, flags: &[&str]) -> Result<()> {
    steps.announce(&format!("{name} against `curule agent {}`", flags.join(" ")));
    let agent = start(flags);
    let mut tests = Command::new(python);
    tests.args(["-m", "unittest", "discover", "-s", "tests/python"]);
    run(tests.env("CONSUL_HTTP_ADDR", agent.http.to_string()))
}

/// The interpreter of an environment that holds these packages.
fn environment(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let dir = Path::new(".venv").join(name);
    let python = dir.join("bin/python");
    // Written last: an environment without it is half made.
    let (complete, wanted) = (dir.join("holds.txt"), packages.join("\n"));
    let has = fs::read_to_string(&complete).is_ok_and(|has| has == wanted);
    if has && succeeds(Command::new(&python).args(["-c", "import consul, requests"])) {
        return Ok(python);
    }
    make_environment(&dir)?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run(Command::new(&python).args(install).args(packages))
        .context("the Python clients cannot be installed; is PyPI reachable?")?;
    fs::write(&complete, wanted).with_context(|| format!("cannot write {}", complete.display()))?;
    Ok(python)
}

/// A fresh environment; Debian and its kin ship Python without what `venv` needs.
fn make_environment(dir: &Path) -> Result<()> {
    if !succeeds(Command::new("python3").arg("--version")) {
        install("python3")?;
    }
    if try_environment(dir) {
        return Ok(());
    }
    install("python3-venv")?;
    if !try_environment(dir) {
        bail!("`python3 -m venv {}` fails even with python3-venv installed", dir.display());
    }
    Ok(())
}

fn try_environment(dir: &Path) -> bool {
    succeeds(Command::new("python3").args(["-m", "venv", "--clear"]).arg(dir))
}

fn install(package: &str) -> Result<()> {
    let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0");
    if !root || !succeeds(Command::new("apt-get").arg("--version")) {
        bail!("{package} is missing: the tests drive real Python clients; install it and run again");
    }
    eprintln!("==> {package} is missing; installing it");
    // Lists of packages may be missing or old; if they cannot be had, the installation says so.
    let _ = run(Command::new("apt-get").args(["update", "-qq"]));
    run(Command::new("apt-get").args(["install", "-y", "-qq", package]).env("DEBIAN_FRONTEND", "noninteractive"))
}
