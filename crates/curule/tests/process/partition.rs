//! Agents on machines of their own, as far as the network goes: killed, frozen, cut off, heard badly; the catalog follows.
//!
//! Every agent is a server with a catalog of its own, so each says what it knows of the others. The moves are those of
//! [`crate::netns`]; what agents on one machine can show is in [`crate::pool`].

use std::thread::sleep;
use std::time::Duration;

use conformance::Agent;
use nix::sys::signal::Signal;

use crate::harness::{Home, Process, wait_until, wait_within};
use crate::netns::{Net, Node, in_own_network, reunite, separate};

/// Quick enough for a test: a failure is known within a few seconds.
const QUICK: &str = r#"gossip_lan { probe_interval = "200ms", probe_timeout = "100ms", gossip_interval = "50ms" }"#;

/// As quick, but not as quick to judge.
const FORGIVING: &str = r#"
    gossip_lan { probe_interval = "200ms", probe_timeout = "100ms", gossip_interval = "50ms", suspicion_mult = 6 }
"#;
/// Members try a failed one again every 30 seconds, which no configuration changes; the rest is for a busy machine.
const RECONNECTED: Duration = Duration::from_secs(60);

/// A node with an agent that is named after its number.
struct Member {
    node: Node,
    name: String,
    home: Home,
    process: Process,
}

/// Members that all know each other. All join the first.
fn members<const N: usize>(net: &Net, config: &str) -> [Member; N] {
    let nodes: [Node; N] = std::array::from_fn(|at| net.node(u8::try_from(at + 1).expect("there are few")));
    let first = nodes[0].address();
    let mut number = 0;
    let members = nodes.map(|node| {
        number += 1;
        let name = format!("member{number}");
        let home = node.houses(Home::durable().config(config).flag(format!("-node={name}")));
        let home = if number > 1 { home.flag(format!("-retry-join={first}")) } else { home };
        let process = home.start();
        Member { node, name, home, process }
    });
    for member in &members {
        for other in &members {
            wait_until("all know all", || member.sees(&other.name, Some("passing")));
        }
    }
    members
}

impl Member {
    /// Whether the status of a node's `serfHealth` check is this in its catalog; `None` is for no such check.
    fn sees(&self, name: &str, status: Option<&str>) -> bool {
        sees(&self.process, name, status)
    }
}

fn sees(agent: &Agent, name: &str, status: Option<&str>) -> bool {
    let checks = agent.get(format!("/v1/health/node/{name}")).json();
    let mut checks = checks.as_array().into_iter().flatten();
    let serf = checks.find(|check| check["CheckID"] == "serfHealth");
    serf.and_then(|check| check["Status"].as_str()) == status
}

/// Waits until all the others see a member so.
#[track_caller]
fn all_see(others: &[&Member], name: &str, status: Option<&str>) {
    for other in others {
        wait_until(&format!("{} sees {name} as {status:?}", other.name), || other.sees(name, status));
    }
}

/// Waits until each of the one side sees all of the other as failed, and the other way round.
#[track_caller]
fn fail_for_each_other(one: &[&Member], other: &[&Member]) {
    for (watchers, lost) in [(one, other), (other, one)] {
        for lost in lost {
            all_see(watchers, &lost.name, Some("critical"));
        }
    }
}

/// Waits until those who had failed for each other have met again.
#[track_caller]
fn reconnect(members: &[&Member]) {
    for member in members {
        for other in members {
            let what = format!("{} has met {} again", member.name, other.name);
            wait_within(RECONNECTED, &what, || member.sees(&other.name, Some("passing")));
        }
    }
}

#[test]
fn who_is_killed_fails_and_comes_back() {
    in_own_network("partition::who_is_killed_fails_and_comes_back", |net| {
        let [first, second, third] = members(net, QUICK);
        third.process.crash();
        all_see(&[&first, &second], &third.name, Some("critical"));
        assert!(first.sees(&second.name, Some("passing")) && second.sees(&first.name, Some("passing")));
        let again = third.home.start();
        all_see(&[&first, &second], &third.name, Some("passing"));
        for other in [&first, &second] {
            wait_until("it knows the others", || sees(&again, &other.name, Some("passing")));
        }
    });
}

#[test]
fn who_is_frozen_fails_and_says_that_it_is_alive() {
    in_own_network("partition::who_is_frozen_fails_and_says_that_it_is_alive", |net| {
        let [first, second, third] = members(net, QUICK);
        third.process.signal(Signal::SIGSTOP);
        all_see(&[&first, &second], &third.name, Some("critical"));
        third.process.signal(Signal::SIGCONT);
        all_see(&[&first, &second], &third.name, Some("passing"));
        // What it believed of them when it woke up is no concern, but it must not stay so.
        all_see(&[&third], &first.name, Some("passing"));
        all_see(&[&third], &second.name, Some("passing"));
    });
}

#[test]
fn two_sides_fail_for_each_other_and_meet_again() {
    in_own_network("partition::two_sides_fail_for_each_other_and_meet_again", |net| {
        let [a, b, c, d] = members(net, QUICK);
        let far = [&c.node, &d.node];
        separate(&far);
        fail_for_each_other(&[&a, &b], &[&c, &d]);
        // On their own side nobody has failed.
        assert!(a.sees(&b.name, Some("passing")) && b.sees(&a.name, Some("passing")));
        assert!(c.sees(&d.name, Some("passing")) && d.sees(&c.name, Some("passing")));
        reunite(&far);
        reconnect(&[&a, &b, &c, &d]);
    });
}

#[test]
fn who_is_cut_off_fails_for_all_and_they_for_it() {
    in_own_network("partition::who_is_cut_off_fails_for_all_and_they_for_it", |net| {
        let [a, b, c] = members(net, QUICK);
        c.node.cut();
        fail_for_each_other(&[&a, &b], &[&c]);
        assert!(a.sees(&b.name, Some("passing")) && b.sees(&a.name, Some("passing")));
        c.node.heal();
        reconnect(&[&a, &b, &c]);
    });
}

#[test]
fn who_leaves_is_taken_out_everywhere() {
    in_own_network("partition::who_leaves_is_taken_out_everywhere", |net| {
        let [first, second, mut third] = members(net, QUICK);
        third.process.put("/v1/agent/leave", "").status(200);
        assert_eq!(third.process.wait(), 0);
        all_see(&[&first, &second], &third.name, None);
        for other in [&first, &second] {
            let members = other.process.get(format!("/v1/agent/members?filter=Name=={}", third.name)).json();
            assert_eq!(members[0]["Status"], 3, "left, not failed: {members}");
            assert!(!other.home.log().contains(&format!("EventMemberFailed: {}", third.name)));
        }
    });
}

/// One packet of ten is lost on the way from any to any, and one member stalls again and again.
#[test]
fn nobody_fails_for_being_heard_badly() {
    const LOST_PER_CABLE: u32 = 5;
    const ENOUGH_LOST: u64 = 50;
    const STALL: Duration = Duration::from_millis(40);
    in_own_network("partition::nobody_fails_for_being_heard_badly", |net| {
        let all: [Member; 3] = members(net, FORGIVING);
        for member in &all {
            member.node.lose(LOST_PER_CABLE);
        }
        wait_within(Duration::from_secs(60), "much was lost", || {
            // Not to wait for anything: this is the delay that its answers have.
            all[2].process.signal(Signal::SIGSTOP);
            sleep(STALL);
            all[2].process.signal(Signal::SIGCONT);
            sleep(STALL);
            all.iter().map(|member| member.node.lost()).sum::<u64>() >= ENOUGH_LOST
        });
        for member in &all {
            assert!(!member.home.log().contains("EventMemberFailed"), "{} took one for failed", member.name);
            for other in &all {
                assert!(member.sees(&other.name, Some("passing")), "{} of {}", member.name, other.name);
            }
        }
    });
}
