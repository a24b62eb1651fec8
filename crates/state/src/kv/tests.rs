//! Scenarios of the KV store: each reads as a list of commands with what they came to.
use std::sync::Arc;

use super::{Entry, KeyList, KeyQuery, KvGet, KvKeys, KvList, KvsRequest, Octets, Op};
use crate::{Command, Found, Index, Outcome, Query, Seen, State, Topic};

fn put(state: &mut State, index: u64, op: Op, key: &str, value: &str, expected: u64) -> Outcome {
    let dir_ent = Entry {
        key: key.into(),
        value: Octets::copied(value.as_bytes()),
        modify_index: Index(expected),
        ..Entry::default()
    };
    let request = KvsRequest { op, dir_ent, ..KvsRequest::default() };
    state.apply(Index(index), Command::Kvs(request)).outcome
}

fn get(state: &State, key: &str) -> Found<Option<Arc<Entry>>> {
    KvGet(KeyQuery { key: key.into() }).run(state, &mut Seen::default()).unwrap()
}

fn list(state: &State, prefix: &str) -> (u64, Vec<String>) {
    let found = KvList(KeyQuery { key: prefix.into() }).run(state, &mut Seen::default()).unwrap();
    (found.index.0, found.answer.iter().map(|entry| entry.key.to_string()).collect())
}

#[test]
fn an_equal_write_moves_no_index_and_touches_nothing() {
    let mut state = State::default();
    put(&mut state, 5, Op::Set, "a", "1", 0);
    let dir_ent = Entry { key: "a".into(), value: Octets::copied(b"1"), ..Entry::default() };
    let request = KvsRequest { op: Op::Set, dir_ent, ..KvsRequest::default() };
    let applied = state.apply(Index(6), Command::Kvs(request));
    assert!(applied.touched.is_empty());
    assert_eq!(get(&state, "a").index, Index(5));
    assert_eq!(get(&state, "zz").index, Index(5));
}

#[test]
fn check_and_set_follows_the_index() {
    let mut state = State::default();
    assert_eq!(put(&mut state, 5, Op::Cas, "a", "1", 0), Outcome::Decided(true));
    assert_eq!(put(&mut state, 6, Op::Cas, "a", "2", 0), Outcome::Decided(false));
    assert_eq!(put(&mut state, 7, Op::Cas, "a", "2", 4), Outcome::Decided(false));
    assert_eq!(put(&mut state, 8, Op::Cas, "a", "2", 5), Outcome::Decided(true));
    assert_eq!(put(&mut state, 9, Op::DeleteCas, "a", "", 5), Outcome::Decided(false));
    assert_eq!(put(&mut state, 10, Op::DeleteCas, "a", "", 8), Outcome::Decided(true));
    assert_eq!(put(&mut state, 11, Op::DeleteCas, "a", "", 8), Outcome::Decided(true));
    assert_eq!(put(&mut state, 12, Op::Cas, "a", "2", 8), Outcome::Decided(false));
}

#[test]
fn a_prefix_index_covers_its_deletions() {
    let mut state = State::default();
    put(&mut state, 5, Op::Set, "a/1", "1", 0);
    put(&mut state, 6, Op::Set, "a/2", "1", 0);
    put(&mut state, 7, Op::Set, "b", "1", 0);
    assert_eq!(list(&state, "a/"), (6, vec!["a/1".into(), "a/2".into()]));
    put(&mut state, 8, Op::Delete, "a/2", "", 0);
    assert_eq!(list(&state, "a/"), (8, vec!["a/1".into()]));
    assert_eq!(list(&state, "b"), (7, vec!["b".into()]));
    put(&mut state, 9, Op::DeleteTree, "a/", "", 0);
    assert_eq!(list(&state, "a/"), (9, vec![]));
    assert_eq!(list(&state, "nothing"), (9, vec![]));
}

#[test]
fn a_watcher_of_a_prefix_is_concerned_by_keys_below_it_only() {
    let state = State::default();
    let mut seen = Seen::default();
    KvList(KeyQuery { key: "a/".into() }).run(&state, &mut seen).unwrap();
    assert!(seen.concerns(&Topic::Key("a/b".into())));
    assert!(!seen.concerns(&Topic::Key("ab".into())));
}

#[test]
fn keys_are_cut_after_the_separator() {
    let mut state = State::default();
    for (at, key) in ["a/x", "a/x/1", "a/x/2", "a/y/1", "b"].iter().enumerate() {
        put(&mut state, 5 + at as u64, Op::Set, key, "1", 0);
    }
    let query = KeyList { prefix: "a/".into(), separator: "/".into(), list_policy: false };
    let found = KvKeys(query.clone()).run(&state, &mut Seen::default()).unwrap();
    assert_eq!(query.cut(&found.answer), ["a/x", "a/x/", "a/y/"]);
}
