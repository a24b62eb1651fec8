//! What the checks that the agent runs say: kind by kind, their status and the exact text of their output.

use conformance::{Value, agent, cleanup, eventually, json, unique};
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

/// Registers a check and gives back its row once it has run, which the given status tells.
fn outcome(kind: Value, status: &str) -> Value {
    // Under a service of its own: a critical check of the node would count for every alias.
    let id = unique("check");
    agent().put_json("/v1/agent/service/register", &json!({"Name": id})).expect(200, "");
    let undo = format!("/v1/agent/service/deregister/{id}");
    let _undo = cleanup(|| drop(agent().put(&undo, "").send()));
    let initial = if status == "critical" { "passing" } else { "critical" };
    let mut body = json!({"Name": id, "ServiceID": id, "Interval": "200ms", "Timeout": "2s", "Status": initial});
    for (member, value) in kind.as_object().expect("a map") {
        body[member] = value.clone();
    }
    if body.get("AliasService").is_some() {
        // An alias runs by events, not by time.
        body.as_object_mut().expect("a map").retain(|member, _| member != "Interval" && member != "Timeout");
    }
    agent().put_json("/v1/agent/check/register", &body).expect(200, "");
    eventually(&format!("{kind} becomes {status}"), || {
        let row = agent().get("/v1/agent/checks").json()[&id].clone();
        (row["Status"] == json!(status) && row["Output"] != json!("")).then_some(row)
    })
}

/// A server that answers every connection with these bytes, for as long as the test process lives.
fn http(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // One read takes the whole of a check's small request.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    port
}

#[test]
fn http_statuses() {
    let table = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfine", "passing", "200 OK", "fine"),
        ("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", "passing", "204 No Content", ""),
        (
            "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\nConnection: close\r\n\r\nslow",
            "warning",
            "429 Too Many Requests",
            "slow",
        ),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "critical", "404 Not Found", ""),
        (
            "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\nConnection: close\r\n\r\noops",
            "critical",
            "500 Internal Server Error",
            "oops",
        ),
    ];
    for (answer, status, line, body) in table {
        let url = format!("http://127.0.0.1:{}/", http(answer));
        let row = outcome(json!({"HTTP": url}), status);
        assert_eq!(row["Output"], json!(format!("HTTP GET {url}: {line} Output: {body}")));
        assert_eq!((&row["Type"], &row["Interval"], &row["Timeout"]), (&json!("http"), &json!("200ms"), &json!("2s")));
    }
}

#[test]
fn http_method_is_named() {
    let url =
        format!("http://127.0.0.1:{}/x", http("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
    let row = outcome(json!({"HTTP": url, "Method": "POST", "Body": "b", "Header": {"X": ["y"]}}), "passing");
    assert_eq!(row["Output"], json!(format!("HTTP POST {url}: 200 OK Output: ")));
}

#[test]
fn http_refused() {
    let row = outcome(json!({"HTTP": "http://127.0.0.1:1/"}), "critical");
    assert_eq!(row["Output"], json!("Get \"http://127.0.0.1:1/\": dial tcp 127.0.0.1:1: connect: connection refused"));
}

#[test]
fn http_too_slow() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let row = outcome(json!({"HTTP": url, "Timeout": "100ms"}), "critical");
    let text = row["Output"].as_str().expect("a text").to_owned();
    assert!(text.starts_with(&format!("Get \"{url}\": ")) && text.contains("context deadline exceeded"), "{text}");
}

#[test]
fn http_output_keeps_its_end() {
    let url = format!(
        "http://127.0.0.1:{}/",
        http("HTTP/1.1 200 OK\r\nContent-Length: 26\r\nConnection: close\r\n\r\nabcdefghijklmnopqrstuvwxyz")
    );
    let row = outcome(json!({"HTTP": url, "OutputMaxSize": 5}), "passing");
    assert_eq!(row["Output"], json!(format!("HTTP GET {url}: 200 OK Output: vwxyz")));
}

#[test]
fn tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let row = outcome(json!({"TCP": address}), "passing");
    assert_eq!((&row["Output"], &row["Type"]), (&json!(format!("TCP connect {address}: Success")), &json!("tcp")));
    let row = outcome(json!({"TCP": "127.0.0.1:1"}), "critical");
    assert_eq!(row["Output"], json!("dial tcp 127.0.0.1:1: connect: connection refused"));
}

#[test]
fn udp() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let address = socket.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], from);
        }
    });
    let row = outcome(json!({"UDP": address}), "passing");
    assert_eq!((&row["Output"], &row["Type"]), (&json!(format!("UDP connect {address}: Success")), &json!("udp")));
    let row = outcome(json!({"UDP": "127.0.0.1:1"}), "critical");
    assert!(row["Output"].as_str().is_some_and(|text| text.contains("connection refused")), "{row}");
}

#[test]
fn grpc_refused() {
    let row = outcome(json!({"GRPC": "127.0.0.1:1"}), "critical");
    assert_eq!(row["Type"], json!("grpc"));
    let text = row["Output"].as_str().expect("a text").to_owned();
    assert!(text.contains("connection refused"), "{text}");
}

#[test]
fn alias_follows_a_service() {
    let service = unique("aliased");
    let body = json!({"Name": service, "Check": {"TTL": "1h", "Status": "passing"}});
    agent().put_json("/v1/agent/service/register", &body).expect(200, "");
    let undo = format!("/v1/agent/service/deregister/{service}");
    let _undo = cleanup(|| drop(agent().put(&undo, "").send()));
    let row = outcome(json!({"AliasService": service}), "passing");
    assert_eq!((&row["Output"], &row["Type"]), (&json!("All checks passing."), &json!("alias")));
    agent().put(format!("/v1/agent/check/fail/service:{service}"), "").expect(200, "");
    let row = outcome(json!({"AliasService": service}), "critical");
    assert_eq!(row["Output"], json!(format!("Aliased check \"Service '{service}' check\" failing: ")));
}

#[test]
fn failures_are_counted_before_they_count() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let id = unique("threshold");
    agent().put_json("/v1/agent/service/register", &json!({"Name": id})).expect(200, "");
    let body = json!({"Name": id, "ServiceID": id, "TCP": address, "Interval": "150ms", "FailuresBeforeWarning": 1,
        "FailuresBeforeCritical": 100});
    agent().put_json("/v1/agent/check/register", &body).expect(200, "");
    let undo = format!("/v1/agent/service/deregister/{id}");
    let _undo = cleanup(|| drop(agent().put(&undo, "").send()));
    let reaches = |status: &str| {
        eventually(&format!("it is {status}"), || {
            let row = agent().get("/v1/agent/checks").json()[&id].clone();
            assert_ne!(
                row["Output"].as_str().map(|text| text.contains("refused") && row["Status"] == json!("critical")),
                Some(true)
            );
            (row["Status"] == json!(status)).then_some(row)
        })
    };
    reaches("passing");
    drop(listener);
    let row = reaches("warning");
    assert_eq!(row["Output"], json!(format!("dial tcp {address}: connect: connection refused")));
}

#[test]
fn the_first_result_counts_at_once() {
    let row = outcome(json!({"TCP": "127.0.0.1:1", "FailuresBeforeCritical": 100, "Interval": "1s"}), "critical");
    assert_eq!(row["Output"], json!("dial tcp 127.0.0.1:1: connect: connection refused"));
}
