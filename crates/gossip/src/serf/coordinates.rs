//! Where this member stands in the network and where it last heard that others stand.
//!
//! Pings carry coordinates in their acks; each that comes back moves ours (`coordinate` says how).

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::coordinate::{Client, Coordinate, Rejected};

#[derive(Debug)]
pub(super) struct Coordinates {
    client: Client,
    /// The last heard of each member, and ours under our own name.
    heard: BTreeMap<String, Coordinate>,
    name: String,
    rng: StdRng,
}

impl Coordinates {
    pub(super) fn new(name: &str, seed: u64) -> Coordinates {
        let client = Client::new();
        let heard = BTreeMap::from([(name.to_owned(), client.coordinate().clone())]);
        Coordinates { client, heard, name: name.to_owned(), rng: StdRng::seed_from_u64(seed) }
    }

    pub(super) fn ours(&self) -> &Coordinate {
        self.client.coordinate()
    }

    pub(super) fn heard(&self, name: &str) -> Option<&Coordinate> {
        self.heard.get(name)
    }

    pub(super) fn resets(&self) -> u64 {
        self.client.resets()
    }

    /// What our acks carry.
    pub(super) fn payload(&self) -> Bytes {
        self.client.coordinate().to_ack_payload().into()
    }

    /// An ack of `name` came after `rtt` with this payload. Answers by how many milliseconds we moved, nothing if the
    /// payload was empty.
    pub(super) fn observe(&mut self, name: &str, rtt: Duration, payload: &[u8]) -> Result<Option<f64>, Rejected> {
        let Some(theirs) = Coordinate::from_ack_payload(payload)? else {
            return Ok(None);
        };
        let before = self.client.coordinate().clone();
        let after = self.client.update(name, &theirs, rtt, &mut self.rng)?.clone();
        let moved = before.distance_to(&after).unwrap_or_default();
        self.heard.insert(name.to_owned(), theirs);
        self.heard.insert(self.name.clone(), after);
        Ok(Some(moved.as_secs_f64() * 1.0e3))
    }

    pub(super) fn forget(&mut self, name: &str) {
        self.client.forget_node(name);
        self.heard.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Coordinates;
    use crate::coordinate::Rejected;

    #[test]
    fn acks_move_us_and_tell_where_others_are() {
        let mut us = Coordinates::new("us", 1);
        let mut other = Coordinates::new("other", 2);
        let rtt = Duration::from_millis(10);
        for _ in 0..50 {
            let (ours, theirs) = (us.payload(), other.payload());
            assert!(us.observe("other", rtt, &theirs).unwrap().is_some());
            assert!(other.observe("us", rtt, &ours).unwrap().is_some());
        }
        let guess = us.heard("us").unwrap().distance_to(us.heard("other").unwrap()).unwrap();
        assert!(guess > rtt / 2 && guess < rtt * 2, "{guess:?}");
        us.forget("other");
        assert!(us.heard("other").is_none());
    }

    #[test]
    fn what_makes_no_sense_moves_nothing() {
        let mut us = Coordinates::new("us", 1);
        let before = us.ours().clone();
        assert_eq!(us.observe("x", Duration::ZERO, b""), Ok(None));
        assert_eq!(us.observe("x", Duration::ZERO, b"\x02\x80"), Err(Rejected::Version(2)));
        assert!(matches!(us.observe("x", Duration::ZERO, b"\x01\xc1"), Err(Rejected::Malformed(_))));
        assert_eq!(us.observe("x", Duration::ZERO, b"\x01\x80"), Err(Rejected::Dimensions));
        let far = us.payload();
        assert!(matches!(us.observe("x", Duration::from_secs(11), &far), Err(Rejected::RoundTrip(_))));
        assert_eq!((us.ours(), us.heard("x")), (&before, None));
    }
}
