//! What a run tries: how many servers and clients, which faults how often, which rule is broken on purpose.

use crate::cluster::disk::Lie;

/// A rule that is broken on purpose, to see that the invariants notice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Planted {
    #[default]
    Nothing,
    /// Appends are said to be stable before they are.
    Unsynced,
    /// Snapshots hold an older state than they say.
    SnapshotsLie,
    /// `default` reads are answered by whoever once led, without a look at the lease.
    ReadsWithoutLease,
    /// `consistent` reads are answered without asking.
    ConfirmsUnasked,
    /// `default` reads are answered by followers.
    ReadsFromFollowers,
    /// What a leader refused for want of leadership is counted as done.
    AcknowledgesEarly,
    /// The clock of whoever comes to lead runs five times too slowly.
    WildClocks,
}

impl Planted {
    /// All that must be noticed.
    pub const ALL: [Planted; 7] = [
        Planted::Unsynced,
        Planted::SnapshotsLie,
        Planted::ReadsWithoutLease,
        Planted::ConfirmsUnasked,
        Planted::ReadsFromFollowers,
        Planted::AcknowledgesEarly,
        Planted::WildClocks,
    ];

    pub(crate) fn lie(self) -> Lie {
        match self {
            Planted::Unsynced => Lie::Unsynced,
            _ => Lie::None,
        }
    }
}

/// One run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    pub seed: u64,
    pub servers: usize,
    pub clients: usize,
    /// Seconds with faults; a quiet time follows, in which everything has to come right.
    pub seconds: u64,
    /// How often faults happen, as a factor of what is usual.
    pub faults: f64,
    pub planted: Planted,
}

impl Plan {
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        let servers = if seed.is_multiple_of(4) { 5 } else { 3 };
        Plan { seed, servers, clients: 5, seconds: 40, faults: 1.0, planted: Planted::Nothing }
    }
}
