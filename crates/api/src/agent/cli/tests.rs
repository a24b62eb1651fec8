//! What the commands that speak to one agent send and print.

use serde_json::Value;

use crate::cli::stand_in::{Reply, StandIn};

const MEMBERS: &str = r#"[
    {"Name":"c1","Addr":"10.0.0.9","Port":8301,"Status":4,"Tags":{"role":"node","build":"1.22.0:abc","vsn":"2","dc":"dc1"}},
    {"Name":"vm","Addr":"127.0.0.1","Port":18301,"Status":1,"Tags":{"role":"consul","build":"1.22.0dev:","vsn":"2","dc":"dc1","id":"x"}},
    {"Name":"b1","Addr":"::1","Port":1,"Status":3,"Tags":{"role":"node","vsn":"2","dc":"dc1","segment":"s"}},
    {"Name":"odd","Addr":"","Port":0,"Status":7,"Tags":null}]"#;

fn agent() -> StandIn {
    StandIn::new(|asked| match asked.path.as_str() {
        "/v1/agent/members" => Reply::ok(MEMBERS),
        "/v1/agent/self" => Reply::ok(
            r#"{"Config":{"NodeName":"vm"},"Stats":{"raft":{"term":"2","applied_index":"9"},"agent":{"checks":"0"}}}"#,
        ),
        "/v1/agent/checks" => Reply::ok(
            r#"{"_node_maintenance":{"CheckID":"_node_maintenance","Notes":"disk"},"x":{"CheckID":"x"},
            "_service_maintenance:web":{"CheckID":"_service_maintenance:web","ServiceID":"web","Notes":"why"}}"#,
        ),
        "/v1/agent/monitor" if asked.query.contains("ERR") => Reply::new(400, "Unknown log level"),
        "/v1/agent/monitor" => Reply::ok("one\r\n\ntwo"),
        "/v1/agent/service/deregister/nope" => Reply::new(404, "Unknown service ID"),
        _ => Reply::ok(""),
    })
}

#[test]
fn members_are_sorted_and_filtered() {
    let agent = agent();
    assert_eq!(
        agent.run(&["members", "-wan", "-filter=a b"]).out,
        "Node  Address          Status  Type     Build      Protocol  DC   Partition  Segment\n\
         vm    127.0.0.1:18301  alive   server   1.22.0dev  2         dc1  default    <all>\n\
         c1    10.0.0.9:8301    failed  client   1.22.0     2         dc1  default    <default>\n\
         odd   :0               none    unknown                                       \n\
         b1    [::1]:1          left    client   < 0.3      2         dc1  default    s\n"
    );
    assert_eq!(agent.lines(), ["GET /v1/agent/members?filter=a+b&segment=_all&wan=1"]);
    assert_eq!(
        agent.run(&["members", "-detailed", "-status=^alive$"]).out,
        "Node  Address          Status  Tags\nvm    127.0.0.1:18301  alive   \
         ap=default,build=1.22.0dev:,dc=dc1,id=x,role=consul,segment=<all>,vsn=2\n"
    );
    let none = agent.run(&["members", "-status=nope"]);
    assert_eq!((none.code, none.out.as_str(), none.err.as_str()), (2, "", ""));
}

#[test]
fn figures_are_sorted() {
    assert_eq!(agent().run(&["info"]).out, "agent:\n\tchecks = 0\nraft:\n\tapplied_index = 9\n\tterm = 2\n");
}

#[test]
fn leaving_and_reloading_are_asked_for() {
    let agent = agent();
    assert_eq!(agent.run(&["leave"]).out, "Graceful leave complete\n");
    assert_eq!(agent.run(&["reload"]).out, "Configuration reload triggered\n");
    assert_eq!(agent.lines(), ["PUT /v1/agent/leave", "PUT /v1/agent/reload"]);
    let odd = agent.run(&["leave", "x", "y"]);
    assert_eq!((odd.code, odd.err.as_str()), (1, "Error found unexpected args: [x y]\n"));
    assert!(odd.out.starts_with("Usage: consul leave [options]\n"));
}

#[test]
fn maintenance_is_begun_ended_and_listed() {
    let agent = agent();
    assert_eq!(
        agent.run(&["maint"]).out,
        "Node:\n  Name:   vm\n  Reason: disk\n\nService:\n  ID:     web\n  Reason: why\n\n"
    );
    for (line, out, asked) in [
        (&["-enable", "-reason=a b"][..], "Node maintenance is now enabled\n", "maintenance?enable=true&reason=a+b"),
        (&["-disable"], "Node maintenance is now disabled\n", "maintenance?enable=false"),
        (
            &["-enable", "-service=w"],
            "Service maintenance is now enabled for \"w\"\n",
            "service/maintenance/w?enable=true&reason=",
        ),
        (
            &["-disable", "-service=w"],
            "Service maintenance is now disabled for \"w\"\n",
            "service/maintenance/w?enable=false",
        ),
    ] {
        assert_eq!(agent.run(&[&["maint"], line].concat()).out, out);
        assert_eq!(agent.lines().pop().unwrap(), format!("PUT /v1/agent/{asked}"));
    }
    for (line, err) in [
        (&["-enable", "-disable"][..], "Only one of -enable or -disable may be provided\n"),
        (&["-reason=x"], "Reason may only be provided with -enable\n"),
        (&["-service=x"], "Service requires either -enable or -disable\n"),
    ] {
        assert_eq!(agent.run(&[&["maint"], line].concat()).err, err);
    }
}

#[test]
fn the_log_is_followed_to_its_end() {
    let agent = agent();
    let ended = agent.run(&["monitor", "-log-json"]);
    assert_eq!(ended.code, 1);
    assert_eq!(
        ended.out,
        "one\n \ntwo\n\nRemote side ended the monitor! This usually means that the\nremote side has exited or crashed.\n"
    );
    assert_eq!(agent.lines(), ["GET /v1/agent/monitor?logjson=true&loglevel=INFO"]);
    assert_eq!(
        agent.run(&["monitor", "-log-level=ERR"]).err,
        "Error starting monitor: Unexpected response code: 400 (Unknown log level)\n"
    );
}

#[test]
fn services_are_registered_from_flags_and_files() {
    let agent = agent();
    let line = "services register -name=web -id=w1 -port=80 -tag=a -tag b -meta k=v=w -address=1.2.3.4 -kind=x \
                -tagged-address lan=[::1]:90";
    assert_eq!(agent.run(&line.split(' ').collect::<Vec<_>>()).out, "Registered service: web\n");
    let asked = agent.asked().pop().unwrap();
    assert_eq!(asked.line(), "PUT /v1/agent/service/register");
    let body: Value = serde_json::from_slice(&asked.body).unwrap();
    let expect = r#"{"Kind":"x","ID":"w1","Name":"web","Address":"1.2.3.4","Port":80,"Tags":["a","b"],"Meta":{"k":"v=w"},
        "TaggedAddresses":{"lan":{"Address":"::1","Port":90}}}"#;
    assert_eq!(body, serde_json::from_str::<Value>(expect).unwrap());

    let files = agent.run(&["services", "register", "one.hcl", "two.json"]);
    assert_eq!(
        (files.out.as_str(), files.err.as_str()),
        ("Registered service: one.hcl\nRegistered service: two.json\n", "take care\n")
    );
    assert_eq!(agent.run(&["services", "deregister", "one.hcl"]).out, "Deregistered service: one.hcl\n");
    assert_eq!(agent.run(&["services", "deregister", "-id=w1"]).out, "Deregistered service: w1\n");
    assert_eq!(agent.lines().pop().unwrap(), "PUT /v1/agent/service/deregister/w1");
    for (line, err) in [
        ("register", "Service registration requires at least one argument or flags.\n"),
        ("register -name=a b", "Service registration requires arguments or -id, not both.\n"),
        ("register -name=a -tagged-address=l=x", "Invalid Tagged Address: address x: missing port in address\n"),
        (
            "register -name=a -tagged-address=l=x:y",
            "Invalid Tagged Address: strconv.Atoi: parsing \"y\": invalid syntax\n",
        ),
        ("deregister", "Service deregistration requires at least one argument or -id.\n"),
        ("deregister -id=a b", "Service deregistration requires arguments or -id, not both.\n"),
        (
            "deregister -id=nope",
            "Error deregistering service \"\": Unexpected response code: 404 (Unknown service ID)\n",
        ),
    ] {
        let words: Vec<&str> = std::iter::once("services").chain(line.split(' ')).collect();
        let outcome = agent.run(&words);
        assert_eq!((outcome.code, outcome.err.as_str()), (1, err), "{line}");
    }
}

#[test]
fn agents_join_and_members_are_let_go() {
    let agent = StandIn::new(|asked| {
        let is_odd = asked.path.ends_with("/nope");
        if is_odd { Reply::new(500, "1 error occurred:\n\t* no\n\n") } else { Reply::ok("") }
    });
    let odd = "Unexpected response code: 500 (1 error occurred:\n\t* no)";
    let joined = agent.run(&["join", "nope", "1.2.3.4:5", "b"]);
    assert_eq!(joined.code, 0);
    assert_eq!(joined.out, "Successfully joined cluster by contacting 2 nodes.\n");
    assert_eq!(joined.err, format!("Error joining address 'nope': {odd}\n"));
    let failed = agent.run(&["join", "-wan", "nope"]);
    assert_eq!((failed.code, failed.out.as_str()), (1, ""));
    assert_eq!(failed.err, format!("Error joining address 'nope': {odd}\nFailed to join any nodes.\n"));
    let quiet = agent.run(&["force-leave", "-prune", "-wan", "a b"]);
    assert_eq!((quiet.code, quiet.out.as_str(), quiet.err.as_str()), (0, "", ""));
    let unknown = agent.run(&["force-leave", "nope"]);
    assert_eq!((unknown.code, unknown.err), (1, format!("Error force leaving: {odd}\n")));
    assert_eq!(
        agent.lines(),
        [
            "PUT /v1/agent/join/nope",
            "PUT /v1/agent/join/1.2.3.4:5",
            "PUT /v1/agent/join/b",
            "PUT /v1/agent/join/nope?wan=1",
            "PUT /v1/agent/force-leave/a%20b?prune=1&wan=1",
            "PUT /v1/agent/force-leave/nope",
        ]
    );
    for (line, err) in [
        (&["join"][..], "At least one address to join must be specified.\n\nUsage: consul join"),
        (
            &["force-leave", "a", "b"],
            "A single node name must be specified to force leave.\n\nUsage: consul force-leave",
        ),
    ] {
        let outcome = agent.run(line);
        assert_eq!(outcome.code, 1);
        assert!(outcome.err.starts_with(err), "{}", outcome.err);
    }
}
