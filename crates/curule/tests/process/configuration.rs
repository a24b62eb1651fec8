//! Configuration as a user meets it: which source wins, and what is refused with which words.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use conformance::{Value, json};
use nix::sys::signal::Signal;

use crate::harness::{Home, files_in};

fn shown(home: &Home, section: &str) -> Value {
    home.start().get("/v1/agent/self").json()[section].clone()
}

#[test]
fn a_directory_is_read_in_the_order_of_names() {
    let home = Home::dev();
    home.write(
        "conf/10-first.hcl",
        "datacenter = \"first\"\nnode_meta { a = \"1\" b = \"1\" }\nperformance { raft_multiplier = 7 }",
    );
    home.write("conf/20-second.json", r#"{"datacenter": "second", "node_meta": {"b": "2", "c": "2"}}"#);
    home.write("conf/15-between.json", r#"{"datacenter": "between", "service": {"name": "from-json"}}"#);
    home.write("conf/30-third.hcl", "service { name = \"from-hcl\" port = 9 }");
    home.write("conf/99-skipped.txt", "this is no configuration");
    home.write("conf/below/99-skipped.hcl", "datacenter = \"below\"");
    let directory = home.path().join("conf");
    let home = home.flag(format!("-config-dir={}", directory.display()));
    let agent = home.start();
    let this = agent.get("/v1/agent/self").json();
    assert_eq!(this["Config"]["Datacenter"], "second");
    let meta: Vec<&Value> = ["a", "b", "c"].iter().map(|key| &this["Meta"][key]).collect();
    assert_eq!(meta, [&json!("1"), &json!("2"), &json!("2")]);
    let services = agent.get("/v1/agent/services").json();
    assert_eq!(services["from-json"]["Service"], "from-json");
    assert_eq!(services["from-hcl"]["Port"], 9);
}

#[test]
fn later_sources_win_and_flags_win_over_files() {
    let home = Home::dev().config("datacenter = \"one\"\nlog_level = \"warn\"").config("datacenter = \"two\"");
    assert_eq!(shown(&home, "Config")["Datacenter"], "two");
    let home = home.flag("-datacenter=flag");
    assert_eq!(shown(&home, "Config")["Datacenter"], "flag");
    let home = home.flag("-hcl=datacenter = \"fragment\"");
    assert_eq!(shown(&home, "Config")["Datacenter"], "fragment");
    assert_eq!(shown(&home, "DebugConfig")["Logging"]["LogLevel"], "warn");
}

#[test]
fn what_is_wrong_is_named() {
    let table = [
        ("a typo", "datacentre = \"x\"", "invalid config key datacentre"),
        ("a typo inside", "limits { http_max_conn = 1 }", "invalid config key limits.http_max_conn"),
        ("not HCL", "datacenter = \"x", "config1.hcl"),
        ("not a duration", "raft_snapshot_interval = \"soon\"", "raft_snapshot_interval"),
        ("a bad name", "datacenter = \"a b\"", "datacenter"),
    ];
    for (what, text, expected) in table {
        let said = Home::dev().config(text).refused();
        assert!(said.contains(expected), "{what}: {expected:?} is not in:\n{said}");
    }
    let home = Home::dev();
    home.write("conf/a.json", r#"{"datacentre": "x"}"#);
    let directory = home.path().join("conf");
    let said = home.flag(format!("-config-dir={}", directory.display())).refused();
    assert!(said.contains("invalid config key datacentre"), "{said}");
    let said = Home::dev().flag("-config-file=/nonexistent.hcl").refused();
    assert!(said.contains("/nonexistent.hcl"), "{said}");
    let said = Home::dev().flag("-no-such-flag").refused();
    assert!(said.contains("-no-such-flag"), "{said}");
    let said = Home::bare().flag("-server").refused();
    assert!(said.contains("data_dir cannot be empty"), "{said}");
}

#[test]
fn a_bad_definition_is_named() {
    for (text, expected) in [
        ("service { port = 80 }", "name"),
        ("service { name = \"x\" check { interval = \"1s\" } }", "check"),
        ("check { name = \"x\" http = \"http://127.0.0.1\" }", "Interval"),
    ] {
        let said = Home::dev().config(text).refused();
        assert!(said.to_lowercase().contains(&expected.to_lowercase()), "{text}: {expected:?} is not in:\n{said}");
    }
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    let address = taken.local_addr().expect("it is bound");
    let said = Home::dev().flag(format!("-http-port={}", address.port())).refused();
    assert!(said.contains(&address.to_string()) && said.contains("in use"), "{said}");
}

#[test]
fn the_api_is_served_on_a_unix_socket() {
    let home = Home::dev();
    let path = home.path().join("http.sock");
    let config =
        format!("addresses {{ http = \"127.0.0.1 unix://{}\" }}\nunix_sockets {{ mode = \"0600\" }}", path.display());
    let home = home.config(&config);
    // A leftover of a crash is no hindrance.
    home.start().crash();
    assert!(path.exists());
    let agent = home.start();
    let mode = fs::metadata(&path).expect("the socket is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut stream = UnixStream::connect(&path).expect("the agent accepts");
    stream.write_all(b"GET /v1/status/leader HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("it is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it is answered");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    agent.end(Signal::SIGTERM);
    assert!(!path.exists(), "the socket outlived its agent");
}

#[test]
fn secrets_are_readable_by_their_owner_only() {
    let home = Home::durable();
    let agent = home.start();
    let service = json!({"Name": "web", "Check": {"TTL": "1h"}});
    agent.put_json("/v1/agent/service/register", &service).status(200);
    agent.put("/v1/agent/check/pass/service:web", "").status(200);
    let mut open = Vec::new();
    let mut dirs = vec![home.data_dir()];
    while let Some(dir) = dirs.pop() {
        for path in files_in(&dir) {
            let metadata = fs::metadata(&path).expect("it is there");
            if metadata.is_dir() {
                dirs.push(path);
            } else if metadata.permissions().mode() & 0o077 != 0 {
                open.push(path);
            }
        }
    }
    // Who the node is, everybody may know.
    open.retain(|path| !path.ends_with("node-id"));
    assert!(open.is_empty(), "others can read {open:?}");
}
