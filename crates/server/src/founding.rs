//! How a cluster begins (`bootstrap_expect`).
//!
//! Every server that is to found the cluster promises itself to it; a promise is stable, and a server has given one at
//! most. Only when all of them have promised does the one with the lowest node id found the cluster; the others learn
//! of it by its first message. So two clusters never form that have a server in common: both would need its promise.
//!
//! Always true: a promise is taken back only by whoever asked for it and did not found the cluster.

use tokio::sync::oneshot;

use crate::transport::{Purpose, Standing, ask};
use crate::{Configuration, Error, Position, Request, Server};

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Founding {
    /// This server has founded the cluster, or belongs to one.
    Done,
    /// Another server is to do it: this one waits for its message.
    LeftTo(String),
    /// A server (its node id) belongs to a cluster, whose leader will take this one in.
    Exists(String),
    /// A server cannot be asked or is promised elsewhere; to be tried again.
    NotYet(String),
}

pub(crate) fn standing(position: &Position) -> Standing {
    Standing { is_member: !position.configuration.peers.is_empty(), cluster: position.configuration.cluster }
}

impl Server {
    /// Tries to found a cluster of servers (node id and RPC address), this one among them.
    pub async fn try_to_found(&self, mut servers: Vec<(String, String)>) -> Result<Founding, Error> {
        let own = standing(&self.position().borrow());
        if own.is_member {
            return Ok(Founding::Done);
        }
        servers.sort();
        servers.dedup();
        let id = self.shared.config.node_id.clone();
        let others: Vec<_> = servers.iter().filter(|(other, _)| *other != id).cloned().collect();
        for (other, address) in &others {
            match ask(address, &id, own.cluster, Purpose::Ask).await {
                Ok(standing) if standing.is_member => return Ok(Founding::Exists(other.clone())),
                Ok(_) => {}
                Err(error) => return Ok(Founding::NotYet(format!("{address}: {error}"))),
            }
        }
        if let Some((first, _)) = servers.first().filter(|(first, _)| *first != id) {
            return Ok(Founding::LeftTo(first.clone()));
        }
        // The same at every attempt: a promise that could not be given back stands for the next one.
        let cluster = replica::number_of(&format!("cluster of {id}"));
        if let Err(error) = self.promise(cluster, true).await {
            return Ok(Founding::NotYet(format!("this server: {error}")));
        }
        for (at, (_, address)) in others.iter().enumerate() {
            let asked = ask(address, &id, cluster, Purpose::Promise).await;
            if asked.as_ref().is_ok_and(|standing| standing.cluster == cluster && !standing.is_member) {
                continue;
            }
            // Also the one that did not answer: it may have promised.
            for (_, promised) in &others[..=at] {
                let _ = ask(promised, &id, cluster, Purpose::Release).await;
            }
            self.promise(cluster, false).await?;
            let reason = asked.map_or_else(|error| error.to_string(), |_| "promised to another cluster".to_owned());
            return Ok(Founding::NotYet(format!("{address}: {reason}")));
        }
        let (answer, done) = oneshot::channel();
        self.inbox.send(Request::Found { configuration: Configuration::founding(cluster, servers), answer })?;
        self.await_answer(done).await??;
        Ok(Founding::Done)
    }

    /// Why a server at this RPC address cannot be taken into the cluster; `None` when it can.
    pub async fn why_foreign(&self, address: &str) -> Option<String> {
        let own = standing(&self.position().borrow());
        match ask(address, &self.shared.config.node_id, own.cluster, Purpose::Ask).await {
            Ok(other) if other.cluster == 0 || other.cluster == own.cluster => None,
            Ok(other) if other.is_member => Some("it belongs to another cluster".to_owned()),
            Ok(_) => Some("it is promised to another cluster".to_owned()),
            Err(error) => Some(format!("it cannot be asked: {error}")),
        }
    }

    async fn promise(&self, cluster: u64, stands: bool) -> Result<(), Error> {
        let (answer, done) = oneshot::channel();
        self.inbox.send(Request::Promise { cluster, stands, answer })?;
        self.await_answer(done).await?
    }
}
