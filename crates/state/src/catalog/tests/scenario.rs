//! What registrations make visible, at which indexes, and to whom.

use serde_json::json;

use super::{connect, deregister, node, node_names, register, reported, run, service, service_names, try_register};
use crate::catalog::{
    CatalogListNodes, CatalogListServices, CatalogNodeServiceList, CatalogNodeServices, CatalogServiceNodes,
    NodesQuery, ServiceQuery, records, restore, tags_by_name,
};
use crate::coordinate::{Coord, Coordinate, CoordinateNode, Source};
use crate::health::{HealthFilter, HealthNodeChecks, HealthServiceNodes};
use crate::usage;
use crate::{Command, Index, Query, Seen, State, Topic};

/// The indexes were read off a Consul 1.22 that was given the same requests at the same log positions, but
/// for the lines that say otherwise.
#[test]
fn answers_report_the_indexes_of_the_reference() {
    const PATHS: [&str; 14] = [
        "nodes",
        "services",
        "service/ia",
        "service/ib",
        "healthy/ia",
        "healthy/ib",
        "checks/ia",
        "state",
        "node-checks/n1",
        "node/n1",
        "node/n2",
        "node/none",
        "connect/ia",
        "healthy-connect/ia",
    ];
    let state = &mut State::default();
    register(state, 20, r#"{"Node":"oc","Address":"1","Service":{"Service":"consul"},"Check":{"Name":"serfHealth"}}"#);
    let expect = |state: &State, indexes: [u64; 14]| assert_eq!(reported(state, &PATHS), indexes);

    register(state, 70, r#"{"Node":"n1","Address":"1.1.1.1","Service":{"Service":"ia"}}"#);
    expect(state, [70, 70, 70, 70, 70, 70, 20, 20, 20, 70, 0, 0, 70, 70]);
    register(state, 71, r#"{"Node":"n1","Address":"1.1.1.1","Service":{"Service":"ia"}}"#);
    expect(state, [70, 70, 70, 70, 70, 70, 20, 20, 20, 70, 0, 0, 70, 70]);
    let check = r#"{"Name":"c","ServiceID":"ia","Status":"passing"}"#;
    register(
        state,
        72,
        &format!(r#"{{"Node":"n2","Address":"1.1.1.2","Service":{{"Service":"ia"}},"Check":{check}}}"#),
    );
    expect(state, [72, 72, 72, 72, 72, 72, 72, 72, 72, 70, 72, 0, 72, 72]);
    register(state, 73, r#"{"Node":"n1","Address":"1.1.1.1","Check":{"Name":"nc","Status":"passing"}}"#);
    expect(state, [72, 72, 73, 72, 73, 73, 73, 73, 73, 70, 72, 0, 73, 73]);
    register(state, 74, r#"{"Node":"n1","Address":"1.1.1.9"}"#);
    expect(state, [74, 72, 74, 74, 74, 74, 73, 73, 73, 74, 72, 0, 74, 74]);
    // The reference stays at 74 for what shows `ia`, which has lost an instance to `ib`.
    register(state, 75, r#"{"Node":"n1","Address":"1.1.1.9","Service":{"ID":"ia","Service":"ib"}}"#);
    expect(state, [75, 75, 75, 75, 75, 75, 73, 73, 73, 75, 72, 0, 75, 75]);
    deregister(state, 76, r#"{"Node":"n1","CheckID":"nc"}"#);
    expect(state, [75, 76, 75, 76, 75, 76, 76, 76, 76, 75, 72, 0, 75, 75]);
    deregister(state, 77, r#"{"Node":"n1","ServiceID":"ia"}"#);
    expect(state, [77, 77, 75, 77, 75, 77, 77, 77, 77, 77, 72, 0, 77, 77]);
    let proxy = r#"{"Service":"p","Kind":"connect-proxy","Port":1,"Proxy":{"DestinationServiceName":"ia"}}"#;
    register(state, 78, &format!(r#"{{"Node":"n3","Address":"1.1.1.9","Service":{proxy}}}"#));
    // The reference stays below 78 for the proxies of `ia`.
    expect(state, [78, 78, 75, 77, 75, 77, 77, 77, 77, 77, 72, 0, 78, 78]);
    deregister(state, 80, r#"{"Node":"n2"}"#);
    expect(state, [80, 80, 80, 80, 80, 80, 80, 80, 80, 77, 80, 80, 80, 78]);
    deregister(state, 81, r#"{"Node":"n2"}"#);
    expect(state, [80, 80, 80, 80, 80, 80, 80, 80, 80, 77, 80, 80, 80, 78]);
}

#[test]
fn registering_what_is_already_there_touches_nothing() {
    let state = &mut State::default();
    let request = r#"{"Node":"n","Address":"1","NodeMeta":{"a":"b"},
        "Service":{"Service":"web","Tags":["t"],"Meta":{"v":"1"},"Weights":{"Passing":0}},
        "Checks":[{"Name":"c","ServiceID":"web"},{"Name":"nc","Status":"passing"}]}"#;
    assert!(!register(state, 5, request).touched.is_empty());
    assert!(register(state, 6, request).touched.is_empty());
    assert!(register(state, 7, &request.replace("\"n\"", "\"N\"")).touched.is_empty());
    let indexes: Vec<_> = state.indexes.iter().map(|(_, index)| index.0).collect();
    assert!(indexes.iter().all(|index| *index == 5), "{indexes:?}");
}

#[test]
fn names_are_found_in_any_case_and_shown_as_written() {
    let state = &mut State::default();
    register(
        state,
        5,
        r#"{"Node":"Foo","Address":"1","Service":{"ID":"Web1","Service":"Web","Tags":["Blue"]},
            "Check":{"CheckID":"C","ServiceID":"Web1"}}"#,
    );
    assert_eq!(service_names(state, service("wEB")), ["Foo/Web1"]);
    let tagged = |tags: &[&str]| ServiceQuery {
        tag_filter: true,
        service_tags: tags.iter().map(|tag| (*tag).into()).collect(),
        ..service("web")
    };
    assert_eq!(service_names(state, tagged(&["bLUE"])), ["Foo/Web1"]);
    assert!(service_names(state, tagged(&["blue", "green"])).is_empty());
    let check = &run(state, &HealthNodeChecks(node("FOO"))).1[0];
    assert_eq!((&*check.check_id, &*check.name, &*check.status), ("C", "", "critical"));
    assert_eq!((&*check.service_name, &check.service_tags[..]), ("Web", &["Blue".to_owned()][..]));
    deregister(state, 6, r#"{"Node":"foo","ServiceID":"WEB1"}"#);
    assert!(service_names(state, service("web")).is_empty());
    assert!(run(state, &HealthNodeChecks(node("foo"))).1.is_empty());
}

#[test]
fn a_node_is_found_by_the_beginning_of_its_id() {
    let state = &mut State::default();
    register(state, 5, r#"{"Node":"a","Address":"1","ID":"aabbcc01-0000-0000-0000-000000000000"}"#);
    register(state, 6, r#"{"Node":"b","Address":"1","ID":"AABBCC02-0000-0000-0000-000000000000"}"#);
    let found = |text: &str| {
        let (index, answer) = run(state, &CatalogNodeServices(node(text)));
        (index.0, answer.map(|found| found.node.node.clone()))
    };
    assert_eq!(found("aabbcc01"), (5, Some("a".into())));
    assert_eq!(found("aabbcc01-"), (5, Some("a".into()))); // Cut to an even length.
    assert_eq!(found("aabbcc01-0"), (0, None)); // Nine digits are no whole bytes.
    assert_eq!(found("aabbcc02"), (6, Some("b".into())));
    assert_eq!(found("aabbcc"), (0, None));
    assert_eq!(found("a"), (5, Some("a".into()))); // By its name.
    assert_eq!(found("aabbcc03"), (0, None));
    assert_eq!(found("zz"), (0, None));
}

#[test]
fn instances_carry_the_checks_of_their_node_first() {
    let state = &mut State::default();
    register(
        state,
        5,
        r#"{"Node":"n","Address":"1","Service":{"Service":"web"},
            "Checks":[{"CheckID":"z","Status":"passing"},{"CheckID":"a","ServiceID":"web","Status":"warning"}]}"#,
    );
    register(state, 6, r#"{"Node":"n","Address":"1","Service":{"Service":"db"}}"#);
    let rows = run(state, &HealthServiceNodes(service("web"))).1;
    let checks: Vec<_> = rows[0].checks.iter().map(|check| &*check.check_id).collect();
    assert_eq!(checks, ["z", "a"]);
    let healthy = |name, health_filter_type| service_names(state, ServiceQuery { health_filter_type, ..service(name) });
    assert!(healthy("web", HealthFilter::OnlyPassing).is_empty());
    assert_eq!(healthy("web", HealthFilter::NotCritical), ["n/web"]);
    assert_eq!(healthy("db", HealthFilter::OnlyPassing), ["n/db"]);
}

#[test]
fn a_known_id_under_a_new_name_renames_the_node() {
    let state = &mut State::default();
    let id = "00000001-0000-0000-0000-000000000000";
    register(state, 5, &format!(r#"{{"Node":"old","Address":"1","ID":"{id}","Service":{{"Service":"web"}}}}"#));
    register(state, 6, &format!(r#"{{"Node":"new","Address":"1","ID":"{id}"}}"#));
    let (_, nodes) = run(state, &CatalogListNodes(NodesQuery::default()));
    assert_eq!(node_names(&nodes), ["new"]);
    assert_eq!((nodes[0].create_index, nodes[0].modify_index), (Index(5), Index(6)));
    assert!(service_names(state, service("web")).is_empty());
}

#[test]
fn a_name_is_kept_while_gossip_sees_its_node_alive() {
    let state = &mut State::default();
    let request = |id: u32, status: &str| {
        format!(
            r#"{{"Node":"n","Address":"1","ID":"0000000{id}-0000-0000-0000-000000000000",
                "Check":{{"CheckID":"serfHealth","Status":"{status}"}}}}"#
        )
    };
    register(state, 5, &request(1, "passing"));
    assert_eq!(
        super::refused(try_register(state, 6, &request(2, "passing"))),
        "failed inserting node: Error while renaming Node ID: \"00000002-0000-0000-0000-000000000000\": Node name \
         n is reserved by node 00000001-0000-0000-0000-000000000000 with name n (1)"
    );
    register(state, 7, &request(1, "critical"));
    register(state, 8, &request(2, "passing"));
    let (_, nodes) = run(state, &CatalogListNodes(NodesQuery::default()));
    assert_eq!(nodes[0].id, "00000002-0000-0000-0000-000000000000");
    assert!(state.catalog.node_by_id("00000001-0000-0000-0000-000000000000").is_none());
}

#[test]
fn a_watcher_sleeps_through_what_its_answer_does_not_show() {
    let state = &mut State::default();
    register(state, 5, r#"{"Node":"a","Address":"1","Service":{"Service":"web"}}"#);
    register(state, 6, r#"{"Node":"b","Address":"1","Service":{"Service":"db"}}"#);
    let seen = &mut Seen::default();
    HealthServiceNodes(service("web")).run(state, seen).unwrap();
    let concerned = |state: &mut State, index, request: &str| {
        register(state, index, request).touched.topics().any(|topic| seen.concerns(topic))
    };
    assert!(!concerned(state, 7, r#"{"Node":"b","Address":"2","Check":{"Name":"c"}}"#));
    assert!(!concerned(state, 8, r#"{"Node":"a","Address":"1","Service":{"Service":"other"}}"#));
    assert!(concerned(state, 9, r#"{"Node":"a","Address":"1","Check":{"Name":"c"}}"#));
    assert!(concerned(state, 10, r#"{"Node":"a","Address":"2"}"#));
    assert!(concerned(state, 11, r#"{"Node":"b","Address":"2","Service":{"ID":"w","Service":"WEB"}}"#));
    // A list of services does not show which nodes there are.
    let mut seen = Seen::default();
    seen.note(Topic::Services);
    assert!(!register(state, 12, r#"{"Node":"c","Address":"2"}"#).touched.topics().any(|topic| seen.concerns(topic)));
}

#[test]
fn proxies_and_natives_make_a_service_reachable_through_the_mesh() {
    let state = &mut State::default();
    let proxy = r#"{"Service":"p","Kind":"connect-proxy","Port":1,"Proxy":{"destination_service_name":"Web"}}"#;
    register(state, 5, &format!(r#"{{"Node":"a","Address":"1","Service":{proxy}}}"#));
    register(state, 6, r#"{"Node":"b","Address":"1","Service":{"Service":"web","Port":2,"Connect":{"Native":true}}}"#);
    register(state, 7, r#"{"Node":"c","Address":"1","Service":{"Service":"web"}}"#);
    assert_eq!(service_names(state, connect("WEB")), ["a/p", "b/web"]);
    assert_eq!(service_names(state, service("web")), ["b/web", "c/web"]);
    let usage = usage::services(state);
    assert_eq!(usage.connect_service_instances["connect-proxy"], 1);
    assert_eq!(usage.connect_service_instances["connect-native"], 1);
    assert_eq!((usage.services, usage.service_instances, usage.billable_service_instances, usage.nodes), (2, 3, 2, 3));
}

#[test]
fn rows_have_the_shape_of_the_reference() {
    let state = &mut State::default();
    register(state, 5, r#"{"Node":"n","Address":"1","Datacenter":"dc1","Service":{"Service":"web"}}"#);
    let row = &run(state, &CatalogServiceNodes(service("web"))).1[0];
    assert_eq!(
        serde_json::to_value(row).unwrap(),
        json!({"ID":"","Node":"n","Address":"1","Datacenter":"dc1","TaggedAddresses":null,"NodeMeta":null,
            "ServiceKind":"","ServiceID":"web","ServiceName":"web","ServiceTags":[],"ServiceAddress":"",
            "ServiceWeights":{"Passing":1,"Warning":1},"ServiceMeta":{},"ServicePort":0,"ServiceSocketPath":"",
            "ServiceEnableTagOverride":false,"ServiceProxy":{"Mode":"","MeshGateway":{},"Expose":{}},
            "ServiceConnect":{},"ServiceLocality":null,"CreateIndex":5,"ModifyIndex":5})
    );
    let again: crate::catalog::ServiceNode = serde_json::from_value(serde_json::to_value(row).unwrap()).unwrap();
    assert_eq!(serde_json::to_value(&again).unwrap(), serde_json::to_value(row).unwrap());
    let nobody = run(state, &CatalogNodeServiceList(node("none"))).1;
    assert_eq!(serde_json::to_value(nobody).unwrap(), json!({"Node":null,"Services":null}));
    let known = run(state, &CatalogNodeServices(node("n"))).1.unwrap();
    assert_eq!(
        serde_json::to_value(&known.services["web"]).unwrap(),
        json!({"ID":"web","Service":"web","Tags":[],"Address":"","Meta":null,"Weights":{"Passing":1,"Warning":1},
            "EnableTagOverride":false,"Proxy":{"Mode":"","MeshGateway":{},"Expose":{}},"Connect":{},"PeerName":"",
            "CreateIndex":5,"ModifyIndex":5})
    );
}

#[test]
fn definitions_of_checks_show_durations_as_text_and_name_their_kind() {
    let state = &mut State::default();
    let definition = json!({"HTTP":"http://x","Interval":"10s","Timeout":1_000_000_000,"TTL":"1s"});
    let check = json!({"CheckID":"c","Definition":definition});
    register(state, 5, &json!({"Node":"n","Address":"1","Check":check}).to_string());
    let check = &run(state, &HealthNodeChecks(node("n"))).1[0];
    assert_eq!(check.r#type, "http");
    assert_eq!(
        serde_json::to_value(&check.definition).unwrap(),
        json!({"HTTP":"http://x","Interval":"10s","Timeout":"1s","TTL":1_000_000_000})
    );
}

#[test]
fn services_are_listed_with_all_their_tags() {
    let state = &mut State::default();
    register(
        state,
        5,
        r#"{"Node":"a","Address":"1","NodeMeta":{"r":"1"},"Service":{"Service":"web","Tags":["x","y"]}}"#,
    );
    register(state, 6, r#"{"Node":"b","Address":"1","Service":{"Service":"web","Tags":["y","z"]}}"#);
    register(state, 7, r#"{"Node":"b","Address":"1","Service":{"Service":"db"}}"#);
    let list = |meta: &[(&str, &str)]| {
        let node_meta_filters = meta.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        let query = CatalogListServices(NodesQuery { node_meta_filters, ..NodesQuery::default() });
        let (index, rows) = run(state, &query);
        (index.0, serde_json::to_value(tags_by_name(&rows)).unwrap())
    };
    assert_eq!(list(&[]), (7, json!({"db":[],"web":["x","y","z"]})));
    assert_eq!(list(&[("r", "1")]), (7, json!({"web":["x","y"]})));
    assert_eq!(list(&[("r", "2")]), (7, json!({})));
}

#[test]
fn answers_are_sorted_by_distance_with_the_unknown_last() {
    let state = &mut State::default();
    let mut batch = Vec::new();
    for (name, at) in [("a", Some(0.3)), ("b", None), ("c", Some(0.1)), ("d", Some(0.2))] {
        register(state, 5, &format!(r#"{{"Node":"{name}","Address":"1"}}"#));
        if let Some(at) = at {
            let mut coord = Coord { height: 0.0, ..Coord::default() };
            coord.vec[0] = at;
            batch.push(Coordinate { node: name.into(), segment: String::new(), coord: Some(coord) });
        }
    }
    batch.push(Coordinate { node: "nobody".into(), coord: Some(Coord::default()), ..Coordinate::default() });
    let applied = state.apply(Index(9), Command::CoordinateBatchUpdate(batch.clone()));
    assert!(applied.touched.topics().any(|topic| *topic == Topic::Coordinates));
    assert!(state.apply(Index(10), Command::CoordinateBatchUpdate(batch)).touched.is_empty());

    let near = |name: &str| {
        let source = Source { node: name.into(), ..Source::default() };
        let nodes = run(state, &CatalogListNodes(NodesQuery { source, ..NodesQuery::default() })).1;
        node_names(&nodes).join("")
    };
    assert_eq!(
        (near("c"), near("A"), near("b"), near("")),
        ("cdab".into(), "adcb".into(), "abcd".into(), "abcd".into())
    );
    let (index, rows) = run(state, &CoordinateNode(node("C")));
    assert_eq!((index, &*rows[0].node), (Index(9), "C"));
    assert!(run(state, &CoordinateNode(node("nobody"))).1.is_empty());
    deregister(state, 11, r#"{"Node":"c"}"#);
    let (index, rows) = run(state, &CoordinateNode(node("c")));
    assert_eq!((index, rows.len()), (Index(11), 0));
}

#[test]
fn an_archive_restores_to_the_same_answers() {
    let state = &mut State::default();
    register(
        state,
        5,
        r#"{"Node":"a","Address":"1","ID":"00000001-0000-0000-0000-000000000000","Service":{"Service":"web"},
            "Checks":[{"CheckID":"n"},{"CheckID":"s","ServiceID":"web"}]}"#,
    );
    register(state, 6, r#"{"Node":"b","Address":"1","Service":{"Service":"web","Connect":{"Native":true},"Port":1}}"#);
    register(state, 7, r#"{"Node":"a","Address":"2","ID":"00000001-0000-0000-0000-000000000000"}"#);
    deregister(state, 8, r#"{"Node":"a","CheckID":"n"}"#);
    let mut restored = State::default();
    for record in records(state) {
        let bytes = serde_json::to_vec(&record).unwrap();
        restore(&mut restored, Index(9), serde_json::from_slice(&bytes).unwrap());
    }
    for (name, index) in state.indexes.iter() {
        restored.indexes.raise(name, index);
    }
    assert_eq!(state.indexes.iter().collect::<Vec<_>>(), restored.indexes.iter().collect::<Vec<_>>());
    assert_eq!(records(state).collect::<Vec<_>>(), records(&restored).collect::<Vec<_>>());
    super::law::check_secondary_indexes(&restored);
}
