//! Refusals are those that Consul 1.22 answers to the same archives on PUT /v1/snapshot.

use std::io::{Read, Write};

use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use proptest::collection;
use proptest::prelude::{any, prop_assert_eq, proptest};

use super::{Configuration, META, STATE, SUMS, Server, SnapshotMeta, read, sums, tar, write};
use crate::json;
use crate::log_entry::MessageType;
use crate::{msgpack, state_bin};
use bytes::Bytes;
use sha2::{Digest, Sha256};

const LIMIT: u64 = 1 << 20;
const CONTENT: &[u8] = b"\x80state";

fn meta() -> SnapshotMeta {
    let server = Server { suffrage: 0, id: "530c0da7".to_owned(), address: "127.0.0.1:18300".to_owned() };
    let configuration = Configuration { servers: vec![server] };
    SnapshotMeta::new(213, 2, 1_795_410_066_041, configuration, 1).with_size(CONTENT.len() as u64)
}

fn archive() -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out, &meta(), CONTENT, 1_700_000_000).unwrap();
    out
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut out).unwrap();
    out
}

/// A gzipped tar of these files.
fn pack(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, content) in files {
        tar::write_file(&mut out, name, content.len() as u64, 0, *content).unwrap();
    }
    tar::write_end(&mut out).unwrap();
    gzip(&out)
}

fn meta_text() -> Vec<u8> {
    let mut text = json::to_vec(&meta()).unwrap();
    text.push(b'\n');
    text
}

fn sums_of(meta: &[u8], state: &[u8]) -> String {
    sums::Sums { meta: Sha256::digest(meta).into(), state: Sha256::digest(state).into() }.encode()
}

fn check(archive: &[u8], expect: &str) {
    let mut state = Vec::new();
    let got = match read(archive, &mut state, LIMIT) {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.to_string(),
    };
    assert_eq!(got, expect);
}

#[test]
fn what_is_written_is_read() {
    let mut state = Vec::new();
    assert_eq!(read(archive().as_slice(), &mut state, LIMIT).unwrap(), meta());
    assert_eq!(state, CONTENT);
}

#[test]
fn meta_json_is_that_of_the_reference() {
    let golden = concat!(
        r#"{"Version":1,"ID":"2-213-1795410066041","Index":213,"Term":2,"Peers":"ka8xMjcuMC4wLjE6MTgzMDA=","#,
        r#""Configuration":{"Servers":[{"Suffrage":0,"ID":"530c0da7","Address":"127.0.0.1:18300"}]},"#,
        r#""ConfigurationIndex":1,"Size":6}"#
    );
    assert_eq!(json::to_string(&meta()).unwrap(), golden);
    assert_eq!(SnapshotMeta::parse(golden.as_bytes()), Ok(meta()));
}

/// `golden.snap` was answered by Consul 1.22 to GET /v1/snapshot.
#[test]
fn an_archive_of_the_reference_is_read_and_its_records_are_kept() {
    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(default, rename_all = "PascalCase")]
    struct DirEntry {
        key: String,
        value: Bytes,
        create_index: u64,
    }
    let mut state = Vec::new();
    let meta = read(include_bytes!("golden.snap").as_slice(), &mut state, LIMIT).unwrap();
    assert_eq!((meta.id.as_str(), meta.index, meta.size), ("2-13-1795410573410", 13, 5665));
    let addresses: Vec<String> = msgpack::from_slice(&meta.peers).unwrap();
    assert_eq!(addresses, [meta.configuration.servers[0].address.as_str()]);

    // The last entry of the log was one that changes no state.
    let mut reader = state_bin::Reader::new(state.as_slice()).unwrap();
    assert_eq!(reader.header(), state_bin::Header { last_index: 12 });
    let mut writer = state_bin::Writer::new(Vec::new(), reader.header()).unwrap();
    let mut registrations = 0;
    let mut entry = DirEntry::default();
    while let Some((kind, value)) = reader.next_record().unwrap() {
        match kind {
            MessageType::REGISTER => registrations += 1,
            MessageType::KVS => entry = value.decode().unwrap(),
            _ => {}
        }
        writer.write(kind, &value).unwrap();
    }
    assert_eq!(registrations, 6);
    assert_eq!(entry, DirEntry { key: "a/b".to_owned(), value: Bytes::from_static(&[0xff]), create_index: 8 });
    assert_eq!(writer.into_inner(), state);
}

/// Checksums, modes and field layout as in the archive that the reference answered.
#[test]
fn the_tar_is_plain_ustar_without_padding() {
    let tar = gunzip(&archive());
    assert_eq!(tar.len() % 512, 0);
    assert_eq!(tar.len(), 3 * 1024 + 1024);
    assert_eq!(&tar[..10], b"meta.json\0");
    assert_eq!(&tar[100..108], b"0000600\0");
    assert_eq!(&tar[257..265], b"ustar\x0000");
    assert_eq!(&tar[1024..1034], b"state.bin\0");
    assert_eq!(&tar[2048..2059], b"SHA256SUMS\0");
    assert_eq!(&tar[3072..], &[0; 1024]);
}

#[test]
fn what_is_no_archive_is_refused() {
    check(b"", "failed to decompress snapshot: EOF");
    check(b"garb", "failed to decompress snapshot: unexpected EOF");
    check(b"garbage, not a snapshot at all", "failed to decompress snapshot: gzip: invalid header");
    check(
        &gzip(&b"not a tar file".repeat(100)),
        "failed to read snapshot file: failed reading snapshot: archive/tar: invalid tar header",
    );
    check(&gzip(b"not a tar"), "failed to read snapshot file: failed reading snapshot: unexpected EOF");
}

#[test]
fn truncated_archives_are_refused() {
    let good = archive();
    check(&good[..good.len() - 4], "unexpected EOF");
    let tar = gunzip(&good);
    check(&gzip(&tar[..512]), "failed to read snapshot file: failed to read snapshot metadata: unexpected EOF");
    check(&gzip(&tar[..1536]), "failed to read snapshot file: failed to read or write snapshot data: unexpected EOF");
    check(
        &gzip(&tar[..1000]),
        "failed to read snapshot file: failed checking integrity of snapshot: file missing for \"meta.json\"",
    );
    for len in 0..good.len() {
        assert!(read(&good[..len], &mut Vec::new(), LIMIT).is_err(), "cut to {len} bytes");
    }
}

#[test]
fn what_follows_the_end_is_refused() {
    let good = archive();
    check(&[good.as_slice(), b"xx"].concat(), "unexpected EOF");
    check(&[good.as_slice(), b"xxxxxxxxxxxx"].concat(), "gzip: invalid header");
    check(&gzip(&[gunzip(&good), b"xx".to_vec()].concat()), "2 unread uncompressed bytes remain");
    let mut flipped = good.clone();
    let crc = good.len() - 8;
    flipped[crc] ^= 1;
    check(&flipped, "gzip: invalid checksum");
}

#[test]
fn files_that_are_missing_twice_or_unknown_are_refused() {
    let (meta, sums) = (meta_text(), sums_of(&meta_text(), CONTENT));
    let (meta, state, sums) = ((META, meta.as_slice()), (STATE, CONTENT), (SUMS, sums.as_bytes()));
    let integrity = "failed to read snapshot file: failed checking integrity of snapshot:";
    check(&pack(&[meta, state, sums]), "ok");
    check(&pack(&[state, sums]), &format!("{integrity} hash check failed for \"meta.json\""));
    check(&pack(&[meta, sums]), &format!("{integrity} hash check failed for \"state.bin\""));
    check(&pack(&[meta, state]), &format!("{integrity} file missing for \"meta.json\""));
    check(&pack(&[meta, meta, state, sums]), &format!("{integrity} hash check failed for \"meta.json\""));
    check(&pack(&[meta, state, state, sums]), &format!("{integrity} hash check failed for \"state.bin\""));
    check(&pack(&[]), &format!("{integrity} file missing for \"meta.json\""));
    check(
        &pack(&[meta, state, ("evil", b"x"), sums]),
        "failed to read snapshot file: unexpected file \"evil\" in snapshot",
    );
    check(
        &pack(&[("../meta.json", b"x"), state, sums]),
        "failed to read snapshot file: unexpected file \"../meta.json\" in snapshot",
    );
}

#[test]
fn wrong_hashes_are_refused() {
    let meta = meta_text();
    let good = sums_of(&meta, CONTENT);
    let check_sums = |sums: &str, expect: &str| {
        let archive = pack(&[(META, &meta), (STATE, CONTENT), (SUMS, sums.as_bytes())]);
        check(&archive, &format!("failed to read snapshot file: failed checking integrity of snapshot: {expect}"));
    };
    check_sums(&sums_of(&meta, b"other"), "hash check failed for \"state.bin\"");
    check_sums(&sums_of(b"other", CONTENT), "hash check failed for \"meta.json\"");
    check_sums("zork\n", "no hex data for %x string");
    check_sums("00  meta.json\n", "hash check failed for \"meta.json\"");
    check_sums("", "file missing for \"meta.json\"");
    check_sums(&format!("{good}\n"), "EOF");
    check_sums(&format!("{good}00  other\n"), "list missing hash for \"other\"");
    check_sums(good.lines().next().unwrap(), "file missing for \"state.bin\"");
}

#[test]
fn bad_metadata_is_refused() {
    let sums = sums_of(b"{", CONTENT);
    check(
        &pack(&[(META, b"{"), (STATE, CONTENT), (SUMS, sums.as_bytes())]),
        "failed to read snapshot file: failed to decode snapshot metadata: unexpected end of JSON input",
    );
}

#[test]
fn sizes_past_the_limit_are_refused_before_they_are_read() {
    let state = vec![0; 2048];
    let sums = sums_of(&meta_text(), &state);
    let archive = pack(&[(META, &meta_text()), (STATE, &state), (SUMS, sums.as_bytes())]);
    let mut out = Vec::new();
    let refused = read(archive.as_slice(), &mut out, 2047).unwrap_err().to_string();
    assert_eq!(refused, "failed to read snapshot file: file \"state.bin\" of 2048 bytes exceeds the limit of 2047");
    assert!(out.is_empty());
    assert!(read(archive.as_slice(), &mut out, 2048).is_ok());
}

#[test]
fn a_state_shorter_than_promised_is_not_written() {
    let refused = write(Vec::new(), &meta(), &CONTENT[1..], 0).unwrap_err().to_string();
    assert_eq!(refused, "failed to write snapshot metadata: EOF");
}

proptest! {
    #[test]
    fn states_of_any_size_round_trip(state in collection::vec(any::<u8>(), 0..2000)) {
        let meta = meta().with_size(state.len() as u64);
        let mut out = Vec::new();
        write(&mut out, &meta, state.as_slice(), 0).unwrap();
        let mut back = Vec::new();
        prop_assert_eq!(read(out.as_slice(), &mut back, LIMIT).unwrap(), meta);
        prop_assert_eq!(back, state);
    }

    #[test]
    fn damage_is_never_accepted_unnoticed(at in 0usize..10_000, bit in 0u8..8) {
        let mut bytes = archive();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let mut state = Vec::new();
        if let Ok(read) = read(bytes.as_slice(), &mut state, LIMIT) {
            // Only gzip's own header holds bits that say nothing.
            prop_assert_eq!((read, state.as_slice()), (meta(), CONTENT));
        }
    }

    #[test]
    fn any_bytes_are_answered(bytes in collection::vec(any::<u8>(), 0..2000)) {
        let _ = read(bytes.as_slice(), &mut Vec::new(), LIMIT);
        let _ = read(gzip(&bytes).as_slice(), &mut Vec::new(), LIMIT);
    }
}
