//! `/v1/snapshot`: an archive that restores what was there. Alone in its file: restoring moves the whole agent back.

use conformance::{agent, cleanup, eventually, json, start_agent, unique};
use std::time::Duration;

#[test]
fn a_snapshot_is_a_gzip_archive() {
    let answer = agent().get("/v1/snapshot").status(200);
    assert_eq!(&answer.body[..2], [0x1f, 0x8b]);
    assert_eq!(answer.header("Content-Type"), "application/x-gzip");
    assert!(answer.index() > 0);
    assert_eq!(answer.header("X-Consul-Knownleader"), "true");
    let archive = answer.gunzip();
    // A tar: names of its members stand at the start of 512-byte blocks.
    let names: Vec<String> = archive
        .chunks(512)
        .filter(|block| block.get(257..262) == Some(b"ustar"))
        .map(|block| String::from_utf8_lossy(&block[..100]).trim_end_matches('\0').to_owned())
        .collect();
    assert_eq!(names, ["meta.json", "state.bin", "SHA256SUMS"]);
}

#[test]
fn refusals() {
    agent().put("/v1/snapshot", "garbage").expect(500, "failed to decompress snapshot: unexpected EOF");
    agent().put("/v1/snapshot", "").expect(500, "failed to decompress snapshot: EOF");
    agent().get("/v1/snapshot?dc=nope").expect(500, "No path to datacenter");
    agent().post("/v1/snapshot", "").expect(405, "method POST not allowed");
}

#[test]
fn restoring_brings_back_what_was_there() {
    // Somebody else's agent is not ours to move back in time.
    if std::env::var_os("CONFORMANCE_HTTP").is_some() && std::env::var_os("CONFORMANCE_RESTORE").is_none() {
        return;
    }
    let own;
    let agent = if std::env::var_os("CONFORMANCE_HTTP").is_some() {
        agent()
    } else {
        own = start_agent(&[]);
        &own
    };
    let key = unique("snapshot");
    let undo = format!("/v1/kv/{key}?recurse");
    let _undo = cleanup(|| drop(agent.delete(&undo).send()));
    agent.put(format!("/v1/kv/{key}/kept?flags=7"), "old").expect(200, "true");
    let query = json!({"Name": key, "Service": {"Service": "x"}});
    let query = agent.post("/v1/query", query.to_string()).json()["ID"].as_str().expect("an id").to_owned();
    let session = agent.put("/v1/session/create", r#"{"TTL":"1h"}"#).json()["ID"].as_str().expect("an id").to_owned();
    agent.put(format!("/v1/kv/{key}/lock?acquire={session}"), "l").expect(200, "true");
    let before = agent.get(format!("/v1/kv/{key}/kept")).json();
    let archive = agent.get("/v1/snapshot").status(200).body;
    // The reference's agent finds out within a minute; ours at once.
    let is_ours = std::env::var_os("CONFORMANCE_HTTP").is_none();
    if is_ours {
        agent.put_json("/v1/agent/service/register", &json!({"Name": key})).expect(200, "");
    }

    agent.put(format!("/v1/kv/{key}/kept"), "new").expect(200, "true");
    agent.put(format!("/v1/kv/{key}/later"), "x").expect(200, "true");
    agent.delete(format!("/v1/query/{query}")).status(200);
    agent.put(format!("/v1/session/destroy/{session}"), "").expect(200, "true");
    let index = agent.get(format!("/v1/kv/{key}/kept")).send().index();
    let wait = agent.get(format!("/v1/kv/{key}/kept?index={index}&wait=15s"));
    let waiter = std::thread::spawn(move || wait.send());
    std::thread::sleep(Duration::from_millis(300));

    agent.put("/v1/snapshot", &archive).expect(200, "");
    let woken = waiter.join().expect("the waiter ends");
    assert!(woken.took < Duration::from_secs(10), "a restore wakes readers: {:?}", woken.took);
    let after = eventually("the state is back", || {
        let answer = agent.get(format!("/v1/kv/{key}/kept")).send();
        (answer.code == 200).then(|| answer.json())
    });
    assert_eq!(after, before, "entry and indexes as they were");
    agent.get(format!("/v1/kv/{key}/later")).status(404);
    if is_ours {
        eventually("the agent's own services are back", || {
            (agent.get(format!("/v1/catalog/service/{key}")).json() != json!([])).then_some(())
        });
    }
    agent.get(format!("/v1/query/{query}")).status(200);
    let sessions = agent.get(format!("/v1/session/info/{session}")).json();
    assert_eq!(sessions[0]["ID"], json!(session));
    assert_eq!(agent.get(format!("/v1/kv/{key}/lock")).json()[0]["Session"], json!(session));
    agent.put(format!("/v1/kv/{key}/again"), "x").expect(200, "true");
    agent.delete(format!("/v1/query/{query}")).status(200);
    agent.put(format!("/v1/session/destroy/{session}"), "").expect(200, "true");
}
