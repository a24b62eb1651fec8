//! What each type of watch asks, what counts as news, what is printed and run.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::view::event_index;
use super::{Cursor, News, Parameters, Plan, Reply};
use crate::cli::stand_in::{Reply as Answer, StandIn};

fn compiled(parameters: Value) -> Result<Plan, String> {
    let Value::Object(parameters) = parameters else { panic!("no parameters") };
    Plan::compile(parameters.into_iter().collect::<Parameters>()).map_err(|invalid| invalid.to_string())
}

fn plan(parameters: Value) -> Plan {
    compiled(parameters).unwrap()
}

/// The question as a path with its query.
fn asked(plan: &Plan) -> String {
    let question = plan.question();
    let query: Vec<String> = question.parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{}?{}", question.path, query.join("&"))
}

fn answer(plan: &mut Plan, index: u64, body: &str) -> Option<String> {
    let reply = Reply { missing: body.is_empty(), index, hash: "", body: body.as_bytes() };
    plan.answered(&reply).unwrap().map(|news| news.json)
}

#[test]
fn every_type_asks_its_own_question() {
    for (parameters, question) in [
        (json!({"type": "key", "key": "a/b"}), "/v1/kv/a/b?"),
        (json!({"type": "keyprefix", "prefix": "a/", "stale": true}), "/v1/kv/a/?recurse=&stale="),
        (json!({"type": "services", "datacenter": "dc2", "filter": "f"}), "/v1/catalog/services?dc=dc2&filter=f"),
        (json!({"type": "nodes"}), "/v1/catalog/nodes?"),
        (json!({"type": "service", "service": "web", "tag": "a"}), "/v1/health/service/web?tag=a"),
        (
            json!({"type": "service", "service": "web", "tag": ["a", "b"], "passingonly": true}),
            "/v1/health/service/web?tag=a&tag=b&passing=1",
        ),
        (json!({"type": "checks"}), "/v1/health/state/any?"),
        (json!({"type": "checks", "state": "critical"}), "/v1/health/state/critical?"),
        (json!({"type": "checks", "service": "web"}), "/v1/health/checks/web?"),
        (json!({"type": "event", "name": "deploy"}), "/v1/event/list?name=deploy"),
        (json!({"type": "connect_roots"}), "/v1/agent/connect/ca/roots?"),
        (json!({"type": "connect_leaf", "service": "web"}), "/v1/agent/connect/ca/leaf/web?"),
        (json!({"type": "agent_service", "service_id": "w1"}), "/v1/agent/service/w1?"),
    ] {
        assert_eq!(asked(&plan(parameters.clone())), question, "{parameters}");
    }
}

#[test]
fn what_makes_no_watch_is_refused() {
    for (parameters, text) in [
        (json!({}), "Watch type must be specified"),
        (json!({"type": "zork"}), "Unsupported watch type: zork"),
        (json!({"type": 1}), "Expecting type to be a string"),
        (json!({"type": "key"}), "Must specify a single key to watch"),
        (json!({"type": "keyprefix"}), "Must specify a single prefix to watch"),
        (json!({"type": "service"}), "Must specify a single service to watch"),
        (json!({"type": "checks", "service": "a", "state": "any"}), "Cannot specify service and state"),
        (json!({"type": "nodes", "stale": "yes"}), "Expecting stale to be a boolean"),
        (json!({"type": "service", "service": "a", "tag": 1}), "Expecting tag to be a string or []string"),
        (json!({"type": "service", "service": "a", "tag": ["b", 1]}), "Index 1 of tag expected to be string"),
        (json!({"type": "nodes", "key": "a", "zork": 1}), "Invalid parameters: [key zork]"),
        (json!({"type": "event", "stale": true}), "Invalid parameters: [stale]"),
    ] {
        assert_eq!(compiled(parameters.clone()).unwrap_err(), text, "{parameters}");
    }
}

#[test]
fn a_token_is_kept_and_not_shown() {
    let plan = plan(json!({"type": "nodes", "token": "s3cret"}));
    assert_eq!(plan.token(), "s3cret");
    assert!(!format!("{plan:?}").contains("s3cret"));
}

#[test]
fn only_a_difference_is_news() {
    let mut plan = plan(json!({"type": "key", "key": "a"}));
    let bar = r#"[{"LockIndex":0,"Key":"a","Flags":0,"Value":"YmFy","CreateIndex":5,"ModifyIndex":5}]"#;
    let shown = r#"{"Key":"a","CreateIndex":5,"ModifyIndex":5,"LockIndex":0,"Flags":0,"Value":"YmFy","Session":""}"#;
    assert_eq!(answer(&mut plan, 3, "").as_deref(), Some("null"), "the first answer is news, even if it is nothing");
    assert_eq!(asked(&plan), "/v1/kv/a?index=3");
    assert_eq!(answer(&mut plan, 3, bar), None, "the same index is no news");
    assert_eq!(answer(&mut plan, 5, bar).as_deref(), Some(shown));
    assert_eq!(answer(&mut plan, 6, bar), None, "the index moved for another reason");
    assert_eq!(asked(&plan), "/v1/kv/a?index=6");
    assert_eq!(answer(&mut plan, 7, "").as_deref(), Some("null"));
}

#[test]
fn an_index_that_runs_backwards_starts_over() {
    let mut plan = plan(json!({"type": "services"}));
    assert!(answer(&mut plan, 9, r#"{"a":[]}"#).is_some());
    assert_eq!(answer(&mut plan, 4, r#"{"b":["t"]}"#).as_deref(), Some(r#"{"b":["t"]}"#));
    assert_eq!(asked(&plan), "/v1/catalog/services?", "index 0 is not asked for");
    assert_eq!(answer(&mut plan, 4, r#"{"b":["t"]}"#), None, "the same again is no news");
    assert_eq!(asked(&plan), "/v1/catalog/services?index=4");
}

#[test]
fn failures_back_off_and_forget_the_index() {
    let mut plan = plan(json!({"type": "nodes"}));
    assert!(answer(&mut plan, 9, "[]").is_some());
    let waits: Vec<u64> = (0..8).map(|_| plan.failed().as_secs()).collect();
    assert_eq!(waits, [5, 20, 45, 80, 125, 180, 180, 180]);
    assert_eq!(asked(&plan), "/v1/catalog/nodes?");
    assert_eq!(answer(&mut plan, 9, "[]").as_deref(), Some("[]"), "who was away is told again");
    assert_eq!(plan.failed(), Duration::from_secs(5));
    let reply = Reply { missing: false, index: 1, hash: "", body: b"<html>" };
    assert!(plan.answered(&reply).is_err());
}

#[test]
fn only_new_events_are_shown() {
    let event = |id: &str| format!(r#"{{"ID":"{id}","Name":"n","Payload":null,"Version":1,"LTime":3}}"#);
    let (one, two) = ("88dd9416-1fa7-6af6-e729-59b6647cfe84", "00000000-0000-0001-0000-000000000002");
    assert_eq!(event_index(two), Some(3));
    assert_eq!(event_index(one), Some(0x88dd_9416_1fa7_6af6 ^ 0xe729_59b6_647c_fe84));
    let mut plan = plan(json!({"type": "event"}));
    let index = event_index(one).unwrap();
    assert!(answer(&mut plan, index, &format!("[{}]", event(one))).is_some());
    let news = answer(&mut plan, 3, &format!("[{},{}]", event(one), event(two))).unwrap();
    assert!(news.contains(two) && !news.contains(one), "{news}");
    assert_eq!(asked(&plan), "/v1/event/list?index=3", "a smaller index is not one that ran backwards");
}

#[test]
fn what_belongs_to_the_agent_is_followed_by_its_hash() {
    let mut plan = plan(json!({"type": "agent_service", "service_id": "w1"}));
    let reply = Reply { missing: false, index: 0, hash: "c0ffee", body: br#"{"ID":"w1"}"# };
    let news = plan.answered(&reply).unwrap().unwrap();
    assert_eq!(news, News { cursor: Cursor::Hash("c0ffee".to_owned()), json: r#"{"ID":"w1"}"#.to_owned() });
    assert_eq!(asked(&plan), "/v1/agent/service/w1?hash=c0ffee");
    assert_eq!(plan.answered(&reply).unwrap(), None);
}

/// The reference's own answer, and what its `watch` prints of it.
#[test]
fn instances_are_shown_as_gos_client_shows_them() {
    let body = r#"[{"Node":{"ID":"i","Node":"vm","Address":"127.0.0.1","Datacenter":"dc1","TaggedAddresses":{"lan":"127.0.0.1"},
        "Meta":{"consul-version":"1.22.0"},"CreateIndex":11,"ModifyIndex":16},"Service":{"ID":"w","Service":"w","Tags":["a"],
        "Address":"","TaggedAddresses":{"lan":{"Address":"1.2.3.4","Port":5}},"Meta":{"x":"y"},"Port":0,
        "Weights":{"Passing":1,"Warning":1},"EnableTagOverride":false,"Proxy":{"Mode":"","MeshGateway":{},"Expose":{}},
        "Connect":{},"PeerName":"","CreateIndex":7,"ModifyIndex":7},"Checks":[{"Node":"vm","CheckID":"serfHealth",
        "Name":"Serf","Status":"passing","Notes":"","Output":"<ok>","ServiceID":"","ServiceName":"","ServiceTags":[],
        "Type":"","Interval":"","Timeout":"","ExposedPort":0,"Definition":{},"CreateIndex":11,"ModifyIndex":11}]}]"#;
    let shown = concat!(
        r#"[{"Node":{"ID":"i","Node":"vm","Address":"127.0.0.1","Datacenter":"dc1","TaggedAddresses":{"lan":"127.0.0.1"},"#,
        r#""Meta":{"consul-version":"1.22.0"},"CreateIndex":11,"ModifyIndex":16},"Service":{"ID":"w","Service":"w","#,
        r#""Tags":["a"],"Meta":{"x":"y"},"Port":0,"Address":"","TaggedAddresses":{"lan":{"Address":"1.2.3.4","Port":5}},"#,
        r#""Weights":{"Passing":1,"Warning":1},"EnableTagOverride":false,"CreateIndex":7,"ModifyIndex":7,"#,
        r#""Proxy":{"MeshGateway":{},"Expose":{}},"Connect":{}},"Checks":[{"Node":"vm","CheckID":"serfHealth","#,
        r#""Name":"Serf","Status":"passing","Notes":"","Output":"\u003cok\u003e","ServiceID":"","ServiceName":"","#,
        r#""ServiceTags":[],"Type":"","ExposedPort":0,"Definition":{"Interval":"0s","Timeout":"0s","#,
        r#""DeregisterCriticalServiceAfter":"0s","HTTP":"","Header":null,"Method":"","Body":"","TLSServerName":"","#,
        r#""TLSSkipVerify":false,"TCP":"","TCPUseTLS":false,"UDP":"","GRPC":"","OSService":"","GRPCUseTLS":false},"#,
        r#""CreateIndex":11,"ModifyIndex":11}]}]"#
    );
    let mut plan = plan(json!({"type": "service", "service": "w"}));
    assert_eq!(answer(&mut plan, 7, body).as_deref(), Some(shown));
}

#[test]
fn without_a_program_the_data_is_printed_once() {
    let agent = StandIn::new(|asked| match asked.path.as_str() {
        "/v1/status/leader" => Answer::ok("\"127.0.0.1:8300\""),
        "/v1/kv/nope" => Answer::new(404, "").indexed(3),
        _ => Answer::ok(r#"{"web":["a"]}"#).indexed(3),
    });
    let once = agent.run(&["watch", "-type=services"]);
    assert_eq!((once.code, once.out.as_str()), (0, "{\n    \"web\": [\n        \"a\"\n    ]\n}\n"));
    assert_eq!(agent.run(&["watch", "-type=key", "-key=nope"]).out, "null\n");
    for (line, err) in [
        (&["-type=connect_leaf"][..], "Type connect_leaf is not supported in the CLI tool\n"),
        (&["-type=zork"], "Unsupported watch type: zork\n"),
        (
            &["-type=service", "-service=a", "-passingonly=x"],
            "Failed to parse passingonly flag: strconv.ParseBool: parsing \"x\": invalid syntax\n",
        ),
    ] {
        let outcome = agent.run(&[&["watch"], line].concat());
        assert_eq!((outcome.code, outcome.err.as_str()), (1, err));
    }
    assert!(agent.run(&["watch"]).err.starts_with("Watch type must be specified\n\nUsage: consul watch "));
}

#[test]
fn a_program_runs_on_every_change_until_it_fails() {
    let file = std::env::temp_dir().join(format!("curule-watch-{}", std::process::id()));
    let _ = std::fs::remove_file(&file);
    let count = AtomicU64::new(0);
    let agent = StandIn::new(move |asked| match asked.path.as_str() {
        "/v1/status/leader" => Answer::ok("\"\""),
        _ => {
            let index = count.fetch_add(1, Ordering::SeqCst) + 1;
            Answer::ok(format!(r#"{{"web-{index}":[]}}"#)).indexed(index)
        }
    });
    let script = format!("echo $CONSUL_INDEX >> {0}; cat >> {0}; test $CONSUL_INDEX -lt 3", file.display());
    let outcome = agent.run(&["watch", "-type=services", &script]);
    assert_eq!((outcome.code, outcome.err.as_str()), (1, "Error executing handler: exit status 1\n"));
    let written = std::fs::read_to_string(&file).unwrap();
    assert_eq!(written, "1\n{\"web-1\":[]}\n2\n{\"web-2\":[]}\n3\n{\"web-3\":[]}\n");
    let missing = agent.run(&["watch", "-type=services", "-shell=false", "no-such-program"]);
    assert_eq!(missing.err, "Error starting handler: exec: \"no-such-program\": executable file not found in $PATH\n");
    std::fs::remove_file(&file).unwrap();
}
