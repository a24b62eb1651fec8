//! Clusters on machines of their own, as far as the network goes: a leader that is cut off, links that lose packets.

use conformance::Agent;

use crate::harness::{Home, Process, wait_until};
use crate::netns::{Net, Node, in_own_network};

const QUICK: &str = r#"
performance { raft_multiplier = 1, rpc_hold_timeout = "2s" }
gossip_lan { probe_interval = "200ms", probe_timeout = "100ms", gossip_interval = "50ms" }
autopilot { cleanup_dead_servers = false }
"#;

struct Server {
    node: Node,
    process: Process,
    _home: Home,
}

fn three(net: &Net) -> Vec<Server> {
    let nodes: Vec<Node> = (1..=3).map(|number| net.node(number)).collect();
    let first = nodes[0].address();
    let servers: Vec<Server> = nodes
        .into_iter()
        .enumerate()
        .map(|(at, node)| {
            let home =
                Home::bare().config(QUICK).flag("-server").flag("-bootstrap-expect=3").flag(format!("-node=s{at}"));
            let data = home.data_dir();
            let home = home.flag(format!("-data-dir={}", data.display())).flag("-retry-interval=1s");
            let home = node.houses(home.flag(format!("-retry-join={first}")));
            let process = home.start_alone();
            Server { node, process, _home: home }
        })
        .collect();
    leading(&servers.iter().collect::<Vec<_>>());
    servers
}

fn leads(agent: &Agent) -> bool {
    agent.get("/v1/agent/self").json()["Stats"]["consul"]["leader"] == "true"
}

/// The one of these that leads, by its place among them.
fn leading(servers: &[&Server]) -> usize {
    let mut found = 0;
    wait_until("one of them leads", || {
        let place = servers.iter().position(|server| leads(&server.process));
        found = place.unwrap_or_default();
        place.is_some()
    });
    found
}

fn write(agent: &Agent, key: &str, value: &str) -> bool {
    agent.put(format!("/v1/kv/{key}"), value).send().code == 200
}

#[test]
fn a_leader_that_is_cut_off_speaks_for_nobody() {
    in_own_network("cluster_net::a_leader_that_is_cut_off_speaks_for_nobody", |net| {
        let servers = three(net);
        let all: Vec<&Server> = servers.iter().collect();
        let old = leading(&all);
        assert!(write(&all[old].process, "a", "old"));
        all[old].node.cut();
        let others: Vec<&Server> = all.iter().copied().filter(|server| !std::ptr::eq(*server, all[old])).collect();
        let new = leading(&others);
        wait_until("the majority writes on", || write(&others[new].process, "a", "new"));
        // It may not know yet, but it cannot say what is not so any more, and takes nothing in.
        for _ in 0..2 {
            let answer = all[old].process.get("/v1/kv/a?raw").send();
            assert!(answer.code != 200, "{}", answer.text());
            assert!(!write(&all[old].process, "lost", "never"));
        }
        // Who asks for what is stale is told what it knows, and how old that is.
        let stale = all[old].process.get("/v1/kv/a?raw&stale").send();
        assert_eq!((stale.code, stale.text().as_str()), (200, "old"));
        let ago: u64 = stale.header("X-Consul-Lastcontact").parse().expect("a number");
        assert!(ago > 0 || stale.header("X-Consul-Knownleader") == "false");
        all[old].node.heal();
        wait_until("it has caught up", || all[old].process.get("/v1/kv/a?raw").send().text() == "new");
        for server in &all {
            server.process.get("/v1/kv/lost").status(404);
            wait_until("everybody writes", || write(&server.process, "after", "v"));
        }
    });
}

#[test]
fn lost_packets_lose_no_writes() {
    in_own_network("cluster_net::lost_packets_lose_no_writes", |net| {
        let servers = three(net);
        let all: Vec<&Server> = servers.iter().collect();
        for server in &all {
            server.node.lose(5);
        }
        let mut written = Vec::new();
        for at in 0..60 {
            let key = format!("k/{at}");
            if write(&all[at % 3].process, &key, "v") {
                written.push(key);
            }
        }
        assert!(written.len() > 30, "{}", written.len());
        for server in &all {
            server.node.heal();
        }
        for key in &written {
            wait_until("what was acknowledged is there", || {
                all[0].process.get(format!("/v1/kv/{key}?raw")).send().text() == "v"
            });
        }
    });
}
