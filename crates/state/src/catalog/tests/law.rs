//! What holds after any commands: indexes that equal a naive recomputation, watchers that miss nothing,
//! repetitions that write nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::{Just, Strategy, any, proptest};
use proptest::sample::select;
use proptest::{collection, option};

use super::{all_checks, connect, node, run, service};
use crate::catalog::{
    CatalogListNodes, CatalogListServices, CatalogNodeServices, CatalogServiceNodes, DeregisterRequest,
    InternalNodeDump, InternalServiceDump, Locality, NodeService, NodesQuery, RegisterRequest, ServiceConnect, fold,
    records, tags_by_name,
};
use crate::health::{
    ChecksInState, HealthCheck, HealthNodeChecks, HealthServiceChecks, HealthServiceNodes, StateQuery,
};
use crate::usage::OperatorUsage;
use crate::{Command, Index, Outcome, Query, Seen, State};

const NODES: [&str; 3] = ["a", "B", "b"];
const SERVICES: [&str; 3] = ["web", "Web", "db"];

fn services() -> impl Strategy<Value = NodeService> {
    let kinds = select(&["", "", "connect-proxy"][..]);
    (select(&["1", "2"][..]), select(&SERVICES[..]), kinds, select(&SERVICES[..]), any::<bool>(), 0..2_i64).prop_map(
        |(id, name, kind, destination, native, port)| {
            let mut service = NodeService { id: id.into(), service: name.into(), port, ..NodeService::default() };
            if kind.is_empty() {
                service.connect = ServiceConnect { native, ..ServiceConnect::default() };
            } else {
                service.kind = kind.into();
                service.proxy.destination_service_name = destination.into();
            }
            service
        },
    )
}

fn checks(node: &'static str) -> impl Strategy<Value = HealthCheck> {
    let id = select(&["c", "C", "serfHealth"][..]);
    (id, select(&["", "1", "2"][..]), select(&["passing", "critical"][..])).prop_map(move |(id, service, status)| {
        HealthCheck {
            node: node.into(),
            check_id: id.into(),
            service_id: service.into(),
            status: status.into(),
            ..HealthCheck::default()
        }
    })
}

fn registrations() -> impl Strategy<Value = Command> {
    select(&NODES[..]).prop_flat_map(|name| {
        let id = select(&["", "00000001-0000-0000-0000-000000000000", "00000002-0000-0000-0000-000000000000"][..]);
        // Two different checks of one id in one request would write in turns, each time anew.
        let checks = collection::vec(checks(name), 0..3).prop_map(|mut checks| {
            checks.dedup_by_key(|check| fold(&check.check_id));
            checks.truncate(2);
            checks
        });
        let parts = (id, select(&["x", "y"][..]), any::<bool>());
        let rest = (option::of(services()), checks, option::of(Just(Locality::default())));
        (parts, rest).prop_map(move |((id, address, skip_node_update), (service, checks, locality))| {
            Command::Register(RegisterRequest {
                node: name.into(),
                id: id.into(),
                address: address.into(),
                skip_node_update,
                service: service.map(Arc::new),
                checks,
                locality,
                ..RegisterRequest::default()
            })
        })
    })
}

fn deregistrations() -> impl Strategy<Value = Command> {
    (select(&NODES[..]), select(&["", "1", "2"][..]), select(&["", "c", "serfhealth"][..])).prop_map(
        |(node, service_id, check_id)| {
            Command::Deregister(DeregisterRequest {
                node: node.into(),
                service_id: service_id.into(),
                check_id: check_id.into(),
                ..DeregisterRequest::default()
            })
        },
    )
}

/// An answer as text, with what it depends on.
struct Watched {
    name: String,
    index: Index,
    answer: String,
    seen: Seen,
}

fn watch<Q: Query>(state: &State, query: &Q) -> Watched
where
    Q::Answer: std::fmt::Debug,
{
    let mut seen = Seen::default();
    let found = query.run(state, &mut seen).unwrap();
    let name = format!("{} {}", Q::METHOD, serde_json::to_string(query).unwrap());
    Watched { name, index: found.index, answer: format!("{:?}", found.answer), seen }
}

fn watch_all(state: &State) -> Vec<Watched> {
    // The rows show more, to filters, than the names and tags that the index is about.
    let (_, rows) = run(state, &CatalogListServices(NodesQuery::default()));
    let services = watch(state, &CatalogListServices(NodesQuery::default()));
    let mut all = vec![
        Watched { answer: format!("{:?}", tags_by_name(&rows)), ..services },
        watch(state, &CatalogListNodes(NodesQuery::default())),
        watch(state, &ChecksInState(all_checks())),
        watch(state, &ChecksInState(StateQuery { state: "critical".into(), ..StateQuery::default() })),
        watch(state, &InternalNodeDump(NodesQuery::default())),
        watch(state, &InternalServiceDump(crate::catalog::DumpQuery::default())),
    ];
    for name in ["a", "b", "00"] {
        all.push(watch(state, &CatalogNodeServices(node(name))));
        all.push(watch(state, &HealthNodeChecks(node(name))));
    }
    for name in ["web", "db"] {
        all.push(watch(state, &CatalogServiceNodes(service(name))));
        all.push(watch(state, &CatalogServiceNodes(connect(name))));
        all.push(watch(state, &HealthServiceNodes(service(name))));
        all.push(watch(state, &HealthServiceNodes(connect(name))));
        all.push(watch(state, &HealthServiceChecks(service(name))));
    }
    all
}

/// Every secondary index against what the rows say.
pub(super) fn check_secondary_indexes(state: &State) {
    let (catalog, health) = (&state.catalog, &state.health);
    let instances: Vec<_> = catalog.instances().cloned().collect();
    for instance in &instances {
        assert!(catalog.node(&instance.node).is_some(), "an instance without a node");
    }
    for name in ["web", "db", "none"].map(fold) {
        let naive: Vec<_> = instances.iter().filter(|one| fold(&one.service.service) == name).collect();
        assert_eq!(catalog.instances_of(&name).collect::<Vec<_>>(), naive);
        let naive: Vec<_> =
            instances.iter().filter(|one| one.service.mesh_destination().map(fold).as_ref() == Some(&name)).collect();
        assert_eq!(catalog.mesh_instances_of(&name).collect::<Vec<_>>(), naive);
        let naive: Vec<_> = health.all().filter(|check| fold(&check.service_name) == name).collect();
        assert_eq!(health.of_service(&name).collect::<Vec<_>>(), naive);
    }
    assert_eq!(catalog.instances_by_name().count(), instances.len());
    let mut ids = BTreeMap::new();
    for (key, node) in catalog.nodes() {
        let naive: Vec<_> = instances.iter().filter(|one| one.node_key == *key).collect();
        assert_eq!(catalog.instances_on(key).collect::<Vec<_>>(), naive);
        let naive: Vec<_> = health.all().filter(|check| fold(&check.node) == *key).collect();
        assert_eq!(health.on_node(key).collect::<Vec<_>>(), naive);
        for id in ["", "1", "2"].map(fold) {
            let naive: Vec<_> =
                health.all().filter(|check| fold(&check.node) == *key && fold(&check.service_id) == id).collect();
            assert_eq!(health.of_instance(key, &id).collect::<Vec<_>>(), naive);
        }
        if !node.id.is_empty() {
            assert_eq!(ids.insert(&node.id, node), None, "an id on two nodes");
            assert_eq!(catalog.node_by_id(&node.id), Some(node));
        }
    }
    for word in ["passing", "critical", "warning"].map(fold) {
        let naive: Vec<_> = health.all().filter(|check| fold(&check.status) == word).collect();
        assert_eq!(health.in_state(&word).collect::<Vec<_>>(), naive);
    }
    for check in health.all() {
        assert!(catalog.node(&check.node).is_some(), "a check without a node");
        assert!(check.service_id.is_empty() || catalog.instance(&check.node, &check.service_id).is_some());
    }
}

fn everything(state: &State) -> String {
    let records: Vec<_> = records(state).collect();
    let indexes: Vec<_> = state.indexes.iter().collect();
    format!("{records:?} {indexes:?}")
}

proptest! {
    #[test]
    fn the_laws_hold_after_any_commands(
        commands in collection::vec(proptest::prop_oneof![3 => registrations(), 1 => deregistrations()], 1..24)
    ) {
        let mut state = State::default();
        // A first node and service, so that every table has an index.
        let mut index = 10;
        for command in commands {
            index += 1;
            let before = watch_all(&state);
            let old = everything(&state);
            let applied = state.apply(Index(index), command.clone());
            check_secondary_indexes(&state);
            if matches!(applied.outcome, Outcome::Failed(_)) || applied.touched.is_empty() {
                assert_eq!(old, everything(&state), "a command that touched nothing has changed something");
            }
            for (before, after) in before.iter().zip(watch_all(&state)) {
                assert!(after.index >= before.index || after.index.is_zero(), "{} ran backwards", after.name);
                if before.answer != after.answer {
                    let woken = applied.touched.topics().any(|topic| before.seen.concerns(topic));
                    assert!(woken, "{} changed in its sleep", after.name);
                    let moved = after.index > before.index || after.index.is_zero();
                    assert!(moved, "{} changed at the same index", after.name);
                }
            }
            let usage = watch(&state, &OperatorUsage(NodesQuery::default()));
            assert!(usage.answer.contains("ServiceUsage"));
            // Once more changes nothing.
            let old = everything(&state);
            let again = state.apply(Index(index + 1), command);
            index += 1;
            assert!(again.touched.is_empty(), "repeated, it touched {:?}", again.touched);
            assert_eq!(old, everything(&state));
        }
    }
}
