//! Until when a leader may answer without asking its peers.
//!
//! Always true: while [`Lease::holds`], no other server leads. A server that gives its lease up has done so before it
//! says anything to others that could let one lead.
//!
//! Raft dissertation, section 6.4.1, with three rules of our own: a lease counts from the moment at which the heartbeats
//! were *sent*; a server that has just begun does not vote until everybody to whom it may have answered before has
//! waited long enough; and a leader that has once begun to hand over has no lease for the rest of its term, since
//! the other may campaign at any time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Moment;

/// Read by everybody who answers, written by the replica.
#[derive(Debug, Clone, Default)]
pub struct Lease(Arc<AtomicU64>);

impl Lease {
    /// Whether this server is the only leader at this moment.
    #[must_use]
    pub fn holds(&self, now: Moment) -> bool {
        self.0.load(Ordering::Acquire) > now.0
    }

    pub(crate) fn extend(&self, until: Moment) {
        self.0.fetch_max(until.0, Ordering::AcqRel);
    }

    pub(crate) fn revoke(&self) {
        self.0.store(0, Ordering::Release);
    }
}
