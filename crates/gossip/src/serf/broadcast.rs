//! Messages that wait to ride along with gossip, each a limited number of times.
//!
//! Those sent least often go first, of these the longest that fits, of these the newest: new news travels fastest and
//! packets are filled (SWIM section 4.1; the order is the reference's).
//!
//! Always true: a message leaves the queue after `transmit_limit` transmissions or when it is pruned, and its ticket
//! is told exactly once.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use bytes::Bytes;

/// Names a broadcast whose end somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BroadcastId(pub u64);

#[derive(Debug, Default)]
pub(super) struct BroadcastQueue {
    /// By transmissions so far, length (longest first) and age (newest first).
    waiting: BTreeMap<Rank, Broadcast>,
    pushed: u64,
}

type Rank = (u32, Reverse<usize>, Reverse<u64>);

#[derive(Debug)]
struct Broadcast {
    message: Bytes,
    ticket: Option<BroadcastId>,
}

/// How often each message is sent in a pool of so many (SWIM section 4.1: a multiple of log n).
pub(super) fn transmit_limit(multiplier: u32, members: usize) -> u32 {
    multiplier.saturating_mul(digits(members))
}

/// The logarithm of `members + 1` to base 10, rounded up.
pub(super) fn digits(members: usize) -> u32 {
    let mut digits = 0;
    let mut power = 1_usize;
    while power < members.saturating_add(1) {
        power = power.saturating_mul(10);
        digits += 1;
    }
    digits
}

impl BroadcastQueue {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn push(&mut self, message: Bytes, ticket: Option<BroadcastId>) {
        self.pushed += 1;
        let rank = (0, Reverse(message.len()), Reverse(self.pushed));
        self.waiting.insert(rank, Broadcast { message, ticket });
    }

    /// What to send now, each message costing `overhead` more than its length. Tickets of what is now finished are
    /// added to `finished`.
    pub(super) fn take(
        &mut self,
        overhead: usize,
        limit: usize,
        transmit_limit: u32,
        finished: &mut Vec<BroadcastId>,
    ) -> Vec<Bytes> {
        let mut taken = Vec::new();
        let mut again = Vec::new();
        let mut used = 0;
        let mut tier = self.waiting.first_key_value().map(|(rank, _)| rank.0);
        while let Some(transmits) = tier {
            let free = match limit.checked_sub(used + overhead) {
                Some(free) if free > 0 => free,
                _ => break,
            };
            let from = (transmits, Reverse(free), Reverse(u64::MAX));
            let Some((&rank, _)) = self.waiting.range(from..).next() else {
                break;
            };
            if rank.0 != transmits {
                tier = Some(rank.0);
                continue;
            }
            let Some(broadcast) = self.waiting.remove(&rank) else {
                break;
            };
            used += overhead + broadcast.message.len();
            taken.push(broadcast.message.clone());
            if transmits + 1 >= transmit_limit {
                finished.extend(broadcast.ticket);
            } else {
                // Put back only at the end, or it would be taken again on its next tier.
                again.push(((transmits + 1, rank.1, rank.2), broadcast));
            }
        }
        self.waiting.extend(again);
        taken
    }

    /// Drops those sent most often until `keep` remain.
    pub(super) fn prune(&mut self, keep: usize, finished: &mut Vec<BroadcastId>) {
        while self.waiting.len() > keep {
            let Some((_, dropped)) = self.waiting.pop_last() else {
                return;
            };
            finished.extend(dropped.ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{BroadcastId, BroadcastQueue, digits, transmit_limit};

    fn lengths(taken: &[Bytes]) -> Vec<usize> {
        taken.iter().map(Bytes::len).collect()
    }

    #[test]
    fn the_limit_grows_with_the_logarithm() {
        let limits: Vec<_> = [0, 1, 9, 10, 99, 100].map(|members| transmit_limit(4, members)).into();
        assert_eq!(limits, [0, 4, 4, 8, 8, 12]);
        assert_eq!(digits(usize::MAX), 20);
    }

    #[test]
    fn the_longest_of_the_least_sent_that_fits_goes_first() {
        let mut queue = BroadcastQueue::default();
        let mut finished = vec![];
        for length in [5, 40, 20] {
            queue.push(Bytes::from(vec![0; length]), None);
        }
        assert_eq!(lengths(&queue.take(2, 30, 3, &mut finished)), [20, 5]);
        // 40 was not sent yet, the others once.
        assert_eq!(lengths(&queue.take(2, 60, 3, &mut finished)), [40, 5]);
        assert_eq!(lengths(&queue.take(2, 2, 3, &mut finished)), [0; 0]);
        assert_eq!(queue.len(), 3);
    }

    #[test]
    fn a_ticket_is_told_when_its_message_was_sent_often_enough_or_pruned() {
        let mut queue = BroadcastQueue::default();
        let mut finished = vec![];
        queue.push(Bytes::from_static(b"a"), Some(BroadcastId(1)));
        assert_eq!(queue.take(0, 10, 2, &mut finished).len(), 1);
        assert!(finished.is_empty());
        assert_eq!(queue.take(0, 10, 2, &mut finished).len(), 1);
        assert_eq!((finished.as_slice(), queue.len()), ([BroadcastId(1)].as_slice(), 0));
        finished.clear();
        queue.push(Bytes::from_static(b"old"), Some(BroadcastId(2)));
        assert_eq!(queue.take(0, 10, 9, &mut finished).len(), 1);
        queue.push(Bytes::from_static(b"new"), Some(BroadcastId(3)));
        queue.prune(1, &mut finished);
        assert_eq!((finished.as_slice(), queue.len()), ([BroadcastId(2)].as_slice(), 1));
    }
}
