//! `services`: registering services with the agent and taking them back.
//!
//! Not here: reading files of definitions, which `config` does; the binary hands that in.

use serde_json::{Map, Value, json};

use crate::cli::client::{CLIENT, NAMESPACE, PARTITION, Request, SERVER};
use crate::cli::flags::{Flag, Kind};
use crate::cli::{Command, Complaint, Exit, Invocation};

const DEREGISTER_FLAGS: &[Flag] = &[Flag::new("id", Kind::Text, "ID of the service to take back; instead of files.")];

const REGISTER_FLAGS: &[Flag] = &[
    Flag::new("id", Kind::Text, "ID of the service; otherwise its name."),
    Flag::new("name", Kind::Text, "Name of the service; instead of files."),
    Flag::new("address", Kind::Text, "Address of the service; otherwise the node's."),
    Flag::new("port", Kind::Int, "Port of the service."),
    Flag::new("socket", Kind::Text, "Unix socket of the service, instead of address and port."),
    Flag::new("meta", Kind::Map, "Metadata of the service, written key=value. May be given several times."),
    Flag::new("tag", Kind::List, "A tag of the service. May be given several times."),
    Flag::new(
        "tagged-address",
        Kind::Map,
        "A further address of the service, written name=host:port. May be given several times.",
    ),
    Flag::new("kind", Kind::Text, "Kind of the service, such as connect-proxy."),
];

pub const GROUP: Command = Command {
    path: "services",
    synopsis: "Interact with services",
    shape: "<subcommand> [options] [args]",
    about: "Registers and deregisters services with the agent, as the HTTP API does.\n\n    $ {name} services register \
            web.json\n    $ {name} services deregister -id web",
    flags: &[],
    run: None,
};

pub const DEREGISTER: Command = Command {
    path: "services deregister",
    synopsis: "Deregister services with the local agent",
    shape: "[options] [FILE...]",
    about: "Takes back services that were registered with this agent: those defined in the files, or the\none with the \
            given -id.",
    flags: &[DEREGISTER_FLAGS, CLIENT, SERVER, NAMESPACE, PARTITION],
    run: Some(deregister),
};

pub const REGISTER: Command = Command {
    path: "services register",
    synopsis: "Register services with the local agent",
    shape: "[options] [FILE...]",
    about: "Registers services with the agent: those defined in files as the agent's configuration\nwould define them \
            (HCL or JSON), or the one that the flags describe. They stay until\nderegistered.",
    flags: &[REGISTER_FLAGS, CLIENT, SERVER, NAMESPACE, PARTITION],
    run: Some(register),
};

fn text_of<'a>(body: &'a Value, name: &str) -> &'a str {
    body.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn from_files(invocation: &mut Invocation<'_>) -> Result<Vec<Value>, Complaint> {
    let read = (invocation.program.read_services)(&invocation.parsed.arguments);
    let definitions = read.map_err(|error| format!("Error: {error}"))?;
    for warning in definitions.warnings {
        invocation.io.complain(warning);
    }
    Ok(definitions.bodies)
}

fn deregister(invocation: &mut Invocation<'_>) -> Exit {
    let id = invocation.parsed.text("id").to_owned();
    let bodies = match (invocation.parsed.arguments.is_empty(), id.is_empty()) {
        (true, true) => return Err("Service deregistration requires at least one argument or -id.".into()),
        (false, false) => return Err("Service deregistration requires arguments or -id, not both.".into()),
        (true, false) => vec![json!({ "ID": id })],
        (false, true) => from_files(invocation)?,
    };
    invocation.connect()?;
    for body in bodies {
        let name = text_of(&body, "Name");
        let id = Some(text_of(&body, "ID")).filter(|id| !id.is_empty()).unwrap_or(name);
        if id.is_empty() {
            continue;
        }
        let words = format!("Error deregistering service {}", net::go_text::quote(name));
        invocation.ask(Request::put(format!("/v1/agent/service/deregister/{id}")), &words)?;
        invocation.io.say(format_args!("Deregistered service: {id}"));
    }
    Ok(0)
}

fn register(invocation: &mut Invocation<'_>) -> Exit {
    let described = from_flags(invocation)?;
    let named = !text_of(&described, "Name").is_empty();
    let bodies = match (invocation.parsed.arguments.is_empty(), named) {
        (true, false) => return Err("Service registration requires at least one argument or flags.".into()),
        // Compat: the reference says -id where it means -name.
        (false, true) => return Err("Service registration requires arguments or -id, not both.".into()),
        (true, true) => vec![described],
        (false, false) => from_files(invocation)?,
    };
    invocation.connect()?;
    for body in bodies {
        let name = text_of(&body, "Name");
        let words = format!("Error registering service {}", net::go_text::quote(name));
        let request = Request::put("/v1/agent/service/register").json(&body);
        invocation.ask(request.map_err(|failure| format!("{words}: {failure}"))?, &words)?;
        invocation.io.say(format_args!("Registered service: {name}"));
    }
    Ok(0)
}

/// The service that the flags describe, with only what they say.
fn from_flags(invocation: &Invocation<'_>) -> Result<Value, Complaint> {
    let parsed = &invocation.parsed;
    let mut body = Map::new();
    for (flag, name) in
        [("kind", "Kind"), ("id", "ID"), ("name", "Name"), ("address", "Address"), ("socket", "SocketPath")]
    {
        if !parsed.text(flag).is_empty() {
            body.insert(name.to_owned(), json!(parsed.text(flag)));
        }
    }
    if parsed.int("port") != 0 {
        body.insert("Port".to_owned(), json!(parsed.int("port")));
    }
    let (tags, meta) = (parsed.list("tag"), parsed.map("meta"));
    if !tags.is_empty() {
        body.insert("Tags".to_owned(), json!(tags));
    }
    if !meta.is_empty() {
        body.insert("Meta".to_owned(), json!(meta));
    }
    let mut addresses = Map::new();
    for (name, address) in parsed.map("tagged-address") {
        let refused = |reason: String| Complaint::from(format!("Invalid Tagged Address: {reason}"));
        let (host, port) = net::dial::split_host_port(&address).map_err(|cause| refused(cause.to_string()))?;
        let port: i64 = port
            .parse()
            .map_err(|_| refused(format!("strconv.Atoi: parsing {}: invalid syntax", net::go_text::quote(port))))?;
        addresses.insert(name, json!({ "Address": host, "Port": port }));
    }
    if !addresses.is_empty() {
        body.insert("TaggedAddresses".to_owned(), Value::Object(addresses));
    }
    Ok(Value::Object(body))
}
