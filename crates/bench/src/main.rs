//! Benchmarks that print a ratio against a limit measured in the same run on the same machine.
//!
//! `cargo run --release -p bench` builds nothing else: build the agent first (`cargo build --release -p curule`).
//! Arguments choose figures by name; without any, all are measured. Nothing here is asserted: a table is
//! printed, and a person reads it.

mod bare;
mod cluster;
mod disk;
mod dns;
mod figures;
mod load;
mod pool;
mod subject;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match arguments.first().map(String::as_str) {
        // The limits run in processes of their own, as the subject does.
        Some("bare-http") => runtime.block_on(bare::http(arguments.get(1).map_or("", String::as_str))),
        Some("bare-udp") => bare::udp(),
        Some(name) if name.starts_with('-') => bail!("figures are chosen by name, there are no flags: {name}"),
        _ => runtime.block_on(figures::run(&arguments)),
    }
}
