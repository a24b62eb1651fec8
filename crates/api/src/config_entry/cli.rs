//! `config`: reading and writing config entries; `services export`, which changes one of them, and `services
//! exported-services`, which spells it out.
//!
//! Not here: what makes an entry valid. Files are read as the agent would read them; the rest it says itself.

use filter::{Filter, Record, Shape};
use hcl::Kind as Hcl;
use net::go_text::{quote, reason};
use serde::Deserialize;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use state::config_entry::{Body, Consumer, Entry, ExportedService, ExportedServices};
use wire::json::{Mode, Value as Document};

use crate::cli::client::{CLIENT, NAMESPACE, PARTITION, Request, SERVER};
use crate::cli::flags::{Flag, Kind};
use crate::cli::text::{columns, indented};
use crate::cli::{Command, Complaint, Exit, Invocation};

pub const COMMANDS: &[Command] = &[GROUP, DELETE, LIST, READ, WRITE, EXPORT, EXPORTED];

const KIND: Flag = Flag::new("kind", Kind::Text, "Kind of the config entry, such as service-defaults.");
const NAME: Flag = Flag::new("name", Kind::Text, "Name of the config entry.");
const CAS: &[Flag] = &[
    Flag::new("cas", Kind::Bool, "Only if the entry's ModifyIndex is the given -modify-index."),
    Flag::new("modify-index", Kind::Uint, "The ModifyIndex to look for, with -cas."),
];

const GROUP: Command = Command::group(
    "config",
    "Interact with Consul's Centralized Configurations",
    "Reads and writes config entries, which say centrally how services, proxies and gateways behave.\n\n    $ {name} \
     config write web.hcl\n    $ {name} config read -kind service-defaults -name web\n    $ {name} config list -kind \
     service-defaults\n    $ {name} config delete -kind service-defaults -name web",
);

const DELETE: Command = Command {
    path: "config delete",
    synopsis: "Delete a centralized config entry",
    shape: "[options] ([-kind <config kind> -name <config name>] | [-f FILENAME])",
    about: "Deletes a config entry: the one of this kind and name, or the one that a file defines.",
    flags: &[
        &[Flag::new("filename", Kind::Text, "A file that defines the entry; instead of -kind and -name."), KIND, NAME],
        CAS,
        CLIENT,
        SERVER,
        NAMESPACE,
        PARTITION,
    ],
    run: Some(delete),
};

const LIST: Command = Command {
    path: "config list",
    synopsis: "List centralized config entries of a given kind",
    shape: "[options] -kind <config kind>",
    about: "Prints the names of the config entries of a kind.\n\n    $ {name} config list -kind service-defaults",
    flags: &[
        &[KIND, Flag::new("filter", Kind::Text, "Only entries for which this expression holds.")],
        CLIENT,
        SERVER,
        NAMESPACE,
        PARTITION,
    ],
    run: Some(list),
};

const READ: Command = Command {
    path: "config read",
    synopsis: "Read a centralized config entry",
    shape: "[options] -kind <config kind> -name <config name>",
    about: "Prints a config entry as JSON.\n\n    $ {name} config read -kind proxy-defaults -name global",
    flags: &[&[KIND, NAME], CLIENT, SERVER, NAMESPACE, PARTITION],
    run: Some(read),
};

const WRITE: Command = Command {
    path: "config write",
    synopsis: "Create or update a centralized config entry",
    shape: "[options] <configuration>",
    about: "Writes the config entry that a file defines, in HCL or JSON; `-` is standard input.\n\n    $ {name} config \
            write web.hcl",
    flags: &[CAS, CLIENT, SERVER, NAMESPACE, PARTITION],
    run: Some(write),
};

const EXPORT: Command = Command {
    path: "services export",
    synopsis: "Export a service from one peer or admin partition to another",
    shape: "[options] -name <service name> -consumer-peers <other cluster name>",
    about: "Opens a service to other clusters.\n\n    $ {name} services export -name=web -consumer-peers=other-cluster",
    flags: &[
        &[
            Flag::new("name", Kind::Text, "(Required) Name of the service."),
            Flag::new("consumer-peers", Kind::Text, "Peers that may use it, separated by commas."),
            Flag::new("consumer-partitions", Kind::Text, "(Enterprise) Partitions that may use it, with commas."),
        ],
        CLIENT,
        NAMESPACE,
        PARTITION,
    ],
    run: Some(export),
};

const EXPORTED: Command = Command {
    path: "services exported-services",
    synopsis: "Lists exported services",
    shape: "[options]",
    about: "Prints the services that are open to other clusters, and to which.",
    flags: &[
        &[
            Flag::new("format", Kind::Text, "Output format {pretty|json}").or("pretty"),
            Flag::new("filter", Kind::Text, "Only services for which this expression holds."),
        ],
        CLIENT,
        SERVER,
        PARTITION,
    ],
    run: Some(list_exported),
};

/// Files that define an entry are small.
const FILE_BYTES_MAX: usize = 16 << 20;

fn place(kind: &str, name: &str) -> String {
    format!("/v1/config/{kind}/{name}")
}

/// An entry from a file, or from standard input.
fn load(invocation: &mut Invocation<'_>, path: &str) -> Result<Loaded, Complaint> {
    let text = match path {
        "" => Err("Failed to load data: must specify a file path or '-' for stdin".into()),
        "-" => invocation.data("-"),
        path => std::fs::read(path)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .map_err(|error| format!("Failed to read file: open {path}: {}", reason(&error))),
    };
    let text = text.map_err(|error| format!("Failed to load data: {error}"))?;
    parse(&text).map_err(|error| format!("Failed to decode config entry input: {error}").into())
}

/// What a file says: an entry, and in which tenancy.
struct Loaded {
    entry: Entry,
    tenancy: serde_json::Map<String, Value>,
}

fn parse(text: &str) -> Result<Loaded, String> {
    if text.len() > FILE_BYTES_MAX {
        return Err(format!("more than {FILE_BYTES_MAX} bytes"));
    }
    let object = if text.trim_start().starts_with('{') { hcl::json::parse(text) } else { hcl::parse(text) };
    // Compat: the reference says it twice.
    let object = object.map_err(|error| format!("Failed to decode config entry input: {error}"))?;
    let mut tree = tree(&object);
    // Compat: it is the agent who has no use for these.
    let mut tenancy = serde_json::Map::new();
    if let Value::Object(members) = &mut tree {
        for field in ["Namespace", "Partition"] {
            let found = members.keys().find(|key| key.eq_ignore_ascii_case(field)).cloned();
            tenancy.extend(found.and_then(|key| members.remove(&key)).map(|value| (field.to_owned(), value)));
        }
    }
    Ok(Loaded { entry: Entry::from_tree(&tree)?, tenancy })
}

/// What was written as an untyped tree. A block that is repeated is a list.
fn tree(object: &hcl::Object) -> Value {
    let mut members = serde_json::Map::new();
    for entry in &object.entries {
        let value = value(&entry.value);
        let is_block = value.is_object();
        match members.get_mut(&entry.key) {
            Some(Value::Array(items)) if is_block => items.push(value),
            Some(earlier) if is_block && earlier.is_object() => {
                let first = earlier.take();
                *earlier = Value::Array(vec![first, value]);
            }
            _ => {
                members.insert(entry.key.clone(), value);
            }
        }
    }
    Value::Object(members)
}

fn value(value: &hcl::Value) -> Value {
    match &value.kind {
        Hcl::Null => Value::Null,
        Hcl::Bool(it) => Value::Bool(*it),
        Hcl::Integer(it) => Value::from(*it),
        Hcl::Float(it) => Value::from(*it),
        Hcl::Text(it) => Value::String(it.clone()),
        Hcl::List(items) => Value::Array(items.iter().map(self::value).collect()),
        Hcl::Object(object) => tree(object),
    }
}

fn delete(invocation: &mut Invocation<'_>) -> Exit {
    let parsed = &invocation.parsed;
    let (filename, kind, name) = (parsed.text("filename"), parsed.text("kind"), parsed.text("name"));
    match (filename.is_empty(), kind.is_empty(), name.is_empty()) {
        (true, true, true) => return Err("Must specify the -kind or -filename parameter".into()),
        (true, true, false) => return Err("Must specify the -kind parameter".into()),
        (true, false, true) => return Err("Must specify the -name parameter".into()),
        (false, true, true) | (true, false, false) => {}
        (false, ..) => return Err("filename can't be used with kind or name".into()),
    }
    let (cas, index) = (parsed.bool("cas"), parsed.uint("modify-index"));
    if cas && index == 0 {
        return Err("Must specify a -modify-index greater than 0 with -cas".into());
    }
    if index != 0 && !cas {
        return Err("Cannot specify -modify-index without -cas".into());
    }
    let (filename, mut kind, mut name) = (filename.to_owned(), kind.to_owned(), name.to_owned());
    if !filename.is_empty() {
        let Loaded { entry, .. } = load(invocation, &filename)?;
        (kind, name) = (entry.kind().to_owned(), entry.name().to_owned());
    }
    let mut request = Request::delete(place(&kind, &name));
    if cas {
        request = request.with("cas", index.to_string());
    }
    let answer = invocation.ask(request, &format!("Error deleting config entry {kind}/{name}"))?;
    if cas && !answer.says_true() {
        return Err(format!("Config entry not deleted: {kind}/{name}").into());
    }
    invocation.io.say(format_args!("Config entry deleted: {kind}/{name}"));
    Ok(0)
}

fn list(invocation: &mut Invocation<'_>) -> Exit {
    let kind = invocation.parsed.text("kind").to_owned();
    if kind.is_empty() {
        return Err("Must specify the -kind parameter".into());
    }
    let filter = invocation.parsed.text("filter").to_owned();
    let request = Request::get(format!("/v1/config/{kind}")).with_some("filter", &filter);
    let words = format!("Error listing config entries for kind {}", quote(&kind));
    let entries: Vec<Value> =
        invocation.ask(request, &words)?.json().map_err(|failure| format!("{words}: {failure}"))?;
    for entry in entries {
        // There is one mesh, and it says no name.
        invocation.io.say(entry.get("Name").and_then(Value::as_str).unwrap_or(if kind == "mesh" {
            "mesh"
        } else {
            ""
        }));
    }
    Ok(0)
}

fn read(invocation: &mut Invocation<'_>) -> Exit {
    let (kind, name) = (invocation.parsed.text("kind").to_owned(), invocation.parsed.text("name").to_owned());
    for (flag, text) in [("kind", &kind), ("name", &name)] {
        if text.is_empty() {
            return Err(format!("Must specify the -{flag} parameter").into());
        }
    }
    let words = format!("Error reading config entry {kind}/{name}");
    Entry::named(&kind, &name).map_err(|error| format!("{words}: {error}"))?;
    let answer = invocation.ask(Request::get(place(&kind, &name)), &words)?;
    let document = Document::parse(&answer.body, Mode::Decoder).map_err(|error| format!("{words}: {error}"))?;
    let shown = wire::json::to_string(&Shown(&reshaped(document))).map_err(|_| "Failed to encode output data")?;
    invocation.io.say(indented(&shown, "    "));
    Ok(0)
}

/// Compat: the reference prints an entry through other types than those that the agent answers with, whose order and
/// omissions differ a little.
fn reshaped(document: Document<'_>) -> Document<'_> {
    let Document::Object(mut members) = document else { return document };
    let is_empty = |value: &Document<'_>| match value {
        Document::Null => true,
        Document::String(text) => text.is_empty(),
        Document::Object(members) => members.is_empty(),
        _ => false,
    };
    members.retain(|(key, value)| match &**key {
        "Hash" => false,
        "Protocol" | "Routes" | "Splits" | "Config" => !is_empty(value),
        _ => true,
    });
    if let Some(at) = members.iter().position(|(key, _)| key == "Config") {
        let config = members.remove(at);
        let before = members.iter().position(|(key, _)| key == "MeshGateway").unwrap_or(members.len());
        members.insert(before, config);
    }
    for (key, value) in &mut members {
        match (&**key, value) {
            ("UpstreamConfig", Document::Object(upstreams)) => {
                for (_, upstream) in upstreams {
                    match upstream {
                        Document::Array(overrides) => overrides.iter_mut().for_each(reshape_upstream),
                        defaults => reshape_upstream(defaults),
                    }
                }
            }
            ("Expose", Document::Object(expose)) => {
                let paths = expose.iter_mut().filter_map(|(_, paths)| match paths {
                    Document::Array(paths) => Some(paths),
                    _ => None,
                });
                for path in paths.flatten() {
                    always(path, "ParsedFromCheck", Document::Bool(false), None);
                }
            }
            _ => {}
        }
    }
    Document::Object(members)
}

fn reshape_upstream(upstream: &mut Document<'_>) {
    let Document::Object(members) = upstream else { return };
    members.retain(|(key, value)| key != "Peer" || value.as_str() != Some(""));
    for (_, value) in members.iter_mut().filter(|(key, _)| key == "PassiveHealthCheck") {
        always(value, "MaxFailures", Document::Number("0"), Some("Interval"));
    }
}

/// Shows a field that was left out, after the one named or at the end.
fn always<'a>(object: &mut Document<'a>, field: &'static str, zero: Document<'a>, after: Option<&str>) {
    let Document::Object(members) = object else { return };
    if members.iter().any(|(key, _)| key == field) {
        return;
    }
    let at = match after {
        None => members.len(),
        Some(after) => members.iter().position(|(key, _)| key == after).map_or(0, |at| at + 1),
    };
    members.insert(at, (field.into(), zero));
}

/// A document written again, in its order.
struct Shown<'a>(&'a Document<'a>);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Document::Null => serializer.serialize_unit(),
            Document::Bool(it) => serializer.serialize_bool(*it),
            Document::Number(text) => match (text.parse::<i64>(), text.parse::<u64>()) {
                (Ok(it), _) => serializer.serialize_i64(it),
                (_, Ok(it)) => serializer.serialize_u64(it),
                _ => serializer.serialize_f64(text.parse().unwrap_or_default()),
            },
            Document::String(text) => serializer.serialize_str(text),
            Document::Array(items) => serializer.collect_seq(items.iter().map(Shown)),
            Document::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (key, value) in members {
                    map.serialize_entry(key, &Shown(value))?;
                }
                map.end()
            }
        }
    }
}

fn write(invocation: &mut Invocation<'_>) -> Exit {
    let [path] = invocation.parsed.arguments.as_slice() else {
        return Err("Must provide exactly one positional argument to specify the config entry to write".into());
    };
    let path = path.clone();
    let Loaded { entry, tenancy } = load(invocation, &path)?;
    let index = invocation.parsed.bool("cas").then(|| invocation.parsed.uint("modify-index"));
    let (kind, name) = (entry.kind(), entry.name());
    let words = format!("Error writing config entry {kind}/{name}");
    if !put(invocation, &entry, tenancy, index, &words)? {
        return Err(format!("Config entry not updated: {kind}/{name}").into());
    }
    invocation.io.say(format_args!("Config entry written: {kind}/{name}"));
    if let Some(warning) = warning(&entry.body) {
        invocation.io.complain(format_args!("WARNING: {warning}"));
    }
    Ok(0)
}

/// Whether it was written; not so when `index` is given and another is found.
fn put(
    invocation: &mut Invocation<'_>,
    entry: &Entry,
    tenancy: serde_json::Map<String, Value>,
    index: Option<u64>,
    words: &str,
) -> Result<bool, Complaint> {
    let mut request = Request::put("/v1/config");
    if let Some(index) = index {
        request = request.with("cas", index.to_string());
    }
    let mut body = serde_json::to_value(entry).map_err(|failure| format!("{words}: {failure}"))?;
    if let Value::Object(members) = &mut body {
        members.extend(tenancy);
    }
    let request = request.json(&body).map_err(|failure| format!("{words}: {failure}"))?;
    Ok(invocation.ask(request, words)?.says_true())
}

/// What to mind about an entry that was just written.
fn warning(body: &Body) -> Option<&'static str> {
    const PERMISSIVE: &str = "permissive";
    match body {
        Body::ServiceDefaults(body) if body.mutual_tls_mode == PERMISSIVE => Some(
            "MutualTLSMode=permissive is insecure. It lets connections without mutual TLS in; go back to `strict` as \
             soon as nobody needs them.",
        ),
        Body::ProxyDefaults(body) if body.mutual_tls_mode == PERMISSIVE => Some(
            "MutualTLSMode=permissive is insecure. It is better set to `strict` here, and overridden only by the \
             service-defaults of services that need it.",
        ),
        Body::Mesh(body) if body.allow_enabling_permissive_mutual_tls => Some(
            "AllowEnablingPermissiveMutualTLS=true allows insecure MutualTLSMode=permissive in proxy-defaults and \
             service-defaults.",
        ),
        _ => None,
    }
}

/// The names in a list with commas.
fn names(list: &str, what: &str) -> Result<Vec<String>, Complaint> {
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<String> = list.split(',').map(str::to_owned).collect();
    if names.iter().any(String::is_empty) { Err(format!("Invalid {what} \"\"").into()) } else { Ok(names) }
}

fn export(invocation: &mut Invocation<'_>) -> Exit {
    let text = |flag: &str| invocation.parsed.text(flag).to_owned();
    let (service, peers, partitions) = (text("name"), text("consumer-peers"), text("consumer-partitions"));
    let (namespace, partition) = (text("namespace"), text("partition"));
    if service.is_empty() {
        return Err("Missing the required -name flag".into());
    }
    if peers.is_empty() && partitions.is_empty() {
        return Err("Missing the required -consumer-peers or -consumer-partitions flag".into());
    }
    let of_peer = |peer| Consumer { peer, ..Consumer::default() };
    let of_partition = |partition| Consumer { partition, ..Consumer::default() };
    let mut consumers: Vec<Consumer> = names(&peers, "peer")?.into_iter().map(of_peer).collect();
    consumers.extend(names(&partitions, "partition")?.into_iter().map(of_partition));
    let name = if partition.is_empty() { "default".to_owned() } else { partition };
    let (mut entry, index) = exported(invocation, &name)?;
    if let Body::ExportedServices(exported) = &mut entry.body {
        add(exported, &service, &namespace, consumers);
    }
    if !put(invocation, &entry, serde_json::Map::new(), Some(index), "Error writing config entry")? {
        return Err("Config entry was changed during update. Please try again".into());
    }
    let to_whom = match (peers.is_empty(), partitions.is_empty()) {
        (false, false) => format!("cluster peers {} and to partitions {}", quote(&peers), quote(&partitions)),
        (false, true) => format!("cluster peers {}", quote(&peers)),
        _ => format!("partitions {}", quote(&partitions)),
    };
    invocation.io.say(format_args!("Successfully exported service {} to {to_whom}", quote(&service)));
    Ok(0)
}

/// A row of `/v1/exported-services`.
#[derive(Debug, Default, Deserialize, serde::Serialize)]
#[serde(default, rename_all = "PascalCase")]
struct Exported {
    service: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    partition: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace: String,
    consumers: Consumers,
}

#[derive(Debug, Default, Deserialize, serde::Serialize)]
#[serde(default, rename_all = "PascalCase")]
struct Consumers {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    peers: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    partitions: Vec<String>,
}

const EXPORTED_SHAPE: Shape = Shape::Struct(&[
    ("Service", Shape::String),
    ("Partition", Shape::String),
    ("Namespace", Shape::String),
    (
        "Consumers",
        Shape::Struct(&[("Peers", Shape::List(&Shape::String)), ("Partitions", Shape::List(&Shape::String))]),
    ),
]);

impl Record for Exported {
    fn field(&self, name: &str) -> filter::Value<'_> {
        match name {
            "Service" => filter::Value::Str(&self.service),
            "Partition" => filter::Value::Str(&self.partition),
            "Namespace" => filter::Value::Str(&self.namespace),
            "Consumers" => filter::Value::Struct(&self.consumers),
            _ => filter::Value::Nil,
        }
    }
}

impl Record for Consumers {
    fn field(&self, name: &str) -> filter::Value<'_> {
        match name {
            "Peers" => filter::Value::Strings(&self.peers),
            "Partitions" => filter::Value::Strings(&self.partitions),
            _ => filter::Value::Nil,
        }
    }
}

fn list_exported(invocation: &mut Invocation<'_>) -> Exit {
    const WORDS: &str = "Error reading exported services";
    let (format, expression) =
        (invocation.parsed.text("format").to_owned(), invocation.parsed.text("filter").to_owned());
    if !matches!(format.as_str(), "pretty" | "json") {
        return Err("Invalid format, valid formats are {pretty|json}".into());
    }
    let answer = invocation.ask(Request::get("/v1/exported-services"), WORDS)?;
    let mut rows: Vec<Exported> = answer.json().map_err(|failure| format!("{WORDS}: {failure}"))?;
    if !expression.is_empty() {
        let filter = Filter::parse(&expression, &EXPORTED_SHAPE).map_err(|error| {
            format!("Error while creating filter: Failed to create boolean expression evaluator: {error}")
        })?;
        rows.retain(|row| filter.matches(row));
    }
    if rows.is_empty() {
        invocation.io.say("No exported services found");
    } else if format == "json" {
        let compact = wire::json::to_string(&rows).map_err(|error| format!("Error marshalling JSON: {error}"))?;
        invocation.io.say(indented(&compact, "    "));
    } else {
        let head = vec!["Service".to_owned(), "Consumer Peers".to_owned()];
        let lines = rows.into_iter().map(|row| vec![row.service, row.consumers.peers.join(", ")]);
        invocation.io.say(columns(&[head].into_iter().chain(lines).collect::<Vec<_>>()));
    }
    Ok(0)
}

/// What is exported already, with its index.
fn exported(invocation: &mut Invocation<'_>, name: &str) -> Result<(Entry, u64), Complaint> {
    const WORDS: &str = "Error reading config entry exported-services/default";
    let answer = invocation.ask(Request::get(place("exported-services", name)).or_missing(), WORDS)?;
    if answer.missing {
        let body = ExportedServices { name: name.to_owned(), ..ExportedServices::default() };
        return Ok((Entry::new(Body::ExportedServices(body)), 0));
    }
    let tree: Value = answer.json().map_err(|failure| format!("{WORDS}: {failure}"))?;
    let index = tree.get("ModifyIndex").and_then(Value::as_u64).unwrap_or_default();
    let entry = Entry::from_tree(&tree).map_err(|error| format!("{WORDS}: {error}"))?;
    Ok((entry, index))
}

/// Opens a service to those that it is not open to yet.
fn add(exported: &mut ExportedServices, service: &str, namespace: &str, consumers: Vec<Consumer>) {
    let mut known = exported.services.iter_mut().filter(|known| known.name == service && known.namespace == namespace);
    match known.next() {
        Some(known) => {
            for consumer in consumers {
                if !known.consumers.contains(&consumer) {
                    known.consumers.push(consumer);
                }
            }
        }
        None => exported.services.push(ExportedService {
            name: service.to_owned(),
            namespace: namespace.to_owned(),
            consumers,
        }),
    }
}
