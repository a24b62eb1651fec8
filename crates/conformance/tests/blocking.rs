//! Blocking queries: what wakes a reader, what does not, and what it gets when nothing happens.

use conformance::{Answer, agent, cleanup, json, unique};
use std::thread::JoinHandle;
use std::time::Duration;

/// Long enough for a request to be waiting when the next one is sent.
const SETTLE: Duration = Duration::from_millis(200);
/// A reader that was woken answers long before its wait is over.
const SOON: Duration = Duration::from_secs(4);

/// Starts a read that waits for a change after the index that the path has now.
fn waiting(path: &str) -> (u64, JoinHandle<Answer>) {
    let index = agent().get(path).send().index();
    let join = if path.contains('?') { '&' } else { '?' };
    let call = agent().get(format!("{path}{join}index={index}&wait=10s"));
    let reader = std::thread::spawn(move || call.send());
    std::thread::sleep(SETTLE);
    (index, reader)
}

#[track_caller]
fn woken((before, reader): (u64, JoinHandle<Answer>)) -> Answer {
    let answer = reader.join().expect("the reader ends");
    assert!(answer.took < SOON, "{} slept on for {:?}", answer.label, answer.took);
    assert!(answer.index() > before, "{}: index {} after {before}", answer.label, answer.index());
    answer
}

/// Asserts that a read with a short wait sleeps through the change and comes back with the same index.
#[track_caller]
fn sleeps_through(path: &str, change: impl FnOnce()) {
    let index = agent().get(path).send().index();
    let join = if path.contains('?') { '&' } else { '?' };
    let call = agent().get(format!("{path}{join}index={index}&wait=600ms"));
    let reader = std::thread::spawn(move || call.send());
    std::thread::sleep(SETTLE);
    change();
    let answer = reader.join().expect("the reader ends");
    assert!(answer.took >= Duration::from_millis(600), "{} woke after {:?}", answer.label, answer.took);
    assert_eq!(answer.index(), index, "{}", answer.label);
}

fn kv() -> (String, impl Drop) {
    let prefix = unique("wait");
    let undo = format!("/v1/kv/{prefix}?recurse");
    (format!("/v1/kv/{prefix}"), cleanup(move || drop(agent().delete(&undo).send())))
}

fn put(path: String) {
    agent().put(path, "v").expect(200, "true");
}

#[test]
fn a_key_wakes_its_reader_and_no_other() {
    let (path, _undo) = kv();
    put(format!("{path}/a"));
    let reader = waiting(&format!("{path}/a"));
    agent().put(format!("{path}/a"), "w").expect(200, "true");
    assert_eq!(woken(reader).json()[0]["Value"], json!("dw=="));
    // Writing what is there already changes nothing.
    sleeps_through(&format!("{path}/a"), || drop(agent().put(format!("{path}/a"), "w").expect(200, "true")));
    sleeps_through(&format!("{path}/a"), || put(format!("{path}/b")));
}

#[test]
fn creation_and_deletion_wake() {
    let (path, _undo) = kv();
    let reader = waiting(&format!("{path}/new"));
    put(format!("{path}/new"));
    woken(reader).status(200);
    let reader = waiting(&format!("{path}/new"));
    agent().delete(format!("{path}/new")).expect(200, "true");
    woken(reader).status(404);
}

#[test]
fn a_prefix_wakes_for_everything_below_it() {
    let (path, _undo) = kv();
    put(format!("{path}/a/1"));
    for query in ["recurse", "keys"] {
        let below = format!("{path}/a/?{query}");
        let reader = waiting(&below);
        put(format!("{path}/a/2{query}"));
        woken(reader).status(200);
        let reader = waiting(&below);
        agent().delete(format!("{path}/a/2{query}")).expect(200, "true");
        woken(reader).status(200);
        sleeps_through(&below, || put(format!("{path}/b/{query}")));
    }
}

#[test]
fn an_index_from_the_past_is_answered_at_once() {
    let (path, _undo) = kv();
    put(format!("{path}/a"));
    agent().put(format!("{path}/a"), "w").expect(200, "true");
    let index = agent().get(format!("{path}/a")).send().index();
    for query in [format!("index={}", index - 1), "index=0".into(), "wait=10s".into(), "index=0&wait=10s".into()] {
        let answer = agent().get(format!("{path}/a?{query}")).status(200);
        assert!(answer.took < SOON, "{query}: {:?}", answer.took);
    }
}

#[test]
fn the_end_of_the_wait_is_an_answer() {
    let (path, _undo) = kv();
    put(format!("{path}/a"));
    let index = agent().get(format!("{path}/a")).send().index();
    for index in [index, index + 1_000_000] {
        let answer = agent().get(format!("{path}/a?index={index}&wait=300ms")).status(200);
        assert!(answer.took >= Duration::from_millis(300), "{:?}", answer.took);
        assert!(answer.took < Duration::from_millis(1500), "{:?}", answer.took);
        assert_eq!(answer.json()[0]["Value"], json!("dg=="));
    }
}

#[test]
fn services_wake_for_instances_and_checks() {
    let (node, service) = (unique("wait-node"), unique("wait-svc"));
    let undo = json!({"Node": node}).to_string();
    let _undo = cleanup(|| drop(agent().put("/v1/catalog/deregister", &undo).send()));
    let register = |rest: conformance::Value| {
        let mut body = json!({"Node": node, "Address": "10.1.1.1"});
        for (member, value) in rest.as_object().expect("a map") {
            body[member] = value.clone();
        }
        agent().put_json("/v1/catalog/register", &body).expect(200, "true");
    };
    let health = format!("/v1/health/service/{service}");
    let catalog = format!("/v1/catalog/service/{service}");
    // A service that is not there may wake its readers when any other goes: start with one instance.
    register(json!({"Service": {"ID": format!("{service}-0"), "Service": service}}));
    let readers = [waiting(&health), waiting(&catalog)];
    register(json!({"Service": {"ID": service, "Service": service}}));
    for reader in readers {
        assert_eq!(woken(reader).json().as_array().map(Vec::len), Some(2));
    }
    let passing = waiting(&format!("{health}?passing"));
    let checks = waiting(&format!("/v1/health/checks/{service}"));
    register(json!({"Check": {"CheckID": service, "Name": "c", "Status": "critical", "ServiceID": service}}));
    assert_eq!(woken(passing).json().as_array().map(Vec::len), Some(1));
    assert_eq!(woken(checks).json()[0]["Status"], json!("critical"));
    let on_node =
        [waiting(&format!("/v1/health/node/{node}")), waiting(&format!("/v1/catalog/node/{node}")), waiting(&health)];
    agent().put_json("/v1/catalog/deregister", &json!({"Node": node, "ServiceID": service})).expect(200, "true");
    for reader in on_node {
        woken(reader);
    }
}

#[test]
fn the_same_registration_again_changes_nothing() {
    let (node, service) = (unique("same-node"), unique("same-svc"));
    let undo = json!({"Node": node}).to_string();
    let _undo = cleanup(|| drop(agent().put("/v1/catalog/deregister", &undo).send()));
    let body = json!({"Node": node, "Address": "10.1.1.1", "Service": {"ID": service, "Service": service, "Port": 1}});
    let register = || drop(agent().put_json("/v1/catalog/register", &body).expect(200, "true"));
    register();
    sleeps_through(&format!("/v1/health/service/{service}"), register);
}

#[test]
fn other_services_do_not_wake() {
    let (node, service) = (unique("quiet-node"), unique("quiet-svc"));
    let undo = json!({"Node": node}).to_string();
    let _undo = cleanup(|| drop(agent().put("/v1/catalog/deregister", &undo).send()));
    let register = |name: &str| {
        let body = json!({"Node": node, "Address": "10.1.1.1", "Service": {"ID": name, "Service": name}});
        agent().put_json("/v1/catalog/register", &body).expect(200, "true");
    };
    register(&service);
    sleeps_through(&format!("/v1/health/service/{service}"), || register(&format!("{service}-other")));
}

#[test]
fn sessions_and_queries_wake() {
    let session = waiting(&format!("/v1/session/node/{}", agent().node()));
    let list = waiting("/v1/session/list");
    let id = agent().put("/v1/session/create", "").json()["ID"].as_str().expect("an id").to_owned();
    woken(session);
    woken(list);
    let info = waiting(&format!("/v1/session/info/{id}"));
    agent().put(format!("/v1/session/destroy/{id}"), "").expect(200, "true");
    assert_eq!(woken(info).json(), json!([]));
    let queries = waiting("/v1/query");
    let body = json!({"Name": unique("wait-query"), "Service": {"Service": "x"}});
    let id = agent().post("/v1/query", body.to_string()).json()["ID"].as_str().expect("an id").to_owned();
    woken(queries);
    agent().delete(format!("/v1/query/{id}")).status(200);
}

#[test]
fn many_readers_are_woken_together() {
    let (path, _undo) = kv();
    put(format!("{path}/a"));
    let readers: Vec<_> = (0..20)
        .map(|_| {
            let index = agent().get(format!("{path}/a")).send().index();
            let call = agent().get(format!("{path}/a?index={index}&wait=10s"));
            std::thread::spawn(move || call.send())
        })
        .collect();
    std::thread::sleep(SETTLE);
    agent().put(format!("{path}/a"), "w").expect(200, "true");
    for reader in readers {
        let answer = reader.join().expect("the reader ends").status(200);
        assert!(answer.took < SOON, "{:?}", answer.took);
    }
}
