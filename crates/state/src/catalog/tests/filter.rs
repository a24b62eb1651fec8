//! `?filter=` on rows of the catalog, with the answers of Consul 1.22 to the same registration.

use filter::{Filter, Record, Shape, Value};

use super::{all_checks, node, register, run, service};
use crate::State;
use crate::catalog::{
    CatalogListNodes, CatalogNodeServices, CatalogServiceNodes, NodesQuery, check_service_node_shape,
    node_service_shape, node_shape, service_node_shape,
};
use crate::health::{ChecksInState, HealthServiceNodes, check_shape};
use crate::session::{ServiceCheck, Session, session_shape};

const REGISTRATION: &str = r#"{
 "Node": "fnode",
 "Datacenter": "dc1",
 "Address": "10.9.9.9",
 "TaggedAddresses": {
  "lan": "1.1.1.1"
 },
 "NodeMeta": {
  "os": "linux",
  "n": "5"
 },
 "Service": {
  "ID": "fsvc-1",
  "Service": "fsvc",
  "Tags": [
   "v1",
   "prod"
  ],
  "Address": "10.0.0.2",
  "Port": 8080,
  "Meta": {
   "ab": "x",
   "k": "v7"
  },
  "TaggedAddresses": {
   "lan": {
    "Address": "1.2.3.4",
    "Port": 99
   }
  },
  "Weights": {
   "Passing": 3,
   "Warning": 1
  },
  "EnableTagOverride": true
 },
 "Checks": [
  {
   "Name": "c1",
   "CheckID": "c1",
   "Status": "passing",
   "ServiceID": "fsvc-1",
   "Node": "fnode"
  },
  {
   "Name": "c2",
   "CheckID": "c2",
   "Status": "critical",
   "Node": "fnode"
  }
 ]
}"#;

const INSTANCE: &[(&str, &str)] = &[
    ("Service.Port == 8080", "keeps"),
    ("Service.Port == 0x1f90", r#"1:18 (17): rule "number": Invalid number literal"#),
    (r#"Service.Port == "0x1f90""#, "keeps"),
    (r#"Service.Port == "8_080""#, "keeps"),
    (r#"Service.Port == "0x1f_90""#, "keeps"),
    (
        "Service.Port == 8080.0",
        r#"Failed to coerce value "8080.0" for selector "Service.Port": strconv.ParseInt: parsing "8080.0": invalid syntax"#,
    ),
    (
        "Service.Port == abc",
        r#"Failed to coerce value "abc" for selector "Service.Port": strconv.ParseInt: parsing "abc": invalid syntax"#,
    ),
    ("Service.Port == -1", "drops"),
    (
        "Service.Port == 99999999999999999999",
        r#"Failed to coerce value "99999999999999999999" for selector "Service.Port": strconv.ParseInt: parsing "99999999999999999999": value out of range"#,
    ),
    (r#"Service.Port == "017620""#, "keeps"),
    (r#"Service.Port == "+8080""#, "keeps"),
    (
        r#"Service.Port == "09""#,
        r#"Failed to coerce value "09" for selector "Service.Port": strconv.ParseInt: parsing "09": invalid syntax"#,
    ),
    (
        r#"Service.Port == """#,
        r#"Failed to coerce value "" for selector "Service.Port": strconv.ParseInt: parsing "": invalid syntax"#,
    ),
    (r#"Service.Port == "0""#, "drops"),
    ("Service.Port != 1", "keeps"),
    (r#""v1" in Service.Tags"#, "keeps"),
    ("v1 in Service.Tags", "keeps"),
    ("v1 not in Service.Tags", "drops"),
    ("Service.Tags contains v1", "keeps"),
    ("Service.Tags not contains v1", "drops"),
    ("Service.Tags is empty", "drops"),
    ("Service.Tags is not empty", "keeps"),
    ("Service.Tags == v1", r#"Invalid match operator "Equal" for selector "Service.Tags""#),
    (r#""r" in Service.Service"#, "drops"),
    (r#""svc" in Service.Service"#, "keeps"),
    (r#"Service.Service contains "f""#, "keeps"),
    (r#"Service.Service matches "^f.*c$""#, "keeps"),
    (r#"Service.Service not matches "^g""#, "keeps"),
    (r#"Service.Meta["ab"] == x"#, "keeps"),
    (r#"Service.Meta.k matches "v\\d""#, "keeps"),
    (r#"Service.Meta.k matches `v\d`"#, "keeps"),
    (
        r#"Service.Meta.k matches `v\d$|[`"#,
        r#"Failed to compile regular expression "v\\d$|[": error parsing regexp: missing closing ]: `[`"#,
    ),
    (r#"Service.Meta.k matches `^[[:alpha:]][\d-z]$`"#, "keeps"),
    ("Service.Meta.k matches `^[a-c-w][7-]$`", "drops"),
    (r#"Service.Meta.k matches `^\w{2}$`"#, "keeps"),
    (r#"Service.Meta.k matches `^\x76(?i)7$`"#, "keeps"),
    (r#"Service.Meta.k matches `^(?P<n>v)\Q7\E$`"#, "keeps"),
    ("Service.Meta.k matches `[a&&b[]`", "drops"),
    ("Service.Meta.k matches `[[v]7`", "keeps"),
    ("Service.Meta.k matches `v{,2}`", "drops"),
    ("Service.Meta.missing == x", "drops"),
    ("Service.Meta.missing != x", "keeps"),
    ("Service.Meta.missing matches x", "keeps"),
    ("Service.Meta.missing not matches x", "keeps"),
    ("Service.Meta.missing contains x", "drops"),
    ("Service.Meta.missing not contains x", "keeps"),
    ("k in Service.Meta", "keeps"),
    ("zz not in Service.Meta", "keeps"),
    ("Service.Meta is empty", "drops"),
    ("Service.TaggedAddresses.lan.Port == 99", "keeps"),
    ("Service.TaggedAddresses.wan.Port == 99", "drops"),
    ("Service.TaggedAddresses.wan.Port != 99", "keeps"),
    (
        "Service.TaggedAddresses.lan is empty",
        r#"Invalid match operator "Is Empty" for selector "Service.TaggedAddresses.lan""#,
    ),
    ("lan in Service.TaggedAddresses", "keeps"),
    ("Service.Weights.Passing == 3", "keeps"),
    ("Service.EnableTagOverride == true", "keeps"),
    ("Service.EnableTagOverride == T", "keeps"),
    (
        "Service.EnableTagOverride == yes",
        r#"Failed to coerce value "yes" for selector "Service.EnableTagOverride": strconv.ParseBool: parsing "yes": invalid syntax"#,
    ),
    ("Checks.Status == critical", "keeps"),
    ("Checks.Status != critical", "keeps"),
    ("not Checks.Status == critical", "drops"),
    ("Checks.Status == warning", "drops"),
    ("Checks is empty", "drops"),
    ("Checks is not empty", "keeps"),
    ("Checks.ServiceTags contains prod", "keeps"),
    ("Checks.ServiceTags not contains prod", "keeps"),
    ("Checks.ServiceTags is empty", "keeps"),
    ("Node.Meta.os == linux and Node.Meta.n == 5", "keeps"),
    ("Node.Meta.os == linux and Node.Meta.n == 6 or Service.Port == 8080", "keeps"),
    ("Node.Meta.os == linux and (Node.Meta.n == 6 or Service.Port == 8081)", "drops"),
    ("not Node.Meta.os == linux or Service.Port == 8080", "keeps"),
    ("not (Node.Meta.os == linux or Service.Port == 8080)", "drops"),
    ("not not Node.Meta.os == linux", "keeps"),
    (r#"Node.TaggedAddresses.lan == "1.1.1.1""#, "keeps"),
    (r#"Service.Proxy.DestinationServiceName == """#, "keeps"),
    ("Service.Proxy.Upstreams is empty", "keeps"),
    ("Service.Proxy.Upstreams.DestinationName == x", "drops"),
    ("Service.Proxy.Upstreams.DestinationName != x", "drops"),
    ("Service.Proxy.Upstreams.Config is empty", r#"Selector "Service.Proxy.Upstreams.Config" is not valid"#),
    ("Service.Proxy.Config is empty", r#"Selector "Service.Proxy.Config" is not valid"#),
    ("Service.Proxy.EnvoyExtensions is empty", "keeps"),
    ("Service.Proxy.EnvoyExtensions.Name == x", "drops"),
    (
        "Service.Proxy.EnvoyExtensions.Arguments is empty",
        r#"Selector "Service.Proxy.EnvoyExtensions.Arguments" is not valid"#,
    ),
    ("Service.Proxy.Expose.Paths is empty", "keeps"),
    ("Service.Proxy.Expose.Checks == false", "keeps"),
    ("Service.Connect.Native == false", "keeps"),
    ("Service.Connect.SidecarService is empty", r#"Selector "Service.Connect.SidecarService" is not valid"#),
    (r#"Service.Proxy.AccessLogs.JSONFormat == """#, "keeps"),
    ("Service.Proxy.TransparentProxy.OutboundListenerPort == 0", "keeps"),
    (r#"Service.Proxy.MeshGateway.Mode == """#, "keeps"),
    (r#"Service.PeerName == """#, "keeps"),
    (r#"Node.Partition == """#, "keeps"),
    (r#"Checks.Definition.HTTP == """#, r#"Selector "Checks.Definition" is not valid"#),
    ("Checks.ExposedPort == 0", "keeps"),
    (r#"Service.Locality.Region == """#, r#"Selector "Service.Locality" is not valid"#),
    (r#"Service.Kind == """#, "keeps"),
    ("Service.Kind is empty", r#"Invalid match operator "Is Empty" for selector "Service.Kind""#),
    (r#"Service.SocketPath == """#, "keeps"),
    ("Service.CreateIndex == 1", r#"Selector "Service.CreateIndex" is not valid"#),
    ("Checks.ModifyIndex == 1", r#"Selector "Checks.ModifyIndex" is not valid"#),
    ("Node.ModifyIndex == 1", r#"Selector "Node.ModifyIndex" is not valid"#),
    ("Service == x", r#"Invalid match operator "Equal" for selector "Service""#),
    ("Node is empty", r#"Invalid match operator "Is Empty" for selector "Node""#),
];

const SERVICE: &[(&str, &str)] = &[
    ("ServiceMeta.k == v7", "keeps"),
    ("ServicePort == 8080", "keeps"),
    ("NodeMeta.os == linux", "keeps"),
    ("Node == fnode", "keeps"),
    ("ServiceName == fsvc", "keeps"),
    (r#"ServiceID == "fsvc-1""#, "keeps"),
    ("ServiceTags contains v1", "keeps"),
    ("ServiceTaggedAddresses.lan.Port == 99", "keeps"),
    ("ServiceTaggedAddresses is empty", "drops"),
    ("ServiceWeights.Passing == 3", "keeps"),
    (r#"ServiceProxy.Mode == """#, "keeps"),
    ("ServiceConnect.Native == false", "keeps"),
    ("ServiceEnableTagOverride == true", "keeps"),
    (r#"ServiceKind == """#, "keeps"),
    (r#"ServiceSocketPath == """#, "keeps"),
    (r#"TaggedAddresses.lan == "1.1.1.1""#, "keeps"),
    (r#"Address == "10.9.9.9""#, "keeps"),
    (r#"ServiceAddress == "10.0.0.2""#, "keeps"),
    (r#"Partition == """#, r#"Selector "Partition" is not valid"#),
    (r#"PeerName == """#, "keeps"),
    ("Service == x", r#"Selector "Service" is not valid"#),
    (r#"ID == """#, "keeps"),
    ("Datacenter == dc1", "keeps"),
    ("ServiceLocality is empty", r#"Selector "ServiceLocality" is not valid"#),
    (r#"NodePartition == """#, r#"Selector "NodePartition" is not valid"#),
];

const NODE: &[(&str, &str)] = &[
    ("Node == fnode", "keeps"),
    ("Meta.os == linux", "keeps"),
    ("Meta.os != linux and Node == fnode", "drops"),
    ("Meta.zz != linux and Node == fnode", "keeps"),
    ("Meta.zz matches x and Node == fnode", "keeps"),
    (r#"TaggedAddresses.lan == "1.1.1.1""#, "keeps"),
    ("TaggedAddresses is empty and Node == fnode", "drops"),
];

const CHECK: &[(&str, &str)] = &[
    ("CheckID == c1", "keeps"),
    ("Status == critical", "keeps"),
    ("Status == warning", "drops"),
    ("ServiceTags contains prod", "keeps"),
    ("ServiceName == fsvc", "keeps"),
    (r#"ServiceID == """#, "keeps"),
    (r#"Type == """#, "keeps"),
    (r#"Interval == "" and Timeout == "" and Notes == "" and Output == """#, "keeps"),
    (r#"Name matches "^c[12]$""#, "keeps"),
    ("Definition is empty", r#"Selector "Definition" is not valid"#),
    ("ServiceTags == x", r#"Invalid match operator "Equal" for selector "ServiceTags""#),
    ("ExposedPort != 0", "drops"),
];

const NODE_SERVICE: &[(&str, &str)] = &[
    ("Port == 8080", "keeps"),
    (r#"Kind == """#, "keeps"),
    (r#"ID == "fsvc-1""#, "keeps"),
    ("Service == fsvc", "keeps"),
    (r#"Proxy.Mode == """#, "keeps"),
    (r#"TaggedAddresses.lan.Address == "1.2.3.4""#, "keeps"),
    ("Weights.Warning != 1", "drops"),
];

/// `keeps` when a row stays, `drops` when none does, or the refusal.
fn verdict(text: &str, shape: &'static Shape, rows: &[&dyn Record]) -> String {
    match Filter::parse(text, shape) {
        Err(refusal) => refusal.to_string(),
        Ok(filter) if rows.iter().any(|row| filter.matches(*row)) => "keeps".into(),
        Ok(_) => "drops".into(),
    }
}

fn hold(cases: &[(&str, &str)], shape: &'static Shape, rows: &[&dyn Record]) {
    assert!(!rows.is_empty());
    for (text, expected) in cases {
        assert_eq!(verdict(text, shape, rows), *expected, "{text}");
    }
}

fn registered() -> State {
    let mut state = State::default();
    register(&mut state, 1, REGISTRATION);
    state
}

#[test]
fn instances_with_checks() {
    let (_, rows) = run(&registered(), &HealthServiceNodes(service("fsvc")));
    let rows: Vec<&dyn Record> = rows.iter().map(|row| row as &dyn Record).collect();
    hold(INSTANCE, check_service_node_shape(), &rows);
}
#[test]
fn the_other_rows() {
    let state = registered();
    let (_, services) = run(&state, &CatalogServiceNodes(service("fsvc")));
    let rows: Vec<&dyn Record> = services.iter().map(|row| row as &dyn Record).collect();
    hold(SERVICE, service_node_shape(), &rows);

    let (_, nodes) = run(&state, &CatalogListNodes(NodesQuery::default()));
    let rows: Vec<&dyn Record> = nodes.iter().map(|row| row as &dyn Record).collect();
    hold(NODE, node_shape(), &rows);

    let (_, checks) = run(&state, &ChecksInState(all_checks()));
    let rows: Vec<&dyn Record> = checks.iter().map(|row| row as &dyn Record).collect();
    hold(CHECK, check_shape(), &rows);

    let (_, services) = run(&state, &CatalogNodeServices(node("fnode")));
    let services = services.unwrap().services;
    let rows: Vec<&dyn Record> = services.values().map(|row| row as &dyn Record).collect();
    hold(NODE_SERVICE, node_service_shape(), &rows);
}

/// Every field that the shape names has a value of the kind that it names.
fn agrees(path: &str, shape: &Shape, value: Value<'_>) {
    match (shape, value) {
        (Shape::String, Value::Str(_)) | (Shape::Bool, Value::Bool(_)) | (Shape::Int, Value::Int(_)) => {}
        (Shape::List(Shape::String), Value::Strings(_)) => {}
        (Shape::List(element), Value::List(items)) => {
            let mut items = items.peekable();
            assert!(items.peek().is_some(), "{path}: nothing to look at");
            items.for_each(|item| agrees(path, element, item));
        }
        (Shape::Map(element), Value::Map(entries)) => {
            let entry = entries.entry("lan").unwrap_or_else(|| panic!("{path}: nothing to look at"));
            agrees(&format!("{path}.lan"), element, entry);
        }
        (Shape::Struct(fields), Value::Struct(record)) => {
            fields.iter().for_each(|(name, shape)| agrees(&format!("{path}.{name}"), shape, record.field(name)));
        }
        (Shape::Struct(fields), Value::View(record)) => {
            fields.iter().for_each(|(name, shape)| agrees(&format!("{path}.{name}"), shape, record.field(name)));
        }
        (shape, _) => panic!("{path} is no {shape:?}"),
    }
}

#[test]
fn rows_have_what_their_shapes_name() {
    let mut state = State::default();
    let registration = r#"{
        "Node": "n", "Address": "10.0.0.1", "TaggedAddresses": {"lan": "a"}, "NodeMeta": {"lan": "b"},
        "Service": {
            "Kind": "connect-proxy", "ID": "p", "Service": "p", "Port": 1, "Meta": {"lan": "c"},
            "TaggedAddresses": {"lan": {"Address": "d", "Port": 2}}, "Weights": {"Passing": 1, "Warning": 1},
            "Proxy": {
                "DestinationServiceName": "web", "EnvoyExtensions": [{"Name": "e"}],
                "Upstreams": [{"DestinationName": "db", "LocalBindPort": 3}],
                "Expose": {"Paths": [{"Path": "/", "ListenerPort": 4, "LocalPathPort": 5}]}
            }
        },
        "Check": {"Node": "n", "CheckID": "c", "Name": "c", "Status": "passing", "ServiceID": "p"}
    }"#;
    register(&mut state, 1, registration);
    let (_, rows) = run(&state, &HealthServiceNodes(service("p")));
    agrees("instance", check_service_node_shape(), Value::Struct(&rows[0]));
    agrees("check", check_shape(), Value::Struct(&rows[0].checks[0]));
    agrees("node service", node_service_shape(), Value::Struct(&rows[0].service));
    agrees("node", node_shape(), Value::Struct(&rows[0].node));
    let (_, rows) = run(&state, &CatalogServiceNodes(service("p")));
    agrees("service", service_node_shape(), Value::Struct(&rows[0]));

    let check = ServiceCheck { id: "c".into(), namespace: String::new() };
    let session = Session { service_checks: Some(vec![check]), ..Session::default() };
    agrees("session", session_shape(), Value::Struct(&session));
    assert_eq!(verdict("ServiceChecks.ID == c", session_shape(), &[&session]), "keeps");
    assert_eq!(verdict("NodeChecks is empty and LockDelay == 0", session_shape(), &[&session]), "keeps");
    assert_eq!(verdict("ServiceChecks is empty", session_shape(), &[&session]), "drops");
}
