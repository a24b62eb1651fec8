//! The file system that holds a path.
//!
//! Always true: `used` is what is taken, `free` what an ordinary user may still take; the percentage is of their sum.
//! Not here: other mounts, transfer counts.

use std::io;

use nix::sys::statfs::statfs;
use serde::Serialize;

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Disk {
    pub path: String,
    /// Empty when the type is none of the known ones.
    pub fstype: String,
    pub total: u64,
    pub free: u64,
    pub used: u64,
    pub used_percent: f64,
    pub inodes_total: u64,
    pub inodes_used: u64,
    pub inodes_free: u64,
    pub inodes_used_percent: f64,
}

/// Numbers of file systems that a machine is likely to run from (`statfs(2)`), and the reference's words for them.
const TYPES: [(i64, &str); 16] = [
    (0xEF53, "ext2/ext3"),
    (0x5846_5342, "xfs"),
    (0x9123_683E, "btrfs"),
    (0x794C_7630, "overlayfs"),
    (0x0102_1994, "tmpfs"),
    (0x2FC1_2FC1, "zfs"),
    (0xF2F5_2010, "f2fs"),
    (0x6969, "nfs"),
    (0xFF53_4D42, "cifs"),
    (0x00C3_6400, "ceph"),
    (0x6573_5546, "fuseblk"),
    (0x6175_6673, "aufs"),
    (0x5265_4973, "reiserfs"),
    (0x3153_464A, "jfs"),
    (0x8584_58F6, "ramfs"),
    (0x7371_7368, "squashfs"),
];

impl Disk {
    pub(super) fn of(path: &str) -> io::Result<Disk> {
        let found = statfs(path)?;
        let block = u64::try_from(found.block_size()).unwrap_or(0);
        let size = |blocks: u64| blocks.saturating_mul(block);
        #[allow(clippy::useless_conversion)] // The number's width depends on the machine.
        let number = i64::from(found.filesystem_type().0);
        let (inodes_total, inodes_free) = (found.files(), found.files_free());
        let mut disk = Disk {
            path: path.to_owned(),
            fstype: TYPES.into_iter().find(|(known, _)| *known == number).map_or("", |(_, name)| name).to_owned(),
            total: size(found.blocks()),
            free: size(found.blocks_available()),
            used: size(found.blocks().saturating_sub(found.blocks_free())),
            inodes_total,
            inodes_free,
            ..Disk::default()
        };
        disk.used_percent = percent(disk.used, disk.used.saturating_add(disk.free));
        if inodes_total >= inodes_free {
            disk.inodes_used = inodes_total - inodes_free;
            disk.inodes_used_percent = percent(disk.inodes_used, inodes_total);
        }
        Ok(disk)
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 }
}
