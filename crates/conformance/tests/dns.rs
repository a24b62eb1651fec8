//! DNS: names of nodes, services, queries and addresses, the sections of the answers, and what does not exist.

use conformance::{Reply, Value, agent, cleanup, json, unique};

/// A node in the catalog, with services that the body names.
struct Node<D> {
    name: String,
    address: String,
    hex: String,
    _undo: D,
}

/// An address that no other test uses, as text and as the eight digits of an `addr` name.
fn address() -> (String, String) {
    let id: u32 = unique("").rsplit('-').next().and_then(|count| count.parse().ok()).expect("a count");
    let [high, low] = u16::try_from(id).expect("few tests").to_be_bytes();
    let pid = std::process::id().to_be_bytes()[3];
    (format!("10.{pid}.{high}.{low}"), format!("0a{pid:02x}{high:02x}{low:02x}"))
}

fn node(services: &[Value]) -> Node<impl Drop + use<>> {
    let name = unique("dns-node");
    let (address, hex) = address();
    let mut body = json!({"Node": name, "Address": address, "NodeMeta": {"k": "v", "rfc1035-x": "only"}});
    agent().put_json("/v1/catalog/register", &body).expect(200, "true");
    for service in services {
        body["Service"] = service.clone();
        agent().put_json("/v1/catalog/register", &body).expect(200, "true");
    }
    let undo = json!({"Node": name}).to_string();
    let undo = cleanup(move || drop(agent().put("/v1/catalog/deregister", &undo).send()));
    Node { name, address, hex, _undo: undo }
}

fn ask(name: &str, kind: &str) -> Reply {
    agent().dig(name, kind).ask()
}

/// Records in an order that does not depend on the shuffle.
fn sorted(records: &[String]) -> Vec<String> {
    let mut records = records.to_vec();
    records.sort();
    records
}

const SOA: &str = "consul. 0 SOA ns.consul. hostmaster.consul. 3600 600 86400 0";

#[test]
fn nodes() {
    let node = node(&[]);
    let owner = format!("{}.node.consul.", node.name);
    let meta = [format!("{owner} 0 TXT \"k=v\""), format!("{owner} 0 TXT \"only\"")];
    let reply = ask(&owner, "A");
    assert_eq!((reply.code, &reply.flags[..]), (0, &["aa", "rd"][..]));
    assert_eq!(reply.question, format!("{owner} A"));
    assert_eq!(reply.answer, [format!("{owner} 0 A {}", node.address)]);
    assert_eq!(sorted(&reply.additional), meta);
    assert!(reply.authority.is_empty());
    let other = ask(&owner, "AAAA");
    assert_eq!((other.code, other.answer.len()), (0, 0));
    assert_eq!(sorted(&ask(&owner, "TXT").answer), meta);
    assert_eq!(ask(&owner, "ANY").answer.len(), 3);
    for name in [format!("{}.node.dc1.consul.", node.name), format!("{}.node.dc1.dc.consul.", node.name)] {
        assert_eq!(ask(&name, "A").answer, [format!("{name} 0 A {}", node.address)]);
    }
    // The case of the question comes back.
    let shouted = owner.to_uppercase();
    assert_eq!(ask(&shouted, "A").answer, [format!("{shouted} 0 A {}", node.address)]);
}

#[test]
fn services() {
    let service = unique("dns-svc");
    let node = node(&[
        json!({"ID": format!("{service}-1"), "Service": service, "Tags": ["a", "b.c"], "Port": 80}),
        json!({"ID": format!("{service}-2"), "Service": service, "Port": 81, "Address": "10.8.8.8",
            "Weights": {"Passing": 5, "Warning": 1}}),
    ]);
    let owner = format!("{service}.service.consul.");
    let both = sorted(&[format!("{owner} 0 A {}", node.address), format!("{owner} 0 A 10.8.8.8")]);
    for kind in ["A", "ANY", "TXT"] {
        let reply = ask(&owner, kind);
        assert_eq!(sorted(&reply.answer), both, "{kind}");
        assert!(reply.additional.is_empty(), "{kind}");
    }
    for tag in ["a", "A", "b.c"] {
        let name = format!("{tag}.{owner}");
        assert_eq!(ask(&name, "A").answer, [format!("{name} 0 A {}", node.address)], "{tag}");
    }
    assert_eq!(ask(&format!("z.{owner}"), "A").code, 3);
    let none = ask(&owner, "MX");
    assert_eq!((none.code, none.answer.len(), &none.authority[..]), (0, 0, &[SOA.to_owned()][..]));
    let none = ask(&owner, "AAAA");
    assert_eq!((none.code, none.answer.len(), &none.authority[..]), (0, 0, &[SOA.to_owned()][..]));
}

#[test]
fn service_records() {
    let service = unique("dns-srv");
    let node = node(&[
        json!({"ID": format!("{service}-1"), "Service": service, "Tags": ["a"], "Port": 80}),
        json!({"ID": format!("{service}-2"), "Service": service, "Port": 81, "Address": "10.8.8.8",
            "Weights": {"Passing": 5, "Warning": 1}}),
        json!({"ID": format!("{service}-6"), "Service": format!("{service}-6"), "Port": 82, "Address": "fd00::1"}),
    ]);
    let target = format!("{}.node.dc1.consul.", node.name);
    let plain = |owner: &str| format!("{owner} 0 SRV 1 1 80 {target}");
    for owner in [
        format!("{service}.service.consul."),
        format!("_{service}._tcp.service.consul."),
        format!("_{service}._tcp.consul."),
    ] {
        let reply = ask(&owner, "SRV");
        assert_eq!(sorted(&reply.answer), [plain(&owner), format!("{owner} 0 SRV 1 5 81 0a080808.addr.dc1.consul.")]);
        for record in [
            format!("{target} 0 A {}", node.address),
            format!("{target} 0 TXT \"k=v\""),
            "0a080808.addr.dc1.consul. 0 A 10.8.8.8".to_owned(),
        ] {
            assert!(reply.additional.contains(&record), "{record} in {:?}", reply.additional);
        }
    }
    for owner in [format!("a.{service}.service.consul."), format!("_{service}._a.service.consul.")] {
        assert_eq!(ask(&owner, "SRV").answer, [plain(&owner)]);
    }
    let owner = format!("{service}-6.service.consul.");
    let reply = ask(&owner, "SRV");
    let target = "fd000000000000000000000000000001.addr.dc1.consul.";
    assert_eq!(reply.answer, [format!("{owner} 0 SRV 1 1 82 {target}")]);
    assert!(reply.additional.contains(&format!("{target} 0 AAAA fd00::1")), "{:?}", reply.additional);
    assert_eq!(ask(&owner, "AAAA").answer, [format!("{owner} 0 AAAA fd00::1")]);
}

#[test]
fn critical_instances_are_left_out() {
    let service = unique("dns-health");
    let node = node(&[json!({"ID": service, "Service": service, "Port": 1})]);
    let owner = format!("{service}.service.consul.");
    for (status, code) in [("passing", 0), ("warning", 0), ("critical", 3), ("passing", 0)] {
        let body = json!({"Node": node.name, "SkipNodeUpdate": true,
            "Check": {"CheckID": service, "Name": "c", "Status": status, "ServiceID": service}});
        agent().put_json("/v1/catalog/register", &body).expect(200, "true");
        assert_eq!(ask(&owner, "A").code, code, "{status}");
    }
}

#[test]
fn warning_instances_weigh_less() {
    let service = unique("dns-weight");
    let node = node(&[json!({"ID": service, "Service": service, "Port": 1, "Weights": {"Passing": 9, "Warning": 2}})]);
    let owner = format!("{service}.service.consul.");
    let body = json!({"Node": node.name, "SkipNodeUpdate": true,
        "Check": {"CheckID": service, "Name": "c", "Status": "warning", "ServiceID": service}});
    agent().put_json("/v1/catalog/register", &body).expect(200, "true");
    assert_eq!(ask(&owner, "SRV").answer, [format!("{owner} 0 SRV 1 2 1 {}.node.dc1.consul.", node.name)]);
}

#[test]
fn prepared_queries() {
    let service = unique("dns-query");
    let node = node(&[json!({"ID": service, "Service": service, "Port": 7})]);
    let name = unique("find");
    let body = json!({"Name": name, "Service": {"Service": service}, "DNS": {"TTL": "9s"}});
    let id = agent().post("/v1/query", body.to_string()).json()["ID"].as_str().expect("an id").to_owned();
    let undo = format!("/v1/query/{id}");
    let _undo = cleanup(|| drop(agent().delete(&undo).send()));
    for query in [&name, &id] {
        let owner = format!("{query}.query.consul.");
        assert_eq!(ask(&owner, "A").answer, [format!("{owner} 9 A {}", node.address)]);
        assert_eq!(ask(&owner, "SRV").answer, [format!("{owner} 9 SRV 1 1 7 {}.node.dc1.consul.", node.name)]);
    }
    assert_eq!(ask("no-such.query.consul.", "A").code, 3);
}

#[test]
fn addresses_and_their_reverse() {
    let node = node(&[]);
    let owner = format!("{}.addr.consul.", node.hex);
    let record = format!("{owner} 0 A {}", node.address);
    assert_eq!(ask(&owner, "A").answer, std::slice::from_ref(&record));
    let other = ask(&owner, "AAAA");
    assert_eq!((other.code, other.answer.len(), other.additional), (0, 0, vec![record]));
    assert_eq!(ask("0a0000.addr.consul.", "A").code, 3);
    assert_eq!(ask("0a0000zz.addr.consul.", "A").code, 3);
    let mut octets: Vec<&str> = node.address.split('.').collect();
    octets.reverse();
    let reverse = format!("{}.in-addr.arpa.", octets.join("."));
    assert_eq!(ask(&reverse, "PTR").answer, [format!("{reverse} 0 PTR {}.node.dc1.consul.", node.name)]);
    assert_eq!(ask("9.9.9.9.in-addr.arpa.", "PTR").code, 3);
}

#[test]
fn the_domain_itself() {
    let server = format!("{}.node.dc1.consul.", agent().node());
    let soa = ask("consul.", "SOA");
    assert_eq!(soa.answer, [SOA]);
    assert_eq!(soa.authority, [format!("consul. 0 NS {server}")]);
    assert_eq!(soa.additional, [format!("{server} 0 A 127.0.0.1")]);
    let ns = ask("consul.", "NS");
    assert_eq!(ns.answer, [format!("consul. 0 NS {server}")]);
    assert_eq!(ns.additional, [format!("{server} 0 A 127.0.0.1")]);
    let apex = ask("consul.", "A");
    assert_eq!((apex.code, &apex.authority[..]), (3, &[SOA.to_owned()][..]));
}

#[test]
fn what_does_not_exist() {
    for name in [
        "no-such.service.consul.",
        "no-such.node.consul.",
        "foo.consul.",
        "consul.service.dc9.consul.",
        "x.y.dc9.consul.",
        "no-such.connect.consul.",
    ] {
        let reply = ask(name, "A");
        assert_eq!((reply.code, reply.answer.len()), (3, 0), "{name}");
        assert_eq!(reply.authority, [SOA], "{name}");
        assert!(reply.flags.contains(&"aa"), "{name}");
    }
    let foreign = ask("example.org.", "A");
    assert_eq!((foreign.code, &foreign.flags[..]), (5, &["rd"][..]));
    assert_eq!(ask("consul.", "AXFR").code, 4);
}

#[test]
fn small_replies_are_trimmed_and_large_ones_are_not() {
    let service = unique("dns-many");
    let rows: Vec<Value> = (0..20)
        .map(|n| json!({"ID": format!("{service}-{n}"), "Service": service, "Port": n, "Address": format!("10.250.0.{n}")}))
        .collect();
    let _node = node(&rows);
    let owner = format!("{service}.service.consul.");
    let question = |kind: &str| agent().dig(&owner, kind);
    let plain = question("A").ask();
    assert_eq!((plain.answer.len(), plain.payload), (3, None));
    assert!(!plain.flags.contains(&"tc"));
    assert_eq!(question("SRV").ask().answer.len(), 3);
    let wide = question("A").edns(4096).ask();
    assert_eq!((wide.answer.len(), wide.payload), (20, Some(4096)));
    let narrow = question("SRV").edns(1000).ask();
    assert!(narrow.size <= 1000 && narrow.answer.len() > 3 && narrow.answer.len() < 20, "{}", narrow.size);
    assert_eq!(question("A").tcp().ask().answer.len(), 20);
    assert_eq!(question("SRV").tcp().ask().answer.len(), 20);
    let orders: std::collections::BTreeSet<Vec<String>> = (0..10).map(|_| question("A").tcp().ask().answer).collect();
    assert!(orders.len() > 1, "answers are shuffled");
}
