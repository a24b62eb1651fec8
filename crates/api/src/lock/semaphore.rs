//! A semaphore: one key that lists the holders, and a key for each contender that shows that its session lives.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{KEY, MONITOR_RETRY, Patience, Terms, Trouble, doing, milliseconds};
use crate::cli::client::{Client, Failure, Request};
use crate::kv::cli::{Entry, entries, joined, list, path, read, write};

/// Marks the keys of a semaphore.
pub const FLAGS: u64 = 0xe0f6_9a2b_aa41_4de0;

#[derive(Clone, Debug)]
pub struct Semaphore {
    pub prefix: String,
    pub limit: i64,
    pub terms: Terms,
}

/// What the key says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Holders {
    pub limit: i64,
    pub holders: BTreeMap<String, bool>,
}

impl Holders {
    pub(super) fn decode(entry: &Entry, limit: i64) -> Result<Holders, Trouble> {
        if entry.value.is_none() {
            return Ok(Holders { limit, holders: BTreeMap::new() });
        }
        let octets = entry.octets().map_err(|failure| Trouble::Unreadable(failure.to_string()))?;
        let options = wire::json::Options { mode: wire::json::Mode::Unmarshal, ..wire::json::Options::LENIENT };
        wire::json::from_slice(&octets, options).map_err(|error| Trouble::Unreadable(error.to_string()))
    }

    /// Forgets holders whose session no longer holds any key under the prefix.
    pub(super) fn forget_dead(&mut self, entries: &[Entry]) {
        let alive: BTreeSet<&str> = entries.iter().map(|entry| entry.session.as_str()).collect();
        self.holders.retain(|holder, _| alive.contains(holder.as_str()));
    }
}

impl Semaphore {
    fn key(&self) -> String {
        joined(&self.prefix, KEY)
    }

    fn contender(&self, session: &str) -> String {
        joined(&self.prefix, session)
    }

    /// The key among the entries; if there is none yet, what it would be.
    fn find(&self, entries: &[Entry]) -> Entry {
        let key = self.key();
        let found = entries.iter().find(|entry| entry.key == key).cloned();
        found.unwrap_or_else(|| Entry { flags: FLAGS, ..Entry::default() })
    }

    async fn look(
        &self,
        client: &Client,
        seen: u64,
        wait: Option<Duration>,
        consistent: bool,
    ) -> Result<(Vec<Entry>, u64), Failure> {
        let mut request = list(&self.prefix).with_if(consistent, "consistent");
        if seen > 0 {
            request = request.with("index", seen.to_string());
        }
        if let Some(wait) = wait {
            request = request.with("wait", milliseconds(wait));
        }
        let answer = client.ask(request).await?;
        Ok((entries(&answer)?, answer.index()))
    }

    /// Writes the holders unless the key changed since `modify_index`.
    async fn set(&self, client: &Client, holders: &Holders, modify_index: u64) -> Result<bool, Failure> {
        let value = wire::json::to_vec(holders).map_err(|error| Failure::Answer(error.to_string()))?;
        let request = write(&self.key(), value, FLAGS)?.with("cas", modify_index.to_string());
        Ok(client.ask(request).await?.says_true())
    }

    pub(super) async fn acquire(&self, client: &Client, session: &str) -> Result<bool, Trouble> {
        let contend = async {
            let request = write(&self.contender(session), "", FLAGS)?.with("acquire", session);
            client.ask(request).await
        };
        if !contend.await.map_err(doing("make contender entry"))?.says_true() {
            return Err(Trouble::NoContender);
        }
        let mut patience = Patience::new(self.terms);
        let mut seen = 0;
        loop {
            let Some(wait) = patience.next() else { return Ok(false) };
            let (entries, index) = self.look(client, seen, Some(wait), false).await.map_err(doing("read prefix"))?;
            let entry = self.find(&entries);
            if entry.flags != FLAGS {
                return Err(Trouble::SemaphoreConflict);
            }
            let mut holders = Holders::decode(&entry, self.limit)?;
            if holders.limit != self.limit {
                return Err(Trouble::LimitConflict { lock: holders.limit, local: self.limit });
            }
            holders.forget_dead(&entries);
            if holders.holders.len() as i128 >= i128::from(holders.limit) {
                seen = index;
                continue;
            }
            holders.holders.insert(session.to_owned(), true);
            if self.set(client, &holders, entry.modify_index).await.map_err(doing("update lock"))? {
                return Ok(true);
            }
        }
    }

    pub(super) async fn lost(&self, client: &Client, session: &str) {
        let (mut seen, mut retries) = (0, self.terms.monitor_retries);
        loop {
            match self.look(client, seen, None, true).await {
                Ok((entries, index)) => {
                    let Ok(mut holders) = Holders::decode(&self.find(&entries), self.limit) else { return };
                    holders.forget_dead(&entries);
                    if !holders.holders.contains_key(session) {
                        return;
                    }
                    (seen, retries) = (index, self.terms.monitor_retries);
                }
                Err(failure) if retries > 0 && failure.is_passing() => {
                    tokio::time::sleep(MONITOR_RETRY).await;
                    (seen, retries) = (0, retries - 1);
                }
                Err(_) => return,
            }
        }
    }

    pub(super) async fn release(&self, client: &Client, session: &str) -> Result<(), Trouble> {
        loop {
            let answer = client.ask(read(&self.key())).await.map_err(Trouble::Plain)?;
            let found = entries(&answer).map_err(Trouble::Plain)?;
            let entry = found.into_iter().next().unwrap_or_default();
            let mut holders = Holders::decode(&entry, self.limit)?;
            if holders.holders.remove(session).is_none() {
                break;
            }
            if self.set(client, &holders, entry.modify_index).await.map_err(doing("update lock"))? {
                break;
            }
        }
        let request = Request::delete(path(&self.contender(session)));
        client.ask(request).await.map(|_| ()).map_err(Trouble::Plain)
    }

    pub(super) async fn clean_up(&self, client: &Client) -> Result<bool, Trouble> {
        let (entries, _) = self.look(client, 0, None, false).await.map_err(doing("read prefix"))?;
        let entry = self.find(&entries);
        if entry.modify_index == 0 {
            return Ok(true);
        }
        if entry.flags != FLAGS {
            return Err(Trouble::SemaphoreConflict);
        }
        let mut holders = Holders::decode(&entry, self.limit)?;
        holders.forget_dead(&entries);
        if !holders.holders.is_empty() {
            return Ok(false);
        }
        let request = Request::delete(path(&self.key())).with("cas", entry.modify_index.to_string());
        let answer = client.ask(request).await.map_err(doing("remove semaphore"))?;
        Ok(answer.says_true())
    }
}
