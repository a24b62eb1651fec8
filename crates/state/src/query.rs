//! Reads as values.

use acl::Authorizer;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Index, Seen, State};

/// An answer with the index at which it last changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<A> {
    /// `X-Consul-Index` of the answer, as the reference computes it for this kind of query.
    pub index: Index,
    pub answer: A,
    /// Rows were left out because the token may not see them.
    pub filtered: bool,
}

impl<A> Found<A> {
    #[must_use]
    pub fn new(index: Index, answer: A) -> Self {
        Found { index, answer, filtered: false }
    }
}

/// A read. Its fields are what the reference's RPC method of the same meaning carries (protocols.md A5),
/// less the common read options, which the executor owns.
///
/// Both halves of authorization are required methods, so that no query exists without them: `authorize`
/// refuses the query as a whole, `redact` drops the rows that the token may not see.
pub trait Query: Clone + Send + Sync + Serialize + DeserializeOwned + 'static {
    /// RPC method that carries this query between agents.
    const METHOD: &'static str;
    type Answer: Send + Sync + 'static;

    /// Refuses the whole query, or lets it run. `Ok(())` for queries whose rows are redacted instead.
    fn authorize(&self, state: &State, may: &dyn Authorizer) -> Result<(), Error>;

    /// Evaluates on one state. Everything that the answer depends on is noted in `seen`.
    fn run(&self, state: &State, seen: &mut Seen) -> Result<Found<Self::Answer>, Error>;

    /// Drops what the token may not see; says whether anything was dropped.
    fn redact(&self, answer: &mut Self::Answer, may: &dyn Authorizer) -> bool;
}

/// The one place where queries are evaluated: authorize, run, redact.
pub fn execute<Q: Query>(
    query: &Q,
    state: &State,
    seen: &mut Seen,
    may: &dyn Authorizer,
) -> Result<Found<Q::Answer>, Error> {
    query.authorize(state, may)?;
    let mut found = query.run(state, seen)?;
    if !may.allows_everything() {
        found.filtered = query.redact(&mut found.answer, may);
    }
    Ok(found)
}
