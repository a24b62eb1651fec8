//! Consul's rules for its pools.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::{any, proptest};

use super::{
    AgentTags, ConsulEvent, EventPayload, LanAdmission, PoolKind, ServerTags, Version, WanAdmission, classify_event,
    client_tags, event_name, reconnect_timeout, server, server_tags,
};
use crate::serf::Admission as _;
use crate::serf::member::{Member, MemberStatus, TAGS_MAX, Tags, encode_tags};

fn agent() -> AgentTags {
    AgentTags {
        datacenter: "dc1".into(),
        segment: String::new(),
        node_id: "209c650f-c360-79a3-add0-5169b984369e".into(),
        protocol: 2,
        build: "1.22.0dev:".into(),
    }
}

fn plain_server() -> ServerTags {
    ServerTags {
        rpc_port: 8300,
        wan_serf_port: Some(8302),
        grpc_port: None,
        grpc_tls_port: None,
        raft_protocol: 3,
        bootstrap: false,
        bootstrap_expect: 0,
        read_replica: false,
        use_tls: false,
        acls_enabled: false,
    }
}

fn shown(tags: &Tags) -> String {
    tags.iter().fold(String::new(), |mut out, (tag, value)| {
        write!(out, "{tag}={value} ").unwrap();
        out
    })
}

fn member(name: &str, tags: Tags) -> Member {
    Member {
        name: name.into(),
        address: "10.0.0.7:8301".parse().unwrap(),
        tags,
        status: MemberStatus::Alive,
        versions: [1, 5, 2, 2, 5, 4],
    }
}

fn changed(mut member: Member, tags: &[(&str, &str)]) -> Member {
    for (tag, value) in tags {
        member.tags.insert((*tag).to_owned(), (*value).to_owned());
    }
    member
}

#[test]
fn tags_are_those_of_the_reference() {
    assert_eq!(
        shown(&server_tags(&agent(), &plain_server(), PoolKind::Lan)),
        "acls=0 build=1.22.0dev: dc=dc1 ft_fs=1 ft_si=1 id=209c650f-c360-79a3-add0-5169b984369e port=8300 raft_vsn=3 \
         role=consul segment= vsn=2 vsn_max=3 vsn_min=2 wan_join_port=8302 "
    );
    let every = ServerTags {
        grpc_port: Some(8502),
        grpc_tls_port: Some(8503),
        bootstrap: true,
        bootstrap_expect: 3,
        read_replica: true,
        use_tls: true,
        acls_enabled: true,
        ..plain_server()
    };
    let wan = server_tags(&agent(), &every, PoolKind::Wan);
    assert_eq!(
        shown(&wan),
        "acls=1 bootstrap=1 build=1.22.0dev: dc=dc1 expect=3 ft_fs=1 ft_si=1 grpc_port=8502 grpc_tls_port=8503 \
         id=209c650f-c360-79a3-add0-5169b984369e nonvoter=1 port=8300 raft_vsn=3 read_replica=1 role=consul segment= \
         use_tls=1 vsn=2 vsn_max=3 vsn_min=2 "
    );
    assert!(encode_tags(4, &wan).len() <= TAGS_MAX);
    assert_eq!(
        shown(&client_tags(&agent(), Some(Duration::from_secs(90)))),
        "build=1.22.0dev: dc=dc1 id=209c650f-c360-79a3-add0-5169b984369e rc_tm=1m30s role=node segment= vsn=2 \
         vsn_max=3 vsn_min=2 "
    );
    assert!(!client_tags(&agent(), None).contains_key("rc_tm"));
}

#[test]
fn a_server_is_read_from_its_tags() {
    let tags = ServerTags { bootstrap_expect: 3, grpc_port: Some(8502), ..plain_server() };
    let found = server(&member("s1.dc1", server_tags(&agent(), &tags, PoolKind::Lan))).unwrap();
    assert_eq!((found.name.as_str(), found.short_name.as_str()), ("s1.dc1", "s1"));
    assert_eq!(
        (found.address.to_string(), found.lan_join_port, found.wan_join_port),
        ("10.0.0.7:8300".into(), 8301, 8302)
    );
    assert_eq!((found.expect, found.bootstrap, found.read_replica, found.use_tls), (3, false, false, false));
    assert_eq!((found.protocol, found.raft_protocol, found.build), (2, 3, Version([1, 22, 0])));
    assert_eq!((found.grpc_port, found.grpc_tls_port), (8502, 0));
    assert_eq!(found.features["si"], 1);
}

#[test]
fn a_member_whose_tags_make_no_sense_is_no_server() {
    let good = member("s1", server_tags(&agent(), &plain_server(), PoolKind::Lan));
    assert!(server(&good).is_some());
    let bad = [
        ("role", "node"),
        ("port", "x"),
        ("port", "99999"),
        ("expect", "x"),
        ("vsn", ""),
        ("raft_vsn", "x"),
        ("wan_join_port", "x"),
        ("grpc_port", "x"),
        ("build", "1.2"),
        ("build", "99999999999999999999.1.1"),
        ("ft_x", "on"),
        ("sl_alpha", "10.0.0.1"),
    ];
    for pair in bad {
        assert!(server(&changed(good.clone(), &[pair])).is_none(), "{pair:?}");
    }
    let odd = changed(good, &[("grpc_port", "x"), ("grpc_tls_port", "8503"), ("sl_alpha", "[::1]:8303")]);
    let found = server(&odd).unwrap();
    assert_eq!((found.grpc_port, found.grpc_tls_port), (0, 8503));
    assert_eq!(found.segments["alpha"], ("::1".to_owned(), 8303));
}

#[test]
fn versions_are_found_in_builds() {
    let find = |text| Version::find(text).map(|version| version.0);
    assert_eq!(find("1.22.0dev:abc"), Some([1, 22, 0]));
    assert_eq!(find("1.7.0beta2:"), Some([1, 7, 0]));
    assert_eq!(find("v1.2-0.10.4.5"), Some([0, 10, 4]));
    assert_eq!(find("1.2"), None);
    assert_eq!(find(""), None);
    assert!(Version([0, 8, 5]) < Version([0, 10, 0]));
}

fn lan() -> LanAdmission {
    LanAdmission { datacenter: "dc1".into(), node_id: "id-us".into(), node_name: "us".into() }
}

fn client(name: &str, id: &str) -> Member {
    changed(member(name, client_tags(&agent(), None)), &[("id", id)])
}

#[test]
fn the_lan_pool_takes_agents_of_its_datacenter() {
    let lan = lan();
    assert_eq!(lan.admit(&[client("a", "1"), client("b", "2"), client("US", "id-us"), client("c", "")]), Ok(()));
    // Not Consul's at all.
    assert_eq!(lan.admit(&[member("serf", Tags::new())]), Ok(()));
    let wrong = |member: Member| lan.admit(&[member]).unwrap_err();
    assert_eq!(wrong(changed(client("a", "1"), &[("dc", "dc2")])), "Member 'a' part of wrong datacenter 'dc2'");
    let other = changed(member("s", server_tags(&agent(), &plain_server(), PoolKind::Lan)), &[("dc", "dc2")]);
    assert_eq!(wrong(other), "Member 's' part of wrong datacenter 'dc2'");
    assert_eq!(wrong(client("a", "id-us")), "Member 'a' has conflicting node ID 'id-us' with this agent's ID");
    assert_eq!(
        lan.admit(&[client("a", "1"), client("b", "1")]),
        Err("Member 'b' has conflicting node ID '1' with member 'a'".into())
    );
    assert_eq!(
        wrong(changed(client("a", "1"), &[("segment", "x")])),
        "Member 'a' part of segment 'x'; Network Segments are a Consul Enterprise feature"
    );
    assert_eq!(
        wrong(changed(client("a", "1"), &[("ap", "x")])),
        "Member 'a' part of partition 'x'; Partitions are a Consul Enterprise feature"
    );
    assert_eq!(
        wrong(changed(client("a", "1"), &[("fips", "x")])),
        "Member 'a' is FIPS Consul; FIPS Consul is only available in Consul Enterprise"
    );
}

#[test]
fn ids_of_the_departed_and_of_old_agents_may_repeat() {
    let left = Member { status: MemberStatus::Left, ..changed(client("a", "1"), &[("dc", "dc2")]) };
    assert_eq!(lan().admit(&[left, client("b", "1")]), Ok(()));
    let old = changed(client("a", "1"), &[("build", "0.8.4:")]);
    assert_eq!(lan().admit(&[old, client("b", "1")]), Ok(()));
}

#[test]
fn the_wan_pool_takes_servers() {
    let mut wan = WanAdmission { datacenter: "dc1".into(), federation_disabled: false };
    let near = member("s1.dc1", server_tags(&agent(), &plain_server(), PoolKind::Wan));
    let far = changed(near.clone(), &[("dc", "dc2")]);
    assert_eq!(wan.admit(&[near.clone(), far.clone()]), Ok(()));
    assert_eq!(wan.admit(&[client("a", "1")]), Err("Member 'a' is not a server".into()));
    wan.federation_disabled = true;
    assert_eq!(wan.admit(&[near]), Ok(()));
    assert_eq!(
        wan.admit(&[far]),
        Err("Member 's1.dc1' part of wrong datacenter 'dc2'; WAN federation is disabled".into())
    );
}

#[test]
fn a_member_may_ask_how_long_it_is_remembered() {
    let ask =
        |timeout: &str| reconnect_timeout(&changed(client("a", "1"), &[("rc_tm", timeout)]), Duration::from_secs(9));
    assert_eq!(ask("1m30s"), Duration::from_secs(90));
    assert_eq!(ask("0s"), Duration::from_secs(9));
    assert_eq!(ask("nonsense"), Duration::from_secs(9));
    assert_eq!(ask("-1s"), Duration::ZERO);
    assert_eq!(reconnect_timeout(&client("a", "1"), Duration::from_secs(9)), Duration::from_secs(9));
}

#[test]
fn events_have_the_bytes_of_the_reference() {
    let event = EventPayload {
        id: "b54fe110-7af5-cafc-d1fb-afc8ba432b1c".into(),
        name: "deploy".into(),
        version: 1,
        ..EventPayload::default()
    };
    let golden = |event: &EventPayload, bytes: &[u8]| {
        assert_eq!(&event.encode()[..], bytes);
        assert_eq!(EventPayload::decode(bytes).as_ref(), Ok(event));
    };
    golden(&event, b"\x83\xa2ID\xd9\x24b54fe110-7af5-cafc-d1fb-afc8ba432b1c\xa1n\xa6deploy\xa1v\x01");
    let full = EventPayload {
        payload: Bytes::from_static(b"1609030"),
        node_filter: "^web".into(),
        service_filter: "s".into(),
        tag_filter: "t".into(),
        ..event.clone()
    };
    golden(
        &full,
        b"\x87\xa2ID\xd9\x24b54fe110-7af5-cafc-d1fb-afc8ba432b1c\xa1n\xa6deploy\xa2nf\xa4^web\xa1p\xc4\x071609030\
          \xa2sf\xa1s\xa2tf\xa1t\xa1v\x01",
    );
    let long = EventPayload {
        id: "x".into(),
        name: "n".repeat(300),
        payload: Bytes::from(vec![7; 300]),
        version: 1,
        ..EventPayload::default()
    };
    let bytes =
        [b"\x84\xa2ID\xa1x\xa1n\xda\x01\x2c".as_slice(), &[b'n'; 300], b"\xa1p\xc5\x01\x2c", &[7; 300], b"\xa1v\x01"]
            .concat();
    golden(&long, &bytes);
}

#[test]
fn events_are_sorted_by_name() {
    assert_eq!(classify_event(&event_name("deploy")), ConsulEvent::User("deploy"));
    assert_eq!(classify_event("consul:new-leader"), ConsulEvent::NewLeader);
    assert_eq!(classify_event("consul:other"), ConsulEvent::Unknown);
    assert_eq!(classify_event("deploy"), ConsulEvent::Foreign);
}

proptest! {
    #[test]
    fn any_event_survives_and_garbage_never_panics(
        text in ".{0,80}", payload in any::<Vec<u8>>(), garbage in any::<Vec<u8>>(), version in any::<u64>()
    ) {
        let event = EventPayload {
            id: text.clone(),
            name: text.clone(),
            payload: payload.into(),
            node_filter: text.clone(),
            service_filter: text.clone(),
            tag_filter: text,
            version,
        };
        assert_eq!(EventPayload::decode(&event.encode()), Ok(event));
        let _ = EventPayload::decode(&garbage);
    }

    #[test]
    fn any_tags_are_judged(tags in proptest::collection::btree_map("[a-z_]{0,9}", ".{0,9}", 0..9)) {
        let member = changed(member("m", tags), &[("role", "consul")]);
        let _ = (server(&member), lan().admit(&[member]));
    }
}
