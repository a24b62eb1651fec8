//! HTTP as a connection: versions, keep-alive, pipelining, expectations, and requests that are none.

use conformance::agent;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Sends bytes as they stand and reads until the server closes, or falls silent where it keeps the connection.
fn exchange(bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(agent().http).expect("the agent listens");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    // A server may refuse and close while we still write.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[track_caller]
fn says(bytes: &[u8], status: &str, end: &str) -> String {
    let answer = exchange(bytes);
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
    assert!(answer.starts_with(status), "{shown:?}: {answer:?}");
    assert!(answer.ends_with(end), "{shown:?}: {answer:?}");
    answer
}

const PEERS: &str = "\"\n]";

#[test]
fn old_and_proxied_requests() {
    let answer = says(b"GET /v1/status/peers HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK\r\n", PEERS);
    assert!(!answer.contains("keep-alive"), "{answer}");
    says(
        b"GET http://x/v1/status/peers HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 200 OK\r\n",
        PEERS,
    );
}

#[test]
fn requests_in_a_row_are_answered_in_order() {
    let answer = exchange(
        b"GET /v1/status/leader HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/zork HTTP/1.1\r\nHost: x\r\n\r\n\
          GET /v1/status/peers HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    let codes: Vec<&str> = answer.match_indices("HTTP/1.1 ").map(|(at, _)| &answer[at + 9..at + 12]).collect();
    assert_eq!(codes, ["200", "404", "200"], "{answer}");
}

#[test]
fn a_body_may_be_announced() {
    let answer = says(
        b"PUT /v1/session/destroy/x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\
          Connection: close\r\n\r\nx",
        "HTTP/1.1 ",
        "true",
    );
    assert!(answer.contains("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[test]
fn methods_are_words_with_case() {
    for method in ["get", "ZORK"] {
        let request = format!("{method} /v1/status/leader HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        says(request.as_bytes(), "HTTP/1.1 405 ", &format!("method {method} not allowed"));
    }
}

#[test]
fn many_and_long_headers() {
    let mut request = b"GET /v1/status/peers HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".to_vec();
    // The reference takes more; a hundred lines is what most HTTP libraries have room for.
    for number in 0..90 {
        request.extend_from_slice(format!("X-{number}: a\r\n").as_bytes());
    }
    request.extend_from_slice(b"\r\n");
    says(&request, "HTTP/1.1 200 OK\r\n", PEERS);
    let long =
        format!("GET /v1/status/peers HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: {}\r\n\r\n", "a".repeat(900_000));
    says(long.as_bytes(), "HTTP/1.1 200 OK\r\n", PEERS);
    let long = format!("GET /v1/kv/{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "a".repeat(60_000));
    says(long.as_bytes(), "HTTP/1.1 404 ", "");
}

#[test]
fn what_is_no_request_is_a_bad_one() {
    let put = |headers: &str| format!("PUT /v1/kv/x HTTP/1.1\r\nHost: x\r\n{headers}\r\nConnection: close\r\n\r\nxyz");
    for request in ["zork\r\n\r\n".to_owned(), put("Content-Length: x"), put("Content-Length: 2\r\nContent-Length: 3")]
    {
        // The reference repeats the status as a body, which differs from one HTTP library to the next.
        let answer = says(request.as_bytes(), "HTTP/1.1 400 Bad Request\r\n", "");
        assert!(answer.to_ascii_lowercase().contains("connection: close\r\n"), "{answer}");
    }
    says(
        b"GET /v1/status/leader HTTP/1.1\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 400 Bad Request",
        "400 Bad Request: missing required Host header",
    );
}

/// Reads one answer with a length: its lines but for the date, in order of their text, and its body.
fn one(stream: &mut TcpStream) -> (Vec<String>, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("a head is text");
    let mut lines: Vec<_> = head.lines().filter(|line| !line.starts_with("Date: ")).map(str::to_owned).collect();
    lines.sort();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
    let mut body = vec![0; length.parse().expect("a number")];
    stream.read_exact(&mut body).expect("a body");
    (lines, body)
}

#[test]
fn who_has_waited_is_answered_like_others() {
    let mut stream = TcpStream::connect(agent().http).expect("the agent listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let mut ask = |text: String, count: usize| {
        stream.write_all(text.as_bytes()).expect("the connection is kept");
        Vec::from_iter((0..count).map(|_| one(&mut stream)))
    };
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
    let key = "/v1/kv/framing/waited";
    ask(format!("PUT {key} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1"), 1);
    let plain = ask(get(key), 1).remove(0);
    let index = plain.0.iter().find_map(|line| line.strip_prefix("X-Consul-Index: ")).expect("an index");
    let waiting = get(&format!("{key}?index={index}&wait=20ms"));
    let leader = ask(get("/v1/status/leader"), 1).remove(0);
    for _ in 0..3 {
        assert_eq!(ask(waiting.clone(), 1), std::slice::from_ref(&plain));
        // First lines are still found.
        let quoted = ask(get("/v1/agent/checks?filter=Status==\"strange\""), 1).remove(0);
        assert!(quoted.0.contains(&"HTTP/1.1 200 OK".to_owned()), "{quoted:?}");
    }
    for _ in 0..3 {
        let row = [waiting.as_str(), &get("/v1/status/leader"), &waiting].concat();
        assert_eq!(ask(row, 3), [plain.clone(), leader.clone(), plain.clone()]);
    }
    let missing = get(&format!("/v1/kv/framing/nothing?index={}&wait=20ms", 1_u64 << 40));
    let missed = ask([missing, get("/v1/status/leader")].concat(), 2);
    assert!(missed[0].0.contains(&"HTTP/1.1 404 Not Found".to_owned()), "{missed:?}");
    assert_eq!(missed[1], leader);
    let last = format!("GET {key}?index={index}&wait=20ms HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let closing = ask(last, 1).remove(0);
    assert!(closing.0.contains(&"Connection: close".to_owned()), "{closing:?}");
    assert_eq!(stream.read(&mut [0]).expect("an end"), 0);
    let old = format!("GET {key}?index={index}&wait=20ms HTTP/1.0\r\n\r\n");
    says(old.as_bytes(), "HTTP/1.0 200 OK\r\n", &String::from_utf8_lossy(&plain.1));
}
