//! Who is in the pool, and who meant to leave it.
//!
//! Memberlist says who is reachable; join and leave intents, ordered by Lamport time, say what each member wanted. A
//! member that vanishes has left if it had said so, else it has failed. Intents may come before the member they
//! speak of, so they are kept for a while.
//!
//! Always true: of two intents for a member the one with the later time wins, in whatever order they come; a member is
//! in `failed` exactly if its status is failed, and in `left` exactly if its status is left; no more than
//! [`INTENTS_MAX`] intents of strangers are kept.
//! Not here: what is sent (`pool`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::lamport::LamportTime;
use super::member::{Member, MemberStatus, Tags};
use crate::delegate::Node;
use crate::io::Now;

/// How many intents of members that we do not know are kept.
const INTENTS_MAX: usize = 64 * 1024;

#[derive(Debug, Default)]
pub(super) struct Roster {
    entries: BTreeMap<String, Entry>,
    failed: BTreeSet<String>,
    left: BTreeSet<String>,
    /// What strangers wanted.
    intents: BTreeMap<String, Intent>,
    /// Members that are to be forgotten once they have left.
    pruning: BTreeMap<String, Now>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) member: Member,
    /// The time of the last intent.
    pub(super) status_time: LamportTime,
    /// When it left or failed.
    gone_at: Now,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    Join,
    Leave,
}

#[derive(Debug, Clone, Copy)]
struct Intent {
    want: Want,
    time: LamportTime,
    heard: Now,
}

/// What a join of memberlist came to.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) member: Member,
    /// It failed so recently that it seems to flap.
    pub(super) failed_for: Option<Duration>,
}

/// What a leave intent came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LeaveIntent {
    /// Known already, or overtaken.
    Old,
    /// News worth passing on.
    News,
    /// It speaks of us, and we are not leaving.
    Refute,
    /// A failed member is now taken as one that left.
    Left(Member),
}

impl Roster {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn failed(&self) -> usize {
        self.failed.len()
    }

    pub(super) fn left(&self) -> &BTreeSet<String> {
        &self.left
    }

    pub(super) fn get(&self, name: &str) -> Option<&Member> {
        self.entries.get(name).map(|entry| &entry.member)
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.entries.values().map(|entry| &entry.member)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Anybody alive but `name`?
    pub(super) fn any_alive_but(&self, name: &str) -> bool {
        self.members().any(|member| member.status == MemberStatus::Alive && member.name != name)
    }

    /// The failed member at `at`, counted round.
    pub(super) fn failed_member(&self, at: usize) -> Option<&Member> {
        let name = self.failed.iter().nth(at % self.failed.len().max(1))?;
        self.get(name)
    }

    /// Memberlist reaches `node`.
    pub(super) fn joined(&mut self, now: Now, node: &Node, tags: Tags) -> Joined {
        let known = self.entries.get(&node.name).map(|entry| (entry.member.status, entry.status_time, entry.gone_at));
        let (status, status_time) = match (known, self.intents.get(&node.name)) {
            (Some((_, time, _)), _) => (MemberStatus::Alive, time),
            (None, Some(intent)) if intent.want == Want::Leave => (MemberStatus::Leaving, intent.time),
            (None, Some(intent)) => (MemberStatus::Alive, intent.time),
            (None, None) => (MemberStatus::Alive, LamportTime(0)),
        };
        let member = Member { name: node.name.clone(), address: node.address, tags, status, versions: node.versions };
        self.failed.remove(&node.name);
        self.left.remove(&node.name);
        self.pruning.remove(&node.name);
        self.entries.insert(node.name.clone(), Entry { member: member.clone(), status_time, gone_at: Duration::ZERO });
        let failed_for = match known {
            Some((MemberStatus::Failed, _, gone_at)) => Some(now.saturating_sub(gone_at)),
            _ => None,
        };
        Joined { member, failed_for }
    }

    /// Memberlist no longer reaches `name`. Nothing if it is not one that could go.
    pub(super) fn gone(&mut self, now: Now, name: &str) -> Option<Member> {
        let entry = self.entries.get_mut(name)?;
        match entry.member.status {
            MemberStatus::Leaving => {
                entry.member.status = MemberStatus::Left;
                self.left.insert(name.to_owned());
            }
            MemberStatus::Alive => {
                entry.member.status = MemberStatus::Failed;
                self.failed.insert(name.to_owned());
            }
            MemberStatus::None | MemberStatus::Left | MemberStatus::Failed => return None,
        }
        entry.gone_at = now;
        Some(entry.member.clone())
    }

    /// What `node` says of itself changed.
    pub(super) fn updated(&mut self, node: &Node, tags: Tags) -> Option<Member> {
        let entry = self.entries.get_mut(&node.name)?;
        entry.member.address = node.address;
        entry.member.tags = tags;
        entry.member.versions = node.versions;
        Some(entry.member.clone())
    }

    /// `name` said at `time` that it is here. Answers whether that is news.
    pub(super) fn join_intent(&mut self, now: Now, name: &str, time: LamportTime) -> bool {
        let Some(entry) = self.entries.get_mut(name) else {
            return self.keep_intent(now, name, Want::Join, time);
        };
        if time <= entry.status_time {
            return false;
        }
        entry.status_time = time;
        if entry.member.status == MemberStatus::Leaving {
            entry.member.status = MemberStatus::Alive;
            self.pruning.remove(name);
        }
        true
    }

    /// `name` said at `time` that it leaves, or was told to. `refute` if it is us and we are not leaving. With
    /// `prune_at` it is to be forgotten, at once if it is gone already, else then.
    pub(super) fn leave_intent(
        &mut self,
        now: Now,
        name: &str,
        time: LamportTime,
        refute: bool,
        prune_at: Option<Now>,
    ) -> LeaveIntent {
        let Some(entry) = self.entries.get_mut(name) else {
            return if self.keep_intent(now, name, Want::Leave, time) { LeaveIntent::News } else { LeaveIntent::Old };
        };
        if time <= entry.status_time {
            return LeaveIntent::Old;
        }
        if refute {
            return LeaveIntent::Refute;
        }
        // Also when the status stays: else two members that hear of each other's leaves pass them on for ever.
        entry.status_time = time;
        let was = entry.member.status;
        match was {
            MemberStatus::Alive => entry.member.status = MemberStatus::Leaving,
            MemberStatus::Failed => {
                entry.member.status = MemberStatus::Left;
                self.failed.remove(name);
                self.left.insert(name.to_owned());
            }
            MemberStatus::Leaving | MemberStatus::Left => {}
            MemberStatus::None => return LeaveIntent::Old,
        }
        let member = entry.member.clone();
        if let Some(later) = prune_at {
            let at = if member.status == MemberStatus::Left { now } else { later };
            self.pruning.insert(name.to_owned(), at);
        }
        if was == MemberStatus::Failed { LeaveIntent::Left(member) } else { LeaveIntent::News }
    }

    /// Keeps what a stranger wants, if it is later than what is known.
    fn keep_intent(&mut self, now: Now, name: &str, want: Want, time: LamportTime) -> bool {
        match self.intents.get(name) {
            Some(known) if known.time >= time => return false,
            None if self.intents.len() >= INTENTS_MAX => return false,
            _ => {}
        }
        self.intents.insert(name.to_owned(), Intent { want, time, heard: now });
        true
    }

    /// When [`Roster::take_pruned`] has something.
    pub(super) fn prune_deadline(&self) -> Option<Now> {
        self.pruning.values().min().copied()
    }

    /// Forgets the members whose prune is due. One that is alive again stays.
    pub(super) fn take_pruned(&mut self, now: Now) -> Vec<Member> {
        let due: Vec<_> = self.pruning.iter().filter(|(_, at)| **at <= now).map(|(name, _)| name.clone()).collect();
        due.iter()
            .filter_map(|name| {
                self.pruning.remove(name);
                if self.get(name)?.status == MemberStatus::Alive {
                    return None;
                }
                self.forget(name)
            })
            .collect()
    }

    /// Forgets who has been gone for longer than `timeout` says, and old intents.
    pub(super) fn reap(
        &mut self,
        now: Now,
        timeout: impl Fn(&Member) -> Duration,
        intent_timeout: Duration,
    ) -> Vec<Member> {
        self.intents.retain(|_, intent| now.saturating_sub(intent.heard) <= intent_timeout);
        let overdue: Vec<_> = self
            .failed
            .iter()
            .chain(&self.left)
            .filter_map(|name| self.entries.get(name))
            .filter(|entry| now.saturating_sub(entry.gone_at) > timeout(&entry.member))
            .map(|entry| entry.member.name.clone())
            .collect();
        overdue.iter().filter_map(|name| self.forget(name)).collect()
    }

    fn forget(&mut self, name: &str) -> Option<Member> {
        self.failed.remove(name);
        self.left.remove(name);
        self.pruning.remove(name);
        self.entries.remove(name).map(|entry| entry.member)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use proptest::prelude::{any, proptest};

    use super::{LeaveIntent, Roster};
    use crate::delegate::{Node, NodeState};
    use crate::serf::lamport::LamportTime;
    use crate::serf::member::{MemberStatus, Tags};

    const S: Duration = Duration::from_secs(1);
    const T: fn(u64) -> LamportTime = LamportTime;

    fn node(name: &str) -> Node {
        Node {
            name: name.into(),
            address: "10.0.0.1:8301".parse().unwrap(),
            meta: Bytes::new(),
            state: NodeState::Alive,
            versions: [1, 5, 2, 2, 5, 4],
        }
    }

    fn with(names: &[&str]) -> Roster {
        let mut roster = Roster::default();
        for name in names {
            roster.joined(S, &node(name), Tags::new());
        }
        roster
    }

    fn status(roster: &Roster, name: &str) -> MemberStatus {
        roster.get(name).map_or(MemberStatus::None, |member| member.status)
    }

    fn leave(roster: &mut Roster, name: &str, time: u64) -> LeaveIntent {
        roster.leave_intent(S, name, T(time), false, None)
    }

    #[test]
    fn who_said_so_has_left_who_did_not_has_failed() {
        let mut roster = with(&["a", "b"]);
        assert_eq!(leave(&mut roster, "a", 5), LeaveIntent::News);
        assert_eq!(status(&roster, "a"), MemberStatus::Leaving);
        assert_eq!(roster.gone(S, "a").unwrap().status, MemberStatus::Left);
        assert_eq!(roster.gone(S, "b").unwrap().status, MemberStatus::Failed);
        assert!(roster.gone(S, "b").is_none());
        assert!(roster.gone(S, "nobody").is_none());
        assert_eq!((roster.failed(), roster.left().len()), (1, 1));
        // Force-leave.
        assert!(matches!(leave(&mut roster, "b", 6), LeaveIntent::Left(_)));
        assert_eq!((roster.failed(), roster.left().len()), (0, 2));
    }

    #[test]
    fn an_intent_may_come_before_its_member() {
        let mut roster = Roster::default();
        assert!(roster.join_intent(S, "a", T(4)));
        assert!(!roster.join_intent(S, "a", T(4)));
        assert_eq!(leave(&mut roster, "a", 3), LeaveIntent::Old);
        assert_eq!(leave(&mut roster, "a", 5), LeaveIntent::News);
        let joined = roster.joined(S, &node("a"), Tags::new());
        assert_eq!(joined.member.status, MemberStatus::Leaving);
        // An older join does not call it back, a newer does.
        assert!(!roster.join_intent(S, "a", T(5)));
        assert!(roster.join_intent(S, "a", T(6)));
        assert_eq!(status(&roster, "a"), MemberStatus::Alive);
    }

    #[test]
    fn a_leave_that_changes_nothing_is_passed_on_once() {
        let mut roster = with(&["a"]);
        assert_eq!(leave(&mut roster, "a", 5), LeaveIntent::News);
        assert_eq!(leave(&mut roster, "a", 6), LeaveIntent::News);
        assert_eq!(leave(&mut roster, "a", 6), LeaveIntent::Old);
    }

    #[test]
    fn a_leave_of_us_is_refuted_once_per_time() {
        let mut roster = with(&["us"]);
        assert!(roster.join_intent(S, "us", T(5)));
        assert_eq!(roster.leave_intent(S, "us", T(5), true, None), LeaveIntent::Old);
        assert_eq!(roster.leave_intent(S, "us", T(6), true, None), LeaveIntent::Refute);
        assert_eq!(status(&roster, "us"), MemberStatus::Alive);
    }

    #[test]
    fn who_comes_back_is_alive() {
        let mut roster = with(&["a"]);
        roster.gone(S, "a");
        let joined = roster.joined(S * 11, &node("a"), Tags::new());
        assert_eq!((joined.failed_for, joined.member.status), (Some(S * 10), MemberStatus::Alive));
        assert_eq!(roster.failed(), 0);
    }

    #[test]
    fn a_prune_forgets_at_once_or_when_it_has_left() {
        let mut roster = with(&["gone", "leaving", "back"]);
        roster.gone(S, "gone");
        assert!(matches!(roster.leave_intent(S, "gone", T(2), false, Some(S * 9)), LeaveIntent::Left(_)));
        roster.leave_intent(S, "leaving", T(2), false, Some(S * 9));
        roster.leave_intent(S, "back", T(2), false, Some(S * 9));
        assert_eq!(roster.prune_deadline(), Some(S));
        assert_eq!(roster.take_pruned(S).len(), 1);
        assert!(roster.join_intent(S, "back", T(3)));
        assert_eq!(roster.take_pruned(S * 9).len(), 1);
        assert_eq!(roster.members().map(|member| member.name.as_str()).collect::<Vec<_>>(), ["back"]);
        assert_eq!(roster.prune_deadline(), None);
    }

    #[test]
    fn the_long_gone_are_reaped() {
        let mut roster = with(&["left", "failed", "here"]);
        leave(&mut roster, "left", 1);
        roster.gone(S * 10, "left");
        roster.gone(S * 10, "failed");
        roster.join_intent(S, "stranger", T(1));
        let timeout =
            |member: &crate::serf::member::Member| S * if member.status == MemberStatus::Left { 5 } else { 50 };
        assert!(roster.reap(S * 15, timeout, S * 30).is_empty());
        assert_eq!(roster.reap(S * 16, timeout, S * 30)[0].name, "left");
        assert_eq!(roster.reap(S * 61, timeout, S * 30)[0].name, "failed");
        assert_eq!(roster.len(), 1);
        assert!(roster.join_intent(S, "stranger", T(1)), "the intent was forgotten");
    }

    proptest! {
        /// Whatever the order of intents, the latest decides.
        #[test]
        fn the_latest_intent_wins(
            mut intents in proptest::collection::vec((any::<bool>(), 1..100u64), 1..20),
            arrives in 0..20usize,
        ) {
            intents.sort_by_key(|(_, time)| *time);
            intents.dedup_by_key(|(_, time)| *time);
            let (last_is_leave, last_time) = *intents.last().unwrap();
            // Some order that depends on the input.
            intents.sort_by_key(|(_, time)| (time * 7919) % 101);
            let mut roster = Roster::default();
            for (at, (is_leave, time)) in intents.iter().enumerate() {
                if at == arrives.min(intents.len() - 1) {
                    roster.joined(S, &node("a"), Tags::new());
                }
                if *is_leave {
                    roster.leave_intent(S, "a", T(*time), false, None);
                } else {
                    roster.join_intent(S, "a", T(*time));
                }
            }
            assert_eq!(roster.entries().next().unwrap().status_time, T(last_time));
            let expect = if last_is_leave { MemberStatus::Leaving } else { MemberStatus::Alive };
            assert_eq!(status(&roster, "a"), expect);
        }
    }
}
