//! What the disk can do: how many small appends a second are on it for good.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

/// Appends of `size` bytes, each synced, per second.
pub fn sync_rate(dir: &Path, size: usize, span: Duration) -> Result<f64> {
    let path = dir.join("raw");
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path)?;
    let record = vec![0x5a; size];
    let (started, mut count) = (Instant::now(), 0u32);
    while started.elapsed() < span {
        file.write_all(&record)?;
        file.sync_data()?;
        count += 1;
    }
    let rate = f64::from(count) / started.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(rate)
}
