//! The servers that a client agent knows, and which of them it asks.
//!
//! Always true: the one at the front is asked until it fails or the order is drawn anew; who fails goes to the back; the
//! list is never longer than [`SERVERS_MAX`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::Rng;
use rand::seq::SliceRandom;

/// More servers than this are in no datacenter.
const SERVERS_MAX: usize = 256;
/// A client keeps to one server for two to three minutes at least.
const REBALANCE_MIN: Duration = Duration::from_secs(120);
const REBALANCE_JITTER: Duration = Duration::from_secs(60);
/// All clients together come anew to each server so often at most, in a second.
const REBALANCES_PER_SECOND: f64 = 64.0;

/// The servers of this datacenter. Clones are the same list.
#[derive(Debug, Clone, Default)]
pub struct Servers(Arc<Mutex<Vec<SocketAddr>>>);

impl Servers {
    /// The one to ask.
    #[must_use]
    pub fn pick(&self) -> Option<SocketAddr> {
        self.0.lock().first().copied()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// A server did not answer: the others come first.
    pub fn failed(&self, server: SocketAddr) {
        let mut servers = self.0.lock();
        if servers.first() == Some(&server) {
            servers.rotate_left(1);
        }
    }

    /// These are the servers now. Those that stay keep their order; new ones come at places that the dice say.
    pub fn set(&self, known: &[SocketAddr], dice: &mut impl Rng) {
        let mut servers = self.0.lock();
        servers.retain(|server| known.contains(server));
        for server in known.iter().take(SERVERS_MAX) {
            if !servers.contains(server) {
                let at = dice.random_range(0..=servers.len());
                servers.insert(at, *server);
            }
        }
    }

    /// Draws the order anew, so that clients spread over servers that have come.
    pub fn rebalance(&self, dice: &mut impl Rng) {
        self.0.lock().shuffle(dice);
    }

    /// When to draw anew, in a pool of so many members.
    #[must_use]
    pub fn rebalance_after(&self, members: usize, dice: &mut impl Rng) -> Duration {
        let servers = self.0.lock().len().max(1);
        let rate = REBALANCES_PER_SECOND * servers as f64;
        let spread = Duration::from_secs_f64(members as f64 / rate);
        REBALANCE_MIN.max(spread) + REBALANCE_JITTER.mul_f64(dice.random())
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::Servers;

    fn server(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 8300))
    }

    #[test]
    fn who_fails_goes_to_the_back() {
        let (servers, mut dice) = (Servers::default(), StdRng::seed_from_u64(1));
        assert_eq!(servers.pick(), None);
        servers.set(&[server(1), server(2), server(3)], &mut dice);
        let first = servers.pick().unwrap();
        servers.failed(first);
        let second = servers.pick().unwrap();
        assert_ne!(first, second);
        servers.failed(first);
        assert_eq!(servers.pick(), Some(second), "it is not the one that is asked");
        servers.set(&[server(1), server(2), server(3)], &mut dice);
        assert_eq!(servers.pick(), Some(second), "nothing new");
        servers.set(&[first], &mut dice);
        assert_eq!(servers.pick(), Some(first));
        servers.set(&[], &mut dice);
        assert!(servers.is_empty());
    }

    #[test]
    fn large_pools_draw_anew_more_rarely() {
        let (servers, mut dice) = (Servers::default(), StdRng::seed_from_u64(1));
        servers.set(&[server(1), server(2), server(3)], &mut dice);
        assert!(servers.rebalance_after(100, &mut dice).as_secs() < 181);
        assert!(servers.rebalance_after(100_000, &mut dice).as_secs() > 500);
    }
}
