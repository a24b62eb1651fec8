//! Archives are saved verified, restored whole, and inspected in the reference's words.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use wire::log_entry::MessageType;
use wire::state_bin::{Header, Writer};

use super::inspect::{KeyDetail, Share, byte_size, tally};
use crate::cli::stand_in::{Outcome, Reply, StandIn, run_in};

/// An archive that the reference wrote.
const GOLDEN: &[u8] = include_bytes!("../../../../wire/src/archive/golden.snap");

/// What the reference's own `snapshot inspect -kvdetails` says of it.
const INSPECTED: &str = " ID           2-13-1795410573410
 Size         5665
 Index        13
 Term         2
 Version      1

 Type                 Count      Size
 ----                 ----       ----
 Register             6          3.7KB
 Index                18         513B
 ConfigEntry          1          431B
 PreparedQuery        1          301B
 Autopilot            1          199B
 Session              1          174B
 FederationState      1          139B
 KVS                  1          71B
 ChunkingState        1          12B
 ----                 ----       ----
 Total                           5.5KB

 Key Name      Count      Size
 ----          ----       ----
 a/b           1          71B
 ----          ----       ----
 Total                    71B
";

/// A directory that is removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("curule-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn offline(line: &[&str]) -> Outcome {
    run_in(BTreeMap::new(), line, b"")
}

#[test]
fn an_archive_is_inspected_as_the_reference_does() {
    let directory = Directory::new("inspect");
    let file = directory.path("golden.snap");
    std::fs::write(&file, GOLDEN).unwrap();
    let whole = offline(&["snapshot", "inspect", "-kvdetails", &file]);
    assert_eq!((whole.code, whole.out.as_str(), whole.err.as_str()), (0, INSPECTED, ""));
    let plain = offline(&["snapshot", "inspect", &file]).out;
    assert_eq!(plain, format!("{}\n", INSPECTED.split("\n\n Key Name").next().unwrap()));
    let json = offline(&["snapshot", "inspect", "-format=json", &file]).out;
    assert!(
        json.starts_with("{\n   \"Meta\": {\n      \"ID\": \"2-13-1795410573410\",\n      \"Size\": 5665,\n"),
        "{json}"
    );
    assert!(json.contains("\n   \"StatsKV\": null,\n   \"TotalSize\": 5665,\n   \"TotalSizeKV\": 0\n}"), "{json}");
    let other = offline(&["snapshot", "inspect", "-format=x", &file]).err;
    assert_eq!(other, "Error outputting enhanced snapshot data: Unknown format: x\n");
}

#[test]
fn what_is_no_archive_is_refused() {
    let directory = Directory::new("refuse");
    let cut = directory.path("cut.snap");
    std::fs::write(&cut, &GOLDEN[..GOLDEN.len() / 2]).unwrap();
    let cut = offline(&["snapshot", "inspect", &cut]);
    assert_eq!((cut.code, cut.out.as_str()), (1, ""));
    assert!(cut.err.starts_with("Error reading snapshot: "), "{}", cut.err);
    let text = directory.path("text");
    std::fs::write(&text, "plain text").unwrap();
    assert_eq!(
        offline(&["snapshot", "inspect", &text]).err,
        "Error reading snapshot: failed to decompress snapshot: gzip: invalid header\n"
    );
    for (line, err) in [
        (&["inspect"][..], "Missing FILE argument\n"),
        (&["inspect", "a", "b"], "Too many arguments (expected 1, got 2)\n"),
        (&["inspect", "/nowhere"], "Error opening snapshot file: open /nowhere: no such file or directory\n"),
        (&["restore", "/nowhere"], "Error opening snapshot file: open /nowhere: no such file or directory\n"),
        (&["restore"], "Missing FILE argument\n"),
        (&["save"], "Missing FILE argument\n"),
    ] {
        let outcome = offline(&[&["snapshot"], line].concat());
        assert_eq!((outcome.code, outcome.err.as_str()), (1, err));
    }
}

#[test]
fn a_servers_own_snapshot_is_inspected_beside_its_meta() {
    let directory = Directory::new("state");
    let mut state = Vec::new();
    let meta = wire::archive::read(GOLDEN, &mut state, 1 << 20).unwrap();
    let file = directory.path("state.bin");
    std::fs::write(&file, state).unwrap();
    let missing = offline(&["snapshot", "inspect", &file]).err;
    assert!(missing.starts_with("Error reading meta.json from internal snapshot dir: open "), "{missing}");
    std::fs::write(directory.path("meta.json"), wire::json::to_vec(&meta).unwrap()).unwrap();
    assert_eq!(offline(&["snapshot", "inspect", "-kvdetails", &file]).out, INSPECTED);
}

#[test]
fn keys_are_counted_by_prefix() {
    let mut writer = Writer::new(Vec::new(), Header { last_index: 1 }).unwrap();
    for key in ["app/a/1", "app/a/2", "app/b", "other", "appendix"] {
        let record: BTreeMap<&str, &str> = [("Key", key), ("Value", "x")].into();
        writer.write(MessageType::KVS, &record).unwrap();
    }
    let state = writer.into_inner();
    let detail = KeyDetail { depth: 2, filter: "app".to_owned() };
    let counted = tally(state.as_slice(), Some(&detail)).unwrap();
    let names: Vec<(&str, u64)> = counted.keys.values().map(|share| (share.name.as_str(), share.count)).collect();
    assert_eq!(names, [("app/a", 2), ("app/b", 1), ("appendix", 1)]);
    let all: &Share = &counted.kinds[&MessageType::KVS.number()];
    assert_eq!((all.count, all.sum), (5, state.len() as u64), "the header counts towards the first record");
    assert_eq!(counted.total, state.len() as u64);
    assert!(tally(&state[..state.len() - 1], None).is_err());
    assert!(tally(&b""[..], None).is_err());
}

#[test]
fn sizes_have_one_decimal_at_most() {
    for (bytes, text) in
        [(0, "0"), (1, "1B"), (1023, "1023B"), (1024, "1KB"), (7584, "7.4KB"), (3 << 20, "3MB"), (1 << 40, "1TB")]
    {
        assert_eq!(byte_size(bytes), text);
    }
}

fn agent() -> StandIn {
    StandIn::new(|asked| match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/v1/snapshot") if asked.query.contains("dc=bad") => Reply::ok("no archive").indexed(1),
        ("GET", "/v1/snapshot") => Reply::ok(GOLDEN).indexed(13),
        (_, "/v1/operator/autopilot/health") => Reply::new(
            429,
            r#"{"Healthy":false,"Servers":[{"Leader":false,"Version":"1.0"},{"Leader":true,"Version":"1.22.0"}]}"#,
        ),
        (_, "/v1/agent/self") => Reply::ok(r#"{"Config":{"Datacenter":"dc1"}}"#),
        _ => Reply::ok(""),
    })
}

#[test]
fn what_is_saved_was_verified_and_is_private() {
    let (agent, directory) = (agent(), Directory::new("save"));
    let file = directory.path("a.b.snap");
    let saved = agent.run(&["snapshot", "save", "-stale", &file]);
    assert_eq!((saved.code, saved.out.as_str()), (0, "Saved and verified snapshot to index 13\n"));
    assert_eq!(agent.lines(), ["GET /v1/snapshot?stale="]);
    assert_eq!(std::fs::read(&file).unwrap(), GOLDEN);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    agent.run(&["snapshot", "save", "-append-filename=version,dc", &file]);
    agent.run(&["snapshot", "save", "-append-filename=dc", &directory.path("plain")]);
    assert_eq!(directory.names(), ["a.b-1.22.0-dc1.snap", "a.b.snap", "plain-dc1"]);
    let bad = agent.run(&["snapshot", "save", "-datacenter=bad", &directory.path("bad.snap")]);
    assert_eq!(bad.code, 1);
    assert!(bad.err.starts_with("Error verifying snapshot file: failed to decompress snapshot: "), "{}", bad.err);
    assert_eq!(directory.names().len(), 3, "nothing is left behind");
}

#[test]
fn an_archive_is_sent_whole() {
    let (agent, directory) = (agent(), Directory::new("restore"));
    let file = directory.path("golden.snap");
    let large = [GOLDEN, &[7; 300_000]].concat();
    std::fs::write(&file, &large).unwrap();
    let restored = agent.run(&["snapshot", "restore", &file]);
    assert_eq!((restored.code, restored.out.as_str(), restored.err.as_str()), (0, "Restored snapshot\n", ""));
    let asked = agent.asked().pop().unwrap();
    assert_eq!(asked.line(), "PUT /v1/snapshot");
    assert!(asked.body == large);
}
