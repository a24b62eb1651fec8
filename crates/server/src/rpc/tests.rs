//! What goes over the wire comes back as it was.

use std::collections::BTreeSet;
use std::time::Duration;

use state::catalog::{CatalogListNodes, CatalogListServices, NodesQuery, tags_by_name};
use state::kv::{Entry, KeyQuery, KvGet, KvsRequest, Octets, Op};
use state::{Command, Index, Outcome, Query};

use super::envelope::{Meta, Options, pack_answer, pack_query, unpack_answer};
use super::{Carried, Dispatcher, Fields, commands};
use crate::{Answer, QueryMeta, ReadMode, ReadOptions};

fn meta() -> QueryMeta {
    QueryMeta {
        index: Index(7),
        known_leader: true,
        last_contact: Duration::from_millis(3),
        mode: ReadMode::Stale,
        filtered: true,
    }
}

fn there_and_back<Q: Carried>(query: &Q, answer: Q::Answer) -> Answer<Q::Answer> {
    let packed = pack_answer(query, Answer { answer, meta: meta() }).unwrap();
    unpack_answer(query, &packed.into(), ReadMode::Stale).unwrap()
}

#[test]
fn a_query_travels_with_its_options() {
    let query = KvGet(KeyQuery { key: "a/b".into() });
    let options = ReadOptions { min_index: Index(5), wait: Duration::from_secs(9), mode: ReadMode::Consistent };
    let args = pack_query(&query, Options::of("dc1", &options)).unwrap();
    let seen: Options = wire::msgpack::from_slice(&args).unwrap();
    assert_eq!((seen.min_query_index, seen.mode(), &*seen.datacenter), (5, ReadMode::Consistent, "dc1"));
    assert_eq!(seen.max_query_time, 9_000_000_000);
    let again: KvGet = wire::msgpack::from_slice(&args).unwrap();
    assert_eq!(again.0, query.0);
    // The reference's own bytes: a map with sorted names, text as raw.
    assert!(args.windows(4).any(|window| window == b"\xa3Key"));
}

#[test]
fn answers_travel_with_their_facts() {
    let entry =
        Entry { key: "a".into(), value: Octets::copied(&[0xff, 0]), modify_index: Index(7), ..Entry::default() };
    let query = KvGet(KeyQuery { key: "a".into() });
    let back = there_and_back(&query, Some(entry.clone().into()));
    assert_eq!(back.answer.as_deref(), Some(&entry));
    assert_eq!((back.meta.index, back.meta.known_leader, back.meta.filtered), (Index(7), true, true));
    assert_eq!(back.meta.last_contact, Duration::from_millis(3));
    assert_eq!(there_and_back(&query, None).answer, None);
    assert_eq!(there_and_back(&CatalogListNodes(NodesQuery::default()), Vec::new()).answer, Vec::new());
}

#[test]
fn names_of_services_keep_their_tags() {
    let query = CatalogListServices(NodesQuery::default());
    let services = Fields::of("Services", &std::collections::BTreeMap::from([("web", vec!["a", "b"]), ("db", vec![])]));
    let rows = query.unpack(&services.unwrap()).unwrap();
    let tags = tags_by_name(&rows);
    assert_eq!(tags["web"], BTreeSet::from(["a", "b"]));
    assert!(tags["db"].is_empty());
}

#[test]
fn commands_come_back_and_so_do_their_outcomes() {
    let dir_ent = Entry { key: "a".into(), value: Octets::copied(b"v"), ..Entry::default() };
    for (op, outcome) in
        [(Op::Set, Outcome::Done), (Op::Cas, Outcome::Decided(false)), (Op::Lock, Outcome::Decided(true))]
    {
        let command = Command::Kvs(KvsRequest { op, dir_ent: dir_ent.clone(), ..KvsRequest::default() });
        let method = commands::method(&command).unwrap();
        let args = commands::with_token(commands::pack(&command).unwrap(), "dc1").unwrap();
        let Command::Kvs(again) = commands::unpack(method, &args).unwrap().unwrap() else { panic!("another command") };
        assert_eq!((again.op, &again.dir_ent), (op, &dir_ent));
        let body = commands::pack_outcome("", method, outcome.clone()).unwrap();
        assert_eq!(commands::unpack_outcome(&command, &body.into()).unwrap(), outcome);
    }
}

#[test]
fn every_method_has_one_query() {
    let methods = Dispatcher::reading_methods();
    let distinct: BTreeSet<_> = methods.iter().collect();
    assert_eq!(distinct.len(), methods.len());
    assert!(methods.contains(&<KvGet as Query>::METHOD));
}

#[test]
fn facts_without_a_body_are_those_of_nothing() {
    let meta: Meta = Fields::default().read().unwrap();
    assert_eq!(meta.facts(ReadMode::Default).index, Index(1), "index zero is never told");
}
