//! News about members that waits to ride along with gossip, each piece a limited number of times.
//!
//! What was sent least often goes first, of this the longest that fits, of this the newest: new news travels fastest
//! and packets are filled (SWIM section 4.1; the order is the reference's).
//!
//! Always true: there is one piece about each member, the newest; it leaves after `transmit_limit` transmissions.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use bytes::Bytes;

use super::TellId;

#[derive(Debug, Default)]
pub(super) struct News {
    /// By transmissions so far, length (longest first) and age (newest first).
    waiting: BTreeMap<Rank, Piece>,
    /// Where the piece about a member stands.
    about: BTreeMap<String, Rank>,
    queued: u64,
}

type Rank = (u32, Reverse<usize>, Reverse<u64>);

#[derive(Debug)]
struct Piece {
    about: String,
    message: Bytes,
    tell: Option<TellId>,
}

/// How often each piece is sent in a pool of so many.
pub(super) fn transmit_limit(mult: u32, members: usize) -> u32 {
    let mut digits = 0;
    let mut power = 1_usize;
    while power < members.saturating_add(1) {
        power = power.saturating_mul(10);
        digits += 1;
    }
    mult.saturating_mul(digits)
}

impl News {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether that piece was neither sent often enough nor overtaken.
    pub(super) fn waits(&self, tell: TellId) -> bool {
        self.waiting.values().any(|piece| piece.tell == Some(tell))
    }

    pub(super) fn push(&mut self, about: &str, message: Bytes, tell: Option<TellId>) {
        if let Some(rank) = self.about.remove(about) {
            self.waiting.remove(&rank);
        }
        self.queued += 1;
        let rank = (0, Reverse(message.len()), Reverse(self.queued));
        self.insert(rank, Piece { about: about.to_owned(), message, tell });
    }

    fn insert(&mut self, rank: Rank, piece: Piece) {
        self.about.insert(piece.about.clone(), rank);
        self.waiting.insert(rank, piece);
    }

    /// What to send now, each message costing `overhead` more than its length.
    pub(super) fn take(&mut self, overhead: usize, limit: usize, transmit_limit: u32) -> Vec<Bytes> {
        let mut taken = Vec::new();
        // Kept out until the end, so that nothing is taken twice.
        let mut again = Vec::new();
        let mut used = 0;
        let mut tier = self.waiting.first_key_value().map(|(rank, _)| rank.0);
        while let Some(transmits) = tier {
            let Some(free) = limit.checked_sub(used + overhead) else { break };
            let from = (transmits, Reverse(free), Reverse(u64::MAX));
            let Some((&rank, _)) = self.waiting.range(from..).next() else { break };
            if rank.0 > transmits {
                // Nothing of this tier fits; that was the first of the next one.
                tier = Some(rank.0);
                continue;
            }
            let Some(piece) = self.waiting.remove(&rank) else { break };
            used += overhead + piece.message.len();
            taken.push(piece.message.clone());
            if transmits + 1 < transmit_limit {
                again.push(((transmits + 1, rank.1, rank.2), piece));
            } else {
                self.about.remove(&piece.about);
            }
        }
        for (rank, piece) in again {
            self.insert(rank, piece);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::{Bytes, News, TellId, transmit_limit};

    fn news(pieces: &[(&str, &str)]) -> News {
        let mut news = News::default();
        for (about, text) in pieces {
            news.push(about, Bytes::copy_from_slice(text.as_bytes()), None);
        }
        news
    }

    fn take(news: &mut News, limit: usize, transmit_limit: u32) -> Vec<String> {
        let taken = news.take(2, limit, transmit_limit);
        taken.into_iter().map(|message| String::from_utf8(message.to_vec()).unwrap()).collect()
    }

    #[test]
    fn the_limit_grows_with_the_logarithm_of_the_pool() {
        let check = |members, expect| assert_eq!(transmit_limit(4, members), expect, "{members}");
        check(0, 0);
        check(1, 4);
        check(9, 4);
        check(10, 8);
        check(99, 8);
        check(100, 12);
        check(usize::MAX, 80);
    }

    #[test]
    fn the_freshest_goes_first_then_the_longest_that_fits_then_the_newest() {
        let mut news = news(&[("a", "aaaa"), ("b", "bb"), ("c", "cc"), ("d", "dddddddd")]);
        assert_eq!(take(&mut news, 10, 9), ["dddddddd"]);
        assert_eq!(take(&mut news, 10, 9), ["aaaa", "cc"]);
        assert_eq!(take(&mut news, 10, 9), ["bb", "aaaa"]);
        assert_eq!(take(&mut news, 3, 9), Vec::<String>::new());
        assert_eq!(take(&mut news, 4, 9), ["cc"]);
        assert_eq!(take(&mut news, 1, 9), Vec::<String>::new());
        assert_eq!(news.len(), 4);
    }

    #[test]
    fn a_piece_goes_once_into_a_packet_and_leaves_when_it_was_sent_often_enough() {
        let mut news = news(&[("a", "a"), ("b", "b")]);
        assert_eq!(take(&mut news, 100, 2), ["b", "a"]);
        assert_eq!(take(&mut news, 100, 2), ["b", "a"]);
        assert_eq!(take(&mut news, 100, 2), Vec::<String>::new());
        assert_eq!((news.len(), news.about.len()), (0, 0));
    }

    #[test]
    fn the_newest_about_a_member_replaces_what_there_was() {
        let mut news = news(&[("a", "suspect a"), ("b", "suspect b")]);
        news.push("a", Bytes::from_static(b"alive a"), Some(TellId(1)));
        assert_eq!(take(&mut news, 100, 9), ["suspect b", "alive a"]);
        assert!(news.waits(TellId(1)));
        news.push("a", Bytes::from_static(b"dead a"), None);
        assert!(!news.waits(TellId(1)));
        assert_eq!(take(&mut news, 100, 9), ["dead a", "suspect b"]);
    }
}
