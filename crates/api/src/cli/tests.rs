//! The command line as a whole: commands, flags, help, failures, exit codes.

use crate::cli::client::Failure;
use crate::cli::stand_in::{Outcome, Reply, StandIn, run_in};
use crate::cli::{Environment, commands};

fn offline(arguments: &[&str]) -> Outcome {
    run_in(Environment::new(), arguments, b"")
}

fn environment(pairs: &[(&str, &str)]) -> Environment {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn paths_are_unique_and_each_parent_is_a_group() {
    let mut paths: Vec<&str> = commands::all().map(|command| command.path).collect();
    let count = paths.len();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), count);
    for path in paths {
        if let Some((parent, _)) = path.rsplit_once(' ') {
            assert!(commands::find(parent).is_some_and(|parent| parent.run.is_none()), "{path}");
        }
    }
}

#[test]
fn flag_names_are_unique_within_a_command_and_defaults_are_valid() {
    for command in commands::all() {
        let mut names: Vec<&str> = command.flags().map(|flag| flag.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "{}", command.path);
        for flag in command.flags().filter(|flag| !flag.default.is_empty()) {
            let given = [format!("-{}={}", flag.name, flag.default)];
            assert!(super::flags::parse(command.flags(), &given).is_ok(), "{} -{}", command.path, flag.name);
        }
    }
}

#[test]
fn what_is_no_command_prints_the_usage_and_exits_127() {
    for line in [&[][..], &["zork"], &["-zork"], &["help"], &["kv get", "x"], &["forceleave", "x"]] {
        let outcome = offline(line);
        assert_eq!((outcome.code, outcome.out.as_str()), (127, ""), "{line:?}");
        assert!(
            outcome
                .err
                .starts_with("Usage: consul [--version] [--help] <command> [<args>]\n\nAvailable commands are:\n")
        );
        assert!(outcome.err.contains("\n    agent          Runs an agent\n"), "{}", outcome.err);
        assert!(outcome.err.ends_with("    watch          Watch for changes\n\n"), "{}", outcome.err);
    }
}

#[test]
fn a_group_alone_prints_its_help_and_exits_1() {
    for line in [&["kv"][..], &["kv", "zork"], &["kv", "-zork"], &["kv", "help"]] {
        let outcome = offline(line);
        assert_eq!((outcome.code, outcome.out.as_str()), (1, ""), "{line:?}");
        assert!(outcome.err.starts_with("Usage: consul kv <subcommand> [options] [args]\n\n  "));
        assert!(outcome.err.contains("\n\nSubcommands:\n    delete    Removes data from the KV store\n"));
        assert!(outcome.err.ends_with("    put       Sets or updates data in the KV store\n"), "{}", outcome.err);
    }
    let outcome = offline(&["operator"]);
    assert!(outcome.err.contains("    autopilot    ") && !outcome.err.contains("list-peers"), "{}", outcome.err);
}

#[test]
fn help_is_found_anywhere_before_two_dashes() {
    for line in [&["kv", "get", "-h"][..], &["kv", "get", "x", "--help"], &["-help", "kv", "get"]] {
        let outcome = offline(line);
        assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{line:?}");
        assert!(outcome.out.starts_with("Usage: consul kv get [options] [KEY_OR_PREFIX]\n\n  "), "{}", outcome.out);
        assert!(outcome.out.contains("\nHTTP API Options\n\n  -ca-file=<value>\n     "), "{}", outcome.out);
        assert!(outcome.out.contains("\n  -http-addr=<address>\n"), "{}", outcome.out);
        assert!(
            outcome.out.contains("\nCommand Options\n\n  -base64\n     Print values as base64.\n"),
            "{}",
            outcome.out
        );
        assert!(outcome.out.lines().all(|line| line.len() <= 100), "{}", outcome.out);
    }
    assert!(offline(&["kv", "get", "--", "-h"]).err.contains("Error querying"));
    assert_eq!(offline(&["-h"]).code, 0);
    let stray = offline(&["-zork", "kv", "get"]);
    assert_eq!(stray.code, 1);
    assert!(stray.err.starts_with("Invalid flags before the subcommand. If these flags are for\nthe subcommand, "));
}

#[test]
fn flag_errors_list_the_flags() {
    let outcome = offline(&["version", "-zork"]);
    assert_eq!(outcome.code, 1);
    assert_eq!(
        outcome.err,
        "flag provided but not defined: -zork\nUsage:\n  -format string\n    \tOutput format {pretty|json} (default \
         \"pretty\")\n"
    );
    assert!(offline(&["validate", "-zork"]).err.ends_with("\nflag provided but not defined: -zork\n"));
    let twice = offline(&["operator", "raft", "list-peers", "-zork"]);
    assert!(twice.err.ends_with("\nFailed to parse args: flag provided but not defined: -zork\n"));
}

#[test]
fn the_version_is_told_as_the_reference_tells_it() {
    let text = "Consul v1.22.0-dev\nBuild Date 1970-01-01T00:00:01Z\nProtocol 2 spoken by default, understands 2 to 3 \
                (agent will automatically use protocol >2 when speaking to compatible agents)\n\n";
    for line in [&["version"][..], &["--version"], &["-v"], &["-v", "kv"]] {
        assert_eq!(offline(line), Outcome { code: 0, out: text.to_owned(), err: String::new() });
    }
    assert_eq!(
        offline(&["version", "-format=json"]).out,
        "{\n   \"Version\": \"1.22.0\",\n   \"Revision\": \"\",\n   \"Prerelease\": \"dev\",\n   \"BuildDate\": \
         \"1970-01-01T00:00:01Z\",\n   \"RPC\": {\n      \"Default\": 2,\n      \"Min\": 2,\n      \"Max\": 3\n   }\n}\n"
    );
    assert_eq!(offline(&["version", "-format=x"]).err, "Unknown format: x\n");
}

#[test]
fn validation_says_yes_or_why_not() {
    let good = offline(&["validate", "good"]);
    assert_eq!((good.code, good.out.as_str(), good.err.as_str()), (0, "Configuration is valid!\n", "take care\n"));
    assert_eq!(offline(&["validate", "-quiet", "good"]), Outcome { code: 0, out: String::new(), err: String::new() });
    assert_eq!(offline(&["validate", "x"]).err, "Config validation failed: x is bad\n");
    assert_eq!(offline(&["validate"]).err, "Must specify at least one config file or directory\n");
    assert_eq!(offline(&["validate", "-config-format=x", "a"]).code, 1);
}

#[test]
fn a_key_has_32_bytes() {
    let key = offline(&["keygen"]).out;
    assert_eq!(wire::base64::decode(key.trim().as_bytes()).unwrap().len(), 32);
    assert_ne!(key, offline(&["keygen"]).out);
}

#[test]
fn an_agent_that_cannot_be_reached_is_told_in_gos_words() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let at = |pairs: &[(&str, &str)], line: &[&str]| run_in(environment(pairs), line, b"").err;
    let refused = format!("dial tcp {free}: connect: connection refused");
    let address = free.to_string();
    assert_eq!(
        at(&[("CONSUL_HTTP_ADDR", &address)], &["kv", "get", "-stale", "-datacenter", "dc 1", "a b/é"]),
        format!("Error querying Consul agent: Get \"http://{free}/v1/kv/a%20b/%C3%A9?dc=dc+1&stale=\": {refused}\n")
    );
    assert_eq!(
        at(&[("CONSUL_HTTP_ADDR", &address), ("CONSUL_HTTP_SSL", "true")], &["leave"]),
        format!("Error leaving: Put \"https://{free}/v1/agent/leave\": {refused}\n")
    );
    assert_eq!(
        at(&[("CONSUL_HTTP_ADDR", "unix:///nowhere/s")], &["kv", "get", "a"]),
        "Error querying Consul agent: Get \"http://localhost/v1/kv/a\": dial unix /nowhere/s: connect: no such file or \
         directory\n"
    );
    assert_eq!(
        at(&[("CONSUL_HTTP_ADDR", "ftp://x")], &["kv", "get", "a"]),
        "Error connecting to Consul agent: Unknown protocol scheme: ftp\n"
    );
    assert_eq!(
        at(&[("CONSUL_CACERT", "/nowhere")], &["kv", "get", "a"]),
        "Error connecting to Consul agent: Error loading CA File: open /nowhere: no such file or directory\n"
    );
    assert_eq!(
        at(&[], &["kv", "get", "-token-file=/nowhere", "a"]),
        "Error connecting to Consul agent: Error loading token file /nowhere : open /nowhere: no such file or directory\n"
    );
    let warned = at(&[("CONSUL_HTTP_ADDR", &address), ("CONSUL_HTTP_SSL", "zork")], &["kv", "get", "a"]);
    assert!(
        warned
            .contains("Z [WARN]  consul-api: could not parse CONSUL_HTTP_SSL: error=\"strconv.ParseBool: parsing \\\""),
        "{warned}"
    );
}

#[test]
fn refusals_show_status_and_text() {
    let agent = StandIn::new(|_| Reply::new(500, "No path to datacenter\n"));
    let outcome = agent.run(&["kv", "get", "-datacenter=x", "a"]);
    let text = "Error querying Consul agent: Unexpected response code: 500 (No path to datacenter)\n";
    assert_eq!((outcome.code, outcome.err.as_str()), (1, text));
}

#[test]
fn tokens_and_passwords_travel_in_headers_and_nowhere_else() {
    let agent = StandIn::new(|_| Reply::ok("[]"));
    let file = std::env::temp_dir().join(format!("curule-token-{}", std::process::id()));
    std::fs::write(&file, " from-file \n").unwrap();
    let file = file.to_str().unwrap();
    let sent = |extra: &[(&str, &str)], flags: &[&str]| {
        let address = agent.address.to_string();
        let pairs = [&[("CONSUL_HTTP_ADDR", address.as_str())], extra].concat();
        let line = [&["kv", "get"], flags, &["a"]].concat();
        let outcome = run_in(environment(&pairs), &line, b"");
        assert!(!format!("{outcome:?}").contains("s3cret"));
        let asked = agent.asked().pop().unwrap();
        assert!(!asked.line().contains("s3cret"));
        asked.header("x-consul-token").map(str::to_owned)
    };
    let (token, token_file) = (("CONSUL_HTTP_TOKEN", "s3cret-env"), ("CONSUL_HTTP_TOKEN_FILE", file));
    assert_eq!(sent(&[], &[]), None);
    assert_eq!(sent(&[token], &[]).as_deref(), Some("s3cret-env"));
    assert_eq!(sent(&[token, token_file], &[]).as_deref(), Some("from-file"));
    assert_eq!(sent(&[token, token_file], &["-token=s3cret-flag"]).as_deref(), Some("s3cret-flag"));
    assert_eq!(sent(&[token], &["-token=s3cret-flag", "-token-file", file]).as_deref(), Some("from-file"));
    sent(&[("CONSUL_HTTP_AUTH", "user:s3cret")], &[]);
    assert_eq!(agent.asked().pop().unwrap().header("authorization"), Some("Basic dXNlcjpzM2NyZXQ="));
    std::fs::remove_file(file).unwrap();
}

#[test]
fn redirections_are_followed_on_the_same_host_only() {
    let agent = StandIn::new(|asked| match asked.path.as_str() {
        "/v1/kv/a//b" => Reply::new(307, "").with("Location: /v1/kv/a/b"),
        "/v1/kv/round" => Reply::new(301, "").with("Location: /v1/kv/round"),
        "/v1/kv/away" => Reply::new(307, "gone").with("Location: http://127.0.0.1:1/v1/kv/a"),
        _ => Reply::ok("true"),
    });
    assert_eq!(agent.run(&["kv", "put", "a//b", "x"]).code, 0);
    let last = agent.asked().pop().unwrap();
    assert_eq!((last.line().as_str(), last.body.as_slice()), ("PUT /v1/kv/a/b", &b"x"[..]));
    assert_eq!(
        agent.run(&["kv", "get", "away"]).err,
        "Error querying Consul agent: Unexpected response code: 307 (gone)\n"
    );
    assert!(agent.run(&["kv", "get", "round"]).err.contains("301"));
}

#[test]
fn the_path_of_a_reverse_proxy_is_kept() {
    let agent = StandIn::new(|_| Reply::ok("true"));
    let address = format!("http://{}/behind/it", agent.address);
    run_in(environment(&[("CONSUL_HTTP_ADDR", &address)]), &["kv", "delete", "a"], b"");
    assert_eq!(agent.lines(), ["DELETE /behind/it/v1/kv/a"]);
}

#[test]
fn what_may_pass_is_told_from_what_will_not() {
    assert!(Failure::Transport("EOF".to_owned()).is_passing());
    assert!(Failure::Status { code: 500, body: String::new() }.is_passing());
    assert!(!Failure::Status { code: 403, body: String::new() }.is_passing());
    assert!(!Failure::Answer("?".to_owned()).is_passing());
}

#[test]
fn events_are_fired_with_their_filters() {
    let agent = StandIn::new(|_| Reply::ok(r#"{"ID":"88dd9416-1fa7-6af6-e729-59b6647cfe84"}"#));
    let outcome = agent.run(&["event", "-name=a b", "-node=^w", "-service", "x+", "-tag=t", "pay\nload"]);
    assert_eq!(outcome.out, "Event ID: 88dd9416-1fa7-6af6-e729-59b6647cfe84\n");
    let asked = agent.asked().pop().unwrap();
    assert_eq!(asked.line(), "PUT /v1/event/fire/a%20b?node=%5Ew&service=x%2B&tag=t");
    assert_eq!(asked.body, b"pay\nload");
    let unnamed = agent.run(&["event"]);
    assert!(unnamed.err.starts_with("Event name must be specified\n\nUsage: consul event [options] [payload]\n"));
    assert_eq!(
        agent.run(&["event", "-name=a", "-node=("]).err,
        "Failed to compile node filter regexp: error parsing regexp: missing closing ): `(`\n"
    );
    assert_eq!(agent.run(&["event", "-name=a", "-tag=x"]).err, "Cannot provide tag filter without service filter.\n");
}

#[test]
fn the_catalog_is_listed_in_columns() {
    const NODES: &str = r#"[{"ID":"530c0da7-93b6","Node":"vm","Address":"127.0.0.1","Datacenter":"dc1",
        "TaggedAddresses":{"wan":"1.1.1.1","lan":"127.0.0.1"},"Meta":{"b":"","a":"1"},"CreateIndex":1,"ModifyIndex":2}]"#;
    let agent = StandIn::new(|asked| match asked.path.as_str() {
        "/v1/catalog/datacenters" => Reply::ok(r#"["dc1","dc2"]"#),
        "/v1/catalog/nodes" if asked.query.contains("near") => Reply::ok("[]"),
        "/v1/catalog/nodes" => Reply::ok(NODES),
        "/v1/catalog/service/web" => Reply::ok(NODES.replace("\"Meta\"", "\"ServiceMeta\":{},\"NodeMeta\"")),
        "/v1/catalog/node/vm" => Reply::ok(
            r#"{"Node":{},"Services":{"w1":{"Service":"web","Tags":["b","a"]},"w2":{"Service":"web","Tags":null}}}"#,
        ),
        "/v1/catalog/node/nope" => Reply::ok("null"),
        _ => Reply::ok(r#"{"web":["z","a"],"consul":[],"longer-name":null}"#),
    });
    assert_eq!(agent.run(&["catalog", "datacenters"]).out, "dc1\ndc2\n");
    assert_eq!(
        agent.run(&["catalog", "nodes", "-node-meta", "x=y", "-filter=-"]).out,
        "Node  ID        Address    DC\nvm    530c0da7  127.0.0.1  dc1\n"
    );
    assert_eq!(agent.lines().pop().unwrap(), "GET /v1/catalog/nodes?node-meta=x%3Ay");
    for line in [&["catalog", "nodes", "-detailed"][..], &["catalog", "nodes", "-detailed", "-service=web"]] {
        assert_eq!(
            agent.run(line).out,
            "Node  ID             Address    DC   TaggedAddresses             Meta\nvm    530c0da7-93b6  127.0.0.1  dc1  \
             lan=127.0.0.1, wan=1.1.1.1  a=1, b=\n"
        );
    }
    let none = agent.run(&["catalog", "nodes", "-near=x"]);
    assert_eq!(none.code, 0);
    assert_eq!(none.err, "No nodes match the given query - try expanding your search.\n");
    assert_eq!(agent.run(&["catalog", "services"]).out, "consul\nlonger-name\nweb\n");
    assert_eq!(
        agent.run(&["catalog", "services", "-tags"]).out,
        "consul           \nlonger-name      \nweb              a,z\n"
    );
    assert_eq!(agent.run(&["catalog", "services", "-node=vm", "-tags"]).out, "web      a,b\n");
    assert!(agent.run(&["catalog", "services", "-node=nope"]).err.starts_with("No services match"));
}
