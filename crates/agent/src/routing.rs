//! Which server a client agent asks: those that gossip knows, in an order that is this agent's own.
//!
//! The first of the list is asked until it fails or the list is shuffled, so that connections are kept and the agents of
//! a cluster still spread over its servers.
//!
//! Always true: the list has exactly the servers of the last picture that was followed, each once; time and randomness
//! are arguments.
//! Not here: asking. Whoever asks says what came of it.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use gossip::serf::consul;
use gossip::serf::member::{Member, MemberStatus};
use rand::Rng;
use rand::seq::SliceRandom as _;
use tokio::time::Instant;

/// Servers are not shuffled more often than this, and
const REBALANCE_MIN: Duration = Duration::from_secs(120);
/// up to this much later, so that agents started together do not move together.
const REBALANCE_JITTER: Duration = Duration::from_secs(60);
/// What each agent adds to the time between shuffles, divided by the servers: a server is given 64 new connections a
/// second at most, however many agents there are.
const REBALANCE_PER_NODE: Duration = Duration::from_micros(15_625);

/// A server that can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteServer {
    /// Its name in the pool.
    pub name: String,
    /// Where it takes RPCs.
    pub address: SocketAddr,
}

/// The servers of a datacenter among the members of a pool: those that are not known to have failed.
#[must_use]
pub fn servers_among<'m>(members: impl IntoIterator<Item = &'m Member>, datacenter: &str) -> Vec<RemoteServer> {
    members
        .into_iter()
        .filter(|member| matches!(member.status, MemberStatus::Alive | MemberStatus::Leaving))
        .filter_map(consul::server)
        .filter(|server| server.datacenter == datacenter)
        .map(|server| RemoteServer { name: server.name, address: server.address })
        .collect()
}

/// The servers in the order in which they are asked.
#[derive(Clone, Debug)]
pub struct Routing {
    servers: Vec<RemoteServer>,
    rebalance_at: Instant,
}

impl Routing {
    #[must_use]
    pub fn new(now: Instant) -> Routing {
        Routing { servers: Vec::new(), rebalance_at: now + REBALANCE_MIN }
    }

    /// The one to ask.
    #[must_use]
    pub fn first(&self) -> Option<&RemoteServer> {
        self.servers.first()
    }

    /// All of them, in the order in which they are asked.
    #[must_use]
    pub fn servers(&self) -> &[RemoteServer] {
        &self.servers
    }

    /// These are the servers now. Who was known keeps its place; who is new comes last, in any order, so that a new
    /// server is not asked by everybody at once.
    pub fn follow(&mut self, mut now_known: Vec<RemoteServer>, dice: &mut impl Rng) {
        let mut seen = HashSet::new();
        now_known.retain(|server| seen.insert(server.name.clone()));
        self.servers.retain_mut(|server| {
            let Some(place) = now_known.iter().position(|known| known.name == server.name) else { return false };
            // Its address may have changed.
            *server = now_known.swap_remove(place);
            true
        });
        now_known.shuffle(dice);
        self.servers.append(&mut now_known);
    }

    /// A server did not answer. If it is still the one that is asked, the next one is.
    pub fn failed(&mut self, name: &str) {
        // Many calls fail with one server: only the first of them may move the list.
        if self.first().is_some_and(|first| first.name == name) {
            self.servers.rotate_left(1);
        }
    }

    /// When the list is to be shuffled next.
    #[must_use]
    pub fn rebalance_at(&self) -> Instant {
        self.rebalance_at
    }

    /// Proposes a new order. Whoever asks tries its servers in turn and [settles](Routing::settle) on the first that
    /// answers; if none does, everything stays as it is. `nodes` is how many members the pool has.
    pub fn propose(&mut self, now: Instant, nodes: usize, dice: &mut impl Rng) -> Vec<RemoteServer> {
        self.rebalance_at = now + self.pause(nodes, dice);
        let mut order = self.servers.clone();
        order.shuffle(dice);
        order
    }

    /// Takes a proposed order, from the server on that answered; those before it come last. `false` if that server has
    /// gone since.
    pub fn settle(&mut self, mut order: Vec<RemoteServer>, answered: usize) -> bool {
        let Some(chosen) = order.get(answered) else { return false };
        if !self.servers.iter().any(|server| server.name == chosen.name) {
            return false;
        }
        order.rotate_left(answered);
        let rank = |server: &RemoteServer| order.iter().position(|ranked| ranked.name == server.name);
        // Who came meanwhile has no rank and stays last.
        self.servers.sort_by_key(|server| rank(server).unwrap_or(usize::MAX));
        true
    }

    fn pause(&self, nodes: usize, dice: &mut impl Rng) -> Duration {
        let least = REBALANCE_MIN + dice.random_range(Duration::ZERO..REBALANCE_JITTER);
        let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
        match u32::try_from(self.servers.len()) {
            Ok(servers @ 1..) => (REBALANCE_PER_NODE.saturating_mul(nodes) / servers).max(least),
            _ => least,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::{Ipv4Addr, SocketAddr};
    use std::time::Duration;

    use rand::SeedableRng as _;
    use rand::rngs::StdRng;
    use tokio::time::Instant;

    use super::{RemoteServer, Routing};

    fn servers(names: &str) -> Vec<RemoteServer> {
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        names
            .chars()
            .map(|name| RemoteServer {
                name: name.to_string(),
                address: address(u16::try_from(u32::from(name)).unwrap()),
            })
            .collect()
    }

    fn names(servers: &[RemoteServer]) -> String {
        servers.iter().map(|server| server.name.as_str()).collect()
    }

    fn knowing(known: &str, seed: u64) -> (Routing, StdRng) {
        let mut dice = StdRng::seed_from_u64(seed);
        let mut routing = Routing::new(Instant::now());
        routing.follow(servers(known), &mut dice);
        (routing, dice)
    }

    #[test]
    fn agents_spread_over_the_servers() {
        let mut asked: BTreeMap<String, u32> = BTreeMap::new();
        for seed in 0..300 {
            let (routing, _) = knowing("abc", seed);
            *asked.entry(routing.first().unwrap().name.clone()).or_default() += 1;
        }
        assert_eq!(asked.len(), 3);
        assert!(asked.values().all(|times| (70..130).contains(times)), "{asked:?}");
    }

    #[test]
    fn what_is_known_keeps_its_place_and_what_is_new_comes_last() {
        let (mut routing, mut dice) = knowing("abcd", 1);
        let before = names(routing.servers());
        routing.follow(servers("zdcxa"), &mut dice);
        let after = names(routing.servers());
        assert_eq!(after[..3], before.replace('b', ""));
        assert!(matches!(&after[3..], "zx" | "xz"), "{after}");
        // An address that changed is followed, a name that comes twice counts once.
        let mut moved = servers("aa");
        moved[0].address.set_port(1);
        routing.follow(moved.clone(), &mut dice);
        assert_eq!(routing.servers(), &moved[..1]);
        routing.follow(Vec::new(), &mut dice);
        assert_eq!(routing.first(), None);
    }

    #[test]
    fn a_failed_server_goes_to_the_back_once() {
        let (mut routing, _) = knowing("abc", 1);
        let before = names(routing.servers());
        // Two calls failed with the same server.
        routing.failed(&before[..1]);
        routing.failed(&before[..1]);
        assert_eq!(names(routing.servers()), format!("{}{}", &before[1..], &before[..1]));
        routing.failed("unknown");
        let (mut routing, _) = knowing("a", 1);
        routing.failed("a");
        assert_eq!(names(routing.servers()), "a");
    }

    #[test]
    fn a_new_order_begins_with_who_answered() {
        let (mut routing, mut dice) = knowing("abcde", 1);
        let before = names(routing.servers());
        let order = routing.propose(Instant::now(), 5, &mut dice);
        assert_eq!(names(routing.servers()), before, "nothing moves before somebody answered");
        let proposed = names(&order);
        assert_ne!(proposed, before);
        // Meanwhile one that was proposed goes and another comes.
        let gone = &proposed[4..];
        routing.follow(servers(&"abcdef".replace(gone, "")), &mut dice);
        assert!(routing.settle(order, 2));
        assert_eq!(names(routing.servers()), format!("{}{}f", &proposed[2..4], &proposed[..2]));
    }

    #[test]
    fn a_new_order_whose_first_is_gone_is_not_taken() {
        let (mut routing, mut dice) = knowing("abc", 1);
        let order = routing.propose(Instant::now(), 3, &mut dice);
        let left = "abc".replace(&order[0].name, "");
        routing.follow(servers(&left), &mut dice);
        let before = names(routing.servers());
        assert!(!routing.settle(order.clone(), 0));
        assert!(!routing.settle(order, 3), "nobody answered");
        assert_eq!(names(routing.servers()), before);
    }

    #[test]
    fn large_clusters_shuffle_more_rarely() {
        let now = Instant::now();
        let check = |known: &str, nodes: usize, least: u64, most: u64| {
            for seed in 0..50 {
                let (mut routing, mut dice) = knowing(known, seed);
                routing.propose(now, nodes, &mut dice);
                let pause = routing.rebalance_at() - now;
                let range = Duration::from_secs(least)..=Duration::from_secs(most);
                assert!(range.contains(&pause), "{known} {nodes}: {pause:?}");
            }
        };
        check("", 10, 120, 180);
        check("abc", 10, 120, 180);
        check("abcde", 10_000, 120, 180);
        // The figures of the reference: about five minutes, about twenty-six.
        check("abcde", 100_000, 312, 313);
        check("a", 99_995, 1562, 1563);
        check("a", usize::MAX, 1 << 20, u64::MAX / 2);
    }
}
