//! What only the leader does, as deadlines and commands: session expiry, tombstone reaping, lock-delay.
//!
//! Times are the leader's own and monotonic; they are no part of the replicated state. A new leader starts
//! every timer afresh, which makes expiry late, never early.

use std::collections::{BTreeMap, BTreeSet};

use state::session::{DESTROY, Session, SessionRequest};
use state::tombstone::TombstoneRequest;
use state::{Command, Effect, Index, State};

/// A point in time: nanoseconds since the process chose to count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// This much later; negative spans count as none.
    #[must_use]
    pub fn after_ns(self, span: i64) -> Moment {
        Moment(self.0.saturating_add(u64::try_from(span).unwrap_or(0)))
    }
}

/// Compat: the reference lets a session live for twice its TTL, and clients send half of what they mean.
const TTL_FACTOR: i64 = 2;
/// Tombstones are kept this long, so that watchers of a prefix hear of deletions.
const TOMBSTONE_TTL_NS: i64 = 15 * 60 * 1_000_000_000;
/// Reaping happens in steps of this, so that one log entry serves many deletions.
const TOMBSTONE_STEP_NS: i64 = 30 * 1_000_000_000;
/// A duty that could not be done is tried again after this.
const RETRY_NS: i64 = 1_000_000_000;
/// No lock-delay is longer, whatever a session from elsewhere says.
const LOCK_DELAY_MAX_NS: i64 = 60 * 1_000_000_000;
/// One turn expires at most this many sessions.
const EXPIRIES_PER_TURN: usize = 256;

/// The leader's timers.
#[derive(Debug, Default)]
pub struct Duties {
    expiry_by_session: BTreeMap<String, Moment>,
    sessions_by_expiry: BTreeSet<(Moment, String)>,
    /// When tombstones up to an index may be reaped.
    reap_at: BTreeMap<Moment, Index>,
    /// Reaping up to here is proposed and not applied yet.
    reaping: Option<Index>,
    lock_delays: BTreeMap<String, Moment>,
}

impl Duties {
    /// Timers for a state that was just recovered.
    #[must_use]
    pub fn new(state: &State, now: Moment) -> Self {
        let mut duties = Duties::default();
        duties.lead(state, now);
        duties
    }

    /// Leadership begins: every session gets its full time.
    pub fn lead(&mut self, state: &State, now: Moment) {
        self.expiry_by_session.clear();
        self.sessions_by_expiry.clear();
        for session in state.sessions() {
            self.renew(session, now);
        }
        let reaped = state.applied();
        if !reaped.is_zero() {
            self.reap_at.insert(step(now.after_ns(TOMBSTONE_TTL_NS)), reaped);
        }
    }

    /// Another state takes over: no timer of this one counts.
    pub fn forget_everything(&mut self) {
        *self = Duties::default();
    }

    /// How many sessions have a running TTL.
    #[must_use]
    pub fn timed_sessions(&self) -> usize {
        self.expiry_by_session.len()
    }

    /// What was proposed was not stored: it is due again.
    pub fn not_done(&mut self, now: Moment) {
        if let Some(index) = self.reaping.take() {
            self.reap_at.insert(now.after_ns(RETRY_NS), index);
        }
    }

    /// Tombstones up to an index are gone, whoever asked for it.
    pub fn reaped(&mut self, index: Index) {
        self.reap_at.retain(|_, due| *due > index);
    }

    /// Keys are locked again, so their delays are over: they are replayed with the log, long after their time.
    pub fn locked(&mut self, keys: &[String]) {
        for key in keys {
            self.lock_delays.remove(key);
        }
    }

    /// A session was created or renewed.
    pub fn renew(&mut self, session: &Session, now: Moment) {
        self.expire(&session.id, session.ttl_ns(), now);
    }

    fn expire(&mut self, id: &str, ttl_ns: i64, now: Moment) {
        self.forget(id);
        if ttl_ns > 0 {
            let at = now.after_ns(ttl_ns.saturating_mul(TTL_FACTOR));
            self.expiry_by_session.insert(id.to_owned(), at);
            self.sessions_by_expiry.insert((at, id.to_owned()));
        }
    }

    fn forget(&mut self, id: &str) {
        if let Some(at) = self.expiry_by_session.remove(id) {
            self.sessions_by_expiry.remove(&(at, id.to_owned()));
        }
    }

    /// Takes in what an applied command asks for.
    pub fn note(&mut self, effects: &[Effect], index: Index, now: Moment) {
        if effects.iter().any(|effect| matches!(effect, Effect::LockDelayed { .. })) {
            self.lock_delays.retain(|_, until| *until > now);
        }
        for effect in effects {
            match effect {
                Effect::SessionCreated { id, ttl_ns } => self.expire(id, *ttl_ns, now),
                Effect::SessionDestroyed { id } => self.forget(id),
                Effect::LockDelayed { key, delay_ns } => {
                    let delay = (*delay_ns).min(LOCK_DELAY_MAX_NS);
                    self.lock_delays.insert(key.clone(), now.after_ns(delay));
                }
                Effect::TombstonesMade => {
                    self.reap_at.insert(step(now.after_ns(TOMBSTONE_TTL_NS)), index);
                }
            }
        }
    }

    /// Whether a lock was lost so recently that nobody may take it.
    #[must_use]
    pub fn is_lock_delayed(&self, key: &str, now: Moment) -> bool {
        self.lock_delays.get(key).is_some_and(|until| *until > now)
    }

    /// The commands that are due; each is due again shortly unless its effect is noted.
    pub fn due(&mut self, state: &State, now: Moment) -> Vec<Command> {
        let mut commands = Vec::new();
        let expired: Vec<_> =
            self.sessions_by_expiry.iter().take_while(|(at, _)| *at <= now).take(EXPIRIES_PER_TURN).cloned().collect();
        for (_, id) in expired {
            self.forget(&id);
            let Some(session) = state.session_by_id(&id) else { continue };
            let retry = now.after_ns(RETRY_NS);
            self.expiry_by_session.insert(id.clone(), retry);
            self.sessions_by_expiry.insert((retry, id.clone()));
            let session = Session { id, node: session.node.clone(), ..Session::default() };
            commands.push(Command::Session(SessionRequest { op: DESTROY.to_owned(), session, ..Default::default() }));
        }
        let later = self.reap_at.split_off(&Moment(now.0 + 1));
        let ripe = std::mem::replace(&mut self.reap_at, later);
        if let Some(reap_index) = ripe.into_values().max() {
            self.reaping = Some(reap_index);
            let request = TombstoneRequest { op: "reap".to_owned(), reap_index, ..TombstoneRequest::default() };
            commands.push(Command::Tombstone(request));
        }
        commands
    }

    /// When the next duty is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        let session = self.sessions_by_expiry.first().map(|(at, _)| *at);
        let reap = self.reap_at.first_key_value().map(|(at, _)| *at);
        session.into_iter().chain(reap).min()
    }
}

/// The next full step at or after a moment.
fn step(moment: Moment) -> Moment {
    let step = u64::try_from(TOMBSTONE_STEP_NS).unwrap_or(1);
    Moment(moment.0.div_ceil(step) * step)
}

#[cfg(test)]
mod tests {
    use state::{Command, Effect, Index, State};

    use super::{Duties, Moment};

    const SECOND: i64 = 1_000_000_000;

    fn at(seconds: i64) -> Moment {
        Moment(0).after_ns(seconds * SECOND)
    }

    #[test]
    fn locks_are_refused_for_the_delay_and_no_longer() {
        let mut duties = Duties::default();
        duties.note(&[Effect::LockDelayed { key: "a".into(), delay_ns: 15 * SECOND }], Index(5), at(0));
        assert!(duties.is_lock_delayed("a", at(14)));
        assert!(!duties.is_lock_delayed("a", at(15)));
        assert!(!duties.is_lock_delayed("b", at(1)));
    }

    #[test]
    fn tombstones_are_reaped_in_steps_after_their_time() {
        let mut duties = Duties::default();
        let state = State::default();
        duties.note(&[Effect::TombstonesMade], Index(5), at(1));
        duties.note(&[Effect::TombstonesMade], Index(6), at(2));
        assert_eq!(duties.deadline(), Some(at(930)));
        assert_eq!(duties.due(&state, at(929)), []);
        let due = duties.due(&state, at(930));
        assert!(matches!(&due[..], [Command::Tombstone(request)] if request.reap_index == Index(6)), "{due:?}");
        assert_eq!(duties.deadline(), None);
    }

    #[test]
    fn a_session_that_is_gone_expires_nowhere() {
        let mut duties = Duties::default();
        duties.note(&[Effect::SessionCreated { id: "s".into(), ttl_ns: 10 * SECOND }], Index(5), at(0));
        assert_eq!(duties.deadline(), Some(at(20)));
        duties.note(&[Effect::SessionDestroyed { id: "s".into() }], Index(6), at(1));
        assert_eq!(duties.deadline(), None);
    }
}
