//! What the machine is and how loaded it is: the answer of `/v1/agent/host`, in the shapes of gopsutil.
//!
//! Always true: what cannot be known is its zero value, as in the reference; a whole part that cannot be read is null
//! and leaves an entry in `Errors`.
//! Not here: other systems than Linux, values over time.

mod cpu;
mod disk;
mod memory;
mod platform;

pub use cpu::Cpu;
pub use disk::Disk;
pub use memory::Memory;
pub use platform::Platform;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// The path whose file system is described.
const DISK_PATH: &str = "/";

/// Everything that is answered. Reads a dozen small files: call it where blocking is allowed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Host {
    pub memory: Option<Memory>,
    #[serde(rename = "CPU")]
    pub cpu: Option<Vec<Cpu>>,
    pub host: Option<Platform>,
    pub disk: Option<Disk>,
    /// Nanoseconds since the epoch.
    pub collection_time: i64,
    /// Null when all went well.
    pub errors: Option<Vec<Unprinted>>,
}

/// Compat: Go prints an error without exported fields as an empty object, so this is all that clients see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Unprinted {}

impl Host {
    /// Describes this machine.
    #[must_use]
    pub fn collect() -> Host {
        Host::collect_from(&Root::new(Path::new("/")), SystemTime::now())
    }

    fn collect_from(root: &Root, now: SystemTime) -> Host {
        let mut errors = Vec::new();
        let mut note = |part: &str, error: io::Error| {
            tracing::debug!(part, %error, "a part of the host could not be read");
            errors.push(Unprinted {});
        };
        // In the reference's order, which is that of the errors.
        let host = Platform::read(root, now).map_err(|error| note("host", error)).ok();
        let memory = Memory::read(root).map_err(|error| note("memory", error)).ok();
        let disk = Disk::of(DISK_PATH).map_err(|error| note("disk", error)).ok();
        let cpu = cpu::read(root).map_err(|error| note("cpu", error)).ok().flatten();
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let collection_time = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
        Host { memory, cpu, host, disk, collection_time, errors: (!errors.is_empty()).then_some(errors) }
    }
}

/// Where `/proc`, `/etc` and `/sys` are; tests bring their own.
#[derive(Debug)]
struct Root(PathBuf);

impl Root {
    fn new(path: &Path) -> Root {
        Root(path.to_owned())
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    fn read(&self, path: &str) -> io::Result<String> {
        fs::read(self.path(path)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The text, or nothing where there is no such file.
    fn text(&self, path: &str) -> String {
        self.read(path).unwrap_or_default()
    }

    /// The first line, when it is not empty.
    fn first_line(&self, path: &str) -> Option<String> {
        self.text(path).lines().next().map(str::to_owned).filter(|line| !line.is_empty())
    }
}

#[cfg(test)]
mod tests;
