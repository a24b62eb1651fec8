//! The snapshot: whom this agent last saw alive and how late it was, so that a restart finds the pool again and takes
//! no old event for a new one.
//!
//! A text file, appended to line by line and rewritten when it has grown past what is in it, in the format of
//! `hashicorp/serf`, so that a data directory can be taken over in place:
//!
//! ```text
//! alive: node-1 10.0.0.1:8301
//! not-alive: node-1
//! clock: 17
//! event-clock: 4
//! query-clock: 2
//! leave
//! ```
//!
//! Always true: [`replay`] of what a [`Recorder`] wrote gives what the recorder holds; replay takes any bytes.
//! Not here: the file. Whoever drives Serf appends and replaces it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::lamport::LamportTime;

/// A snapshot is not rewritten before it is this long.
const COMPACT_MIN: usize = 128 * 1024;
/// What a member is reckoned to take in a snapshot.
const BYTES_PER_NODE: usize = 128;
/// How often over that a snapshot is rewritten.
const COMPACT_FACTOR: usize = 2;
/// How many members a snapshot may name, and how long a name and an address may be: bounds against a file that is
/// none of ours.
const NODES_MAX: usize = 1 << 20;
const LINE_MAX: usize = 4096;

/// What a snapshot says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Name and address of who was alive. The address may be any text.
    pub alive: BTreeMap<String, String>,
    pub clock: LamportTime,
    pub event_clock: LamportTime,
    pub query_clock: LamportTime,
    /// This agent had left; then there is nothing above unless it is to rejoin nevertheless.
    pub left: bool,
    /// Lines that could not be read, worth a warning.
    pub unread: usize,
    /// How long the snapshot was.
    pub bytes: usize,
}

/// Reads a snapshot. With `rejoin_after_leave` a leave says nothing.
#[must_use]
pub fn replay(snapshot: &[u8], rejoin_after_leave: bool) -> Replayed {
    let mut replayed = Replayed { bytes: snapshot.len(), ..Replayed::default() };
    // A last line without its end was torn by a crash.
    let whole = snapshot.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    for line in snapshot[..whole].split_inclusive(|byte| *byte == b'\n') {
        let line = &line[..line.len() - 1];
        if line.len() > LINE_MAX || !read_line(&mut replayed, &String::from_utf8_lossy(line), rejoin_after_leave) {
            replayed.unread += 1;
        }
    }
    replayed
}

/// Takes in one line; answers whether it could be read.
fn read_line(replayed: &mut Replayed, line: &str, rejoin_after_leave: bool) -> bool {
    if line == "leave" {
        if !rejoin_after_leave {
            *replayed = Replayed { bytes: replayed.bytes, unread: replayed.unread, ..Replayed::default() };
        }
        replayed.left = true;
        return true;
    }
    // Coordinates were kept by old versions; they converge anew.
    if line.starts_with('#') || line.starts_with("coordinate: ") {
        return true;
    }
    let Some((what, rest)) = line.split_once(": ") else {
        return false;
    };
    match what {
        "alive" => {
            let Some((name, address)) = rest.rsplit_once(' ') else {
                return false;
            };
            if replayed.alive.len() >= NODES_MAX {
                return false;
            }
            replayed.alive.insert(name.to_owned(), address.to_owned());
            // Whoever comes back after a leave is no longer gone.
            replayed.left = false;
        }
        "not-alive" => {
            replayed.alive.remove(rest);
        }
        "clock" => return read_time(&mut replayed.clock, rest),
        "event-clock" => return read_time(&mut replayed.event_clock, rest),
        "query-clock" => return read_time(&mut replayed.query_clock, rest),
        _ => return false,
    }
    true
}

fn read_time(into: &mut LamportTime, text: &str) -> bool {
    match text.parse() {
        Ok(time) if LamportTime(time) < LamportTime::LIMIT => {
            *into = LamportTime(time);
            true
        }
        _ => false,
    }
}

/// What is to be done to the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotWrite {
    /// Append this line; it may be buffered for half a second.
    Append(String),
    /// Append this line and sync the file.
    AppendDurably(String),
    /// Put this in place of the whole file.
    Replace(String),
}

/// Follows what happens and says what to write.
#[derive(Debug, Clone)]
pub struct Recorder {
    alive: BTreeMap<String, String>,
    clock: LamportTime,
    event_clock: LamportTime,
    query_clock: LamportTime,
    /// Nothing that happens after we left is recorded.
    leaving: bool,
    rejoin_after_leave: bool,
    bytes: usize,
}

impl Recorder {
    #[must_use]
    pub fn new(replayed: &Replayed, rejoin_after_leave: bool) -> Recorder {
        Recorder {
            alive: replayed.alive.clone(),
            clock: replayed.clock,
            event_clock: replayed.event_clock,
            query_clock: replayed.query_clock,
            leaving: false,
            rejoin_after_leave,
            bytes: replayed.bytes,
        }
    }

    pub fn joined(&mut self, name: &str, address: SocketAddr, out: &mut Vec<SnapshotWrite>) {
        // A line break would make two lines of one; no member has such a name unless it means harm.
        if self.leaving || name.contains('\n') {
            return;
        }
        let address = SocketAddr::new(address.ip().to_canonical(), address.port()).to_string();
        let line = format!("alive: {name} {address}\n");
        self.alive.insert(name.to_owned(), address);
        self.append(line, out);
    }

    /// Left or failed.
    pub fn gone(&mut self, name: &str, out: &mut Vec<SnapshotWrite>) {
        if self.leaving || name.contains('\n') {
            return;
        }
        self.alive.remove(name);
        self.append(format!("not-alive: {name}\n"), out);
    }

    /// Whether [`Recorder::clock`] with this time of the member clock would write.
    #[must_use]
    pub fn lags(&self, now: LamportTime) -> bool {
        now.previous() > self.clock
    }

    /// The member clock shows `now`; so the last time that was seen is the one before.
    pub fn clock(&mut self, now: LamportTime, out: &mut Vec<SnapshotWrite>) {
        if self.lags(now) {
            self.clock = now.previous();
            self.append(format!("clock: {}\n", self.clock), out);
        }
    }

    pub fn user_event(&mut self, time: LamportTime, out: &mut Vec<SnapshotWrite>) {
        if !self.leaving && time > self.event_clock {
            self.event_clock = time;
            self.append(format!("event-clock: {time}\n"), out);
        }
    }

    pub fn query(&mut self, time: LamportTime, out: &mut Vec<SnapshotWrite>) {
        if !self.leaving && time > self.query_clock {
            self.query_clock = time;
            self.append(format!("query-clock: {time}\n"), out);
        }
    }

    pub fn leave(&mut self, out: &mut Vec<SnapshotWrite>) {
        self.leaving = true;
        if !self.rejoin_after_leave {
            self.alive.clear();
        }
        let line = "leave\n";
        self.bytes += line.len();
        out.push(SnapshotWrite::AppendDurably(line.to_owned()));
    }

    /// The whole snapshot as short as it gets: to start anew after a write failed.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, address) in &self.alive {
            text.push_str(&format!("alive: {name} {address}\n"));
        }
        text.push_str(&format!("clock: {}\n", self.clock));
        text.push_str(&format!("event-clock: {}\n", self.event_clock));
        text.push_str(&format!("query-clock: {}\n", self.query_clock));
        if self.leaving {
            text.push_str("leave\n");
        }
        text
    }

    fn append(&mut self, line: String, out: &mut Vec<SnapshotWrite>) {
        self.bytes += line.len();
        let most = (self.alive.len() * BYTES_PER_NODE * COMPACT_FACTOR).max(COMPACT_MIN);
        if self.bytes <= most {
            out.push(SnapshotWrite::Append(line));
            return;
        }
        // The line is in the whole already.
        let text = self.text();
        self.bytes = text.len();
        out.push(SnapshotWrite::Replace(text));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::{COMPACT_MIN, Recorder, Replayed, SnapshotWrite, replay};
    use crate::serf::lamport::LamportTime;

    const TEXT: &str = "\
alive: node-1 10.0.0.1:8301
alive: with space 10.0.0.2:8301
coordinate: {\"Vec\":[]}
# a comment
alive: six [fe80::1]:8301
not-alive: node-1
clock: 17
event-clock: 4
query-clock: 2
";

    fn alive(replayed: &Replayed) -> Vec<(&str, &str)> {
        replayed.alive.iter().map(|(name, address)| (name.as_str(), address.as_str())).collect()
    }

    #[test]
    fn a_snapshot_of_the_reference_is_read() {
        let replayed = replay(TEXT.as_bytes(), false);
        assert_eq!(alive(&replayed), [("six", "[fe80::1]:8301"), ("with space", "10.0.0.2:8301")]);
        assert_eq!(
            (replayed.clock, replayed.event_clock, replayed.query_clock),
            (LamportTime(17), LamportTime(4), LamportTime(2))
        );
        assert_eq!((replayed.left, replayed.unread, replayed.bytes), (false, 0, TEXT.len()));
    }

    #[test]
    fn a_leave_empties_unless_we_rejoin() {
        let text = format!("{TEXT}leave\n");
        let left = replay(text.as_bytes(), false);
        assert_eq!(left, Replayed { left: true, bytes: text.len(), ..Replayed::default() });
        let rejoin = replay(text.as_bytes(), true);
        assert_eq!((alive(&rejoin).len(), rejoin.clock, rejoin.left), (2, LamportTime(17), true));
    }

    #[test]
    fn what_cannot_be_read_is_counted_and_passed_over() {
        let text = "alive: nobody\nclock: x\nclock: 18446744073709551615\nhello\n\nalive: a 1.2.3.4:5\nalive: torn 1.2";
        let replayed = replay(text.as_bytes(), false);
        assert_eq!(alive(&replayed), [("a", "1.2.3.4:5")]);
        assert_eq!((replayed.unread, replayed.clock), (5, LamportTime(0)));
    }

    /// Does to a text what is to be done to the file.
    fn write(file: &mut String, writes: Vec<SnapshotWrite>) {
        for write in writes {
            match write {
                SnapshotWrite::Append(line) | SnapshotWrite::AppendDurably(line) => file.push_str(&line),
                SnapshotWrite::Replace(text) => *file = text,
            }
        }
    }

    #[test]
    fn what_is_recorded_is_replayed() {
        let (mut file, mut out) = (String::new(), vec![]);
        let mut recorder = Recorder::new(&Replayed::default(), false);
        recorder.joined("a", "10.0.0.1:8301".parse().unwrap(), &mut out);
        recorder.joined("b", "[::ffff:10.0.0.2]:8301".parse().unwrap(), &mut out);
        recorder.gone("a", &mut out);
        recorder.clock(LamportTime(9), &mut out);
        recorder.clock(LamportTime(9), &mut out);
        recorder.user_event(LamportTime(3), &mut out);
        recorder.user_event(LamportTime(2), &mut out);
        recorder.query(LamportTime(5), &mut out);
        recorder.joined("evil\nleave", "10.0.0.9:8301".parse().unwrap(), &mut out);
        write(&mut file, out);
        assert_eq!(
            file,
            "alive: a 10.0.0.1:8301\nalive: b 10.0.0.2:8301\nnot-alive: a\nclock: 8\nevent-clock: 3\nquery-clock: 5\n"
        );
        let replayed = replay(file.as_bytes(), false);
        let short = replay(recorder.text().as_bytes(), false);
        assert_eq!(replayed, Replayed { bytes: replayed.bytes, ..short });
    }

    #[test]
    fn nothing_is_recorded_after_a_leave_but_the_clock() {
        let mut out = vec![];
        let mut recorder = Recorder::new(&replay(TEXT.as_bytes(), false), false);
        recorder.leave(&mut out);
        recorder.gone("six", &mut out);
        recorder.user_event(LamportTime(99), &mut out);
        recorder.query(LamportTime(99), &mut out);
        assert_eq!(out, [SnapshotWrite::AppendDurably("leave\n".to_owned())]);
        assert!(replay(recorder.text().as_bytes(), false).left);
    }

    #[test]
    fn a_snapshot_that_grew_is_rewritten() {
        let mut recorder = Recorder::new(&Replayed::default(), false);
        let mut file = String::new();
        let mut rewritten = 0;
        for round in 0..20_000_u64 {
            let mut out = vec![];
            recorder.joined("a", "10.0.0.1:8301".parse().unwrap(), &mut out);
            recorder.clock(LamportTime(round), &mut out);
            rewritten += out.iter().filter(|write| matches!(write, SnapshotWrite::Replace(_))).count();
            write(&mut file, out);
            assert!(file.len() <= COMPACT_MIN);
        }
        assert!(rewritten > 1);
        assert_eq!(replay(file.as_bytes(), false).clock, LamportTime(19_998));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(garbage in any::<Vec<u8>>()) {
            let _ = replay(&garbage, true);
        }
    }
}
