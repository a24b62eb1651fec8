//! Answers to lookups that came from elsewhere: a client agent has no state, so it learns from a first attempt at a reply
//! what is to be asked, asks, and tries again.
//!
//! Always true: what was fetched is used for one request only, so that nothing here is ever old.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use acl::{AllowAll, Authorizer};
use agent::Cluster;
use server::rpc::Carried;
use server::{ReadMode, ReadOptions};
use state::{Error, Found};

use super::Context;

/// A query by its method and its bytes.
type Key = (&'static str, Vec<u8>);
type Known = Arc<dyn Any + Send + Sync>;
type Fetching = Pin<Box<dyn Future<Output = (Key, Known)> + Send>>;
type Fetch = Box<dyn FnOnce(Cluster) -> Fetching + Send>;

/// What is known, and what was missed.
#[derive(Default)]
pub struct Fetched {
    known: HashMap<Key, Known>,
    wanted: RefCell<Vec<Fetch>>,
}

impl Fetched {
    pub(crate) fn with(known: HashMap<Key, Known>) -> Self {
        Fetched { known, wanted: RefCell::default() }
    }

    /// What is known, and what would have to be.
    pub(crate) fn split(self) -> (HashMap<Key, Known>, Vec<Fetch>) {
        (self.known, self.wanted.into_inner())
    }

    fn ask<Q>(&self, query: &Q) -> Result<Found<Q::Answer>, Error>
    where
        Q: Carried,
        Q::Answer: Clone,
    {
        let key = (Q::METHOD, wire::msgpack::to_vec(query).map_err(|error| Error::failed(error.to_string()))?);
        if let Some(known) = self.known.get(&key) {
            return match known.downcast_ref::<Result<Found<Q::Answer>, Error>>() {
                Some(found) => found.clone(),
                None => Err(Error::failed("another answer")),
            };
        }
        let query = query.clone();
        self.wanted.borrow_mut().push(Box::new(move |cluster| Box::pin(fetch(cluster, query, key))));
        Err(Error::failed("to be fetched"))
    }
}

/// Compat: the DNS face takes what any server says (`dns_config.allow_stale`).
async fn fetch<Q: Carried>(cluster: Cluster, query: Q, key: Key) -> (Key, Known) {
    let may: Arc<dyn Authorizer> = Arc::new(AllowAll);
    let options = ReadOptions { mode: ReadMode::Stale, ..ReadOptions::default() };
    let read = cluster.read(&query, &options, &may).await;
    let found: Result<Found<Q::Answer>, Error> = match read {
        Ok(answer) => Ok(Found::new(answer.meta.index, answer.answer)),
        Err(server::Error::Refused(error)) => Err(error),
        Err(error) => Err(Error::failed(error.to_string())),
    };
    (key, Arc::new(found))
}

impl Context<'_> {
    /// Looks something up: in the state, or in what was fetched.
    pub(super) fn ask<Q>(&self, query: &Q) -> Result<Found<Q::Answer>, Error>
    where
        Q: Carried,
        Q::Answer: Clone,
    {
        match self.fetched {
            Some(fetched) => fetched.ask(query),
            None => state::execute(query, self.state, &mut state::Seen::default(), self.may),
        }
    }
}
