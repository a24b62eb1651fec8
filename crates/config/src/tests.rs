//! Whole configurations in, runtimes and texts out; the texts as the reference prints them.

use std::fs;

use super::debug_config::debug_config;
use super::host::InterfaceAddress;
use super::runtime::Listen;
use super::sources::Source;
use super::{Flags, Format, Host, Loaded, Runtime, Sources, load};

fn host() -> Host {
    let entry = |interface: &str, address: &str, loopback| InterfaceAddress {
        interface: interface.to_owned(),
        address: address.parse().expect("address"),
        prefix_length: 24,
        up: true,
        loopback,
    };
    Host {
        hostname: "machine".to_owned(),
        interfaces: vec![entry("lo", "127.0.0.1", true), entry("eth0", "10.0.0.5", false)],
        default_interface: Some("eth0".to_owned()),
        max_open_files: Some(20_000),
    }
}

fn sources(flags: &[&str], files: &[(&str, &str)]) -> Sources {
    let file = |(name, text): &(&str, &str)| Source {
        name: (*name).to_owned(),
        format: if name.ends_with(".json") { Format::Json } else { Format::Hcl },
        text: text.as_bytes().to_vec(),
    };
    let flags = Flags::parse(flags).expect("flags");
    Sources { warnings: flags.warnings.clone(), flags, files: files.iter().map(file).collect() }
}

#[track_caller]
fn loaded(flags: &[&str], files: &[(&str, &str)]) -> Loaded {
    match load(&sources(flags, files), &host()) {
        Ok(loaded) => loaded,
        Err(error) => panic!("{files:?}: {error}"),
    }
}

/// Loads one HCL text on top of a data directory.
#[track_caller]
fn runtime(text: &str) -> Runtime {
    loaded(&["-data-dir=/nowhere"], &[("f.hcl", text)]).runtime
}

#[track_caller]
fn warns(text: &str, expected: &[&str]) {
    assert_eq!(loaded(&["-data-dir=/nowhere"], &[("f.hcl", text)]).warnings, expected, "{text}");
}

#[track_caller]
fn refuses_file(name: &str, text: &str, expected: &str) {
    match load(&sources(&["-data-dir=/nowhere"], &[(name, text)]), &host()) {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => assert_eq!(error.to_string(), expected, "{text}"),
    }
}

#[track_caller]
fn refuses(text: &str, expected: &str) {
    refuses_file("f.hcl", text, expected);
}

/// Refused with gathered faults.
#[track_caller]
fn faults(text: &str, expected: &[&str]) {
    let faults: Vec<String> = expected.iter().map(|fault| (*fault).to_owned()).collect();
    refuses(text, &super::error::several(&faults));
}

#[test]
fn defaults_hold() {
    let runtime = runtime("");
    assert!(!runtime.server);
    assert_eq!(runtime.datacenter, "dc1");
    assert_eq!(runtime.primary_datacenter, "dc1");
    assert_eq!(runtime.node_name, "machine");
    assert_eq!(runtime.addresses.bind.to_string(), "0.0.0.0");
    assert_eq!(runtime.addresses.advertise_lan.to_string(), "10.0.0.5");
    assert_eq!(runtime.addresses.rpc_bind.to_string(), "0.0.0.0:8300");
    assert_eq!(runtime.addresses.http, [Listen::Socket("127.0.0.1:8500".parse().expect("socket"))]);
    assert_eq!(runtime.ports.grpc_tls, None);
    assert!(runtime.leave_on_terminate);
    assert!(!runtime.skip_leave_on_interrupt);
    assert_eq!(runtime.raft.election_timeout.to_string(), "5s");
    assert_eq!(runtime.limits.rpc_rate, None);
    assert_eq!(runtime.agent_checks.update_interval.to_string(), "5m0s");
    let tags: Vec<&str> = runtime.addresses.tagged.keys().map(String::as_str).collect();
    assert_eq!(tags, ["lan", "lan_ipv4", "wan", "wan_ipv4"]);
}

#[test]
fn a_server_differs_where_the_reference_says() {
    let runtime = runtime("server = true");
    assert!(!runtime.leave_on_terminate);
    assert!(runtime.skip_leave_on_interrupt);
    assert_eq!(runtime.ports.grpc_tls, Some(8503));
}

#[test]
fn development_mode_can_be_overridden_except_for_the_internal_values() {
    let runtime = loaded(&["-dev", "-http-port=18500", "-node", "n"], &[("f.hcl", "log_level = \"WARN\"")]).runtime;
    assert!(runtime.server && runtime.dev_mode && runtime.ui.enabled);
    assert_eq!(runtime.logging.level, "WARN");
    assert_eq!(runtime.addresses.bind.to_string(), "127.0.0.1");
    assert_eq!(runtime.ports.http, Some(18500));
    assert_eq!(runtime.raft.election_timeout.to_string(), "52ms");
    assert_eq!(runtime.gossip_lan.probe_interval.to_string(), "100ms");
    assert!(runtime.data_dir.as_os_str().is_empty());
}

#[test]
fn later_sources_win_and_lists_add_up() {
    let loaded = loaded(
        &["-data-dir=/d", "-retry-join=flag", "-node=flag", "-node-meta=a:flag", "-hcl", "domain = \"hcl.\""],
        &[
            (
                "1.hcl",
                "node_name = \"one\" retry_join = [\"one\"] domain = \"one.\" log_level = \"WARN\" ports { dns = 1 }",
            ),
            (
                "2.json",
                r#"{"node_name": "two", "retry_join": ["two"], "ports": {"http": 2}, "node_meta": {"a": "2", "b": "2"}}"#,
            ),
        ],
    );
    let runtime = loaded.runtime;
    assert_eq!(runtime.node_name, "flag");
    assert_eq!(runtime.joining.lan.addresses, ["flag", "one", "two"]);
    assert_eq!(runtime.dns.domain, "hcl.");
    assert_eq!(runtime.logging.level, "WARN");
    assert_eq!((runtime.ports.dns, runtime.ports.http), (Some(1), Some(2)));
    assert_eq!(runtime.node_meta.get("a").map(String::as_str), Some("flag"));
    assert_eq!(runtime.node_meta.get("b").map(String::as_str), Some("2"));
    assert_eq!(loaded.warnings, Vec::<String>::new());
}

#[test]
fn hcl_and_json_mean_the_same() {
    for (hcl, json) in [
        ("server = true ports { http = 1, dns = -1 }", r#"{"server": true, "ports": {"http": 1, "dns": -1}}"#),
        (
            "service { name = \"web\" port = 80 tags = [\"a\"] check { http = \"x\" interval = \"5s\" header { A = [\"b\"] } } }",
            r#"{"service": {"name": "web", "port": 80, "tags": ["a"],
                "check": {"http": "x", "interval": "5s", "header": {"A": ["b"]}}}}"#,
        ),
        (
            "services { name = \"a\" } services { name = \"b\" meta { k = \"v\" } }",
            r#"{"services": [{"Name": "a"}, {"Name": "b", "Meta": {"k": "v"}}]}"#,
        ),
        ("limits { rpc_rate = 5.5 rpc_max_burst = 0x10 }", r#"{"limits": {"rpc_rate": 5.5, "rpc_max_burst": 16}}"#),
        (
            "watches = [{ type = \"key\", key = \"a\" }] dns_config { soa { retry = 5 } service_ttl { \"*\" = \"5s\" } }",
            r#"{"watches": [{"type": "key", "key": "a"}],
                "dns_config": {"soa": {"retry": 5}, "service_ttl": {"*": "5s"}}}"#,
        ),
    ] {
        let from_hcl = loaded(&["-data-dir=/d"], &[("f.hcl", hcl)]).runtime;
        let from_json = loaded(&["-data-dir=/d"], &[("f.json", json)]).runtime;
        assert!(from_hcl.merged == from_json.merged, "{hcl}");
        assert_eq!(format!("{from_hcl:?}"), format!("{from_json:?}"), "{hcl}");
    }
}

#[test]
fn definitions_are_carried() {
    let runtime = runtime(
        r#"
        check { id = "c" args = ["x"] interval = "10s" failures_before_critical = 3 }
        "#,
    );
    let check = &runtime.check_definitions[0];
    assert_eq!((check.id.as_str(), check.script_args.len(), check.output_max_size), ("c", 1, 4096));
    assert_eq!((check.failures_before_warning, check.failures_before_critical), (3, 3));
    assert_eq!(check.interval.to_string(), "10s");

    let runtime = self::runtime(
        r#"service { Name = "web" Port = 1 Weights { Passing = 5 }
             tagged_addresses { wan { address = "5.6.7.8" port = 9 } } Tags = ["x"]
             check { ServiceID = "a" ScriptArgs = ["b"] DockerContainerID = "c" TLSSkipVerify = true h2ping = "h" }
             checks = [{ ttl = "1s" }] connect { sidecar_service { port = 7 } } }"#,
    );
    let service = &runtime.service_definitions[0];
    assert_eq!(
        (service.name.as_str(), service.port, service.weights.passing, service.weights.warning),
        ("web", 1, 5, 1)
    );
    assert_eq!(service.tagged_addresses["wan"].port, 9);
    assert_eq!(service.checks.len(), 2);
    let check = &service.checks[1];
    assert_eq!((check.service_id.as_str(), check.docker_container_id.as_str()), ("a", "c"));
    assert!(check.tls_skip_verify && check.h2ping_use_tls);
    assert_eq!(check.script_args, ["b"]);
    let sidecar = service.connect.as_ref().and_then(|connect| connect.sidecar_service.as_ref());
    assert_eq!(sidecar.map(|sidecar| sidecar.port), Some(7));
}

#[test]
fn unknown_keys_are_all_told() {
    refuses("zork = 1", "failed to parse f.hcl: 1 error occurred:\n\t* invalid config key zork\n\n");
    refuses(
        "zork = 1 ports { foo = 1 } service { name=\"x\" bar=\"y\" check { q = 1 } proxy { config { a = 1 } zz=1 } } \
         services = [{Name=\"a\", Ports={}}]",
        "failed to parse f.hcl: 6 errors occurred:\n\t* invalid config key ports.foo\n\t* invalid config key \
         service.check.q\n\t* invalid config key service.proxy.zz\n\t* invalid config key service.bar\n\t* invalid \
         config key services[0].Ports\n\t* invalid config key zork\n\n",
    );
}

#[test]
fn wrong_types_are_all_told() {
    refuses(
        "datacenter = 1 ports { http = \"1\" } server = 1",
        "failed to parse f.hcl: 3 error(s) decoding:\n\n\
         * 'datacenter' expected type 'string', got unconvertible type 'int', value: '1'\n\
         * 'ports.http' expected type 'int', got unconvertible type 'string', value: '1'\n\
         * 'server' expected type 'bool', got unconvertible type 'int', value: '1'",
    );
    refuses_file(
        "f.json",
        r#"{"datacenter": 1, "ports": {"http": 1.5, "dns": "a"}, "server": null, "recursors": "a",
            "node_meta": {"a": 1}, "retry_join": [1], "telemetry": 3}"#,
        "failed to parse f.json: 6 error(s) decoding:\n\n\
         * 'datacenter' expected type 'string', got unconvertible type 'float64', value: '1'\n\
         * 'node_meta[a]' expected type 'string', got unconvertible type 'float64', value: '1'\n\
         * 'ports.dns' expected type 'int', got unconvertible type 'string', value: 'a'\n\
         * 'recursors': source data must be an array or slice, got string\n\
         * 'retry_join[0]' expected type 'string', got unconvertible type 'float64', value: '1'\n\
         * 'telemetry' expected a map, got 'float64'",
    );
    refuses(
        "limits { kv_max_value_size = -1 rpc_rate = \"a\" }",
        "failed to parse f.hcl: 2 error(s) decoding:\n\n\
         * 'limits.rpc_rate' expected type 'float64', got unconvertible type 'string', value: 'a'\n\
         * cannot parse 'limits.kv_max_value_size', -1 overflows uint",
    );
    refuses(
        "node_meta { a = \"1\" } node_meta { b = \"2\" }",
        "failed to parse f.hcl: 1 error(s) decoding:\n\n* 'node_meta' expected a map, got 'slice'",
    );
}

#[test]
fn syntax_errors_name_the_file() {
    refuses("a : 1", "failed to parse f.hcl: At 1:3: illegal char");
    refuses_file("f.json", "{\"a\" 1}", "failed to parse f.json: invalid character '1' after object key");
    let mut sources = sources(&["-data-dir=/d"], &[]);
    let text = b"\n a = \"\xff\"".to_vec();
    sources.files.push(Source { name: "f.hcl".to_owned(), format: Format::Hcl, text });
    let error = load(&sources, &host()).expect_err("refused");
    assert_eq!(error.to_string(), "failed to parse f.hcl: At 2:7: illegal UTF-8 encoding");
}

#[test]
fn rules_that_stop_at_once() {
    let error = load(&sources(&[], &[]), &host()).expect_err("refused");
    assert_eq!(error.to_string(), "data_dir cannot be empty");
    let dev = |flag: &str| load(&sources(&["-dev", flag], &[]), &host()).expect_err("refused").to_string();
    assert_eq!(dev("-bootstrap-expect=3"), "'bootstrap_expect > 0' not allowed in dev mode");
    for (text, expected) in [
        ("bootstrap_expect = 3", "'bootstrap_expect > 0' requires 'server = true'"),
        ("bootstrap_expect = -1", "bootstrap_expect cannot be -1. Must be greater than or equal to zero"),
        ("bootstrap = true", "'bootstrap = true' requires 'server = true'"),
        (
            "server = true bootstrap_expect = 2 bootstrap = true",
            "'bootstrap_expect > 0' and 'bootstrap = true' are mutually exclusive",
        ),
        (
            "datacenter = \"A B\"",
            "datacenter can only contain lowercase alphanumeric, - or _ characters. received: \"a b\"",
        ),
        ("datacenter = \"\"", "datacenter cannot be empty"),
        ("raft_protocol = 2", "raft_protocol version 2 is not supported by this version of Consul"),
        (
            "bind_addr = \"1.2.3.4 2.3.4.5\"",
            "bind_addr cannot contain multiple addresses. Use 'addresses.{dns,http,https}' instead.",
        ),
        ("bind_addr = \"\"", "bind_addr cannot be empty"),
        ("bind_addr = \"unix:///a\"", "bind_addr cannot be a unix socket"),
        ("bind_addr = \"::\"", "No public IPv6 address found"),
        ("advertise_addr = \"0.0.0.0\"", "Advertise address cannot be 0.0.0.0, :: or [::]"),
        ("advertise_addr_wan = \"::\"", "Advertise WAN address cannot be 0.0.0.0, :: or [::]"),
        ("advertise_addr_ipv4 = \"::1\"", "advertise_addr_ipv4 must be an ipv4 address"),
        (
            "node_meta { \"a b\" = \"1\" }",
            "node_meta invalid: Couldn't load metadata pair ('a b', '1'): Key contains invalid characters",
        ),
        (
            "node_meta { consul-x = \"1\" }",
            "node_meta invalid: Couldn't load metadata pair ('consul-x', '1'): Key prefix 'consul-' is reserved for \
             internal use",
        ),
        (
            "limits { http_max_conns_per_client = 99999999 }",
            "system allows a max of 20000 file descriptors, but limits.http_max_conns_per_client: 99999999 needs at \
             least 100000019",
        ),
        ("segment = \"a\"", "Network segments are not supported in this version of Consul"),
        ("encrypt = \"abc\"", "encrypt has invalid key: illegal base64 data at input byte 0"),
        ("performance { raft_multiplier = 11 }", "performance.raft_multiplier cannot be 11. Must be between 1 and 10"),
        ("ports { server = 0 }", "server-port must be greater than zero"),
        (
            "ports { sidecar_min_port = 30000 }",
            "sidecar_min_port must be less than sidecar_max_port. To disable, set both to zero.",
        ),
        (
            "serf_lan_allowed_cidrs = [\"1.2.3\"]",
            "serf_lan_allowed_cidrs: 1 error occurred:\n\t* invalid cidr: 1.2.3\n\n",
        ),
        ("addresses { dns = \"unix:///a\" }", "DNS address cannot be a unix socket"),
        ("recursors = [\"0.0.0.0\"]", "DNS recursor address cannot be 0.0.0.0, :: or [::]"),
        ("alt_domain = \"dc1.x\"", "alt_domain cannot start with {service,connect,node,query,addr,dc1}"),
        ("ports { http = 8600 }", "HTTP address 127.0.0.1:8600 already configured for DNS"),
        ("locality { zone = \"a\" }", "locality is invalid: zone cannot be set without region"),
        ("server = true raft_logstore { backend = \"x\" }", "raft_logstore.backend must be one of 'boltdb' or 'wal'"),
        (
            "check_output_max_size = 0",
            "check_output_max_size must be positive, to discard check output use the discard_check_output flag",
        ),
        (
            "dns_config { udp_answer_limit = -1 }",
            "dns_config.udp_answer_limit cannot be -1. Must be greater than or equal to zero",
        ),
        ("tls { grpc { verify_outgoing = true } }", "verify_outgoing is not valid in the tls.grpc stanza"),
        ("ui_config { content_path = \"/v1/\" }", "ui-content-path cannot have 'v[0-9]'. received: \"/v1/\""),
        ("connect { ca_provider = \"foo\" }", "foo is not a valid CA provider"),
        ("primary_gateways = [\"a\"]", "'primary_gateways' requires 'server = true'"),
    ] {
        refuses(text, expected);
    }
}

#[test]
fn faults_of_values_are_told_together() {
    faults(
        "check_update_interval = \"5x\" session_ttl_min = \"1\"",
        &[
            "check_update_interval: invalid duration: \"5x\": time: unknown unit \"x\" in duration \"5x\"",
            "session_ttl_min: invalid duration: \"1\": time: missing unit in duration \"1\"",
        ],
    );
    faults(
        "gossip_lan { probe_interval = \"x\" } ports { dns = 99999 }",
        &[
            "ports.dns: invalid port: 99999",
            "gossip_lan..probe_interval: invalid duration: \"x\": time: invalid duration \"x\"",
        ],
    );
    faults("client_addr = \"a b\"", &["client_addr: invalid ip address: a"]);
    faults("server_rejoin_age_max = \"1h\"", &["server_rejoin_age_max: duration '1h' cannot be less than: 6h0m0s"]);
    faults("http_config { allow_write_http_from = [\"1.2.3\"] }", &["allow_write_http_from: invalid cidr: 1.2.3"]);
    faults(
        "service { name = \"a\" weights { passing = 0 } meta { \"a b\" = \"c\" } port = 1 socket_path = \"/x\" }",
        &[
            "invalid meta for service a: Couldn't load metadata pair ('a b', 'c'): Key contains invalid characters",
            "Invalid weight definition for service a: Passing must be greater than 0",
            "service a cannot have both socket path /x and address/port",
        ],
    );
}

#[test]
fn warnings_are_the_references() {
    warns(
        "server = true bootstrap_expect = 1",
        &[
            "BootstrapExpect is set to 1; this is the same as Bootstrap mode.",
            "bootstrap = true: do not enable unless necessary",
        ],
    );
    warns(
        "telemetry { prefix_filter = [\"foo\", \"+bar\", \"-baz\", \"\"] }",
        &["Filter rule must begin with either '+' or '-': \"foo\"", "Cannot have empty filter rule in prefix_filter"],
    );
    warns(
        "node_name = \"a b\"",
        &[
            "Node name \"a b\" will not be discoverable via DNS due to invalid characters. Valid characters include all \
           alpha-numerics and dashes.",
        ],
    );
    warns(
        "partition = \"x\" ui = true",
        &[
            "\"partition\" is a Consul Enterprise configuration and will have no effect",
            "The 'ui' field is deprecated. Use the 'ui_config.enabled' field instead.",
        ],
    );
    warns(
        "acl { tokens { master = \"abc\" } } start_join = [\"a\"] acl_enforce_version_8 = true acl_disabled_ttl = \"1s\"",
        &[
            "config key \"acl_enforce_version_8\" is deprecated and should be removed",
            "config key \"acl_disabled_ttl\" is deprecated and should be removed",
            "The 'acl.tokens.master' field is deprecated. Use the 'acl.tokens.initial_management' field instead.",
            "The 'start_join' field is deprecated. Use the 'retry_join' field instead.",
        ],
    );
}

#[test]
fn keys_without_effect_are_told() {
    warns("auto_reload_config = true", &["config key \"auto_reload_config\" is accepted but has no effect yet"]);
    warns("peering { enabled = true }", &["config key \"peering\" is accepted but has no effect yet"]);
}

#[test]
fn protection_that_is_not_built_is_refused() {
    for (text, setting) in [
        ("acl { enabled = true }", "acl.enabled = true"),
        ("acl_datacenter = \"dc1\"", "acl.enabled = true"),
        ("verify_incoming_rpc = true", "tls.internal_rpc.verify_incoming = true"),
        ("tls { https { verify_incoming = true } }", "tls.https.verify_incoming = true"),
        ("cert_file = \"x\"", "tls.defaults.cert_file"),
    ] {
        let fault = format!(
            "{setting} asks for protection that is not built yet; refusing to start rather than run without it"
        );
        faults(text, &[&fault]);
    }
    runtime("acl { enabled = false } tls { defaults { verify_incoming = false } } verify_outgoing = false");
}

#[test]
fn secrets_do_not_print() {
    let runtime = runtime(
        r#"acl { tokens { default = "s3cret" agent = "s3cret" } } service { name = "a" token = "s3cret" }
           check { name = "c" ttl = "1s" token = "s3cret" } watches = [{ type = "key" key = "a" token = "s3cret" }]
           retry_join = ["provider=aws secret_access_key=s3cret region=x"] telemetry { circonus_api_token = "s3cret" }
           connect { ca_config { token = "s3cret" } } cloud { client_secret = "s3cret" }"#,
    );
    assert!(!format!("{runtime:?}").contains("s3cret"));
    let shown = serde_json::Value::Object(debug_config(&runtime));
    assert!(!shown.to_string().contains("s3cret"));
    assert_eq!(shown["RetryJoinLAN"][0], "provider=aws secret_access_key=hidden region=x");
    assert_eq!(runtime.acl.tokens.default.expose(), "s3cret");
}

#[test]
fn debug_config_has_the_references_names_and_forms() {
    let loaded = loaded(&["-dev", "-node=n", "-grpc-port=-1"], &[("f.hcl", "limits { rpc_rate = 5.5 }")]);
    let shown = serde_json::Value::Object(debug_config(&loaded.runtime));
    for (pointer, expected) in [
        ("/ACLResolverSettings/ACLDownPolicy", "\"extend-cache\""),
        ("/ACLTokens/ACLAgentToken", "\"hidden\""),
        ("/AEInterval", "\"1m0s\""),
        ("/AdvertiseAddrLAN", "\"127.0.0.1\""),
        ("/AllowWriteHTTPFrom", "[]"),
        ("/Cache/EntryFetchRate", "1.7976931348623157e+308"),
        ("/ConsulRaftElectionTimeout", "\"52ms\""),
        ("/DNSAddrs", "[\"tcp://127.0.0.1:8600\",\"udp://127.0.0.1:8600\"]"),
        ("/DNSMaxStale", "\"87600h0m0s\""),
        ("/DNSSOA/Expire", "86400"),
        ("/GRPCPort", "-1"),
        ("/RPCRateLimit", "5.5"),
        ("/SyncCoordinateRateTarget", "64"),
        ("/TaggedAddresses/lan_ipv4", "\"127.0.0.1\""),
        ("/Telemetry/BlockedPrefixes", "[\"consul.rpc.server.call\"]"),
        ("/TLS/InternalRPC/TLSMinVersion", "\"TLSv1_2\""),
    ] {
        let value = shown.pointer(pointer).unwrap_or(&serde_json::Value::Null);
        assert_eq!(value.to_string(), expected, "{pointer}");
    }
}

#[test]
fn directories_are_read_in_order_and_skip_other_files() {
    let dir = tempfile::tempdir().expect("directory");
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("writes");
    write("b.hcl", "retry_join = [\"b\"] node_name = \"b\"");
    write("a.json", "{\"retry_join\": [\"a\"], \"node_name\": \"a\"}");
    write("c.txt", "zork");
    fs::create_dir(dir.path().join("d.hcl")).expect("directory");
    let path = dir.path().display().to_string();
    let read = |flags: &[&str]| Sources::read(Flags::parse(flags).expect("flags"));

    let sources = read(&["-config-dir", &path, "-dev"]).expect("reads");
    assert_eq!(
        sources.warnings,
        [format!("skipping file {path}/c.txt, extension must be .hcl or .json, or config format must be set")]
    );
    let runtime = load(&sources, &host()).expect("loads").runtime;
    assert_eq!(runtime.joining.lan.addresses, ["a", "b"]);
    assert_eq!(runtime.node_name, "b");

    let file = format!("{path}/c.txt");
    let error = read(&["-config-file", &file]).expect_err("refused").to_string();
    assert_eq!(
        error,
        format!("file {file} has unknown extension; must be .hcl or .json, or config format must be set")
    );
    let sources = read(&["-config-file", &file, "-config-format=hcl"]).expect("reads");
    assert!(load(&sources, &host()).is_err());
    let error = read(&["-config-file", &file, "-config-format=yaml"]).expect_err("refused").to_string();
    assert_eq!(error, "config: -config-format must be either 'hcl' or 'json'");
    let error = read(&["-config-file=/no/such.hcl"]).expect_err("refused").to_string();
    assert_eq!(error, "config: Open failed on /no/such.hcl. open /no/such.hcl: no such file or directory");
}

#[test]
fn addresses_take_templates_sockets_and_lists() {
    let runtime = runtime(
        r#"bind_addr = "{{ GetPrivateIP }}" client_addr = "127.0.0.1 {{ GetInterfaceIP \"eth0\" }}"
           addresses { http = "unix:///run/c.sock 127.0.0.9" } advertise_addr_ipv6 = "fd00::9" ports { serf_wan = -1 }"#,
    );
    assert_eq!(runtime.addresses.bind.to_string(), "10.0.0.5");
    assert_eq!(runtime.addresses.client.len(), 2);
    assert_eq!(runtime.addresses.http[0], Listen::Unix("/run/c.sock".into()));
    assert_eq!(runtime.addresses.tagged["lan_ipv6"], "fd00::9");
    assert_eq!(runtime.addresses.serf_wan_bind, None);
    faults(
        "retry_join = [\"{{ GetFoo }}\"]",
        &["retry_join: error parsing \"{{ GetFoo }}\": unable to parse template \"{{ GetFoo }}\": template: \
           sockaddr.Parse:1: function \"GetFoo\" not defined"],
    );
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(256))]

    #[test]
    fn any_value_anywhere_is_answered(
        key in proptest::sample::select(super::schema::AGENT.keys.iter().map(|key| key.name).collect::<Vec<_>>()),
        value in proptest::sample::select(vec![
            "1", "-1", "1e300", "\"\"", "\"x\"", "\"1.2.3.4\"", "\"{{ x }}\"", "true", "[]", "[1]", "[[\"a\"]]", "{}",
            "{ a = 1 }", "[{ name = \"a\" }]", "[{}, {}]", "9223372036854775807", "\"-5s\"", "{ name = 1 }",
            "\"unix://\"", "99999",
        ]),
    ) {
        let _ = load(&sources(&["-data-dir=/d"], &[("f.hcl", &format!("{key} = {value}"))]), &host());
    }
}
