//! Whatever is sent, the agent lives on, answers the next one, and nothing inside it has panicked.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use conformance::Agent;

use crate::harness::{Dice, Home, Process};

/// So long for each kind of garbage.
const SPAN: Duration = Duration::from_secs(4);
const SEED: u64 = 4711;

/// Requests that are sound; what is sent is made of their pieces. Nothing here makes the agent connect to anybody.
const REQUESTS: [(&str, &str, &str); 22] = [
    ("PUT", "/v1/kv/a/b?flags=7&cas=0", "value"),
    ("GET", "/v1/kv/?recurse&separator=/&keys", ""),
    ("DELETE", "/v1/kv/a?recurse", ""),
    ("PUT", "/v1/kv/l?acquire=adf4238a-882b-9ddc-4a9d-5b6758e4159e", "x"),
    (
        "PUT",
        "/v1/txn",
        r#"[{"KV":{"Verb":"set","Key":"k","Value":"dg==","Flags":1,"Index":5,"Session":"s"}},
        {"Node":{"Verb":"cas","Node":{"Node":"n9","Address":"10.0.0.9","Meta":{"a":"b"}}}},
        {"Service":{"Verb":"get","Node":"n1","Service":{"ID":"web","Service":"web","Port":80}}},
        {"Check":{"Verb":"delete","Check":{"Node":"n1","CheckID":"c","Status":"passing"}}}]"#,
    ),
    (
        "PUT",
        "/v1/session/create",
        r#"{"Name":"s","Node":"n1","NodeChecks":["serfHealth"],"Checks":null,
        "ServiceChecks":[{"ID":"c","Namespace":""}],"Behavior":"delete","TTL":"10s","LockDelay":"15s"}"#,
    ),
    ("PUT", "/v1/session/renew/adf4238a-882b-9ddc-4a9d-5b6758e4159e", ""),
    (
        "PUT",
        "/v1/catalog/register",
        r#"{"Node":"n9","Address":"10.0.0.9","TaggedAddresses":{"lan":"10.0.0.9"},
        "Service":{"ID":"w","Service":"web","Tags":["x"],"Port":80,"Weights":{"Passing":1,"Warning":1}},
        "Check":{"CheckID":"c","Name":"c","Status":"passing","ServiceID":"w"}}"#,
    ),
    ("PUT", "/v1/catalog/deregister", r#"{"Node":"n9","ServiceID":"w","CheckID":"c"}"#),
    ("GET", "/v1/catalog/services?node-meta=a:b&filter=ServicePort+!=+80&near=_agent&pretty", ""),
    ("GET", "/v1/health/service/web?passing&tag=x&index=1&wait=1ms&stale", ""),
    ("GET", "/v1/health/state/any?filter=Status==`passing`+and+not+(Name+matches+\"^x\")", ""),
    (
        "PUT",
        "/v1/agent/service/register?replace-existing-checks",
        r#"{"ID":"own","Name":"own","Tags":["a"],"Port":1,
        "Meta":{"m":"1"},"Weights":{"Passing":10,"Warning":1},"EnableTagOverride":true,
        "TaggedAddresses":{"wan":{"Address":"198.18.0.1","Port":1}},"Checks":[{"TTL":"15s","Status":"passing"}]}"#,
    ),
    ("PUT", "/v1/agent/check/register", r#"{"ID":"mem","Name":"m","Notes":"n","TTL":"30s","ServiceID":"own"}"#),
    ("PUT", "/v1/agent/check/update/mem", r#"{"Status":"warning","Output":"o"}"#),
    ("PUT", "/v1/agent/service/maintenance/own?enable=true&reason=r", ""),
    (
        "POST",
        "/v1/query",
        r#"{"Name":"q","Service":{"Service":"${name.suffix}","OnlyPassing":true,"Tags":["!a"],
        "Failover":{"NearestN":3,"Datacenters":["dc2"]}},"DNS":{"TTL":"10s"},
        "Template":{"Type":"name_prefix_match","Regexp":"^(.*)-x$"}}"#,
    ),
    ("GET", "/v1/query/q-x/execute?limit=1&near=n1", ""),
    ("PUT", "/v1/coordinate/update", r#"{"Node":"n1","Coord":{"Vec":[0,0,0,0,0,0,0,1e-3],"Error":1.5,"Height":1e-5}}"#),
    ("PUT", "/v1/event/fire/e?node=n&service=s&tag=t", "payload"),
    ("PUT", "/v1/operator/autopilot/configuration?cas=1", r#"{"CleanupDeadServers":true,"LastContactThreshold":"1s"}"#),
    ("PUT", "/v1/snapshot", "\u{1f}no archive"),
];
const TOKENS: [&[u8]; 12] =
    [b"null", b"-1", b"1e999", b"18446744073709551616", b"%", b"%00", b"\r\n", b"\xff", b"{", b"[", b"..", b"\\ud800"];

/// One or two changes of the kind that finds the edges of parsers.
fn mutate(dice: &mut Dice, bytes: &mut Vec<u8>, other: &[u8]) {
    let mut below = |bound: usize| usize::try_from(dice.below(bound.max(1) as u64)).expect("it is below a usize");
    for _ in 0..=below(2) {
        let (at, end) = (below(bytes.len() + 1), below(bytes.len() + 1));
        match below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << below(8),
            1 => drop(bytes.drain(at.min(end)..at.max(end))),
            2 => bytes.truncate(at),
            3 => drop(bytes.splice(at..at, TOKENS[below(TOKENS.len())].iter().copied())),
            4 => drop(bytes.splice(word(bytes, at), TOKENS[below(TOKENS.len())].iter().copied())),
            _ => {
                let from = below(other.len() + 1);
                bytes.splice(word(bytes, at), other[word(other, from)].iter().copied());
            }
        }
    }
}

/// The run of letters and digits around a place.
fn word(bytes: &[u8], at: usize) -> std::ops::Range<usize> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric();
    let before = bytes[..at].iter().rev().take_while(|byte| is_part(byte)).count();
    let after = bytes[at..].iter().take_while(|byte| is_part(byte)).count();
    at - before..at + after
}

/// Sends bytes and reads what comes until the agent closes or has answered.
fn exchange(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).expect("the agent accepts");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("the socket takes a timeout");
    // It may refuse before it has read everything.
    let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(std::net::Shutdown::Write));
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[track_caller]
fn assert_well(home: &Home, agent: &Process) {
    agent.get("/v1/status/leader").status(200);
    agent.put("/v1/kv/still", "well").expect(200, "true");
    let log = home.log();
    assert!(!log.contains("panicked"), "{}", log.lines().filter(|line| line.contains("panicked")).collect::<String>());
}

fn garbage(send: impl Fn(&Agent, &mut Dice) -> String) {
    let home = Home::dev().config("log_level = \"error\"");
    let agent = home.start();
    let mut dice = Dice::new(SEED);
    let (start, mut count) = (Instant::now(), 0);
    let mut last = String::new();
    while start.elapsed() < SPAN {
        last = send(&agent, &mut dice);
        count += 1;
        if home.log().contains("panicked") {
            break;
        }
    }
    eprintln!("{count} pieces of garbage; the last was {last}");
    assert_well(&home, &agent);
}

#[test]
fn bodies_and_addresses_of_requests() {
    garbage(|agent, dice| {
        let pick = |dice: &mut Dice| REQUESTS[usize::try_from(dice.below(REQUESTS.len() as u64)).expect("it fits")];
        let ((method, path, body), other) = (pick(dice), pick(dice));
        let (mut path, mut body) = (path.as_bytes().to_vec(), body.as_bytes().to_vec());
        match dice.below(3) {
            0 => mutate(dice, &mut path, other.1.as_bytes()),
            _ => mutate(dice, &mut body, other.2.as_bytes()),
        }
        // What would end the line is another test.
        path.retain(|byte| !matches!(byte, b'\r' | b'\n' | b' '));
        let mut bytes = [method.as_bytes(), b" ", &path, b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"].concat();
        bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).into_bytes());
        bytes.extend(&body);
        let answer = exchange(agent.http, &bytes);
        assert!(answer.starts_with(b"HTTP/1.1 "), "{} got {}", bytes.escape_ascii(), answer.escape_ascii());
        bytes.escape_ascii().to_string()
    });
}

#[test]
fn bytes_that_are_no_requests() {
    garbage(|agent, dice| {
        let (method, path, body) = REQUESTS[usize::try_from(dice.below(REQUESTS.len() as u64)).expect("it fits")];
        let mut bytes = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nX-Consul-Token: t\r\n").into_bytes();
        match dice.below(2) {
            0 => bytes.extend(format!("Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()),
            _ => bytes.extend(
                format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).into_bytes(),
            ),
        }
        let other = bytes.clone();
        mutate(dice, &mut bytes, &other);
        exchange(agent.http, &bytes);
        bytes.escape_ascii().to_string()
    });
}

#[test]
fn datagrams_that_are_no_questions() {
    let question =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x01a\x03web\x07service\x06consul\x00\x00\x21\x00\x01\
        \x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00";
    garbage(|agent, dice| {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has free ports");
        let mut bytes = question.to_vec();
        mutate(dice, &mut bytes, question);
        socket.send_to(&bytes, agent.dns.expect("ours have DNS")).expect("loopback takes it");
        bytes.escape_ascii().to_string()
    });
}
