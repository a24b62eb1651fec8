//! Many events in a short time become few: an agent that handles events by starting a program wants to hear once that
//! five members joined.
//!
//! Events gather until none came for the quiescent period, or the coalesce period is over.
//!
//! Always true: of each member the latest event of a window is kept, and not told if it was the last one told; of each
//! name of user events those with the newest time.

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::{MemberEvent, MemberEventKind, UserEvent};
use super::member::Member;
use crate::io::Now;

/// How many user events may gather before they are told early.
const GATHERED_MAX: usize = 4096;

/// How long events gather.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub coalesce: Duration,
    pub quiescent: Duration,
}

#[derive(Debug, Default)]
struct Ends {
    quantum: Option<Now>,
    quiet: Option<Now>,
}

impl Ends {
    fn extend(&mut self, now: Now, window: Window) {
        self.quantum.get_or_insert(now + window.coalesce);
        self.quiet = Some(now + window.quiescent);
    }

    fn deadline(&self) -> Option<Now> {
        self.quantum.min(self.quiet)
    }
}

#[derive(Debug)]
pub(super) struct MemberCoalescer {
    window: Window,
    ends: Ends,
    latest: BTreeMap<String, (MemberEventKind, Member)>,
    /// The last event told of each member.
    told: BTreeMap<String, MemberEventKind>,
}

impl MemberCoalescer {
    pub(super) fn new(window: Window) -> MemberCoalescer {
        MemberCoalescer { window, ends: Ends::default(), latest: BTreeMap::new(), told: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, now: Now, event: MemberEvent) {
        self.ends.extend(now, self.window);
        for member in event.members {
            self.latest.insert(member.name.clone(), (event.kind, member));
        }
    }

    pub(super) fn deadline(&self) -> Option<Now> {
        self.ends.deadline()
    }

    /// What to tell, if it is time.
    pub(super) fn take(&mut self, now: Now) -> Vec<MemberEvent> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Vec::new();
        }
        self.ends = Ends::default();
        let mut events: BTreeMap<MemberEventKind, Vec<Member>> = BTreeMap::new();
        for (name, (kind, member)) in std::mem::take(&mut self.latest) {
            if kind != MemberEventKind::Update && self.told.get(&name) == Some(&kind) {
                continue;
            }
            if kind == MemberEventKind::Reap {
                // Whoever is forgotten takes no more space here.
                self.told.remove(&name);
            } else {
                self.told.insert(name, kind);
            }
            events.entry(kind).or_default().push(member);
        }
        events.into_iter().map(|(kind, members)| MemberEvent { kind, members }).collect()
    }
}

#[derive(Debug)]
pub(super) struct UserCoalescer {
    window: Window,
    ends: Ends,
    latest: BTreeMap<String, Vec<UserEvent>>,
    gathered: usize,
}

impl UserCoalescer {
    pub(super) fn new(window: Window) -> UserCoalescer {
        UserCoalescer { window, ends: Ends::default(), latest: BTreeMap::new(), gathered: 0 }
    }

    pub(super) fn add(&mut self, now: Now, event: UserEvent) {
        self.ends.extend(now, self.window);
        self.gathered += 1;
        if self.gathered >= GATHERED_MAX {
            self.ends.quantum = Some(now);
        }
        let latest = self.latest.entry(event.name.clone()).or_default();
        match latest.first().map(|first| first.time) {
            Some(time) if time > event.time => {}
            Some(time) if time == event.time => latest.push(event),
            _ => *latest = vec![event],
        }
    }

    pub(super) fn deadline(&self) -> Option<Now> {
        self.ends.deadline()
    }

    pub(super) fn take(&mut self, now: Now) -> Vec<UserEvent> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Vec::new();
        }
        self.ends = Ends::default();
        self.gathered = 0;
        std::mem::take(&mut self.latest).into_values().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::{MemberCoalescer, UserCoalescer, Window};
    use crate::serf::event::{MemberEvent, MemberEventKind, UserEvent};
    use crate::serf::lamport::LamportTime;
    use crate::serf::member::{Member, MemberStatus, Tags};

    const S: Duration = Duration::from_secs(1);
    const WINDOW: Window = Window { coalesce: Duration::from_secs(5), quiescent: S };

    fn event(kind: MemberEventKind, name: &str) -> MemberEvent {
        let member = Member {
            name: name.into(),
            address: "10.0.0.1:1".parse().unwrap(),
            tags: Tags::new(),
            status: MemberStatus::Alive,
            versions: [0; 6],
        };
        MemberEvent { kind, members: vec![member] }
    }

    fn names(events: &[MemberEvent]) -> Vec<(MemberEventKind, Vec<&str>)> {
        events
            .iter()
            .map(|event| (event.kind, event.members.iter().map(|member| member.name.as_str()).collect()))
            .collect()
    }

    #[test]
    fn members_gather_until_it_is_quiet() {
        use MemberEventKind::{Failed, Join, Update};
        let mut coalescer = MemberCoalescer::new(WINDOW);
        assert_eq!(coalescer.deadline(), None);
        coalescer.add(S, event(Join, "a"));
        coalescer.add(S * 3 / 2, event(Join, "b"));
        coalescer.add(S * 3 / 2, event(Failed, "c"));
        assert_eq!(coalescer.deadline(), Some(S * 5 / 2));
        assert!(coalescer.take(S * 2).is_empty());
        assert_eq!(names(&coalescer.take(S * 5 / 2)), [(Join, vec!["a", "b"]), (Failed, vec!["c"])]);
        // A flap within the window tells nothing, an update always.
        coalescer.add(S * 3, event(Failed, "a"));
        coalescer.add(S * 3, event(Join, "a"));
        coalescer.add(S * 3, event(Update, "b"));
        assert_eq!(names(&coalescer.take(S * 4)), [(Update, vec!["b"])]);
    }

    #[test]
    fn members_do_not_gather_for_ever() {
        let mut coalescer = MemberCoalescer::new(WINDOW);
        for at in 0..10 {
            coalescer.add(S * at / 2, event(MemberEventKind::Join, &at.to_string()));
        }
        assert_eq!(coalescer.deadline(), Some(S * 5));
        assert_eq!(coalescer.take(S * 5)[0].members.len(), 10);
    }

    #[test]
    fn of_a_name_the_newest_user_events_are_told() {
        let mut coalescer = UserCoalescer::new(WINDOW);
        let user = |time, name: &str, payload: &'static str| UserEvent {
            time: LamportTime(time),
            name: name.into(),
            payload: Bytes::from_static(payload.as_bytes()),
            coalesce: true,
        };
        for event in
            [user(1, "foo", ""), user(2, "foo", ""), user(1, "foo", "late"), user(2, "bar", "1"), user(2, "bar", "2")]
        {
            coalescer.add(S, event);
        }
        assert_eq!(coalescer.take(S * 2), [user(2, "bar", "1"), user(2, "bar", "2"), user(2, "foo", "")]);
        assert!(coalescer.take(S * 9).is_empty());
    }
}
