//! Is a history of one key linearizable? (Wing and Gong, "Testing and Verifying Concurrent Objects", 1993, with Lowe's
//! memory of configurations that were tried, "Testing for linearizability", 2017.)
//!
//! Values are unique, so that a value names the write that made it. An operation whose answer was lost may have
//! happened at any time after it began, or never.

use std::collections::HashSet;

/// What a client asked of a key, and what it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It read this value; `None` for an absent key.
    Read(Option<u64>),
    /// It set, or deleted, unconditionally.
    Write(Option<u64>),
    /// It replaced what it took for the present value; whether it was told that it had.
    Replace { expected: Option<u64>, new: Option<u64>, done: bool },
}

/// One operation. Times are the simulation's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    pub began: u64,
    /// `None`: the answer was lost.
    pub ended: Option<u64>,
    pub action: Action,
}

/// Histories of one key are no longer than this.
pub const LENGTH_MAX: usize = 64;

/// What the key holds after an operation; `None` when the operation cannot have happened there. For a lost answer, a
/// replacement happens or not as the value has it.
fn step(value: Option<u64>, operation: &Operation) -> Option<Option<u64>> {
    let known = operation.ended.is_some();
    match &operation.action {
        Action::Read(read) => (*read == value).then_some(value),
        Action::Write(new) => Some(*new),
        Action::Replace { expected, new, done } => match (*expected == value, known, done) {
            (true, true, true) | (true, false, _) => Some(*new),
            (false, true, false) | (false, false, _) => Some(value),
            (true, true, false) | (false, true, true) => None,
        },
    }
}

/// Whether the operations on a key that began absent can be put in an order that explains every answer.
///
/// # Panics
/// For a history longer than [`LENGTH_MAX`].
#[must_use]
pub fn is_linearizable(operations: &[Operation]) -> bool {
    assert!(operations.len() <= LENGTH_MAX, "the history is too long to be checked");
    let must: u64 = bits(operations, |operation| operation.ended.is_some());
    let mut tried = HashSet::new();
    let mut open = vec![(0_u64, None)];
    while let Some((taken, value)) = open.pop() {
        if taken & must == must {
            return true;
        }
        // Nothing may come after an operation that ended before it began.
        let left = || operations.iter().enumerate().filter(|(at, _)| taken & (1 << at) == 0);
        let first_end = left().filter_map(|(_, operation)| operation.ended).min().unwrap_or(u64::MAX);
        for (at, operation) in left().filter(|(_, operation)| operation.began <= first_end) {
            let Some(next) = step(value, operation) else { continue };
            let configuration = (taken | (1 << at), next);
            if tried.insert(configuration) {
                open.push(configuration);
            }
        }
    }
    false
}

fn bits(operations: &[Operation], which: impl Fn(&Operation) -> bool) -> u64 {
    operations.iter().enumerate().filter(|(_, operation)| which(operation)).fold(0, |all, (at, _)| all | (1 << at))
}

#[cfg(test)]
mod tests {
    use super::{Action, Operation, is_linearizable};

    fn operation(began: u64, ended: u64, action: Action) -> Operation {
        Operation { began, ended: (ended > 0).then_some(ended), action }
    }

    #[test]
    fn a_read_sees_the_last_write() {
        let write = |began, ended, value| operation(began, ended, Action::Write(Some(value)));
        let read = |began, ended, value| operation(began, ended, Action::Read(value));
        assert!(is_linearizable(&[write(1, 2, 7), read(3, 4, Some(7))]));
        assert!(!is_linearizable(&[write(1, 2, 7), read(3, 4, None)]), "stale");
        assert!(is_linearizable(&[write(1, 5, 7), read(2, 3, None)]), "concurrent");
        assert!(!is_linearizable(&[write(1, 9, 7), read(2, 3, Some(7)), read(4, 5, None)]), "backwards");
        assert!(is_linearizable(&[write(1, 0, 7), read(9, 10, None), read(11, 12, Some(7))]), "lost, and late");
        assert!(is_linearizable(&[write(1, 0, 7), read(9, 10, None)]), "lost, and never");
        assert!(!is_linearizable(&[write(5, 0, 7), read(1, 2, Some(7))]), "before its time");
    }

    #[test]
    fn a_replacement_happens_once() {
        let replace = |began, ended, expected, new, done| {
            operation(began, ended, Action::Replace { expected, new: Some(new), done })
        };
        assert!(is_linearizable(&[replace(1, 2, None, 1, true), replace(3, 4, Some(1), 2, true)]));
        assert!(!is_linearizable(&[replace(1, 2, None, 1, true), replace(3, 4, None, 2, true)]));
        assert!(!is_linearizable(&[replace(1, 4, None, 1, true), replace(2, 3, None, 2, true)]));
        assert!(is_linearizable(&[replace(1, 4, None, 1, true), replace(2, 3, None, 2, false)]));
        assert!(!is_linearizable(&[replace(1, 2, None, 1, false)]));
        assert!(is_linearizable(&[replace(1, 0, None, 1, false), replace(3, 4, None, 2, true)]));
    }
}
