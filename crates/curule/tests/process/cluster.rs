//! Several servers as processes: they form a cluster, lose servers, get them back at other addresses, and lose no
//! acknowledged write.

use std::time::{Duration, Instant};

use conformance::Agent;
use nix::sys::signal::Signal;

use crate::harness::{Home, Process, wait_until};

/// Quick enough for a test.
const QUICK: &str = r#"
performance { raft_multiplier = 1 }
gossip_lan { probe_interval = "200ms", probe_timeout = "100ms", gossip_interval = "50ms" }
autopilot { server_stabilization_time = "1s" }
"#;

fn lan(agent: &Agent) -> String {
    let members = agent.get("/v1/agent/self").json();
    let member = &members["Member"];
    format!("{}:{}", member["Addr"].as_str().expect("an address"), member["Port"])
}

/// A server that waits for others, and joins one if there is one.
fn server(node: &str, flags: &[&str], others: &[&Process]) -> (Home, Process) {
    let mut home = Home::bare().config(QUICK).flag("-server").flag(format!("-node={node}"));
    let data = home.data_dir();
    home = home.flag(format!("-data-dir={}", data.display()));
    for flag in flags {
        home = home.flag(*flag);
    }
    for other in others {
        home = home.flag(format!("-retry-join={}", lan(other))).flag("-retry-interval=1s");
    }
    let process = home.start_alone();
    (home, process)
}

fn three() -> Vec<(Home, Process)> {
    let mut servers: Vec<(Home, Process)> = Vec::new();
    for node in ["s1", "s2", "s3"] {
        let others: Vec<&Process> = servers.iter().map(|(_, process)| process).take(1).collect();
        let next = server(node, &["-bootstrap-expect=3"], &others);
        servers.push(next);
    }
    all_know_the_leader(&servers);
    servers
}

fn leader_of(agent: &Agent) -> Option<String> {
    let leader = agent.get("/v1/status/leader").json();
    leader.as_str().filter(|leader| !leader.is_empty()).map(str::to_owned)
}

fn all_know_the_leader(servers: &[(Home, Process)]) {
    wait_until("all know the same leader", || {
        let leaders: Vec<_> = servers.iter().map(|(_, process)| leader_of(process)).collect();
        leaders[0].is_some() && leaders.iter().all(|leader| *leader == leaders[0])
    });
}

/// The server that leads, by its place.
fn leading(servers: &[(Home, Process)]) -> usize {
    let mut found = 0;
    wait_until("somebody leads", || {
        let leads = |agent: &Agent| agent.get("/v1/agent/self").json()["Stats"]["consul"]["leader"] == "true";
        let place = servers.iter().position(|(_, process)| leads(process));
        found = place.unwrap_or_default();
        place.is_some()
    });
    found
}

fn has(agent: &Agent, key: &str) -> bool {
    agent.get(format!("/v1/kv/{key}?stale")).send().code == 200
}

fn voters(agent: &Agent) -> Vec<(String, bool)> {
    let configuration = agent.get("/v1/operator/raft/configuration?stale").json();
    let servers = configuration["Servers"].as_array().cloned().unwrap_or_default();
    let mut voters: Vec<_> = servers
        .iter()
        .map(|server| (server["Node"].as_str().unwrap_or_default().to_owned(), server["Voter"] == true))
        .collect();
    voters.sort();
    voters
}

#[test]
fn three_servers_survive_the_loss_of_any() {
    let mut servers = three();
    let mut written = Vec::new();
    for round in 0..3 {
        let leader = leading(&servers);
        for at in 0..20 {
            let key = format!("k/{round}/{at}");
            servers[leader].1.put(format!("/v1/kv/{key}"), "v").status(200);
            written.push(key);
        }
        let (home, process) = servers.remove(leader);
        let gossip = lan(&process);
        let crashed = Instant::now();
        process.crash();
        let next = leading(&servers);
        assert!(crashed.elapsed() < Duration::from_secs(20));
        for key in &written {
            assert!(has(&servers[next].1, key), "{key}");
        }
        // It comes back, and its ports are other ones, but for that of gossip: a name that failed is kept for its
        // address for half a minute.
        let port = gossip.rsplit(':').next().unwrap_or_default().to_owned();
        let home = home.flag(format!("-retry-join={}", lan(&servers[0].1))).flag(format!("-serf-lan-port={port}"));
        let process = home.start_alone();
        wait_until("it has caught up", || has(&process, written.last().expect("something was written")));
        servers.push((home, process));
        all_know_the_leader(&servers);
        let third = ["s1", "s2", "s3"].map(|node| (node.to_owned(), true));
        wait_until("all three vote", || voters(&servers[0].1) == third);
    }
}

#[test]
fn all_servers_come_back_at_once() {
    let mut servers = three();
    let leader = leading(&servers);
    servers[leader].1.put("/v1/kv/kept", "v").status(200);
    let mut homes = Vec::new();
    for (home, process) in servers.drain(..) {
        process.crash();
        homes.push(home);
    }
    // Their ports are other ones, and what they have written down of each other is wrong.
    for home in homes {
        let home = match servers.first() {
            Some((_, other)) => home.flag(format!("-retry-join={}", lan(other))),
            None => home,
        };
        let process = home.start_alone();
        servers.push((home, process));
    }
    let leader = leading(&servers);
    servers[leader].1.get("/v1/kv/kept").status(200);
}

#[test]
fn a_fourth_server_gets_its_vote_and_leaves_again() {
    let mut servers = three();
    let leader = leading(&servers);
    servers[leader].1.put("/v1/kv/early", "v").status(200);
    let fourth = server("s4", &[], &[&servers[leader].1]);
    wait_until("it learns", || has(&fourth.1, "early"));
    wait_until("it votes", || voters(&servers[leader].1).contains(&("s4".to_owned(), true)));
    wait_until("all are healthy", || {
        let health = servers[leader].1.get("/v1/operator/autopilot/health").send();
        health.code == 200 && health.json()["FailureTolerance"] == 1
    });
    let (_home, mut process) = fourth;
    process.put("/v1/agent/leave", "").status(200);
    assert_eq!(process.wait(), 0);
    wait_until("it is out", || voters(&servers[leader].1).len() == 3);
    // The leader leaves, too: another one leads without an election's pause.
    let (_home, mut process) = servers.remove(leader);
    process.put("/v1/agent/leave", "").status(200);
    assert_eq!(process.wait(), 0);
    let leader = leading(&servers);
    wait_until("two are left", || voters(&servers[leader].1).len() == 2);
    servers[leader].1.put("/v1/kv/late", "v").status(200);
}

#[test]
fn a_frozen_leader_is_replaced_and_does_not_answer_for_the_cluster_when_it_thaws() {
    let servers = three();
    let old = leading(&servers);
    servers[old].1.put("/v1/kv/a", "old").status(200);
    servers[old].1.signal(Signal::SIGSTOP);
    let others: Vec<usize> = (0..3).filter(|at| *at != old).collect();
    let mut new = old;
    wait_until("another one leads", || {
        let leads = |at: usize| servers[at].1.get("/v1/agent/self").json()["Stats"]["consul"]["leader"] == "true";
        new = others.iter().copied().find(|at| leads(*at)).unwrap_or(old);
        new != old
    });
    servers[new].1.put("/v1/kv/a", "new").status(200);
    servers[old].1.signal(Signal::SIGCONT);
    // Whatever it answers at once, it is not what was true before it slept.
    for _ in 0..50 {
        let answer = servers[old].1.get("/v1/kv/a?raw").send();
        assert!(answer.code != 200 || answer.text() == "new", "{}", answer.text());
    }
    all_know_the_leader(&servers);
}

/// A client agent of these servers.
fn client(node: &str, servers: &[(Home, Process)]) -> (Home, Process) {
    let mut home = Home::bare().config(QUICK).flag(format!("-node={node}"));
    let data = home.data_dir();
    home = home.flag(format!("-data-dir={}", data.display())).flag("-retry-interval=1s");
    for (_, server) in servers {
        home = home.flag(format!("-retry-join={}", lan(server)));
    }
    let process = home.start_alone();
    (home, process)
}

#[test]
fn every_agent_answers_whoever_leads() {
    let mut servers = three();
    let (_home, client) = client("c1", &servers);
    wait_until("the client knows servers", || client.put("/v1/kv/from-client", "v").send().code == 200);
    let service = serde_json::json!({"Name": "web", "Port": 80, "Check": {"TTL": "60s", "Status": "passing"}});
    client.put_json("/v1/agent/service/register", &service).status(200);
    wait_until("its service is in the catalog", || {
        servers.iter().all(|(_, server)| {
            server.get("/v1/health/service/web?passing").json().as_array().is_some_and(|found| found.len() == 1)
        })
    });
    // DNS through the client, too.
    wait_until("it is found by name", || client.dig("web.service.consul", "SRV").ask().answer.len() == 1);
    for round in 0..2 {
        for (at, agent) in servers.iter().map(|(_, server)| &**server).chain([&*client]).enumerate() {
            let key = format!("k/{round}/{at}");
            agent.put(format!("/v1/kv/{key}"), "v").expect(200, "true");
            // Linearizable from wherever it is asked.
            client.get(format!("/v1/kv/{key}?raw")).expect(200, "v");
            let session = agent.put("/v1/session/create", r#"{"TTL":"30s"}"#).json();
            let id = session["ID"].as_str().expect("an id").to_owned();
            client.put(format!("/v1/kv/lock/{round}/{at}?acquire={id}"), "").expect(200, "true");
            agent.put(format!("/v1/session/renew/{id}"), "").status(200);
            client.put(format!("/v1/session/destroy/{id}"), "").expect(200, "true");
            let index = agent.get(format!("/v1/kv/{key}")).send().index();
            let waiting = {
                let http = client.http;
                let key = key.clone();
                std::thread::spawn(move || {
                    Agent::at(http, None).get(format!("/v1/kv/{key}?raw&wait=20s&index={index}")).send().text()
                })
            };
            agent.put(format!("/v1/kv/{key}"), "w").expect(200, "true");
            assert_eq!(waiting.join().expect("it was answered"), "w");
            agent.get("/v1/operator/raft/configuration").send().contains("Leader");
            agent.get("/v1/operator/autopilot/state").send().status(200).contains("FailureTolerance");
            agent.get("/v1/snapshot").status(200);
            assert!(agent.get("/v1/catalog/nodes").json().as_array().is_some_and(|nodes| nodes.len() >= 3));
        }
        if round == 0 {
            let leader = leading(&servers);
            servers.remove(leader).1.crash();
            leading(&servers);
        }
    }
}

#[test]
fn an_archive_is_restored_through_any_server() {
    let servers = three();
    let leader = leading(&servers);
    let follower = (leader + 1) % 3;
    servers[follower].1.put("/v1/kv/before", "v").expect(200, "true");
    let archive = servers[follower].1.get("/v1/snapshot").send().body;
    servers[follower].1.put("/v1/kv/after", "v").expect(200, "true");
    servers[follower].1.put("/v1/snapshot", &archive).status(200);
    for (_, server) in &servers {
        server.get("/v1/kv/before").status(200);
        server.get("/v1/kv/after").status(404);
    }
    servers[leader].1.put("/v1/kv/then", "v").expect(200, "true");
}
