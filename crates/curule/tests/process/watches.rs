//! The `watches` of a configuration: the agent runs them itself, and runs those of the new configuration after a reload.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use conformance::{Value, eventually};

use crate::harness::{Home, PATIENCE};

/// Takes one request: the head as lines, and the body.
fn take(listener: &TcpListener) -> (Vec<String>, Value) {
    listener.set_nonblocking(true).expect("a socket can be set so");
    let connection: TcpStream = eventually("the handler calls", || listener.accept().ok()).0;
    connection.set_nonblocking(false).expect("a socket can be set so");
    connection.set_read_timeout(Some(PATIENCE)).expect("a socket can be set so");
    let mut reader = BufReader::new(connection);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a request has a head");
        if line.trim().is_empty() {
            break;
        }
        head.push(line.trim().to_lowercase());
    }
    let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")).expect("a body has a length");
    let mut body = vec![0; length.parse().expect("a length is a number")];
    reader.read_exact(&mut body).expect("the body is as long as it says");
    reader.get_mut().write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").expect("the agent listens");
    (head, serde_json::from_slice(&body).expect("the body is JSON"))
}

#[test]
fn programs_and_servers_are_told_what_changed() {
    let server = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    let address = server.local_addr().expect("a bound listener has an address");
    let home = Home::dev();
    let out = home.path().join("out");
    let home = home.config(&format!(
        r#"watches = [
          {{ type = "key" key = "w/script" handler = "echo index $CONSUL_INDEX >>{out}; cat >>{out}" }},
          {{ type = "key" key = "w/args" args = ["sh", "-c", "cat >>{out}.args"] }},
          {{ type = "key" key = "w/http" handler_type = "http" http_handler_config {{
              path = "http://{address}/hook" method = "PUT" timeout = "5s" header {{ x-extra = ["a", "b"] }} }} }},
        ]"#,
        out = out.display()
    ));
    let agent = home.start();
    assert!(home.log().contains("The 'handler' field in watches has been deprecated"), "{}", home.log());

    agent.put("/v1/kv/w/script", "one").expect(200, "true");
    let index = agent.get("/v1/kv/w/script").send().header("X-Consul-Index").to_owned();
    let text = eventually("the script has run", || {
        fs::read_to_string(&out).ok().filter(|text| text.contains("b25l") && text.ends_with('\n'))
    });
    // Compat: a key that does not exist yet is news too.
    assert!(text.contains("\nnull\n") && text.contains(&format!("index {index}\n{{")), "{text}");

    agent.put("/v1/kv/w/args", "two").expect(200, "true");
    let arguments = home.path().join("out.args");
    eventually("the program has run", || fs::read_to_string(&arguments).ok().filter(|text| text.contains("dHdv")));

    agent.put("/v1/kv/w/http", "three").expect(200, "true");
    let value = loop {
        let (head, body) = take(&server);
        assert_eq!(head[0], "put /hook http/1.1");
        for line in ["content-type: application/json", "x-extra: a", "x-extra: b"] {
            assert!(head.iter().any(|header| header == line), "{head:?}");
        }
        assert!(head.iter().any(|header| header.starts_with("x-consul-index: ")), "{head:?}");
        if !body.is_null() {
            break body["Value"].clone();
        }
    };
    assert_eq!(value, "dGhyZWU=");
}

#[test]
fn a_reload_puts_new_watches_in_the_place_of_old_ones() {
    let home = Home::dev();
    let (old, new) = (home.path().join("old"), home.path().join("new"));
    let watch = |key: &str, out: &std::path::Path| {
        format!("watches = [{{ type = \"key\" key = \"{key}\" handler = \"cat >>{}\" }}]", out.display())
    };
    let home = home.config(&watch("w/old", &old));
    let agent = home.start();
    agent.put("/v1/kv/w/old", "1").expect(200, "true");
    eventually("the old watch runs", || fs::read_to_string(&old).ok().filter(|text| text.contains("MQ==")));

    home.write("config1.hcl", "watches = [{ type = \"key\" key = \"w/old\" }]");
    let answer = agent.put("/v1/agent/reload", "").send();
    answer.expect(500, "Failed reloading watches: Must define a watch handler");
    agent.put("/v1/kv/w/old", "2").expect(200, "true");
    eventually("a refused reload stops nothing", || fs::read_to_string(&old).ok().filter(|text| text.contains("Mg==")));

    home.write("config1.hcl", &watch("w/new", &new));
    agent.put("/v1/agent/reload", "").expect(200, "");
    agent.put("/v1/kv/w/old", "3").expect(200, "true");
    agent.put("/v1/kv/w/new", "4").expect(200, "true");
    eventually("the new watch runs", || fs::read_to_string(&new).ok().filter(|text| text.contains("NA==")));
    // The old watch would have been told first.
    let said = fs::read_to_string(&old).expect("it was written");
    assert!(!said.contains("Mw=="), "{said}");
}

#[test]
fn a_watch_that_makes_no_sense_stops_the_start() {
    let home = Home::dev().config("watches = [{ type = \"key\" args = [\"a\"] token = \"hidden\" }]");
    let said = home.refused();
    assert!(said.contains("Error starting agent") && said.contains("Must specify a single key to watch"), "{said}");
    assert!(!said.contains("hidden"), "{said}");
    let home = Home::dev().config("watches = [{ type = \"nodes\" args = [\"a\"] }]").flag("-hcl=ports { http = -1 }");
    let said = home.refused();
    assert!(said.contains("watch plans require an HTTP or HTTPS endpoint"), "{said}");
}

#[test]
fn a_failing_handler_is_told_in_the_log_and_ends_nothing() {
    let home = Home::dev()
        .config("log_level = \"debug\" watches = [{ type = \"key\" key = \"w\" handler = \"cat; exit 3\" }]");
    let agent = home.start();
    for value in ["one", "two"] {
        agent.put("/v1/kv/w", value).expect(200, "true");
        let encoded = if value == "one" { "b25l" } else { "dHdv" };
        eventually("the handler ran", || home.log().contains(encoded).then_some(()));
    }
    assert!(home.log().contains("Failed to run watch handler"), "{}", home.log());
}
