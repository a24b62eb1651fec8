//! The config entries of the configuration (`config_entries.bootstrap`): whoever becomes leader creates those that do
//! not exist.
//!
//! Always true: what is wrong with any of them is told before the agent starts; an entry that exists is left alone.

use acl::AllowAll;
use config::runtime::Runtime;
use serde_json::Value;
use server::Server;
use state::config_entry::{ConfigEntryRequest, Entry, Op};
use state::{Command, Index};

/// The entries that are written down.
pub fn compile(runtime: &Runtime) -> Result<Vec<Entry>, String> {
    let written = runtime.merged.root.frees("config_entries.bootstrap").iter().enumerate();
    written
        .map(|(at, entry)| {
            let tree = Value::Object(entry.clone().into_iter().collect());
            Entry::from_tree(&tree)
                .and_then(|entry| entry.checked().map_err(|error| error.to_string()))
                .map_err(|error| format!("config_entries.bootstrap[{at}]: {error}"))
        })
        .collect()
}

/// Creates the entries that do not exist.
pub async fn create(server: &Server, datacenter: &str, entries: &[Entry]) {
    for entry in entries {
        // Nothing is asked of the other servers in vain.
        if server.state().has_config_entry(entry) {
            continue;
        }
        // Index zero: only if there is none.
        let mut entry = entry.clone();
        entry.modify_index = Index(0);
        let (kind, name) = (entry.kind(), entry.name().to_owned());
        let request =
            ConfigEntryRequest { op: Op::UpsertCas, datacenter: datacenter.to_owned(), entry: Box::new(entry) };
        if let Err(error) = server.write(Command::ConfigEntry(request), &AllowAll).await {
            tracing::error!(
                target: "agent.server",
                "Failed to apply configuration entry {kind:?} / {name:?}: {error}"
            );
        }
    }
}

/// Does so whenever this server comes to lead.
pub async fn keep_present(server: Server, datacenter: String, entries: Vec<Entry>) {
    if entries.is_empty() {
        return;
    }
    let mut position = server.position();
    let mut led = false;
    loop {
        let leads = position.borrow_and_update().leads;
        if leads && !led {
            create(&server, &datacenter, &entries).await;
        }
        led = leads;
        if position.changed().await.is_err() {
            return;
        }
    }
}
