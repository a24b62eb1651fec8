//! Made-up machines, and this one.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Host, Root};

/// A machine made of files.
fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
    let directory = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let root = Root::new(directory.path());
    (directory, root)
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_412_533)
}

const VM: [(&str, &str); 12] = [
    (
        "proc/meminfo",
        "MemTotal: 1000 kB\nMemFree: 200 kB\nMemAvailable: 700 kB\nBuffers: 50 kB\nCached: 300 kB\n\
      SReclaimable: 50 kB\nWriteback: 9 kB\nHugePages_Total: 3\nHugepagesize: 2048 kB\nActive(anon): 5 kB\n",
    ),
    (
        "proc/cpuinfo",
        "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\n\
      stepping\t: 1\nmicrocode\t: 0x1000065\ncpu MHz\t\t: 2596.120\ncache size\t: 1024 KB\nphysical id\t: 0\ncore id\t\t: 0\n\
      flags\t\t: fpu vme\n\nprocessor\t: 1\nCPU implementer\t: 0x41\n",
    ),
    ("proc/stat", "cpu 1 2\nbtime 1795406097\n"),
    ("proc/uptime", "6436.91 5.00\n"),
    ("proc/sys/kernel/hostname", "vm\n"),
    ("proc/sys/kernel/osrelease", "6.18.44\n"),
    ("proc/1/environ", ""),
    ("proc/22/stat", ""),
    ("proc/bus/pci/devices", "0008 1af4 virtio-pci\n"),
    ("etc/debian_version", "12.11\n"),
    ("etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
    ("sys/devices/system/cpu/cpu1/cpufreq/cpuinfo_max_freq", "3000000\n"),
];

#[test]
fn a_virtual_machine() {
    let (_directory, root) = machine(&VM);
    let mut host = Host::collect_from(&root, now());
    host.disk = None;
    let json = String::from_utf8(wire::json::to_vec(&host).unwrap()).unwrap();
    let expected = concat!(
        r#"{"Memory":{"total":1024000,"available":716800,"used":409600,"usedPercent":40,"free":204800,"active":0,"#,
        r#""inactive":0,"wired":0,"laundry":0,"buffers":51200,"cached":358400,"writeBack":0,"dirty":0,"writeBackTmp":0,"#,
        r#""shared":0,"slab":0,"sreclaimable":51200,"sunreclaim":0,"pageTables":0,"swapCached":0,"commitLimit":0,"#,
        r#""committedAS":0,"highTotal":0,"highFree":0,"lowTotal":0,"lowFree":0,"swapTotal":0,"swapFree":0,"mapped":0,"#,
        r#""vmallocTotal":0,"vmallocUsed":0,"vmallocChunk":0,"hugePagesTotal":3,"hugePagesFree":0,"hugePagesRsvd":0,"#,
        r#""hugePagesSurp":0,"hugePageSize":2097152},"#,
        r#""CPU":[{"cpu":0,"vendorId":"AuthenticAMD","family":"26","model":"2","stepping":1,"physicalId":"0","#,
        r#""coreId":"0","cores":1,"modelName":"AMD EPYC","mhz":2596.12,"cacheSize":1024,"flags":["fpu","vme"],"#,
        r#""microcode":"0x1000065"},"#,
        r#"{"cpu":1,"vendorId":"ARM","family":"","model":"","stepping":0,"physicalId":"","coreId":"","cores":1,"#,
        r#""modelName":"","mhz":3000,"cacheSize":0,"flags":null,"microcode":""}],"#,
        r#""Host":{"hostname":"vm","uptime":6436,"bootTime":1795406097,"procs":2,"os":"linux","platform":"debian","#,
        r#""platformFamily":"debian","platformVersion":"12.11","kernelVersion":"6.18.44","kernelArch":"ARCH","#,
        r#""virtualizationSystem":"","virtualizationRole":"guest","hostId":"01234567-89ab-cdef-0123-456789abcdef"},"#,
        r#""Disk":null,"CollectionTime":1795412533000000000,"Errors":null}"#,
    );
    assert_eq!(json, expected.replace("ARCH", std::env::consts::ARCH));
}

#[test]
fn parts_that_cannot_be_read_are_null() {
    let (_directory, root) = machine(&[("proc/cpuinfo", "processor : x\n")]);
    let mut host = Host::collect_from(&root, now());
    host.disk = None;
    assert_eq!(
        String::from_utf8(wire::json::to_vec(&host).unwrap()).unwrap(),
        r#"{"Memory":null,"CPU":null,"Host":null,"Disk":null,"CollectionTime":1795412533000000000,"Errors":[{},{},{}]}"#
    );
}

#[test]
fn distributions_and_containers() {
    let check = |extra: &[(&str, &str)], expected: [&str; 5]| {
        let base = VM.iter().filter(|(path, _)| *path != "etc/debian_version");
        let files: Vec<_> = base.copied().chain(extra.iter().copied()).collect();
        let (_directory, root) = machine(&files);
        let found = Host::collect_from(&root, now()).host.unwrap();
        let found = [
            found.platform,
            found.platform_family,
            found.platform_version,
            found.virtualization_system,
            found.virtualization_role,
        ];
        assert_eq!(found, expected);
    };
    let ubuntu = "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=24.04\n";
    check(
        &[("etc/debian_version", "trixie/sid\n"), ("etc/lsb-release", ubuntu)],
        ["ubuntu", "debian", "24.04", "", "guest"],
    );
    check(
        &[("etc/redhat-release", "CentOS Linux release 7.9.2009 (Core)\n"), ("proc/modules", "kvm_amd 1\nvboxdrv 1\n")],
        ["centos", "rhel", "7.9.2009", "kvm", "guest"],
    );
    check(
        &[("etc/alpine-release", "3.20.1\n"), ("proc/self/cgroup", "0::/docker/1\n")],
        ["alpine", "alpine", "3.20.1", "docker", "guest"],
    );
    check(
        &[("etc/os-release", "NAME=\"Amazon Linux\"\nVERSION=\"2023\"\nID=\"amzn\"\n"), ("proc/vz/version", "")],
        ["amazon", "rhel", "2023", "openvz", "guest"],
    );
}

#[test]
fn this_machine() {
    let host = Host::collect();
    assert_eq!(host.errors, None);
    let disk = host.disk.unwrap();
    assert!(disk.total >= disk.used && disk.total > 0 && disk.path == "/");
    assert!(host.memory.unwrap().total > 0);
    assert!(!host.cpu.unwrap().is_empty());
    assert!(host.host.unwrap().procs > 0);
}
