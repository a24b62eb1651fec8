//! Gauges that are set from time to time rather than where something happens: the process, and how much the state
//! holds.
//!
//! Always true: what cannot be known is left out, never shown as zero.
//! Not here: the reference's gauges about its garbage collector and heap objects, which have no meaning here.

use std::fs;

use metrics::gauge;
use state::usage::ServiceUsage;

/// Clock ticks in a second as `/proc` counts them; fixed by the kernel's interface.
const TICKS_PER_SECOND: f64 = 100.0;

/// What the kernel says about this process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Process {
    pub(super) cpu_seconds: f64,
    pub(super) start_seconds: f64,
    pub(super) resident_bytes: f64,
    /// Resident and not backed by a file: what was allocated.
    pub(super) allocated_bytes: f64,
    pub(super) virtual_bytes: f64,
    pub(super) open_fds: f64,
    pub(super) max_fds: f64,
}

impl Process {
    /// `None` where there is no `/proc`.
    pub(super) fn read() -> Option<Process> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The name may hold spaces and parentheses; the numbers begin after its last parenthesis, with field 3.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<f64>().ok());
        let bytes = |name: &str| number_after(&status, name).map_or(0.0, |kib| kib * 1024.0);
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
        Some(Process {
            cpu_seconds: (field(14)? + field(15)?) / TICKS_PER_SECOND,
            start_seconds: number_after(&boot, "btime").unwrap_or(0.0) + field(22)? / TICKS_PER_SECOND,
            resident_bytes: bytes("VmRSS:"),
            allocated_bytes: bytes("RssAnon:"),
            virtual_bytes: bytes("VmSize:"),
            open_fds: fs::read_dir("/proc/self/fd").map_or(0.0, |entries| entries.count() as f64),
            max_fds: number_after(&limits, "Max open files").unwrap_or(0.0),
        })
    }
}

/// The first number on the line that starts with the name.
fn number_after(text: &str, name: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Sets `consul.runtime.*`.
pub fn record_runtime() {
    if let Ok(status) = fs::read_to_string("/proc/self/status") {
        for (name, field) in [("consul.runtime.alloc_bytes", "RssAnon:"), ("consul.runtime.sys_bytes", "VmRSS:")] {
            if let Some(kib) = number_after(&status, field) {
                gauge!(name).set(kib * 1024.0);
            }
        }
    }
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        // The closest thing to goroutines: tasks that have not finished.
        gauge!("consul.runtime.num_goroutines").set(runtime.metrics().num_alive_tasks() as f64);
    }
}

/// Members of the datacenter, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Members {
    pub servers: usize,
    pub clients: usize,
}

/// What the state of one datacenter holds.
#[derive(Debug, Clone, Default)]
pub struct StateUsage {
    pub services: ServiceUsage,
    pub kv_entries: usize,
    pub members: Members,
}

/// Sets `consul.state.*` and `consul.members.*`. Servers do this every ten seconds.
///
/// There are no configuration entries and no peerings here, so those gauges are left out.
pub fn record_usage(datacenter: &str, usage: &StateUsage) {
    let services = &usage.services;
    let counts = [
        ("consul.state.nodes", services.nodes),
        ("consul.state.services", services.services),
        ("consul.state.service_instances", services.service_instances),
        ("consul.state.billable_service_instances", services.billable_service_instances),
        ("consul.state.kv_entries", usage.kv_entries),
        ("consul.members.servers", usage.members.servers),
        ("consul.members.clients", usage.members.clients),
    ];
    for (name, count) in counts {
        gauge!(name, "datacenter" => datacenter.to_owned()).set(count as f64);
    }
    for (kind, count) in &services.connect_service_instances {
        gauge!("consul.state.connect_instances", "datacenter" => datacenter.to_owned(), "kind" => kind.clone())
            .set(*count as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::{Process, number_after};

    #[test]
    fn this_process_is_known() {
        let process = Process::read().unwrap();
        assert!(process.resident_bytes > 0.0 && process.virtual_bytes >= process.resident_bytes);
        assert!(process.open_fds >= 3.0 && process.max_fds >= process.open_fds);
        assert!(process.start_seconds > 1e9);
        assert_eq!(number_after("VmSize: 3 kB\nVmRSS:\t  12 kB\n", "VmRSS:"), Some(12.0));
        assert_eq!(number_after("VmRSS:\n", "VmRSS:"), None);
    }
}
