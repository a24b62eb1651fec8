//! Watches of the configuration: what changes is told to a program or to an address.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;

use nix::sys::signal::Signal;

use crate::harness::{Home, wait_until};

#[test]
fn programs_are_run_on_news() {
    let home = Home::dev();
    let (one, two) = (home.path().join("one"), home.path().join("two"));
    let home = home.config(&format!(
        r#"watches = [
             {{ type = "key", key = "a", args = ["sh", "-c", "echo $CONSUL_INDEX >> {0}; cat >> {0}"] }},
             {{ type = "service", service = "web", handler = "cat > {1}" }},
           ]"#,
        one.display(),
        two.display()
    ));
    let agent = home.start();
    agent.put("/v1/kv/a", "first").status(200);
    let told = |path: &std::path::Path, text: &str| fs::read_to_string(path).is_ok_and(|all| all.contains(text));
    wait_until("the program hears of the key", || told(&one, "\"Value\":\"Zmlyc3Q=\""));
    agent.put("/v1/kv/a", "second").status(200);
    wait_until("and of its next value", || told(&one, "\"Value\":\"c2Vjb25k\""));
    agent.put("/v1/agent/service/register", r#"{"Name":"web","Port":80}"#).status(200);
    wait_until("a shell line hears of the service", || told(&two, "\"Service\":\"web\""));
    // After a reload without it, nobody listens any more.
    home.write("config1.hcl", "");
    agent.signal(Signal::SIGHUP);
    wait_until("the configuration is read again", || {
        agent.get("/v1/agent/self").send().json()["DebugConfig"]["Watches"].as_array().is_some_and(Vec::is_empty)
    });
    let before = fs::read_to_string(&one).unwrap_or_default();
    agent.put("/v1/kv/a", "third").status(200);
    agent.put("/v1/event/fire/later", "").status(200);
    assert_eq!(fs::read_to_string(&one).unwrap_or_default(), before);
}

#[test]
fn addresses_are_called_on_news() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    let home = Home::dev().config(&format!(
        r#"watches = [{{
             type = "keyprefix"
             prefix = "app/"
             handler_type = "http"
             http_handler_config {{ path = "http://{address}/hook", method = "PUT", header = {{ "x-foo" = ["bar"] }} }}
           }}]"#
    ));
    let agent = home.start();
    // The first answer is news, be it empty.
    let mut heard = String::new();
    agent.put("/v1/kv/app/x", "1").status(200);
    for _ in 0..3 {
        let (mut stream, _) = listener.accept().expect("the agent calls");
        let mut request = Vec::new();
        let mut piece = [0; 4096];
        while !request.ends_with(b"]") && !request.ends_with(b"null") {
            match stream.read(&mut piece).expect("the request comes whole") {
                0 => break,
                count => request.extend_from_slice(&piece[..count]),
            }
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("the answer goes out");
        heard = String::from_utf8_lossy(&request).into_owned();
        if heard.contains("app/x") {
            break;
        }
    }
    assert!(heard.starts_with("PUT /hook HTTP/1.1\r\n"), "{heard}");
    let lower = heard.to_lowercase();
    assert!(lower.contains("x-foo: bar\r\n") && lower.contains("x-consul-index: "), "{heard}");
    assert!(heard.contains("\"Key\":\"app/x\""), "{heard}");
}

#[test]
fn a_watch_without_a_handler_is_refused() {
    let said = Home::dev().config(r#"watches = [{ type = "key", key = "a" }]"#).refused();
    assert!(said.contains("Must define a watch handler"), "{said}");
}
