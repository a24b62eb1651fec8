//! Memory, from `/proc/meminfo`.
//!
//! Always true: sizes are bytes; a line that the kernel does not write is 0.
//! Not here: memory of processes.

use std::collections::HashMap;
use std::io;

use serde::Serialize;

use super::Root;

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    pub total: u64,
    pub available: u64,
    pub used: u64,
    pub used_percent: f64,
    pub free: u64,
    pub active: u64,
    pub inactive: u64,
    pub wired: u64,
    pub laundry: u64,
    pub buffers: u64,
    pub cached: u64,
    pub write_back: u64,
    pub dirty: u64,
    pub write_back_tmp: u64,
    pub shared: u64,
    pub slab: u64,
    pub sreclaimable: u64,
    pub sunreclaim: u64,
    pub page_tables: u64,
    pub swap_cached: u64,
    pub commit_limit: u64,
    #[serde(rename = "committedAS")]
    pub committed_as: u64,
    pub high_total: u64,
    pub high_free: u64,
    pub low_total: u64,
    pub low_free: u64,
    pub swap_total: u64,
    pub swap_free: u64,
    pub mapped: u64,
    pub vmalloc_total: u64,
    pub vmalloc_used: u64,
    pub vmalloc_chunk: u64,
    pub huge_pages_total: u64,
    pub huge_pages_free: u64,
    pub huge_pages_rsvd: u64,
    pub huge_pages_surp: u64,
    pub huge_page_size: u64,
}

impl Memory {
    pub(super) fn read(root: &Root) -> io::Result<Memory> {
        let text = root.read("proc/meminfo")?;
        let mut numbers = HashMap::new();
        for line in text.lines() {
            if let Some((key, value)) = line.split_once(':')
                && let Ok(number) = value.trim().trim_end_matches(" kB").parse::<u64>()
            {
                numbers.insert(key.trim(), number);
            }
        }
        let pages = |key: &str| numbers.get(key).copied().unwrap_or(0);
        let bytes = |key: &str| pages(key).saturating_mul(1024);
        let (total, free, buffers) = (bytes("MemTotal"), bytes("MemFree"), bytes("Buffers"));
        let sreclaimable = bytes("SReclaimable");
        // Compat: what slabs would give back counts as cache.
        let cached = bytes("Cached").saturating_add(sreclaimable);
        let used = total.saturating_sub(free).saturating_sub(buffers).saturating_sub(cached);
        let available =
            if numbers.contains_key("MemAvailable") { bytes("MemAvailable") } else { cached.saturating_add(free) };
        Ok(Memory {
            total,
            available,
            used,
            used_percent: if total == 0 { 0.0 } else { used as f64 / total as f64 * 100.0 },
            free,
            active: bytes("Active"),
            inactive: bytes("Inactive"),
            buffers,
            cached,
            // Compat: these two are looked up under names that the kernel spells otherwise, so they stay 0.
            write_back: bytes("WriteBack"),
            write_back_tmp: bytes("WriteBackTmp"),
            dirty: bytes("Dirty"),
            shared: bytes("Shmem"),
            slab: bytes("Slab"),
            sreclaimable,
            sunreclaim: bytes("SUnreclaim"),
            page_tables: bytes("PageTables"),
            swap_cached: bytes("SwapCached"),
            commit_limit: bytes("CommitLimit"),
            committed_as: bytes("Committed_AS"),
            high_total: bytes("HighTotal"),
            high_free: bytes("HighFree"),
            low_total: bytes("LowTotal"),
            low_free: bytes("LowFree"),
            swap_total: bytes("SwapTotal"),
            swap_free: bytes("SwapFree"),
            mapped: bytes("Mapped"),
            vmalloc_total: bytes("VmallocTotal"),
            vmalloc_used: bytes("VmallocUsed"),
            vmalloc_chunk: bytes("VmallocChunk"),
            huge_pages_total: pages("HugePages_Total"),
            huge_pages_free: pages("HugePages_Free"),
            huge_pages_rsvd: pages("HugePages_Rsvd"),
            huge_pages_surp: pages("HugePages_Surp"),
            huge_page_size: bytes("Hugepagesize"),
            // What only other systems have.
            wired: 0,
            laundry: 0,
        })
    }
}
