//! A small state to run against: it has something of everything that inputs can name.

use std::sync::OnceLock;

use serde::de::DeserializeOwned;
use state::{Command, Index, Limits, State};
use wire::json::Options;

/// Services, checks, a session that holds a key, a prepared query.
pub(crate) fn state() -> State {
    static STATE: OnceLock<State> = OnceLock::new();
    STATE.get_or_init(build).clone()
}

fn build() -> State {
    let mut state = State::new(Limits::default());
    let registrations = [
        r#"{"Node":"n1","Address":"10.0.0.1","NodeMeta":{"k":"v","rfc1035-x":"y"},"TaggedAddresses":{"lan":"10.0.0.1"},
            "Service":{"ID":"web","Service":"web","Tags":["a","b"],"Port":80,"Meta":{"m":"1"},
            "TaggedAddresses":{"wan":{"Address":"198.18.0.1","Port":81}},"Weights":{"Passing":2,"Warning":1}},
            "Checks":[{"Node":"n1","CheckID":"serfHealth","Name":"s","Status":"passing"},
            {"Node":"n1","CheckID":"c","Name":"c","Status":"warning","ServiceID":"web"}]}"#,
        r#"{"Node":"n2","Address":"2001:db8::2","Service":{"ID":"web2","Service":"web","Address":"web.example.com"}}"#,
        r#"{"Node":"n3","Address":"n1.node.consul","Service":{"ID":"db","Service":"db","Address":"db.service.consul"}}"#,
    ];
    for registration in registrations {
        apply(&mut state, Command::Register(decode(registration)));
    }
    let session = r#"{"Op":"create","Session":{"ID":"adf4238a-882b-9ddc-4a9d-5b6758e4159e","Node":"n1","TTL":"15s",
        "NodeChecks":["serfHealth"],"Behavior":"release","LockDelay":15000000000}}"#;
    apply(&mut state, Command::Session(decode(session)));
    for (op, key) in [("set", "a/b"), ("set", "a/c"), ("lock", "lock")] {
        let session = if op == "lock" { "adf4238a-882b-9ddc-4a9d-5b6758e4159e" } else { "" };
        let entry = format!(r#"{{"Op":"{op}","DirEnt":{{"Key":"{key}","Value":"dg==","Session":"{session}"}}}}"#);
        apply(&mut state, Command::Kvs(decode(&entry)));
    }
    let query = r#"{"Op":"create","Query":{"ID":"8f246b77-f3e1-ff88-5b48-8ec93abf3e05","Name":"near",
        "Service":{"Service":"web","OnlyPassing":true,"Tags":["a"]},"DNS":{"TTL":"10s"}}}"#;
    apply(&mut state, Command::PreparedQuery(decode(query)));
    state
}

pub(crate) fn decode<T: DeserializeOwned>(text: &str) -> T {
    wire::json::from_slice(text.as_bytes(), Options::STRICT).expect("our own requests are well-formed")
}

fn apply(state: &mut State, command: Command) {
    let applied = state.apply(Index(state.applied().0 + 1), command);
    assert!(!matches!(applied.outcome, state::Outcome::Failed(_)), "{:?}", applied.outcome);
}
