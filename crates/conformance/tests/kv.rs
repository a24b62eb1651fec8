//! `/v1/kv`: reads in every form, writes with conditions, locks, deletes, limits and refusals.

use conformance::{Answer, agent, base64, cleanup, json, unique};

/// A key prefix of this test, ending in a slash; everything under it goes away with the guard.
fn prefix() -> (String, impl Drop) {
    let prefix = format!("{}/", unique("kv"));
    let undo = format!("/v1/kv/{prefix}?recurse");
    (prefix, cleanup(move || drop(agent().delete(&undo).send())))
}

fn put(key: &str, value: &str) {
    agent().put(format!("/v1/kv/{key}"), value).expect(200, "true");
}

fn get(key: &str) -> Answer {
    agent().get(format!("/v1/kv/{key}")).send()
}

fn session() -> (String, impl Drop) {
    let made = agent().put("/v1/session/create", r#"{"LockDelay":"0s"}"#).json();
    let id = made["ID"].as_str().expect("an id").to_owned();
    let undo = format!("/v1/session/destroy/{id}");
    (id, cleanup(move || drop(agent().put(&undo, "").send())))
}

#[test]
fn an_entry_has_six_members_and_a_base64_value() {
    let (prefix, _undo) = prefix();
    put(&format!("{prefix}a?flags=42"), "hello");
    let answer = get(&format!("{prefix}a")).status(200);
    let index = answer.index();
    assert_eq!(
        answer.json(),
        json!([{"LockIndex": 0, "Key": format!("{prefix}a"), "Flags": 42, "Value": base64("hello"),
            "CreateIndex": index, "ModifyIndex": index}])
    );
    assert_eq!(answer.header("Content-Type"), "application/json");
    assert_eq!(answer.header("X-Consul-Knownleader"), "true");
    assert_eq!(answer.header("X-Consul-Lastcontact"), "0");
    assert_eq!(answer.header("X-Consul-Query-Backend"), "blocking-query");
    assert_eq!(answer.find("X-Consul-Effective-Consistency"), None);
}

#[test]
fn members_come_in_the_order_of_the_reference() {
    let (prefix, _undo) = prefix();
    put(&format!("{prefix}a"), "<&>");
    let text = get(&format!("{prefix}a?pretty")).status(200).text();
    let names: Vec<&str> = text.lines().filter_map(|line| line.trim().split('"').nth(1)).collect();
    assert_eq!(names, ["LockIndex", "Key", "Flags", "Value", "CreateIndex", "ModifyIndex"]);
    assert!(text.starts_with("[\n    {\n        \"LockIndex\": 0,\n"), "{text:?}");
    assert!(text.ends_with("    }\n]\n"), "{text:?}");
}

#[test]
fn empty_values_are_null_and_writes_keep_the_create_index() {
    let (prefix, _undo) = prefix();
    let key = format!("{prefix}a");
    put(&key, "");
    let first = get(&key).status(200).json();
    assert_eq!(first[0]["Value"], json!(null));
    get(&format!("{key}?raw")).expect(200, "");
    put(&key, "x");
    let second = get(&key).json();
    assert_eq!(first[0]["CreateIndex"], second[0]["CreateIndex"]);
    assert!(second[0]["ModifyIndex"].as_u64() > first[0]["ModifyIndex"].as_u64());
}

#[test]
fn raw_gives_the_bytes_and_disarms_browsers() {
    let (prefix, _undo) = prefix();
    let key = format!("{prefix}bin");
    let bytes: Vec<u8> = (0..=255).collect();
    agent().put(format!("/v1/kv/{key}"), &bytes).expect(200, "true");
    let answer = get(&format!("{key}?raw")).status(200);
    assert_eq!(answer.body, bytes);
    assert_eq!(answer.header("Content-Type"), "text/plain");
    assert_eq!(answer.header("X-Content-Type-Options"), "nosniff");
    assert_eq!(answer.header("Content-Security-Policy"), "sandbox");
    assert_eq!(answer.header("Content-Length"), "256");
    assert!(answer.index() > 0);
    // raw is ignored with recurse.
    assert_eq!(get(&format!("{prefix}?raw&recurse")).status(200).json()[0]["Value"], json!(base64(&bytes)));
}

#[test]
fn a_missing_key_is_404_without_a_body_but_with_an_index() {
    let (prefix, _undo) = prefix();
    for query in ["", "?raw", "?recurse", "?keys"] {
        let answer = get(&format!("{prefix}missing{query}")).expect(404, "");
        assert!(answer.index() > 0);
        assert_eq!(answer.header("X-Consul-Knownleader"), "true");
        assert_eq!(answer.find("Content-Type"), None, "{query}");
    }
}

#[test]
fn recurse_lists_in_byte_order() {
    let (prefix, _undo) = prefix();
    for key in ["b", "a/2", "a/10", "a", "B", "a-", "\u{e9}"] {
        put(&format!("{prefix}{}", key.replace('\u{e9}', "%C3%A9")), key);
    }
    let entries = get(&format!("{prefix}?recurse")).status(200).json();
    let keys: Vec<&str> = entries
        .as_array()
        .expect("a list")
        .iter()
        .map(|e| &e["Key"].as_str().expect("a key")[prefix.len()..])
        .collect();
    assert_eq!(keys, ["B", "a", "a-", "a/10", "a/2", "b", "\u{e9}"]);
    let below = get(&format!("{prefix}a/?recurse")).status(200);
    assert_eq!(below.json().as_array().map(Vec::len), Some(2));
    assert_eq!(below.index(), entries[3]["ModifyIndex"].as_u64().expect("a number"));
}

#[test]
fn keys_cut_at_the_separator_after_the_prefix() {
    let (prefix, _undo) = prefix();
    for key in ["a", "b/1", "b/2", "b/c/1", "d"] {
        put(&format!("{prefix}{key}"), "");
    }
    let keys = |query: &str| get(&format!("{prefix}{query}")).status(200).json();
    let under = |names: &[&str]| json!(names.iter().map(|name| format!("{prefix}{name}")).collect::<Vec<_>>());
    assert_eq!(keys("?keys"), under(&["a", "b/1", "b/2", "b/c/1", "d"]));
    assert_eq!(keys("?keys&separator=/"), under(&["a", "b/", "d"]));
    assert_eq!(keys("?keys&seperator=/"), under(&["a", "b/", "d"]));
    assert_eq!(keys("b/?keys&separator=/"), under(&["b/1", "b/2", "b/c/"]));
    assert_eq!(keys("b?keys&separator=/"), under(&["b/"]));
    assert_eq!(keys("?keys&separator=/c/"), under(&["a", "b/1", "b/2", "b/c/", "d"]));
    assert_eq!(keys("b/1?keys"), under(&["b/1"]));
}

#[test]
fn check_and_set() {
    let (prefix, _undo) = prefix();
    let path = format!("/v1/kv/{prefix}a");
    let cas = |index: u64, expected: &str| {
        agent().put(format!("{path}?cas={index}"), index.to_string()).expect(200, expected);
    };
    cas(7, "false");
    cas(0, "true");
    cas(0, "false");
    let index = agent().get(&path).send().index();
    cas(index + 1, "false");
    cas(index, "true");
    cas(index, "false");
    let index = agent().get(&path).send().index();
    agent().delete(format!("{path}?cas=0")).expect(200, "false");
    agent().delete(format!("{path}?cas={}", index + 1)).expect(200, "false");
    agent().delete(format!("{path}?cas={index}")).expect(200, "true");
    agent().delete(format!("{path}?cas=9")).expect(200, "true");
    agent().get(&path).expect(404, "");
}

#[test]
fn deletes_are_true_and_recurse_takes_the_prefix_only() {
    let (prefix, _undo) = prefix();
    for key in ["a", "a/1", "ab", "b"] {
        put(&format!("{prefix}{key}"), "");
    }
    agent().delete(format!("/v1/kv/{prefix}a")).expect(200, "true");
    agent().delete(format!("/v1/kv/{prefix}a")).expect(200, "true");
    agent().delete(format!("/v1/kv/{prefix}a?recurse")).expect(200, "true");
    let left = get(&format!("{prefix}?keys")).status(200);
    assert_eq!(left.json(), json!([format!("{prefix}b")]));
    // A deletion moves the index of the prefix.
    let before = left.index();
    put(&format!("{prefix}c"), "");
    agent().delete(format!("/v1/kv/{prefix}c")).expect(200, "true");
    assert!(get(&format!("{prefix}?keys")).index() > before + 1);
}

#[test]
fn a_lock_is_taken_counted_and_released() {
    let (prefix, _undo) = prefix();
    let (mine, _end) = session();
    let (other, _end) = session();
    let path = format!("/v1/kv/{prefix}lock");
    let step = |query: &str, value: &str, expected: &str| {
        agent().put(format!("{path}?{query}"), value).expect(200, expected);
    };
    let entry = || agent().get(&path).json()[0].clone();
    step(&format!("acquire={mine}"), "one", "true");
    assert_eq!((&entry()["LockIndex"], &entry()["Session"]), (&json!(1), &json!(mine)));
    step(&format!("acquire={other}"), "two", "false");
    assert_eq!(entry()["Value"], json!(base64("one")));
    // Taking it again is an update by the holder, not a new lock.
    step(&format!("acquire={mine}"), "three", "true");
    assert_eq!((&entry()["LockIndex"], &entry()["Value"]), (&json!(1), &json!(base64("three"))));
    // A plain write goes through and leaves the holder, but forgets the count.
    step("flags=0", "four", "true");
    assert_eq!((&entry()["LockIndex"], &entry()["Session"]), (&json!(0), &json!(mine)));
    step(&format!("release={other}"), "five", "false");
    step(&format!("release={mine}"), "six", "true");
    assert_eq!((entry()["LockIndex"].clone(), entry().get("Session").cloned()), (json!(0), None));
    assert_eq!(entry()["Value"], json!(base64("six")));
    step(&format!("release={mine}"), "seven", "false");
    step(&format!("acquire={other}"), "eight", "true");
    assert_eq!((&entry()["LockIndex"], &entry()["Session"]), (&json!(1), &json!(other)));
    // Releasing what was never there says false.
    agent().put(format!("/v1/kv/{prefix}none?release={mine}"), "").expect(200, "false");
}

#[test]
fn the_end_of_a_session_releases_or_deletes() {
    let (prefix, _undo) = prefix();
    for (behavior, gone) in [("release", false), ("delete", true)] {
        let body = json!({"Behavior": behavior, "LockDelay": "0s"});
        let made = agent().put_json("/v1/session/create", &body).json();
        let id = made["ID"].as_str().expect("an id").to_owned();
        let path = format!("/v1/kv/{prefix}{behavior}");
        agent().put(format!("{path}?acquire={id}"), "v").expect(200, "true");
        let held = agent().get(&path).send().index();
        agent().put(format!("/v1/session/destroy/{id}"), "").expect(200, "true");
        let after = agent().get(&path).send();
        assert!(after.index() > held);
        if gone {
            after.expect(404, "");
        } else {
            assert_eq!(after.json()[0].get("Session"), None);
        }
    }
}

#[test]
fn odd_keys_survive() {
    let (prefix, _undo) = prefix();
    let keys = [
        ("sp%20ace", "sp ace"),
        ("pl+us", "pl+us"),
        ("per%25cent", "per%cent"),
        ("sla%2Fsh", "sla/sh"),
        ("qu%3Fery", "qu?ery"),
        ("ha%23sh", "ha#sh"),
        ("%E2%98%83", "\u{2603}"),
        ("trail/", "trail/"),
        ("a:b;c,d=e@f!$'()*~", "a:b;c,d=e@f!$'()*~"),
    ];
    for (path, key) in keys {
        put(&format!("{prefix}{path}"), key);
        let entry = get(&format!("{prefix}{path}")).status(200).json();
        assert_eq!(entry[0]["Key"], json!(format!("{prefix}{key}")));
        get(&format!("{prefix}{path}?raw")).expect(200, key);
    }
}

#[test]
fn flags_are_64_bits_wide() {
    let (prefix, _undo) = prefix();
    put(&format!("{prefix}a?flags=18446744073709551615"), "");
    assert_eq!(get(&format!("{prefix}a")).json()[0]["Flags"], json!(u64::MAX));
    agent()
        .put(format!("/v1/kv/{prefix}a?flags=18446744073709551616"), "")
        .expect(500, "strconv.ParseUint: parsing \"18446744073709551616\": value out of range");
}

#[test]
fn the_value_limit_is_half_a_megabyte() {
    let (prefix, _undo) = prefix();
    let path = format!("/v1/kv/{prefix}big");
    agent().put(&path, vec![b'x'; 524_288]).expect(200, "true");
    assert_eq!(agent().get(format!("{path}?raw")).status(200).body.len(), 524_288);
    agent()
        .put(&path, vec![b'x'; 524_289])
        .status(413)
        .contains("Request body(524289 bytes) too large, max size: 524288 bytes. See https://");
}

#[test]
fn chunked_values_are_values() {
    let (prefix, _undo) = prefix();
    agent().put(format!("/v1/kv/{prefix}c"), "chunk").chunked().expect(200, "true");
    get(&format!("{prefix}c?raw")).expect(200, "chunk");
}

#[test]
fn refusals() {
    let (prefix, _undo) = prefix();
    put(&format!("{prefix}a"), "");
    let session = "4fe4f0c1-0000-0000-0000-000000000000";
    let table: &[(&str, &str, u16, &str)] = &[
        ("PUT", "a?cas=1&acquire=x", 400, "Conflicting flags: acquire=x&cas=1\n"),
        ("PUT", "a?release=y&acquire=x", 400, "Conflicting flags: acquire=x&release=y\n"),
        ("PUT", "a?cas=1&release=y&flags=3", 400, "Conflicting flags: cas=1&flags=3&release=y\n"),
        ("DELETE", "a?recurse&cas=1", 400, "Conflicting flags: cas=1&recurse=\n"),
        ("PUT", "a?flags=zz", 500, "strconv.ParseUint: parsing \"zz\": invalid syntax"),
        ("PUT", "a?flags=-1", 500, "strconv.ParseUint: parsing \"-1\": invalid syntax"),
        ("PUT", "a?cas=zz", 500, "strconv.ParseUint: parsing \"zz\": invalid syntax"),
        ("DELETE", "a?cas=zz", 500, "strconv.ParseUint: parsing \"zz\": invalid syntax"),
        ("PUT", "a?acquire=zz", 500, "raft apply failed: invalid session \"zz\""),
        ("POST", "a", 405, "method POST not allowed"),
    ];
    for (method, rest, status, text) in table {
        agent().call(method, &format!("/v1/kv/{prefix}{rest}")).body("").expect(*status, text);
    }
    agent()
        .put(format!("/v1/kv/{prefix}a?acquire={session}"), "")
        .expect(500, &format!("raft apply failed: invalid session \"{session}\""));
    agent().put("/v1/kv/", "v").expect(400, "Missing key name");
    agent().get("/v1/kv/").expect(400, "Missing key name");
    agent().delete("/v1/kv/").expect(400, "Missing key name");
    assert_eq!(agent().call("POST", "/v1/kv/x").send().header("Allow"), "OPTIONS,GET,PUT,DELETE");
    agent().head("/v1/kv/x").status(405);
}
