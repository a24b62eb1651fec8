//! A lock: one key that is acquired by a session.

use std::time::Duration;

use super::{MONITOR_RETRY, Patience, RETRY, Terms, Trouble, doing, milliseconds};
use crate::cli::client::{Client, Failure, Request};
use crate::kv::cli::{Entry, entries, path, read, write};

/// Marks the key of a lock.
pub const FLAGS: u64 = 0x2ddc_cbc0_58a5_0c18;

#[derive(Clone, Debug)]
pub struct Mutex {
    pub key: String,
    pub terms: Terms,
}

impl Mutex {
    pub(super) async fn acquire(&self, client: &Client, session: &str) -> Result<bool, Trouble> {
        let mut patience = Patience::new(self.terms);
        let mut seen = 0;
        loop {
            let Some(wait) = patience.next() else { return Ok(false) };
            let (entry, index) = self.look(client, seen, Some(wait)).await.map_err(doing("read lock"))?;
            match entry {
                Some(entry) if entry.flags != FLAGS => return Err(Trouble::MutexConflict),
                Some(entry) if entry.session == session => return Ok(true),
                Some(entry) if !entry.session.is_empty() => {
                    seen = index;
                    continue;
                }
                _ => {}
            }
            let acquire = async {
                let request = write(&self.key, "", FLAGS)?.with("acquire", session);
                client.ask(request).await
            };
            if acquire.await.map_err(doing("acquire lock"))?.says_true() {
                return Ok(true);
            }
            // Somebody was faster, or the lock-delay of the last holder still runs.
            let (entry, index) = self.look(client, 0, None).await.map_err(Trouble::Plain)?;
            if entry.is_some_and(|entry| !entry.session.is_empty()) {
                seen = index;
            } else {
                seen = 0;
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    /// The key, and the index at which it looked like that.
    async fn look(&self, client: &Client, seen: u64, wait: Option<Duration>) -> Result<(Option<Entry>, u64), Failure> {
        let mut request = read(&self.key);
        if seen > 0 {
            request = request.with("index", seen.to_string());
        }
        if let Some(wait) = wait {
            request = request.with("wait", milliseconds(wait));
        }
        let answer = client.ask(request).await?;
        Ok((entries(&answer)?.into_iter().next(), answer.index()))
    }

    pub(super) async fn lost(&self, client: &Client, session: &str) {
        let (mut seen, mut retries) = (0, self.terms.monitor_retries);
        loop {
            let mut request = read(&self.key).with("consistent", "");
            if seen > 0 {
                request = request.with("index", seen.to_string());
            }
            let looked = async {
                let answer = client.ask(request).await?;
                Ok::<_, Failure>((entries(&answer)?.into_iter().next(), answer.index()))
            };
            match looked.await {
                Ok((Some(entry), index)) if entry.session == session => {
                    (seen, retries) = (index, self.terms.monitor_retries);
                }
                Ok(_) => return,
                Err(failure) if retries > 0 && failure.is_passing() => {
                    tokio::time::sleep(MONITOR_RETRY).await;
                    (seen, retries) = (0, retries - 1);
                }
                Err(_) => return,
            }
        }
    }

    pub(super) async fn release(&self, client: &Client, session: &str) -> Result<(), Trouble> {
        let release = async {
            let request = write(&self.key, "", FLAGS)?.with("release", session);
            client.ask(request).await
        };
        release.await.map(|_| ()).map_err(doing("release lock"))
    }

    pub(super) async fn clean_up(&self, client: &Client) -> Result<bool, Trouble> {
        let (entry, _) = self.look(client, 0, None).await.map_err(doing("read lock"))?;
        let Some(entry) = entry else { return Ok(true) };
        if entry.flags != FLAGS {
            return Err(Trouble::MutexConflict);
        }
        if !entry.session.is_empty() {
            return Ok(false);
        }
        let request = Request::delete(path(&self.key)).with("cas", entry.modify_index.to_string());
        let answer = client.ask(request).await.map_err(doing("remove lock"))?;
        Ok(answer.says_true())
    }
}
