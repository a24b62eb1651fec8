//! What one client can hold is bounded: connections, time for a head or a body, bytes of a body. Waiting for an
//! answer is no offence.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use crate::harness::{Home, wait_until};

const CONNECTIONS: usize = 8;
/// Longer than any wait for a part of a request.
const LONG: Duration = Duration::from_secs(62);
/// A test that waits longer than this waits for nothing.
const TOO_LONG: Duration = Duration::from_secs(90);

/// The largest body here; an agent that took it in would grow by as much.
const HUGE_MIB: u64 = 96;

/// A connection on which one request was answered and that is kept.
fn kept(to: SocketAddr) -> TcpStream {
    let mut stream = connect(to);
    stream.write_all(b"GET /v1/status/leader HTTP/1.1\r\nHost: a\r\n\r\n").expect("the agent takes it");
    let mut part = [0; 1024];
    let count = stream.read(&mut part).expect("the agent answers");
    assert!(part[..count].starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&part[..count]));
    stream
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).expect("the agent accepts");
    stream.set_read_timeout(Some(TOO_LONG)).expect("the socket takes a timeout");
    stream
}

#[test]
fn one_connection_too_many_is_told_so_and_the_count_returns() {
    let home = Home::dev().config(&format!("limits {{ http_max_conns_per_client = {CONNECTIONS} }}"));
    let agent = home.start();
    let index = agent.get("/v1/catalog/services").send().index();
    for round in 0..3 {
        // Those that found the agent ready may still be on their way out.
        let mut held = Vec::new();
        wait_until("all connections are ours", || {
            held.clear();
            held.extend((0..CONNECTIONS).map(|_| connect(agent.http)));
            held.iter_mut().all(is_served)
        });
        let mut refused = String::new();
        connect(agent.http).read_to_string(&mut refused).expect("the refusal is sent whole");
        assert!(refused.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{refused:?}");
        assert!(refused.contains("too many concurrent connections"), "{refused:?}");
        // However a client goes away, it is forgotten.
        let last_words = match round {
            0 => String::new(),
            1 => "PUT /v1/kv/x HTTP/1.1\r\nContent-".to_owned(),
            _ => format!("GET /v1/catalog/services?index={index}&wait=300s HTTP/1.1\r\nHost: a\r\n\r\n"),
        };
        held.iter_mut().for_each(|stream| stream.write_all(last_words.as_bytes()).expect("the agent takes it"));
        if round == 2 {
            // Parked queries hold their connections as others do.
            assert!(!is_served(&mut connect(agent.http)));
        }
    }
    wait_until("the last ones are forgotten", || {
        let mut stream = connect(agent.http);
        is_served(&mut stream)
    });
}

/// Whether a request on this connection is answered, not the connection refused.
fn is_served(stream: &mut TcpStream) -> bool {
    let mut part = [0; 1024];
    let asked = stream.write_all(b"GET /v1/status/leader HTTP/1.1\r\nHost: a\r\n\r\n");
    asked.is_ok() && stream.read(&mut part).is_ok_and(|count| part[..count].starts_with(b"HTTP/1.1 200 "))
}

/// Sends the beginning, then a little now and then, until the agent ends it; says how long it was borne with, and
/// what was answered.
fn drip(to: SocketAddr, begin: &str, drop: &str) -> (Duration, String) {
    let start = Instant::now();
    let mut stream = connect(to);
    stream.set_read_timeout(Some(Duration::from_secs(1))).expect("the socket takes a timeout");
    stream.write_all(begin.as_bytes()).expect("the agent takes it");
    let mut answer = Vec::new();
    let mut part = [0; 1024];
    while start.elapsed() < TOO_LONG {
        // The end shows as an error of either direction, or as nothing more to read.
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&part[..count]),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
        if stream.write_all(drop.as_bytes()).is_err() {
            break;
        }
    }
    (start.elapsed(), String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn who_sends_slowly_is_dropped_and_who_waits_is_not() {
    let home = Home::dev();
    let agent = home.start();
    agent.put("/v1/kv/watched", "1").expect(200, "true");
    let index = agent.get("/v1/kv/watched").send().index();
    let to = agent.http;
    std::thread::scope(|scope| {
        let head = scope.spawn(move || drip(to, "GET /v1/status/leader HTTP/1.1\r\nHost: a\r\n", "X-Slow: 1\r\n"));
        let silent = scope.spawn(move || drip(to, "GET /v1/sta", ""));
        let body = scope.spawn(move || drip(to, "PUT /v1/kv/slow HTTP/1.1\r\nContent-Length: 9\r\n\r\nx", ""));
        let idle = scope.spawn(move || {
            let mut stream = kept(to);
            let start = Instant::now();
            let ended = stream.read(&mut [0; 16]);
            assert!(matches!(ended, Ok(0) | Err(_)), "an idle connection is closed in silence");
            start.elapsed()
        });
        let parked = scope.spawn(move || {
            let mut stream = connect(to);
            let start = Instant::now();
            let path = format!("/v1/kv/watched?index={index}&wait=300s");
            let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).expect("the agent takes it");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("it is answered");
            (start.elapsed(), answer)
        });
        let start = Instant::now();
        for (what, dropped) in [("a slow head", head), ("half a head", silent), ("half a body", body)] {
            let (after, answer) = dropped.join().expect("it does not panic");
            assert!(after < Duration::from_secs(70), "{what} was borne with for {after:?}");
            assert!(!answer.starts_with("HTTP/1.1 200 "), "{what}: {answer}");
        }
        let idle = idle.join().expect("it does not panic");
        assert!(idle < Duration::from_secs(70), "an idle connection was kept for {idle:?}");
        // The one that waits has by now waited longer than those that were dropped.
        // Its thread may have begun a moment later.
        std::thread::sleep((LONG + Duration::from_secs(1)).saturating_sub(start.elapsed()));
        agent.put("/v1/kv/watched", "2").expect(200, "true");
        let (waited, answer) = parked.join().expect("it does not panic");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("\"Mg==\""), "{answer}");
        assert!(waited >= LONG, "it was parked for {waited:?} only");
    });
    agent.get("/v1/kv/slow").status(404);
}

#[test]
fn bodies_are_capped_with_and_without_a_length() {
    let home = Home::dev();
    let agent = home.start();
    let value = |size: usize| "v".repeat(size);
    let most = 512 * 1024;
    agent.put("/v1/kv/most", value(most)).expect(200, "true");
    agent.put("/v1/kv/most", value(most)).chunked().expect(200, "true");
    let huge = usize::try_from(HUGE_MIB << 20).expect("it fits");
    let before = peak_mib(agent.pid);
    for chunked in [false, true] {
        let sized = |path: &str, size: usize| {
            let call = agent.put(path, value(size));
            if chunked { call.chunked() } else { call }
        };
        sized("/v1/kv/over", most + 1).status(413).contains("too large, max size: 524288 bytes");
        sized("/v1/kv/over", huge).status(413);
        sized("/v1/txn", most + 1).status(413);
        for path in ["/v1/catalog/register", "/v1/agent/service/register", "/v1/session/create", "/v1/event/fire/e"] {
            let answer = sized(path, 5 << 20).send();
            assert!((400..500).contains(&answer.code), "{path}: {} {}", answer.code, answer.text());
        }
    }
    agent.get("/v1/kv/over").status(404);
    let grown = peak_mib(agent.pid) - before;
    assert!(grown < HUGE_MIB / 2, "refusing bodies took {grown} MiB on top of {before}");
}

/// The most memory that a process ever held.
fn peak_mib(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the agent runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel counts it");
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("it is a number") / 1024
}
