//! Reads: modes, blocking, and the facts that come with an answer.
//!
//! Always true:
//! - A blocked read is evaluated again when something that it looked at was touched, and at its end; not otherwise.
//! - While it sleeps it holds neither an answer nor a state, so that a crowd of sleepers keeps no history alive.

use std::sync::Arc;
use std::time::Duration;

use acl::Authorizer;
use rand::Rng;
use state::{Found, Index, Query, Seen, State, execute};
use tokio::time::Instant;

use crate::{Encoded, Error, Registration, Server};

/// How long a blocking read waits unless told otherwise.
const WAIT_DEFAULT: Duration = Duration::from_secs(300);
/// The longest that a blocking read waits.
const WAIT_MAX: Duration = Duration::from_secs(600);
/// Jitter on top of a wait: up to this part of it, so that a crowd does not come back at once.
const JITTER_PART: u32 = 16;

/// How fresh an answer must be (Consul documentation, "Consistency Modes").
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReadMode {
    /// From a leader that holds its lease.
    #[default]
    Default,
    /// From a leader that has just confirmed that it leads.
    Consistent,
    /// From whoever is asked; the answer says how stale it may be.
    Stale,
}

/// The options that all reads share.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// Blocks until the answer's index is above this; zero answers at once.
    pub min_index: Index,
    /// How long to block, jitter included.
    pub wait: Duration,
    pub mode: ReadMode,
}

impl ReadOptions {
    /// Bounds a wait and adds the jitter.
    pub fn blocking(index: Index, wait: Option<Duration>, mode: ReadMode, dice: &mut impl Rng) -> Self {
        let wait = wait.filter(|wait| !wait.is_zero()).unwrap_or(WAIT_DEFAULT).min(WAIT_MAX);
        if index.is_zero() {
            return ReadOptions { min_index: index, wait, mode };
        }
        let jitter = wait / JITTER_PART;
        let jitter = jitter.mul_f64(dice.random::<f64>());
        ReadOptions { min_index: index, wait: wait + jitter, mode }
    }
}

/// The facts that come with an answer.
#[derive(Debug, Clone, Copy, Default)]
pub struct QueryMeta {
    pub index: Index,
    pub known_leader: bool,
    pub last_contact: Duration,
    pub mode: ReadMode,
    /// Rows were left out for want of permission.
    pub filtered: bool,
}

/// An answer with its facts.
#[derive(Debug, Clone)]
pub struct Answer<A> {
    pub answer: A,
    pub meta: QueryMeta,
}

/// What a read came to when kept answers will do.
#[derive(Debug)]
pub enum SharedAnswer<A> {
    /// Somebody else's answer to the same question; nothing of it was touched since.
    Kept(Encoded),
    /// A new answer, which may be kept: see [`crate::AnswerCache::put`].
    Fresh { answer: Answer<A>, seen: Seen, state: Arc<State> },
    /// Another server's answer; nobody here knows when it ends to be true.
    Far(Answer<A>),
}

/// Why a blocked read goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awake {
    /// It never slept.
    First,
    Touched,
    /// A restore put another state in the place of the one that was looked at: indexes of the two do not compare.
    Replaced,
    TimeIsUp,
}

impl Server {
    /// Evaluates a query, waiting for a change if the options say so. `seen` gets the topics of the answer,
    /// the returned state is the one that it was evaluated on.
    pub async fn read<Q: Query>(
        &self,
        query: &Q,
        options: &ReadOptions,
        may: &Arc<dyn Authorizer>,
        seen: &mut Seen,
    ) -> Result<(Answer<Q::Answer>, Arc<State>), Error> {
        match self.read_shared(query, options, may, None).await? {
            SharedAnswer::Fresh { answer, seen: noted, state } => {
                *seen = noted;
                Ok((answer, state))
            }
            SharedAnswer::Kept(_) | SharedAnswer::Far(_) => {
                unreachable!("a kept answer is given for a key only, and this server asks no other")
            }
        }
    }

    /// The same, but takes the kept answer to the question `key` when there is one. Ask only with a key that says
    /// everything that the answer depends on, for a token that may see everything.
    pub async fn read_shared<Q: Query>(
        &self,
        query: &Q,
        options: &ReadOptions,
        may: &Arc<dyn Authorizer>,
        key: Option<&str>,
    ) -> Result<SharedAnswer<Q::Answer>, Error> {
        self.shared.queries.increment(1);
        // Nobody who is answered at once asks what time it is.
        let deadline = (!options.min_index.is_zero()).then(|| Instant::now() + options.wait);
        let mut awake = Awake::First;
        loop {
            let is_proven = self.prove(options.mode).await?;
            let is_new = |index: Index| {
                options.min_index.is_zero()
                    || index.0.max(1) > options.min_index.0
                    || matches!(awake, Awake::Replaced | Awake::TimeIsUp)
            };
            if let Some(encoded) =
                key.filter(|_| options.mode != ReadMode::Consistent).and_then(|key| self.answers().get(key))
                && is_new(encoded.index)
            {
                if !is_proven && !self.holds_lease() {
                    continue;
                }
                return Ok(SharedAnswer::Kept(encoded));
            }
            let registration = {
                let (state, mut seen) = (self.state(), Seen::default());
                let found = execute(query, &state, &mut seen, &**may)?;
                if is_new(found.index) {
                    if !is_proven && !self.holds_lease() {
                        // The lease ended meanwhile: once more, after asking.
                        continue;
                    }
                    return Ok(SharedAnswer::Fresh { answer: self.answer(found, options.mode), seen, state });
                }
                if awake == Awake::Touched {
                    metrics::counter!("curule.watch.spurious").increment(1);
                }
                // What was touched after this state was published is remembered, and wakes at once.
                self.watch(&seen, &state)
            };
            let deadline = deadline.expect("who has seen no index is answered at once");
            awake = match tokio::time::timeout_at(deadline, registration.touched()).await {
                Err(_) => Awake::TimeIsUp,
                Ok(()) if registration.signal().is_replaced() => Awake::Replaced,
                Ok(()) => Awake::Touched,
            };
        }
    }

    /// Watches what was seen in a state: [`Registration::touched`] returns at the first change since.
    #[must_use]
    pub fn watch(&self, seen: &Seen, state: &State) -> Registration {
        self.registry().register(seen, state.applied())
    }

    /// Refuses what this server must not answer. Says whether a state that is taken from now on may be answered from as
    /// it is; otherwise the lease must still hold after the state was taken.
    async fn prove(&self, mode: ReadMode) -> Result<bool, Error> {
        match mode {
            // Who has never caught up would say that there is nothing.
            ReadMode::Stale if self.state().applied().is_zero() => Err(Error::NoLeader),
            ReadMode::Stale => Ok(true),
            ReadMode::Default if self.holds_lease() => Ok(false),
            ReadMode::Default | ReadMode::Consistent => self.confirm().await.map(|()| true),
        }
    }

    /// Whether an answer kept from earlier may be given in this mode.
    #[must_use]
    pub fn may_answer_from_memory(&self, mode: ReadMode) -> bool {
        match mode {
            ReadMode::Stale => true,
            ReadMode::Default => self.holds_lease(),
            ReadMode::Consistent => false,
        }
    }

    /// The facts of an answer at an index.
    #[must_use]
    pub fn meta(&self, index: Index, mode: ReadMode) -> QueryMeta {
        QueryMeta {
            index: Index(index.0.max(1)),
            known_leader: self.is_leader() || self.leader().is_some(),
            last_contact: self.last_contact(),
            mode,
            filtered: false,
        }
    }

    fn answer<A>(&self, found: Found<A>, mode: ReadMode) -> Answer<A> {
        let meta = QueryMeta { filtered: found.filtered, ..self.meta(found.index, mode) };
        Answer { answer: found.answer, meta }
    }
}
