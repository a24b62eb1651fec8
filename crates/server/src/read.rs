//! Reads: modes, blocking, and the facts that come with an answer.

use std::sync::Arc;
use std::time::Duration;

use acl::Authorizer;
use rand::Rng;
use state::{Found, Index, Query, Seen, State, execute};
use tokio::time::Instant;

use crate::watch::Registration;
use crate::{Error, Server};

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
        self.check_mode(options.mode).await?;
        let deadline = Instant::now() + options.wait;
        loop {
            let state = self.state();
            *seen = Seen::default();
            let found = execute(query, &state, seen, &**may)?;
            if options.min_index.is_zero() || found.index.0.max(1) > options.min_index.0 {
                return Ok((self.answer(found, options.mode), state));
            }
            if !self.sleep(seen, &state, deadline).await {
                return Ok((self.answer(found, options.mode), state));
            }
            self.check_mode(options.mode).await?;
        }
    }

    /// Sleeps until something that was seen changes; `false` when the time is up.
    ///
    /// The registration comes after the evaluation, so what was published in between is looked for: nothing
    /// that happened after `state` goes unnoticed.
    async fn sleep(&self, seen: &Seen, state: &Arc<State>, deadline: Instant) -> bool {
        let registration = self.registry().register(seen);
        if !Arc::ptr_eq(&self.state(), state) {
            return true;
        }
        self.sleep_on(registration, deadline).await
    }

    async fn sleep_on(&self, registration: Registration, deadline: Instant) -> bool {
        tokio::time::timeout_at(deadline, registration.signal().touched()).await.is_ok()
    }

    /// Refuses what this server must not answer.
    async fn check_mode(&self, mode: ReadMode) -> Result<(), Error> {
        match mode {
            ReadMode::Stale => Ok(()),
            ReadMode::Default if self.is_leader() => Ok(()),
            ReadMode::Default => Err(Error::NoLeader),
            ReadMode::Consistent => self.confirm().await,
        }
    }

    /// Whether an answer kept from earlier may be given in this mode.
    #[must_use]
    pub fn may_answer_from_memory(&self, mode: ReadMode) -> bool {
        match mode {
            ReadMode::Stale => true,
            ReadMode::Default => self.is_leader(),
            ReadMode::Consistent => false,
        }
    }

    /// The facts of an answer at an index.
    #[must_use]
    pub fn meta(&self, index: Index, mode: ReadMode) -> QueryMeta {
        QueryMeta {
            index: Index(index.0.max(1)),
            known_leader: self.is_leader(),
            last_contact: Duration::ZERO,
            mode,
            filtered: false,
        }
    }

    fn answer<A>(&self, found: Found<A>, mode: ReadMode) -> Answer<A> {
        let meta = QueryMeta { filtered: found.filtered, ..self.meta(found.index, mode) };
        Answer { answer: found.answer, meta }
    }
}
