//! User events that were seen: each is delivered once, and given to whoever joins.
//!
//! Always true: an event (time, name, payload) is new at most once; no more than [`TIMES_MAX`] times and [`BYTES_MAX`]
//! bytes of events are kept.

use super::lamport::{LamportClock, LamportTime};
use super::message::{EventsAt, PastEvent, UserEventMessage};

/// Name and payload of a user event, before and after encoding, may not be longer, whatever is configured.
pub const EVENT_SIZE_MAX: usize = 9 * 1024;
/// How many Lamport times are remembered.
const TIMES_MAX: usize = 512;
/// How many different events one Lamport time may have.
const EVENTS_PER_TIME_MAX: usize = 256;
/// What all remembered events may take: 512 events of the greatest size. Past it the oldest are forgotten, and what
/// is as old as they is no longer taken.
const BYTES_MAX: usize = TIMES_MAX * EVENT_SIZE_MAX;
/// What one event takes beside its name and payload.
const EVENT_OVERHEAD: usize = size_of::<PastEvent>();

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    New,
    Before,
    /// It is too long ago to know.
    TooOld,
}

#[derive(Debug)]
pub(super) struct EventLog {
    pub(super) clock: LamportClock,
    /// Events before this are of no concern.
    least: LamportTime,
    /// Slot `time % TIMES_MAX`.
    slots: Vec<Option<EventsAt>>,
    bytes: usize,
}

impl EventLog {
    /// Events up to `known` were seen in an earlier life.
    pub(super) fn new(known: LamportTime) -> EventLog {
        let mut clock = LamportClock::new();
        clock.witness(known);
        // Compat: without a snapshot events of time 0 are taken, with one of time 0 they are not. No event has time 0.
        EventLog { clock, least: known.next(), slots: vec![None; TIMES_MAX], bytes: 0 }
    }

    /// From now on events before `least` are of no concern.
    pub(super) fn ignore_before(&mut self, least: LamportTime) {
        self.least = self.least.max(least);
    }

    pub(super) fn observe(&mut self, event: &UserEventMessage) -> Seen {
        self.clock.witness(event.time);
        if event.time < self.least {
            return Seen::Before;
        }
        if is_too_old(self.clock.time(), event.time) {
            return Seen::TooOld;
        }
        let slot = &mut self.slots[slot_of(event.time)];
        let past = PastEvent { name: event.name.clone(), payload: event.payload.clone() };
        let added = cost(&past);
        match slot {
            Some(seen) if seen.time == event.time => {
                if seen.events.contains(&past) || seen.events.len() >= EVENTS_PER_TIME_MAX {
                    return Seen::Before;
                }
                seen.events.push(past);
            }
            _ => {
                if let Some(old) = slot.replace(EventsAt { time: event.time, events: vec![past] }) {
                    self.bytes -= old.events.iter().map(cost).sum::<usize>();
                }
            }
        }
        self.bytes += added;
        self.forget_oldest();
        Seen::New
    }

    fn forget_oldest(&mut self) {
        while self.bytes > BYTES_MAX {
            let oldest = self.slots.iter().flatten().map(|slot| slot.time).min();
            let Some(oldest) = oldest else {
                return;
            };
            if let Some(old) = self.slots[slot_of(oldest)].take() {
                self.bytes -= old.events.iter().map(cost).sum::<usize>();
            }
            self.least = self.least.max(oldest.next());
        }
    }

    /// The remembered events, by slot.
    pub(super) fn recent(&self) -> Vec<Option<EventsAt>> {
        self.slots.iter().flatten().cloned().map(Some).collect()
    }
}

fn cost(event: &PastEvent) -> usize {
    event.name.len() + event.payload.len() + EVENT_OVERHEAD
}

fn slot_of(time: LamportTime) -> usize {
    usize::try_from(time.0 % TIMES_MAX as u64).unwrap_or(0)
}

/// Whether `time` may have been overwritten in a buffer of the last [`TIMES_MAX`] times.
fn is_too_old(now: LamportTime, time: LamportTime) -> bool {
    now.0 > TIMES_MAX as u64 && time.0 < now.0 - TIMES_MAX as u64
}

/// Queries that were seen: each is handled once.
#[derive(Debug)]
pub(super) struct QueryLog {
    pub(super) clock: LamportClock,
    least: LamportTime,
    slots: Vec<Option<(LamportTime, Vec<u32>)>>,
}

impl QueryLog {
    pub(super) fn new(known: LamportTime) -> QueryLog {
        let mut clock = LamportClock::new();
        clock.witness(known);
        QueryLog { clock, least: known.next(), slots: vec![None; TIMES_MAX] }
    }

    pub(super) fn observe(&mut self, time: LamportTime, id: u32) -> Seen {
        self.clock.witness(time);
        if time < self.least {
            return Seen::Before;
        }
        if is_too_old(self.clock.time(), time) {
            return Seen::TooOld;
        }
        match &mut self.slots[slot_of(time)] {
            Some((at, ids)) if *at == time => {
                if ids.contains(&id) || ids.len() >= EVENTS_PER_TIME_MAX {
                    return Seen::Before;
                }
                ids.push(id);
            }
            slot => *slot = Some((time, vec![id])),
        }
        Seen::New
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::{any, proptest};

    use super::{BYTES_MAX, EVENTS_PER_TIME_MAX, EventLog, QueryLog, Seen, TIMES_MAX};
    use crate::serf::lamport::LamportTime;
    use crate::serf::message::UserEventMessage;

    fn event(time: u64, name: &str) -> UserEventMessage {
        UserEventMessage { time: LamportTime(time), name: name.into(), ..UserEventMessage::default() }
    }

    #[test]
    fn an_event_is_new_once() {
        let mut log = EventLog::new(LamportTime(0));
        assert_eq!(log.observe(&event(3, "a")), Seen::New);
        assert_eq!(log.observe(&event(3, "a")), Seen::Before);
        assert_eq!(log.observe(&event(3, "b")), Seen::New);
        assert_eq!(log.observe(&UserEventMessage { payload: Bytes::from_static(b"x"), ..event(3, "a") }), Seen::New);
        assert_eq!(log.observe(&event(2, "a")), Seen::New);
        assert_eq!(log.clock.time(), LamportTime(4));
        assert_eq!(log.recent().len(), 2);
    }

    #[test]
    fn what_fell_out_of_the_buffer_is_too_old() {
        let mut log = EventLog::new(LamportTime(0));
        let far = 2 * TIMES_MAX as u64;
        assert_eq!(log.observe(&event(far, "a")), Seen::New);
        assert_eq!(log.observe(&event(far - TIMES_MAX as u64, "a")), Seen::TooOld);
        assert_eq!(log.observe(&event(far + 1 - TIMES_MAX as u64, "a")), Seen::New);
        let mut log = QueryLog::new(LamportTime(0));
        assert_eq!(log.observe(LamportTime(far), 1), Seen::New);
        assert_eq!(log.observe(LamportTime(far), 1), Seen::Before);
        assert_eq!(log.observe(LamportTime(far), 2), Seen::New);
        assert_eq!(log.observe(LamportTime(1), 1), Seen::TooOld);
    }

    #[test]
    fn what_an_earlier_life_saw_is_not_new() {
        let mut log = EventLog::new(LamportTime(7));
        assert_eq!(log.clock.time(), LamportTime(8));
        assert_eq!(log.observe(&event(7, "a")), Seen::Before);
        assert_eq!(log.observe(&event(8, "a")), Seen::New);
        log.ignore_before(LamportTime(20));
        log.ignore_before(LamportTime(10));
        assert_eq!(log.observe(&event(19, "a")), Seen::Before);
        assert_eq!(log.observe(&event(20, "a")), Seen::New);
    }

    #[test]
    fn a_flood_keeps_memory_bounded_and_nothing_comes_twice() {
        let mut log = EventLog::new(LamportTime(0));
        for at in 0..2 * EVENTS_PER_TIME_MAX {
            log.observe(&event(1, &format!("e{at}")));
        }
        assert_eq!(log.recent()[0].as_ref().unwrap().events.len(), EVENTS_PER_TIME_MAX);
        let big = |time, at: usize| UserEventMessage {
            time: LamportTime(time),
            name: at.to_string(),
            payload: Bytes::from(vec![0; 9000]),
            coalesce: false,
        };
        for time in 2..20 {
            for at in 0..EVENTS_PER_TIME_MAX {
                log.observe(&big(time, at));
            }
        }
        assert!(log.bytes <= BYTES_MAX);
        assert_eq!(log.observe(&big(2, 0)), Seen::Before);
    }

    proptest! {
        #[test]
        fn nothing_is_new_twice(times in proptest::collection::vec(any::<u16>(), 0..400)) {
            let mut log = EventLog::new(LamportTime(0));
            let mut new = std::collections::BTreeSet::new();
            for time in times {
                let time = u64::from(time) % 2000;
                let before = log.clock.time();
                if log.observe(&event(time, "e")) == Seen::New {
                    assert!(new.insert(time));
                }
                assert!(log.clock.time() >= before);
            }
        }
    }
}
