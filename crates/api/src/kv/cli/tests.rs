//! What the `kv` commands send and print.

use crate::cli::stand_in::{Reply, StandIn};
use crate::kv::cli::joined;

const ENTRIES: &str = r#"[{"LockIndex":0,"Key":"app/a","Flags":0,"Value":"YmFy","CreateIndex":5,"ModifyIndex":12},
    {"LockIndex":1,"Key":"app/d/","Flags":42,"Value":null,"Session":"4ded4bac-105d","CreateIndex":6,"ModifyIndex":6}]"#;

fn agent() -> StandIn {
    StandIn::new(|asked| match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/v1/kv/app") if asked.query.contains("keys") => Reply::ok(r#"["app/a","app/d/"]"#),
        ("GET", "/v1/kv/app") if asked.query.contains("recurse") => Reply::ok(ENTRIES).indexed(12),
        ("GET", "/v1/kv/app/a") => Reply::ok(&ENTRIES[..ENTRIES.find("},").unwrap() + 1]).with("X-None: x").with_end(),
        ("GET", _) => Reply::new(404, ""),
        (_, path) => Reply::ok(if path.ends_with("/no") { "false" } else { "true" }),
    })
}

impl Reply {
    /// Closes the list that a cut left open.
    fn with_end(mut self) -> Reply {
        self.body.push(b']');
        self
    }
}

#[test]
fn paths_are_joined_as_go_joins_them() {
    for (prefix, rest, expect) in [
        ("", "", ""),
        ("", "a/", "a"),
        ("a", "", "a"),
        ("a/", "/b", "a/b"),
        ("/a", "../b", "/b"),
        ("a", "../../b", "../b"),
        ("a", "..", "."),
        ("a//b", ".lock", "a/b/.lock"),
        ("/", "..", "/"),
    ] {
        assert_eq!(joined(prefix, rest), expect, "{prefix} + {rest}");
    }
}

#[test]
fn values_are_printed_as_they_are_or_as_base64() {
    let agent = agent();
    assert_eq!(agent.run(&["kv", "get", "/app/a"]).out, "bar\n");
    assert_eq!(agent.run(&["kv", "get", "-base64", "app/a"]).out, "YmFy\n");
    assert_eq!(agent.run(&["kv", "get", "-recurse", "app"]).out, "app/a:bar\napp/d/:\n");
    assert_eq!(agent.run(&["kv", "get", "-recurse", "-base64", "app"]).out, "app/a:YmFy\napp/d/:\n");
    assert_eq!(agent.run(&["kv", "get", "-keys", "app"]).out, "app/a\napp/d/\n");
    assert_eq!(agent.run(&["kv", "get", "-keys", "-recurse", "app"]).out, "app/a\napp/d/\n");
    let missing = agent.run(&["kv", "get", "/nope"]);
    assert_eq!((missing.code, missing.err.as_str()), (1, "Error! No key exists at: nope\n"));
    assert_eq!(agent.run(&["kv", "get", "-recurse", "nope"]).out, "");
    assert_eq!(agent.run(&["kv", "get"]).err, "Error! Missing KEY argument\n");
    assert_eq!(agent.run(&["kv", "get", "a", "b"]).err, "Too many arguments (expected 1, got 2)\n");
}

#[test]
fn details_stand_in_columns() {
    assert_eq!(
        agent().run(&["kv", "get", "-detailed", "-recurse", "app"]).out,
        "CreateIndex      5\nFlags            0\nKey              app/a\nLockIndex        0\nModifyIndex      12\nSession \
         \u{20}        -\nValue            bar\n\nCreateIndex      6\nFlags            42\nKey              app/d/\nLockIndex \
         \u{20}      1\nModifyIndex      6\nSession          4ded4bac-105d\nValue\n"
    );
}

#[test]
fn what_is_exported_can_be_imported() {
    let agent = agent();
    let exported = agent.run(&["kv", "export", "app"]).out;
    assert_eq!(
        exported,
        "[\n\t{\n\t\t\"key\": \"app/a\",\n\t\t\"flags\": 0,\n\t\t\"value\": \"YmFy\"\n\t},\n\t{\n\t\t\"key\": \
         \"app/d/\",\n\t\t\"flags\": 42,\n\t\t\"value\": \"\"\n\t}\n]\n"
    );
    assert_eq!(agent.run(&["kv", "export", "nope"]).out, "[]\n");
    let imported = agent.run_reading(&["kv", "import", "-prefix=new", "-"], exported.as_bytes());
    assert_eq!(imported.out, "Imported: new/app/a\nImported: new/app/d/\n");
    let asked = agent.asked();
    let last: Vec<String> = asked[asked.len() - 2..].iter().map(|asked| asked.line()).collect();
    assert_eq!(last, ["PUT /v1/kv/new/app/a", "PUT /v1/kv/new/app/d/?flags=42"]);
    assert_eq!(asked[asked.len() - 2].body, b"bar");
    for (data, complaint) in [
        ("", "Error! Empty DATA argument\n"),
        ("[", "Cannot unmarshal data: unexpected end of JSON input\n"),
        (
            r#"[{"key":"a","value":"@@"}]"#,
            "Error base 64 decoding value for key a: illegal base64 data at input byte 0\n",
        ),
        ("@/nowhere", "Error! Failed to read file: open /nowhere: no such file or directory\n"),
    ] {
        assert_eq!(agent.run(&["kv", "import", data]).err, complaint, "{data}");
    }
}

#[test]
fn writes_say_what_they_did() {
    let agent = agent();
    for (line, out, asked) in [
        ("put a b", "Success! Data written to: a\n", "PUT /v1/kv/a"),
        ("put -flags=7 a b", "Success! Data written to: a\n", "PUT /v1/kv/a?flags=7"),
        ("put -cas -modify-index=3 a b", "Success! Data written to: a\n", "PUT /v1/kv/a?cas=3"),
        ("put -acquire -session=s a b", "Success! Lock acquired on: a\n", "PUT /v1/kv/a?acquire=s"),
        ("put -release -session=s a b", "Success! Lock released on: a\n", "PUT /v1/kv/a?release=s"),
        ("delete /a", "Success! Deleted key: a\n", "DELETE /v1/kv/a"),
        ("delete -recurse a", "Success! Deleted keys with prefix: a\n", "DELETE /v1/kv/a?recurse="),
        ("delete -cas -modify-index=3 a", "Success! Deleted key: a\n", "DELETE /v1/kv/a?cas=3"),
    ] {
        let words: Vec<&str> = std::iter::once("kv").chain(line.split(' ')).collect();
        let outcome = agent.run(&words);
        assert_eq!((outcome.code, outcome.out.as_str(), outcome.err.as_str()), (0, out, ""), "{line}");
        assert_eq!(agent.lines().pop().unwrap(), asked, "{line}");
    }
}

#[test]
fn writes_that_are_refused_say_why() {
    let agent = agent();
    for (line, err) in [
        ("put -cas x/no b", "Error! Did not write to x/no: CAS performed with index=0 and key already exists.\n"),
        ("put -cas -modify-index=3 x/no b", "Error! Did not write to x/no: CAS failed\n"),
        ("put -acquire -session=s x/no b", "Error! Did not acquire lock\n"),
        ("put -release -session=s x/no b", "Error! Did not release lock\n"),
        ("put -acquire a b", "Error! Missing -session (required with -acquire and -release)\n"),
        ("put /a b", "Error! Failed writing data: Invalid key. Key must not begin with a '/': /a\n"),
        ("put", "Error! Missing KEY argument\n"),
        ("put a b c", "Error! Too many arguments (expected 1 or 2, got 3)\n"),
        ("put -base64 a @", "Error! Failed to read file: open : no such file or directory\n"),
        ("delete", "Error! Missing KEY argument\n"),
        ("delete -cas a", "Cannot delete a key that does not exist. Provide a -modify-index greater than than 0.\n"),
        ("delete -modify-index=1 a", "Cannot specify -modify-index without -cas!\n"),
        ("delete -cas -recurse -modify-index=1 a", "Cannot specify both -cas and -recurse!\n"),
        ("delete -cas -modify-index=1 x/no", "Error! Did not delete key x/no: CAS failed\n"),
    ] {
        let words: Vec<&str> = std::iter::once("kv").chain(line.split(' ')).collect();
        let outcome = agent.run(&words);
        assert_eq!((outcome.code, outcome.err.as_str()), (1, err), "{line}");
    }
}
