//! Names and what they answer. The expectations were observed on the reference (1.22) with the same catalog
//! and the same configuration, but for what a comment says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use acl::{AllowAll, Authorizer, Need, Resource};
use domain::base::iana::{Class, Rtype};
use domain::base::message_builder::AdditionalBuilder;
use domain::base::opt::UnknownOptData;
use domain::base::{Message, MessageBuilder, Name};
use domain::rdata::{A, AllRecordData};
use proptest::prelude::{Strategy, any, prop, proptest};
use rand::SeedableRng;
use rand::rngs::StdRng;
use state::catalog::{NodeService, RegisterRequest, ServiceAddress, Weights};
use state::health::HealthCheck;
use state::prepared_query::{DnsOptions, PreparedQuery, PreparedQueryRequest, ServiceQuery};
use state::{Command, Index, State};

use super::{Aliases, Answered, Context, Kept, Outcome, Transport, answer, answer_and_keep};
use crate::settings::{ServiceTtls, Settings, domain};

type Text = &'static str;

/// A catalog in the making.
#[derive(Default)]
struct World {
    state: State,
}

impl World {
    fn apply(&mut self, command: Command) {
        let next = Index(self.state.applied().0 + 1);
        self.state.apply(next, command);
    }

    fn put(&mut self, node: &str, address: &str, meta: &[(Text, Text)], service: NodeService, checks: &[(Text, Text)]) {
        let of_service = service.clone();
        let checks = checks.iter().map(|(id, status)| HealthCheck {
            node: node.to_owned(),
            check_id: (*id).to_owned(),
            status: (*status).to_owned(),
            service_id: of_service.id.clone(),
            service_name: of_service.service.clone(),
            ..HealthCheck::default()
        });
        self.apply(Command::Register(RegisterRequest {
            datacenter: "dc1".into(),
            node: node.into(),
            address: address.into(),
            node_meta: Some(meta.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()),
            checks: checks.collect(),
            service: Some(Arc::new(service)),
            ..RegisterRequest::default()
        }));
    }

    fn query(&mut self, id: &str, name: &str, service: &str, ttl: &str) {
        self.apply(Command::PreparedQuery(PreparedQueryRequest {
            op: "create".into(),
            query: PreparedQuery {
                id: id.into(),
                name: name.into(),
                service: ServiceQuery { service: service.into(), ..ServiceQuery::default() },
                dns: DnsOptions { ttl: ttl.into() },
                ..PreparedQuery::default()
            },
            ..PreparedQueryRequest::default()
        }));
    }
}

fn service(id: &str, name: &str, address: &str, port: i64) -> NodeService {
    NodeService { id: id.into(), service: name.into(), address: address.into(), port, ..NodeService::default() }
}

/// The catalog that the reference was asked about.
fn world() -> State {
    let mut world = World::default();
    world.put("vm", "127.0.0.1", &[], service("consul", "consul", "", 21401), &[]);
    let web = NodeService {
        tags: vec!["A.b".into(), "v1".into()],
        weights: Some(Weights { passing: 7, warning: 2 }),
        ..service("w1", "Web", "", 80)
    };
    world.put("one", "198.18.0.1", &[("k=x", "v`1"), ("rfc1035-a", "plain")], web, &[("c1", "warning")]);
    world.put("two", "198.18.0.2", &[], service("w2", "web", "2001:db8::7", 81), &[]);
    world.put("two", "198.18.0.2", &[], service("w2b", "web", "198.18.9.9", 82), &[("c2", "critical")]);
    let tagged = [("lan_ipv4", "198.18.9.7"), ("lan_ipv6", "2001:db8::9")];
    let tagged = tagged.map(|(tag, address)| (tag.into(), ServiceAddress { address: address.into(), port: 1 }));
    let mix = NodeService { tagged_addresses: Some(BTreeMap::from(tagged)), ..service("mix", "mix", "198.18.9.8", 82) };
    world.put("two", "198.18.0.2", &[], mix, &[]);
    world.put("three", "ext.example.com", &[], service("w3", "ext", "", 82), &[]);
    world.put("four", "one.node.consul", &[], service("w4", "loop", "web.service.consul", 82), &[]);
    world.put("five", "198.18.0.5", &[], service("w5", "self", "self.service.consul", 82), &[]);
    let mut proxy = NodeService { kind: "connect-proxy".into(), ..service("px", "web-proxy", "", 2000) };
    proxy.proxy.destination_service_name = "web".into();
    world.put("five", "198.18.0.5", &[], proxy, &[]);
    world.put("five", "198.18.0.5", &[], service("ring", "ring", "ring2.service.consul", 1), &[]);
    world.put("five", "198.18.0.5", &[], service("ring2", "ring2", "ring.service.consul", 1), &[]);
    world.put("dot.ted", "2001:db8::1", &[("a", "b")], service("dotsvc", "dotsvc", "", 9), &[]);
    let odd = NodeService { weights: Some(Weights { passing: 5, warning: 3 }), ..service("mt", "mt", "", 9) };
    world.put("maint", "198.18.0.6", &[], odd, &[("odd", "strange")]);
    for number in 0..60 {
        let (node, address) = (format!("crowd{number:02}"), format!("198.18.2.{}", number + 100));
        let meta = [("a", "b"), ("longer", "value-of-this")];
        world.put(&node, &address, &meta, service("c", "crowd", "", number + 100), &[]);
    }
    world.query("11111111-1111-1111-1111-111111111111", "pq", "web", "7s");
    world.query("11111111-1111-1111-1111-111111111112", "pq.dot", "mix", "");
    world.query("11111111-1111-1111-1111-111111111113", "none", "nope", "");
    world.state
}

fn settings() -> Settings {
    let ttls = [("*", 5), ("web", 30), ("web-*", 20)];
    let mut settings = Settings::new("dc1", "vm");
    settings.alt_domain = Some(domain("Alt.test").unwrap());
    settings.node_ttl_s = 9;
    settings.service_ttl = ServiceTtls::new(ttls.map(|(name, ttl)| (name.to_owned(), Duration::from_secs(ttl))));
    settings.enable_truncate = true;
    settings.soa.min_ttl = 11;
    settings
}

/// What to ask, and how.
struct Ask {
    state: State,
    settings: Settings,
    transport: Transport,
    udp_size: Option<u16>,
    subnet: Option<Vec<u8>>,
    aliases: Aliases,
}

impl Ask {
    fn new() -> Self {
        Ask {
            state: world(),
            settings: settings(),
            transport: Transport::Udp,
            udp_size: None,
            subnet: None,
            aliases: Aliases::default(),
        }
    }

    fn request(&self, name: &str, rtype: Rtype) -> Vec<u8> {
        let mut builder = MessageBuilder::new_vec();
        builder.header_mut().set_id(0x1234);
        builder.header_mut().set_rd(true);
        let mut builder = builder.question();
        builder.push((name.parse::<Name<Vec<u8>>>().unwrap(), rtype)).unwrap();
        let mut builder: AdditionalBuilder<_> = builder.additional();
        if let Some(size) = self.udp_size {
            builder
                .opt(|opt| {
                    opt.set_udp_payload_size(size);
                    opt.set_dnssec_ok(true);
                    match &self.subnet {
                        Some(octets) => opt.push(&UnknownOptData::new(8.into(), octets).unwrap()),
                        None => Ok(()),
                    }
                })
                .unwrap();
        }
        builder.finish()
    }

    fn raw(&self, request: &[u8], may: &dyn Authorizer) -> (Answered, Vec<u8>) {
        let context = Context {
            state: &self.state,
            settings: &self.settings,
            may,
            transport: self.transport,
            source: Some(IpAddr::from([127, 0, 0, 1])),
            now_s: 1_000_000,
            aliases: &self.aliases,
        };
        let mut reply = Vec::new();
        let answered = answer(&context, request, &mut StdRng::seed_from_u64(7), &mut reply);
        (answered, reply)
    }

    fn reply(&self, name: &str, rtype: Rtype) -> Vec<u8> {
        let (answered, reply) = self.raw(&self.request(name, rtype), &AllowAll);
        assert_eq!(answered.outcome, Outcome::Reply, "{name}");
        reply
    }

    /// Code, flags and records; the records of a section in order of their text.
    fn lines(&self, name: &str, rtype: Rtype) -> Vec<String> {
        lines(&self.reply(name, rtype))
    }

    #[track_caller]
    fn check(&self, question: &str, expected: &[&str]) {
        let (name, rtype) = question.split_once(' ').unwrap();
        assert_eq!(self.lines(name, rtype.parse().unwrap()), expected, "{question}");
    }

    /// Counts of answers and of additional records, and the size.
    fn measure(&self, name: &str, rtype: Rtype) -> (usize, usize, usize, bool) {
        let reply = self.reply(name, rtype);
        let message = Message::from_octets(&reply[..]).unwrap();
        let counts = message.header_counts();
        (counts.ancount().into(), counts.arcount().into(), reply.len(), message.header().tc())
    }
}

fn lines(reply: &[u8]) -> Vec<String> {
    let message = Message::from_octets(reply).unwrap();
    let header = message.header();
    let mut head = header.rcode().to_string();
    for (flag, set) in [("aa", header.aa()), ("tc", header.tc()), ("rd", header.rd()), ("ra", header.ra())] {
        if set {
            head.push(' ');
            head.push_str(flag);
        }
    }
    let mut lines = vec![head];
    let sections = [message.answer().unwrap(), message.authority().unwrap(), message.additional().unwrap()];
    for (mark, section) in ["", "NS ", "+ "].into_iter().zip(sections) {
        let mut records: Vec<_> = section
            .limit_to::<AllRecordData<_, _>>()
            .map(|record| record.unwrap())
            .filter(|record| record.rtype() != Rtype::OPT)
            .map(|record| {
                let (owner, ttl, rtype) = (record.owner(), record.ttl().as_secs(), record.rtype());
                let line = format!("{mark}{owner}. {ttl} {rtype} {}", record.data());
                line.trim_end_matches('.').to_owned()
            })
            .collect();
        records.sort();
        lines.append(&mut records);
    }
    lines
}

const SOA: &str = "NS consul. 11 SOA ns.consul. hostmaster.consul. 1000000 3600 600 86400 11";

const ALT_SOA: &str = "NS alt.test. 11 SOA ns.alt.test. hostmaster.alt.test. 1000000 3600 600 86400 11";
const FOUND: &str = "NOERROR aa rd";
const NOTHING: &str = "NXDOMAIN aa rd";

#[test]
fn services_answer_with_addresses() {
    let ask = Ask::new();
    ask.check("web.service.consul A", &[FOUND, "web.service.consul. 30 A 198.18.0.1"]);
    ask.check("web.service.consul AAAA", &[FOUND, "web.service.consul. 30 AAAA 2001:db8::7"]);
    let both = ["web.service.consul. 30 A 198.18.0.1", "web.service.consul. 30 AAAA 2001:db8::7"];
    ask.check("web.service.consul ANY", &[FOUND, both[0], both[1]]);
    ask.check("web.service.consul TXT", &[FOUND, both[0], both[1]]);
    ask.check("WEB.Service.Alt.TEST A", &[FOUND, "WEB.Service.Alt.TEST. 30 A 198.18.0.1"]);
    ask.check("web.service.dc1.consul A", &[FOUND, "web.service.dc1.consul. 30 A 198.18.0.1"]);
    ask.check("web.service.dc1.dc.consul A", &[FOUND, "web.service.dc1.dc.consul. 30 A 198.18.0.1"]);
    ask.check("a.B.web.service.consul A", &[FOUND, "a.B.web.service.consul. 30 A 198.18.0.1"]);
    ask.check("web-proxy.service.consul A", &[FOUND, "web-proxy.service.consul. 20 A 198.18.0.5"]);
    ask.check("web.connect.consul A", &[FOUND, "web.connect.consul. 30 A 198.18.0.5"]);
    ask.check("web.service.consul MX", &[FOUND, SOA]);
    ask.check("dotsvc.service.consul A", &[FOUND, SOA]);
}

#[test]
fn what_is_not_there_has_no_name() {
    let ask = Ask::new();
    for name in [
        "nope.service",
        "v2.web.service",
        "web.service.dc2",
        "web.service.dc2.dc",
        "web.service.p.peer",
        "web.service.x.ns",
        "service",
        "web.ingress",
        "nope.connect",
        "nope.node",
        "one.node.p.peer",
        "nope.query",
        "none.query",
        "pq.query.dc2",
        "pq.query.dc1.dc",
        "c0a8001.addr",
        "c0a80001g.addr",
        "_web._tcp",
        "foo",
    ] {
        ask.check(&format!("{name}.consul A"), &[NOTHING, SOA]);
    }
    ask.check("consul A", &[NOTHING, SOA]);
    ask.check("foo.ALT.test A", &[NOTHING, ALT_SOA]);
    // The reference gives the SOA record of its main domain here, which is not about the name.
    ask.check("alt.test A", &[NOTHING, ALT_SOA]);
    // Virtual addresses are not given out; this is what the reference says of services that have none.
    ask.check("nope.virtual.consul A", &[FOUND]);
    ask.check("_._tcp.service.consul SRV", &["SERVFAIL aa rd"]);
}

#[test]
fn services_answer_with_places() {
    let ask = Ask::new();
    let of_one = [
        "+ one.node.dc1.consul. 30 A 198.18.0.1",
        "+ one.node.dc1.consul. 30 TXT \"k`=x=v``1\"",
        "+ one.node.dc1.consul. 30 TXT \"plain\"",
    ];
    for name in ["web.service.consul", "_web._tcp.service.consul", "_web._tcp.consul", "_web._tcp.dc1.consul"] {
        ask.check(
            &format!("{name} SRV"),
            &[
                FOUND,
                &format!("{name}. 30 SRV 1 1 81 20010db8000000000000000000000007.addr.dc1.consul"),
                &format!("{name}. 30 SRV 1 2 80 one.node.dc1.consul"),
                "+ 20010db8000000000000000000000007.addr.dc1.consul. 30 AAAA 2001:db8::7",
                of_one[0],
                of_one[1],
                of_one[2],
            ],
        );
    }
    for name in ["_web._v1.service.consul", "_web._v1.consul", "v1.web.service.consul"] {
        let server = format!("{name}. 30 SRV 1 2 80 one.node.dc1.consul");
        ask.check(&format!("{name} SRV"), &[FOUND, &server, of_one[0], of_one[1], of_one[2]]);
    }
    ask.check(
        "dotsvc.service.Consul SRV",
        &[
            FOUND,
            "dotsvc.service.Consul. 5 SRV 1 1 9 dot.ted.node.dc1.Consul",
            "+ dot.ted.node.dc1.Consul. 5 AAAA 2001:db8::1",
            "+ dot.ted.node.dc1.Consul. 5 TXT \"a=b\"",
        ],
    );
    // A state of no known name weighs one.
    ask.check(
        "mt.service.consul SRV",
        &[FOUND, "mt.service.consul. 5 SRV 1 1 9 maint.node.dc1.consul", "+ maint.node.dc1.consul. 5 A 198.18.0.6"],
    );
}

#[test]
fn tagged_addresses_serve_their_family() {
    let ask = Ask::new();
    ask.check("mix.service.consul A", &[FOUND, "mix.service.consul. 5 A 198.18.9.7"]);
    ask.check("mix.service.consul AAAA", &[FOUND, "mix.service.consul. 5 AAAA 2001:db8::9"]);
    ask.check("mix.service.consul ANY", &[FOUND, "mix.service.consul. 5 AAAA 2001:db8::9"]);
    let target = "20010db8000000000000000000000009.addr.dc1.consul";
    ask.check(
        "mix.service.consul SRV",
        &[FOUND, &format!("mix.service.consul. 5 SRV 1 1 82 {target}"), &format!("+ {target}. 5 AAAA 2001:db8::9")],
    );
}

#[test]
fn warnings_are_left_out_when_only_passing_counts() {
    let mut ask = Ask::new();
    ask.settings.only_passing = true;
    ask.check("web.service.consul ANY", &[FOUND, "web.service.consul. 30 AAAA 2001:db8::7"]);
}

#[test]
fn nodes_answer() {
    let ask = Ask::new();
    let texts = ["one.node.consul. 9 TXT \"k`=x=v``1\"", "one.node.consul. 9 TXT \"plain\""];
    let aside = texts.map(|text| format!("+ {text}"));
    let address = "one.node.consul. 9 A 198.18.0.1";
    ask.check("one.node.consul A", &[FOUND, address, &aside[0], &aside[1]]);
    ask.check("one.node.consul AAAA", &[FOUND, &aside[0], &aside[1]]);
    ask.check("one.node.consul TXT", &[FOUND, texts[0], texts[1]]);
    ask.check("one.node.consul ANY", &[FOUND, address, texts[0], texts[1]]);
    ask.check("one.node.consul MX", &[FOUND]);
    ask.check("nope.node.consul MX", &[FOUND]);
    let dotted = "dot.ted.node.consul. 9 AAAA 2001:db8::1";
    ask.check("dot.ted.node.consul AAAA", &[FOUND, dotted, "+ dot.ted.node.consul. 9 TXT \"a=b\""]);
    let mut ask = ask;
    ask.settings.enable_additional_node_meta_txt = false;
    ask.check("one.node.consul A", &[FOUND, address]);
    ask.check("one.node.consul ANY", &[FOUND, address, texts[0], texts[1]]);
}

#[test]
fn names_in_place_of_addresses_are_followed_within_the_zone() {
    let mut ask = Ask::new();
    ask.transport = Transport::Tcp;
    ask.check("three.node.consul A", &[FOUND, "three.node.consul. 9 CNAME ext.example.com"]);
    ask.check("ext.service.consul A", &[FOUND, "ext.service.consul. 5 CNAME ext.example.com"]);
    ask.check("ext.service.consul SRV", &[FOUND, "ext.service.consul. 5 SRV 1 1 82 ext.example.com"]);
    ask.check(
        "four.node.consul A",
        &[
            FOUND,
            "four.node.consul. 9 CNAME one.node.consul",
            "one.node.consul. 9 A 198.18.0.1",
            "one.node.consul. 9 TXT \"k`=x=v``1\"",
            "one.node.consul. 9 TXT \"plain\"",
        ],
    );
    ask.check(
        "loop.service.consul A",
        &[
            FOUND,
            "loop.service.consul. 5 CNAME web.service.consul",
            "web.service.consul. 5 A 198.18.0.1",
            "web.service.consul. 5 AAAA 2001:db8::7",
        ],
    );
    let own_name = "five.node.dc1.consul";
    ask.check(
        "self.service.consul SRV",
        &[FOUND, &format!("self.service.consul. 5 SRV 1 1 82 {own_name}"), &format!("+ {own_name}. 5 A 198.18.0.5")],
    );
    // In a ring the walk ends.
    ask.check(
        "ring.service.consul A",
        &[
            FOUND,
            "ring.service.consul. 5 CNAME ring2.service.consul",
            "ring.service.consul. 5 CNAME ring2.service.consul",
            "ring2.service.consul. 5 CNAME ring.service.consul",
            "ring2.service.consul. 5 CNAME ring.service.consul",
        ],
    );
}

#[test]
fn names_spell_addresses() {
    let ask = Ask::new();
    let v4 = "c0a80001.addr.dc1.Consul. 9 A 192.168.0.1";
    ask.check("C0A80001.Addr.dc1.Consul A", &[FOUND, v4]);
    ask.check("C0A80001.Addr.dc1.Consul AAAA", &[FOUND, &format!("+ {v4}")]);
    let v6 = "20010db8000000000000000000000007.addr.consul. 9 AAAA 2001:db8::7";
    ask.check("20010db8000000000000000000000007.addr.consul AAAA", &[FOUND, v6]);
    ask.check("20010db8000000000000000000000007.addr.consul SRV", &[FOUND, &format!("+ {v6}")]);
}

#[test]
fn prepared_queries_answer() {
    let ask = Ask::new();
    ask.check("pq.query.consul A", &[FOUND, "pq.query.consul. 7 A 198.18.0.1"]);
    ask.check(
        "11111111-1111-1111-1111-111111111111.query.consul AAAA",
        &[FOUND, "11111111-1111-1111-1111-111111111111.query.consul. 7 AAAA 2001:db8::7"],
    );
    ask.check("pq.dot.query.dc1.consul A", &[FOUND, "pq.dot.query.dc1.consul. 5 A 198.18.9.7"]);
    ask.check("_pq.dot._tcp.query.consul A", &[FOUND, "_pq.dot._tcp.query.consul. 5 A 198.18.9.7"]);
}

#[test]
fn the_zone_says_who_serves_it() {
    let ask = Ask::new();
    let glue = "+ vm.node.dc1.consul. 9 A 127.0.0.1";
    let soa = SOA.strip_prefix("NS ").unwrap();
    ask.check("consul SOA", &[FOUND, soa, "NS consul. 9 NS vm.node.dc1.consul", glue]);
    ask.check("foo.consul SOA", &[FOUND, soa, "NS consul. 9 NS vm.node.dc1.consul", glue]);
    ask.check("consul NS", &[FOUND, "consul. 9 NS vm.node.dc1.consul", glue]);
    ask.check("CONSUL NS", &[FOUND, "CONSUL. 9 NS vm.node.dc1.consul", glue]);
    ask.check(
        "x.alt.test NS",
        &[FOUND, "alt.test. 9 NS vm.node.dc1.alt.test", "+ vm.node.dc1.alt.test. 9 A 127.0.0.1"],
    );
    ask.check("consul AXFR", &["NOTIMP aa rd"]);
    ask.check("foo.com A", &["REFUSED rd"]);
}

#[test]
fn addresses_have_names() {
    let ask = Ask::new();
    let one = "1.0.18.198.in-addr.arpa. 0 PTR one.node.dc1.consul";
    ask.check("1.0.18.198.in-addr.arpa PTR", &[FOUND, one]);
    ask.check("1.0.18.198.in-addr.arpa A", &[FOUND, one]);
    ask.check("1.0.18.198.in-addr.arpa SOA", &[FOUND, one, SOA]);
    ask.check("9.9.18.198.in-addr.arpa PTR", &[FOUND, "9.9.18.198.in-addr.arpa. 0 PTR web.service.dc1.consul"]);
    ask.check("200.9.18.198.in-addr.arpa PTR", &[NOTHING, SOA]);
    ask.check("18.198.in-addr.arpa PTR", &[NOTHING, SOA]);
}

#[test]
fn replies_are_cut_to_what_the_asker_takes() {
    let mut ask = Ask::new();
    // Without EDNS three answers, and one address for each.
    assert_eq!(ask.measure("crowd.service.consul", Rtype::A), (3, 0, 86, true));
    assert_eq!(ask.measure("crowd.service.consul", Rtype::SRV), (3, 3, 215, true));
    ask.settings.enable_truncate = false;
    assert_eq!(ask.measure("crowd.service.consul", Rtype::A), (3, 0, 86, false));
    ask.settings.enable_truncate = true;
    ask.settings.udp_answer_limit = 20;
    assert_eq!(ask.measure("crowd.service.consul", Rtype::A), (8, 0, 166, true));
    ask.settings.udp_answer_limit = 3;
    // With EDNS as many as fit. The reference drops the OPT record of what it cuts, which puts one answer
    // more into 520 bytes and leaves the asker to believe that EDNS is not spoken here.
    for (size, expected) in [(512, (3, 1, 97, true)), (520, (28, 1, 497, true)), (1050, (60, 1, 1009, false))] {
        ask.udp_size = Some(size);
        assert_eq!(ask.measure("crowd.service.consul", Rtype::A), expected, "{size}");
    }
    for (size, expected) in [(600, (9, 10, 580, true)), (1100, (17, 18, 1052, true)), (4000, (60, 61, 3589, false))] {
        ask.udp_size = Some(size);
        assert_eq!(ask.measure("crowd.service.consul", Rtype::SRV), expected, "{size}");
    }
    ask.transport = Transport::Tcp;
    assert_eq!(ask.measure("crowd.service.consul", Rtype::SRV), (60, 181, 6529, false));
    ask.settings.a_record_limit = 4;
    assert_eq!(ask.measure("crowd.service.consul", Rtype::A).0, 4);
    assert_eq!(ask.measure("crowd.service.consul", Rtype::SRV).0, 60);
    ask.settings.disable_compression = true;
    assert_eq!(ask.measure("crowd.service.consul", Rtype::A).2, 50 + 4 * (22 + 14) - 1);
}

#[test]
fn a_long_reply_over_tcp_stays_within_its_frame() {
    let mut world = World::default();
    for number in 0..5000_u32 {
        let address = format!("10.{}.{}.{}", number >> 16, (number >> 8) & 255, number & 255);
        world.put(&format!("node{number}"), &address, &[], service("c", "huge", "", 1), &[]);
    }
    let mut ask = Ask::new();
    (ask.state, ask.transport) = (world.state, Transport::Tcp);
    let (answers, additional, size, cut) = ask.measure("huge.service.consul", Rtype::SRV);
    assert!(answers == additional && (1000..=1024).contains(&answers) && size <= 65523, "{answers} {size} {cut}");
    let (answers, _, size, cut) = ask.measure("huge.service.consul", Rtype::A);
    assert!(answers > 4000 && answers < 4096 && size <= 65523 && cut, "{answers} {size} {cut}");
}

#[test]
fn additional_records_give_way_to_a_single_answer() {
    let mut world = World::default();
    let long: Text = Box::leak("v".repeat(500).into_boxed_str());
    world.put("rich", "10.0.0.1", &[("a", "b"), ("long", long)], service("s", "s", "", 1), &[]);
    let mut ask = Ask::new();
    ask.state = world.state;
    let (answers, additional, size, cut) = ask.measure("rich.node.consul", Rtype::A);
    assert_eq!((answers, additional, cut), (1, 1, false));
    assert!(size <= 512);
    ask.udp_size = Some(4096);
    assert_eq!(ask.measure("rich.node.consul", Rtype::A).1, 3);
    assert_eq!(ask.lines("rich.node.consul", Rtype::A).len(), 4);
}

#[test]
fn options_are_echoed() {
    let mut ask = Ask::new();
    ask.udp_size = Some(1232);
    ask.subnet = Some(vec![0, 1, 24, 0, 10, 1, 2]);
    let opt = |ask: &Ask, name: &str| {
        let reply = ask.reply(name, Rtype::A);
        let message = Message::from_octets(reply).unwrap();
        let opt = message.opt().unwrap();
        let options = opt.opt().iter::<UnknownOptData<_>>().map(|option| option.unwrap().as_slice().to_vec());
        (opt.udp_payload_size(), opt.dnssec_ok(), options.collect::<Vec<_>>())
    };
    let global = vec![vec![0, 1, 24, 0, 10, 1, 2]];
    assert_eq!(opt(&ask, "web.service.consul"), (1232, false, global.clone()));
    assert_eq!(opt(&ask, "none.query.consul"), (1232, false, global));
    assert_eq!(opt(&ask, "pq.query.consul"), (1232, false, vec![vec![0, 1, 24, 24, 10, 1, 2]]));
    // Bits beyond the mask are not repeated, nor are bytes.
    ask.subnet = Some(vec![0, 2, 20, 9, 0x20, 0x01, 0xff, 0xff]);
    assert_eq!(opt(&ask, "web.service.consul").2, [[0, 2, 20, 0, 0x20, 0x01, 0xf0]]);
    ask.subnet = Some(vec![0, 1, 33, 0, 10, 1, 2]);
    let (_, reply) = ask.raw(&ask.request("web.service.consul", Rtype::A), &AllowAll);
    assert_eq!(lines(&reply), ["FORMERR rd"]);
    let (refused, counts) = (Message::from_octets(&reply[..]).unwrap(), [1, 0, 0, 0]);
    let (question, opt) = (refused.header_counts(), refused.opt());
    assert_eq!([question.qdcount(), question.ancount(), question.nscount(), question.arcount()], counts);
    assert!(opt.is_none());
}

#[test]
fn what_is_no_question_is_refused() {
    let ask = Ask::new();
    let request = ask.request("web.service.consul", Rtype::A);
    let change = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut request = request.clone();
        change(&mut request);
        let (answered, reply) = ask.raw(&request, &AllowAll);
        (answered.outcome == Outcome::Reply).then_some(reply)
    };
    // A reply gets no reply.
    assert_eq!(change(&|request| request[2] |= 0x80), None);
    assert_eq!(change(&|request| request.truncate(11)), None);
    let bare = |flags: [u8; 2]| Some(vec![0x12, 0x34, flags[0], flags[1], 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(change(&|request| request[2] |= 0x08), bare([0x89, 0x04]));
    for count in [0, 2] {
        assert_eq!(change(&|request| request[5] = count), bare([0x81, 0x01]));
    }
    assert_eq!(change(&|request| request[7] = 2), bare([0x81, 0x01]));
    assert_eq!(change(&|request| request.truncate(20)), bare([0x81, 0x01]));
    // Flags come back, but for AA and those that nobody has named.
    assert_eq!(change(&|request| request.splice(2..6, [0x2e, 0x6a, 0, 1]).for_each(drop)), bare([0xaa, 0x24]));
    // A pointer to itself.
    assert_eq!(change(&|request| request.splice(12.., [0xc0, 12, 0, 1, 0, 1]).for_each(drop)), bare([0x81, 0x01]));
    // Notifications are answered like questions, but for the wish for recursion.
    let notified = change(&|request| request[2] |= 0x20).unwrap();
    assert_eq!(lines(&notified), ["NOERROR aa", "web.service.consul. 30 A 198.18.0.1"]);
}

#[test]
fn upstream_resolvers_are_named_but_not_asked() {
    let mut ask = Ask::new();
    ask.settings.recursors.push(([127, 0, 0, 1], 53).into());
    let outcome = |ask: &Ask, name: &str, rtype| {
        let (answered, reply) = ask.raw(&ask.request(name, rtype), &AllowAll);
        (answered.outcome, lines(&reply))
    };
    let failed = vec!["SERVFAIL rd ra".to_owned()];
    assert_eq!(outcome(&ask, "foo.com", Rtype::A), (Outcome::Recurse, failed.clone()));
    assert_eq!(outcome(&ask, "200.9.18.198.in-addr.arpa", Rtype::PTR), (Outcome::Recurse, failed.clone()));
    assert_eq!(outcome(&ask, "web.service.consul", Rtype::DS), (Outcome::Recurse, failed));
    assert_eq!(outcome(&ask, "foo.consul", Rtype::A).1[0], "NXDOMAIN aa rd ra");
    let external: Name<_> = crate::name::from_text("ext.example.com").unwrap();
    let alias = "ext.service.consul. 5 CNAME ext.example.com".to_owned();
    let wanted = Outcome::Resolve(vec![external.clone()]);
    let head = "NOERROR aa rd ra".to_owned();
    assert_eq!(outcome(&ask, "ext.service.consul", Rtype::A), (wanted.clone(), vec![head.clone(), alias.clone()]));
    assert_eq!(outcome(&ask, "ext.service.consul", Rtype::SRV).0, wanted);
    assert_eq!(outcome(&ask, "three.node.consul", Rtype::A).0, wanted);
    // Known names complete the answer; an unreadable answer is an empty one.
    ask.aliases.learn(external.clone(), Some(b"nonsense"));
    assert_eq!(outcome(&ask, "ext.service.consul", Rtype::A), (Outcome::Reply, vec![head.clone(), alias.clone()]));
    let mut upstream = MessageBuilder::new_vec().question();
    upstream.push((&external, Rtype::A)).unwrap();
    let mut upstream = upstream.answer();
    for last in 1..=7 {
        upstream.push((&external, Class::IN, 77, A::from_octets(10, 0, 0, last))).unwrap();
    }
    ask.aliases.learn(external, Some(&upstream.finish()));
    let (complete, shown) = outcome(&ask, "ext.service.consul", Rtype::SRV);
    assert_eq!(complete, Outcome::Reply);
    // Five records for askers without EDNS, with the lifetime of the service.
    assert_eq!(shown.len(), 2 + 5);
    assert_eq!(shown[2], "+ ext.example.com. 5 A 10.0.0.1");
    // The lifetime of nodes is not imposed.
    ask.transport = Transport::Tcp;
    let (_, shown) = outcome(&ask, "three.node.consul", Rtype::A);
    assert!(shown.contains(&"ext.example.com. 77 A 10.0.0.7".to_owned()), "{shown:?}");
}

/// Grants everything but one node.
struct Without(Text);

impl Authorizer for Without {
    fn allows(&self, need: Need<'_>) -> bool {
        need.resource != Resource::Node(self.0)
    }

    fn accessor(&self) -> Option<&str> {
        None
    }
}

#[test]
fn what_may_not_be_seen_is_not_there() {
    let ask = Ask::new();
    let see = |name, rtype| lines(&ask.raw(&ask.request(name, rtype), &Without("one")).1);
    assert_eq!(see("one.node.consul", Rtype::A), [NOTHING, SOA]);
    assert_eq!(see("v1.web.service.consul", Rtype::A), [NOTHING, SOA]);
    assert_eq!(see("1.0.18.198.in-addr.arpa", Rtype::PTR), [NOTHING, SOA]);
    assert_eq!(see("web.service.consul", Rtype::ANY), [FOUND, "web.service.consul. 30 AAAA 2001:db8::7"]);
}

/// The addresses of a reply in their order, and the reply without them.
fn dealt(reply: &[u8]) -> (Vec<[u8; 4]>, Vec<u8>) {
    let message = Message::from_octets(reply).unwrap();
    let records = message.answer().unwrap().limit_to::<A>();
    let addresses: Vec<_> = records.map(|record| record.unwrap().data().addr().octets()).collect();
    let mut rest = reply.to_vec();
    for address in &addresses {
        let at = rest.windows(4).position(|window| window == address).unwrap();
        rest[at..at + 4].fill(0);
    }
    (addresses, rest)
}

#[test]
fn a_kept_reply_is_as_one_that_is_made_anew() {
    let mut ask = Ask::new();
    let mut rng = StdRng::seed_from_u64(7);
    for (udp_size, compressed) in
        [(None, true), (None, false), (Some(600), true), (Some(4096), true), (Some(4096), false)]
    {
        (ask.udp_size, ask.settings.disable_compression) = (udp_size, !compressed);
        let (state, settings) = (Arc::new(ask.state.clone()), Arc::new(ask.settings.clone()));
        let mut kept = Kept::default();
        kept.renew(&state, &settings);
        let (mut request, mut reply) = (ask.request("Crowd.service.consul", Rtype::A), Vec::new());
        assert_eq!(kept.deal(&request, &mut rng, &mut reply), None);
        let source = Some(IpAddr::from([127, 0, 0, 1]));
        let (may, transport, aliases) = (&AllowAll, Transport::Udp, &ask.aliases);
        let context = Context { state: &state, settings: &settings, may, transport, source, now_s: 1, aliases };
        let answered = answer_and_keep(&context, &request, &mut rng, &mut reply, &mut kept);
        let (made, like) = dealt(&reply);
        let (mut all, mut firsts) = (BTreeSet::new(), BTreeSet::new());
        for id in 0..2000_u16 {
            request[..2].copy_from_slice(&id.to_be_bytes());
            assert_eq!(kept.deal(&request, &mut rng, &mut reply), Some(answered.subject));
            assert_eq!(reply[..2], request[..2]);
            reply[..2].copy_from_slice(&like[..2]);
            let (addresses, rest) = dealt(&reply);
            assert_eq!(rest, like, "{udp_size:?} {compressed}");
            assert_eq!(BTreeSet::from_iter(&addresses).len(), made.len(), "each once");
            firsts.insert(addresses[0]);
            all.extend(addresses);
        }
        // That one of 60 does not come first in 2000 draws has a chance of 10^-13.
        assert_eq!((all.len(), firsts.len()), (60, 60));
        kept.renew(&state, &settings);
        assert!(kept.deal(&request, &mut rng, &mut reply).is_some());
        // Another state, if only in name.
        kept.renew(&Arc::new(ask.state.clone()), &settings);
        assert!(kept.deal(&request, &mut rng, &mut reply).is_none());
    }
}

#[test]
fn what_is_no_deal_is_not_kept() {
    let mut ask = Ask::new();
    (ask.udp_size, ask.subnet) = (Some(1232), Some(vec![0, 1, 24, 0, 198, 18, 0]));
    let with_option = ask.request("crowd.service.consul", Rtype::A);
    ask.subnet = None;
    let mut rng = StdRng::seed_from_u64(7);
    let (state, settings) = (Arc::new(ask.state.clone()), Arc::new(ask.settings.clone()));
    let mut is_kept_as = |request: &[u8], may: &dyn Authorizer| {
        let (mut kept, mut reply) = (Kept::default(), Vec::new());
        kept.renew(&state, &settings);
        let (transport, aliases, source) = (Transport::Udp, &ask.aliases, Some(IpAddr::from([127, 0, 0, 1])));
        let context = Context { state: &state, settings: &settings, may, transport, source, now_s: 1, aliases };
        let answered = answer_and_keep(&context, request, &mut rng, &mut reply, &mut kept);
        let dealt = kept.deal(request, &mut rng, &mut reply);
        assert!(dealt.is_none_or(|subject| subject == answered.subject));
        dealt.is_some()
    };
    assert!(!is_kept_as(&with_option, &AllowAll), "seldom the same twice");
    let mut is_kept = |name: &str, rtype, may: &dyn Authorizer| is_kept_as(&ask.request(name, rtype), may);
    assert!(is_kept("crowd.service.consul", Rtype::A, &AllowAll));
    assert!(is_kept("mix.service.consul", Rtype::AAAA, &AllowAll));
    assert!(!is_kept("crowd.service.consul", Rtype::A, &Without("one")), "not everybody may see it");
    assert!(!is_kept("web.service.consul", Rtype::ANY, &AllowAll), "two families");
    assert!(!is_kept("web.service.consul", Rtype::SRV, &AllowAll));
    assert!(!is_kept("ext.service.consul", Rtype::A, &AllowAll), "an alias");
    assert!(!is_kept("loop.service.consul", Rtype::A, &AllowAll), "an alias within the zone");
    assert!(!is_kept("nope.service.consul", Rtype::A, &AllowAll), "the zone's serial number is the time");
    assert!(!is_kept("pq.query.consul", Rtype::A, &AllowAll), "depends on who asks");
}

/// Names of labels that mean something here, and of some that mean nothing.
fn names() -> impl Strategy<Value = Vec<u8>> {
    let words = "web crowd ring loop ext one three pq dc1 dc2 dc peer _tcp _web service node query addr connect \
                 virtual ingress consul CONSUL alt test arpa in-addr c0a80001 1 198";
    let word = prop::sample::select(words.split(' ').collect::<Vec<_>>());
    let label = word.prop_map(|word| word.as_bytes().to_vec());
    let odd = prop::collection::vec(any::<u8>(), 1..64);
    prop::collection::vec(proptest::prop_oneof![9 => label, 1 => odd], 0..8).prop_map(|labels| {
        let mut wire = Vec::new();
        for label in labels {
            wire.push(u8::try_from(label.len()).unwrap());
            wire.extend_from_slice(&label);
        }
        wire.push(0);
        wire
    })
}

fn readable_and_bounded(ask: &Ask, request: &[u8]) {
    let (answered, reply) = ask.raw(request, &AllowAll);
    if answered.outcome == Outcome::Ignore {
        return;
    }
    readable_and_alike_when_kept(ask, request, &reply);
    assert_eq!(reply[..2], request[..2]);
    let message = Message::from_octets(&reply[..]).unwrap();
    assert!(message.header().qr());
    assert!(message.iter().all(|record| record.is_ok()));
    let offered =
        Message::from_octets(request).ok().and_then(|request| request.opt()).map(|opt| opt.udp_payload_size());
    let most = usize::from(offered.unwrap_or_default()).max(512);
    // One record may be too long, several may not.
    assert!(message.header_counts().ancount() <= 1 || reply.len() <= most);
}

/// A reply that is kept is the one that is made, but for the order of its addresses.
fn readable_and_alike_when_kept(ask: &Ask, request: &[u8], made: &[u8]) {
    let (state, settings, mut rng) = (Arc::default(), Arc::new(ask.settings.clone()), StdRng::seed_from_u64(8));
    let (mut kept, mut reply) = (Kept::default(), Vec::new());
    kept.renew(&state, &settings);
    let (may, transport, now_s) = (&AllowAll, ask.transport, 1_000_000);
    let (source, aliases) = (Some(IpAddr::from([127, 0, 0, 1])), &ask.aliases);
    let context = Context { state: &ask.state, settings: &settings, may, transport, source, now_s, aliases };
    answer_and_keep(&context, request, &mut rng, &mut reply, &mut kept);
    assert_eq!(reply.len(), made.len());
    if kept.deal(request, &mut rng, &mut reply).is_some() {
        let sorted = |reply: &[u8]| {
            let mut octets = reply.to_vec();
            octets.sort_unstable();
            (reply[..12].to_vec(), octets)
        };
        // Those of a crowd are drawn, the few of all others are only in another order.
        if Message::from_octets(made).unwrap().header_counts().ancount() < 3 {
            assert_eq!(sorted(&reply), sorted(made));
        }
        assert_eq!(reply.len(), made.len());
    }
}

proptest! {
    #[test]
    fn upstream_bytes_of_any_kind_do_no_harm(
        mut answer in prop::collection::vec(any::<u8>(), 12..200),
        count in 0_u8..4,
    ) {
        // Enough of a header that records are read.
        answer[4..8].copy_from_slice(&[0, 0, 0, count]);
        let mut aliases = Aliases::default();
        aliases.learn(crate::name::from_text("ext.example.com").unwrap(), Some(&answer));
    }

    #[test]
    fn bytes_of_any_kind_do_no_harm(request in prop::collection::vec(any::<u8>(), 0..300)) {
        let ask = ASK.with(|ask| ask.clone());
        readable_and_bounded(&ask, &request);
    }

    #[test]
    fn names_of_any_kind_are_answered(
        name in names(),
        rtype in proptest::prop_oneof![prop::sample::select(vec![1_u16, 2, 6, 12, 16, 28, 33, 255, 252]), any::<u16>()],
        bits in any::<u8>(),
        tail in proptest::prop_oneof![
            prop::strategy::Just(Vec::new()),
            any::<u16>().prop_map(|size| [&[0, 0, 41][..], &size.to_be_bytes(), &[0; 6]].concat()),
            prop::collection::vec(any::<u8>(), 0..40),
        ],
    ) {
        let ask = ASK.with(|ask| ask.clone());
        let mut request = vec![9, 9, bits & 0x7f, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(!tail.is_empty())];
        request.extend_from_slice(&name);
        request.extend_from_slice(&rtype.to_be_bytes());
        request.extend_from_slice(&[0, 1]);
        request.extend_from_slice(&tail);
        readable_and_bounded(&ask, &request);
    }
}

thread_local! {
    static ASK: std::rc::Rc<Ask> = std::rc::Rc::new(Ask::new());
}
