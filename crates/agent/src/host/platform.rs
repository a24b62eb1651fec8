//! The system: its name, its distribution, since when it runs, and whether it is a guest.
//!
//! Always true: only files are read, no command is run.
//! Not here: distributions told apart by more than their release files.

use std::fs;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::Root;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Platform {
    pub hostname: String,
    /// Seconds.
    pub uptime: u64,
    /// Seconds since the epoch.
    pub boot_time: u64,
    pub procs: u64,
    pub os: String,
    pub platform: String,
    pub platform_family: String,
    pub platform_version: String,
    pub kernel_version: String,
    pub kernel_arch: String,
    pub virtualization_system: String,
    pub virtualization_role: String,
    pub host_id: String,
}

impl Platform {
    pub(super) fn read(root: &Root, now: SystemTime) -> io::Result<Platform> {
        let (platform, platform_version) = distribution(root);
        let (system, role) = virtualization(root);
        let uptime = uptime(root);
        Ok(Platform {
            hostname: root.first_line("proc/sys/kernel/hostname").unwrap_or_default(),
            uptime: uptime as u64,
            boot_time: boot_time(root, &system, uptime, now)?,
            procs: processes(root)?,
            os: std::env::consts::OS.to_owned(),
            platform_family: family(&platform).to_owned(),
            platform,
            platform_version,
            kernel_version: root.first_line("proc/sys/kernel/osrelease").unwrap_or_default(),
            kernel_arch: std::env::consts::ARCH.to_owned(),
            virtualization_system: system,
            virtualization_role: role,
            host_id: host_id(root),
        })
    }
}

fn uptime(root: &Root) -> f64 {
    root.text("proc/uptime").split_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or(0.0)
}

fn boot_time(root: &Root, system: &str, uptime: f64, now: SystemTime) -> io::Result<u64> {
    if system == "lxc" || system == "docker" {
        // A container is younger than its kernel.
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        return Ok((now - uptime).max(0.0) as u64);
    }
    let stat = root.read("proc/stat")?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "could not find btime"))
}

fn processes(root: &Root) -> io::Result<u64> {
    let entries = fs::read_dir(root.path("proc"))?;
    let is_number = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter(|name| is_number(name)).count() as u64)
}

/// The machine's own number where it may be read, else the installation's, else that of this boot.
fn host_id(root: &Root) -> String {
    if let Some(id) = root.first_line("sys/class/dmi/id/product_uuid") {
        return id.to_lowercase();
    }
    if let Some(id) = root.first_line("etc/machine-id").filter(|id| id.len() == 32 && id.is_ascii()) {
        return format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]);
    }
    root.first_line("proc/sys/kernel/random/boot_id").unwrap_or_default().to_lowercase()
}

/// The name and version of the distribution, by the file that it leaves in `/etc`.
fn distribution(root: &Root) -> (String, String) {
    let has_text = |path: &str| !root.text(path).is_empty();
    let release = |path: &str| release_number(&root.text(path));
    for path in ["etc/oracle-release", "etc/enterprise-release"] {
        if has_text(path) {
            return ("oracle".to_owned(), release(path));
        }
    }
    let (lsb_id, lsb_release) = lsb(root);
    if has_text("etc/debian_version") {
        return match lsb_id.as_str() {
            "Ubuntu" => ("ubuntu".to_owned(), lsb_release),
            "LinuxMint" => ("linuxmint".to_owned(), lsb_release),
            _ => {
                let name = if has_text("usr/bin/raspi-config") { "raspbian" } else { "debian" };
                (name.to_owned(), root.first_line("etc/debian_version").unwrap_or_default())
            }
        };
    }
    for path in ["etc/neokylin-release", "etc/redhat-release", "etc/system-release"] {
        if root.exists(path) {
            let text = root.text(path).to_lowercase();
            let first = text.split([' ', '\n']).next().unwrap_or_default();
            let name = if text.contains("red hat") { "redhat" } else { first };
            return (name.to_owned(), release(path));
        }
    }
    if root.exists("etc/gentoo-release") {
        return ("gentoo".to_owned(), release("etc/gentoo-release"));
    }
    if root.exists("etc/arch-release") {
        return ("arch".to_owned(), lsb_release);
    }
    if root.exists("etc/alpine-release") {
        return ("alpine".to_owned(), root.first_line("etc/alpine-release").unwrap_or_default());
    }
    if root.exists("etc/os-release") {
        let text = root.text("etc/os-release");
        let name = assigned(&text, "ID");
        let name = if name == "amzn" { "amazon".to_owned() } else { name };
        return (name, assigned(&text, "VERSION"));
    }
    match lsb_id.as_str() {
        "ScientificSL" => ("scientific".to_owned(), lsb_release),
        "" => (String::new(), String::new()),
        other => (other.to_lowercase(), lsb_release),
    }
}

fn lsb(root: &Root) -> (String, String) {
    let text = root.text("etc/lsb-release");
    (assigned(&text, "DISTRIB_ID"), assigned(&text, "DISTRIB_RELEASE"))
}

/// The value of `KEY=value`, without quotes.
fn assigned(text: &str, key: &str) -> String {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    value.unwrap_or_default().trim_matches('"').to_owned()
}

/// The word after `release` in texts such as `CentOS Linux release 7.9.2009 (Core)`.
fn release_number(text: &str) -> String {
    let text = text.to_lowercase();
    if text.contains("rawhide") {
        return "rawhide".to_owned();
    }
    let Some((_, rest)) = text.split_once("release ") else { return String::new() };
    let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
    rest[..end].to_owned()
}

fn family(platform: &str) -> &str {
    match platform {
        "debian" | "ubuntu" | "linuxmint" | "raspbian" => "debian",
        "oracle"
        | "centos"
        | "redhat"
        | "scientific"
        | "enterpriseenterprise"
        | "amazon"
        | "xenserver"
        | "cloudlinux"
        | "ibm_powerkvm"
        | "rocky"
        | "almalinux" => "rhel",
        "suse"
        | "opensuse"
        | "opensuse-leap"
        | "opensuse-tumbleweed"
        | "opensuse-tumbleweed-kubic"
        | "sles"
        | "sled"
        | "caasp" => "suse",
        "fedora" | "gentoo" | "slackware" | "arch" | "exherbo" | "alpine" | "coreos" | "solus" | "neokylin" => platform,
        _ => "",
    }
}

/// Words in a file that tell of a virtual machine or container. Later findings replace earlier ones.
const SIGNS: [(&str, &[&str], &str, &str); 10] = [
    ("proc/modules", &["kvm"], "kvm", "host"),
    ("proc/modules", &["hv_util"], "hyperv", "guest"),
    ("proc/modules", &["vboxdrv"], "vbox", "host"),
    ("proc/modules", &["vboxguest"], "vbox", "guest"),
    ("proc/modules", &["vmware"], "vmware", "guest"),
    ("proc/cpuinfo", &["QEMU Virtual CPU", "Common KVM processor", "Common 32-bit KVM processor"], "kvm", "guest"),
    ("proc/1/environ", &["container=lxc"], "lxc", "guest"),
    ("proc/self/cgroup", &["lxc"], "lxc", "guest"),
    ("proc/self/cgroup", &["docker"], "docker", "guest"),
    ("proc/self/cgroup", &["machine-rkt"], "rkt", "guest"),
];

/// What the machine is a guest or a host of.
fn virtualization(root: &Root) -> (String, String) {
    let (mut system, mut role) = ("", "");
    if root.exists("proc/xen") {
        let controls = root.text("proc/xen/capabilities").contains("control_d");
        (system, role) = ("xen", if controls { "host" } else { "guest" });
    }
    let mut found_in = "";
    for (file, words, found, found_role) in SIGNS {
        if file == "proc/1/environ" {
            // Between the processor and the containers: what the buses and the kernel's own directories say.
            if root.text("proc/bus/pci/devices").contains("virtio-pci") {
                role = "guest";
            }
            if root.exists("proc/bc/0") {
                (system, role) = ("openvz", "host");
            } else if root.exists("proc/vz") {
                (system, role) = ("openvz", "guest");
            }
        }
        // Within one file the first word decides.
        let text = root.text(file);
        if file != found_in && words.iter().any(|word| text.contains(word)) {
            (system, role) = (found, found_role);
            found_in = file;
        }
    }
    (system.to_owned(), role.to_owned())
}
