//! Golden bytes were printed by the codec that Consul itself links.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::{any, prop_assert_eq, proptest};
use proptest::{collection, option};
use serde::{Deserialize, Serialize};

use super::{Decoder, Error, MAX_DEPTH, RawValue, ValueScanner, from_slice, skip_value, to_vec};
use crate::duration::GoDuration;

fn hex_of<T: Serialize + ?Sized>(value: &T) -> String {
    hex::encode(to_vec(value).unwrap())
}

fn bytes_of(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Inner {
    a: String,
    b: Bytes,
}

/// Declared out of order on purpose.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Outer {
    zed: String,
    flag: bool,
    names: Vec<String>,
    meta: BTreeMap<String, String>,
    inner: Inner,
    pointer: Option<Inner>,
    span: GoDuration,
    port: i64,
    index: u64,
    ratio: f64,
    small: f32,
}

#[test]
fn integers_take_the_smallest_form() {
    for (value, expect) in [
        (0i64, "00"),
        (127, "7f"),
        (128, "cc80"),
        (255, "ccff"),
        (256, "cd0100"),
        (65535, "cdffff"),
        (65536, "ce00010000"),
        (2_147_483_648, "ce80000000"),
        (4_294_967_296, "cf0000000100000000"),
        (-1, "ff"),
        (-32, "e0"),
        (-33, "d0df"),
        (-128, "d080"),
        (-129, "d1ff7f"),
        (-32768, "d18000"),
        (-32769, "d2ffff7fff"),
        (-1_099_511_627_776, "d3ffffff0000000000"),
    ] {
        assert_eq!(hex_of(&value), expect);
        assert_eq!(from_slice::<i64>(&bytes_of(expect)), Ok(value));
    }
    assert_eq!(hex_of(&u64::MAX), "cfffffffffffffffff");
}

#[test]
fn strings_and_bytes_are_both_raw() {
    let long = "a".repeat(40);
    assert_eq!(hex_of(&long), format!("da0028{}", "61".repeat(40)));
    assert_eq!(hex_of(&Bytes::from(long.clone())), format!("da0028{}", "61".repeat(40)));
    assert_eq!(hex_of(&Bytes::from_static(&[0xff, 0])), "a2ff00");
    assert_eq!(hex_of(""), "a0");
    assert_eq!(&hex_of(&"a".repeat(70_000))[..10], "db00011170");
}

#[test]
fn a_struct_is_a_map_in_sorted_order() {
    let value = Outer {
        zed: "z".to_owned(),
        meta: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
        span: GoDuration(300),
        ratio: 1.5,
        small: 1.5,
        port: -5,
        ..Outer::default()
    };
    let golden = concat!(
        "8b",                             // 11 fields
        "a4466c6167c2",                   // Flag
        "a5496e64657800",                 // Index
        "a5496e6e657282a141a0a142a0",     // Inner{A, B}
        "a44d65746181a16ba176",           // Meta
        "a54e616d657390",                 // Names
        "a7506f696e746572c0",             // Pointer
        "a4506f7274fb",                   // Port
        "a5526174696fcb3ff8000000000000", // Ratio
        "a5536d616c6cca3fc00000",         // Small
        "a45370616ecd012c",               // Span
        "a35a6564a17a",                   // Zed
    );
    assert_eq!(hex_of(&value), golden);
    assert_eq!(from_slice::<Outer>(&bytes_of(golden)), Ok(value));
}

#[test]
fn reads_what_the_go_codec_wrote() {
    // A struct of every kind of field, captured from the Go codec: nil slices and pointers, a 15-byte time, an
    // interface holding a map, a renamed field.
    let golden = concat!(
        "de0012a24279a0a14400a14580a146cb3ff8000000000000a3463332ca3fc00000a149ccc8a5496661636582a162a171a17801a549",
        "6e6e657282a141a0a142c0a14d82a162a131a161a132a24e62c0a34e6567fba24e73c0a150c0a15390a154af01000000000000000000",
        "000000ffffa155cd012ca35a6564a17aa56c6f776572a0"
    );
    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default)]
    struct Record {
        #[serde(rename = "Zed")]
        zed: String,
        #[serde(rename = "I")]
        i: u16,
        #[serde(rename = "Neg")]
        neg: i8,
        #[serde(rename = "U")]
        u: u64,
        #[serde(rename = "Ns")]
        ns: Vec<String>,
        #[serde(rename = "Nb")]
        nb: Bytes,
        #[serde(rename = "P")]
        p: Option<Inner>,
        #[serde(rename = "M")]
        m: BTreeMap<String, String>,
        #[serde(rename = "Iface")]
        iface: serde_json::Value,
        #[serde(rename = "F32")]
        f32: f64,
        #[serde(rename = "T")]
        t: Bytes,
    }
    let record: Record = from_slice(&bytes_of(golden)).unwrap();
    assert_eq!((record.zed.as_str(), record.i, record.neg, record.u), ("z", 200, -5, 300));
    assert_eq!((record.ns.len(), record.nb.len(), record.p), (0, 0, None));
    assert_eq!(record.m.len(), 2);
    assert_eq!(record.iface, serde_json::json!({"x": 1, "b": "q"}));
    assert_eq!(record.f32, 1.5);
    assert_eq!(record.t.len(), 15);
}

#[test]
fn nil_is_the_zero_value_of_anything() {
    let nil = [0xc0];
    assert_eq!(from_slice::<String>(&nil), Ok(String::new()));
    assert_eq!(from_slice::<Vec<String>>(&nil), Ok(vec![]));
    assert_eq!(from_slice::<BTreeMap<String, u8>>(&nil), Ok(BTreeMap::new()));
    assert_eq!(from_slice::<Outer>(&nil), Ok(Outer::default()));
    assert_eq!(from_slice::<Option<Outer>>(&nil), Ok(None));
    assert_eq!(from_slice::<u32>(&nil), Ok(0));
    assert_eq!(from_slice::<bool>(&nil), Ok(false));
    assert_eq!(from_slice::<Bytes>(&nil), Ok(Bytes::new()));
    assert_eq!(from_slice::<GoDuration>(&nil), Ok(GoDuration(0)));
    assert_eq!(from_slice::<RawValue>(&nil), Ok(RawValue::default()));
}

#[test]
fn every_form_is_read() {
    assert_eq!(from_slice::<String>(&bytes_of("d90161")), Ok("a".to_owned()));
    assert_eq!(from_slice::<String>(&bytes_of("c40161")), Ok("a".to_owned()));
    assert_eq!(from_slice::<Bytes>(&bytes_of("c50001ff")), Ok(Bytes::from_static(&[0xff])));
    assert_eq!(from_slice::<Vec<u8>>(&bytes_of("a2ff01")), Ok(vec![0xff, 1]));
    assert_eq!(from_slice::<Vec<u8>>(&bytes_of("92ccff01")), Ok(vec![0xff, 1]));
    assert_eq!(from_slice::<Bytes>(&bytes_of("92ccff01")), Ok(Bytes::from_static(&[0xff, 1])));
    assert_eq!(from_slice::<u8>(&bytes_of("d30000000000000005")), Ok(5));
    assert_eq!(from_slice::<i64>(&bytes_of("d100c8")), Ok(200));
    assert_eq!(from_slice::<bool>(&bytes_of("01")), Ok(true));
    assert_eq!(from_slice::<f64>(&bytes_of("05")), Ok(5.0));
    assert_eq!(from_slice::<u8>(&bytes_of("cd0100")), Err(Error::OutOfRange { wanted: "uint8" }));
    assert_eq!(from_slice::<u64>(&bytes_of("ff")), Err(Error::OutOfRange { wanted: "uint64" }));
}

#[test]
fn text_that_is_not_utf8_is_kept_as_bytes_and_replaced_in_strings() {
    assert_eq!(from_slice::<serde_json::Value>(&bytes_of("a2ff61")), Ok(serde_json::json!("\u{fffd}a")));
    assert_eq!(from_slice::<Bytes>(&bytes_of("a2ff61")), Ok(Bytes::from_static(&[0xff, 0x61])));
    assert_eq!(from_slice::<String>(&bytes_of("a2ff61")), Ok("\u{fffd}a".to_owned()));
}

#[test]
fn unknown_keys_are_passed_over() {
    let bytes = bytes_of("83a141a178a15893c081a101c70105ff02a142a1ff");
    let inner: Inner = from_slice(&bytes).unwrap();
    assert_eq!(inner, Inner { a: "x".to_owned(), b: Bytes::from_static(&[0xff]) });
}

#[test]
fn values_follow_each_other() {
    let mut buffer = to_vec("one").unwrap();
    buffer.extend(to_vec(&2u8).unwrap());
    let mut decoder = Decoder::new(&buffer);
    assert_eq!(decoder.decode::<String>(), Ok("one".to_owned()));
    assert_eq!(decoder.position(), 4);
    assert_eq!(decoder.decode::<u8>(), Ok(2));
    assert!(decoder.is_empty());
    assert_eq!(decoder.decode::<u8>(), Err(Error::Truncated));
    assert_eq!(from_slice::<String>(&buffer), Err(Error::Trailing { at: 4 }));
}

#[test]
fn a_raw_value_goes_out_as_it_came_in() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Carrier {
        a: u8,
        payload: RawValue,
        z: u8,
    }
    // str8 and a wide integer: forms that this encoder never writes.
    let bytes = bytes_of("83a16101a77061796c6f616492d90161d30000000000000005a17a02");
    let carrier: Carrier = from_slice(&bytes).unwrap();
    assert_eq!(carrier.payload.as_bytes(), bytes_of("92d90161d30000000000000005"));
    assert_eq!(carrier.payload.decode::<(String, u8)>(), Ok(("a".to_owned(), 5)));
    assert_eq!(to_vec(&carrier).unwrap(), bytes);
    assert_eq!(RawValue::new(Bytes::from_static(&[1, 2])), Err(Error::Trailing { at: 1 }));
    assert!(serde_json::to_string(&carrier).is_err());
}

#[test]
fn lying_lengths_and_depth_are_refused() {
    assert_eq!(from_slice::<Vec<u64>>(&bytes_of("ddffffffff00")), Err(Error::Truncated));
    assert_eq!(from_slice::<String>(&bytes_of("dbffffffff61")), Err(Error::Truncated));
    assert_eq!(from_slice::<BTreeMap<String, u8>>(&bytes_of("dfffffffff61")), Err(Error::Truncated));
    let mut deep = vec![0x91; MAX_DEPTH + 1];
    deep.push(0xc0);
    assert_eq!(from_slice::<serde_json::Value>(&deep), Err(Error::TooDeep));
    assert!(from_slice::<serde_json::Value>(&deep[2..]).is_ok());
    // Passing over needs no stack, so any depth will do.
    let mut deeper = vec![0x91; 1_000_000];
    deeper.push(0xc0);
    assert_eq!(skip_value(&deeper), Ok(1_000_001));
    assert_eq!(skip_value(&[0xc1]), Err(Error::Unexpected { marker: 0xc1, wanted: "a value" }));
}

#[test]
fn json_values_become_what_go_would_write() {
    let value: serde_json::Value = serde_json::from_str(r#"{"a":1,"b":-1,"c":1.5,"d":1e3}"#).unwrap();
    assert_eq!(hex_of(&value), "84a16101a162ffa163cb3ff8000000000000a164cb408f400000000000");
}

#[test]
fn an_unannounced_length_is_filled_in() {
    struct Unsized;
    impl Serialize for Unsized {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeSeq as _;
            let mut seq = serializer.serialize_seq(None)?;
            for n in 0..20u8 {
                seq.serialize_element(&n)?;
            }
            seq.end()
        }
    }
    let expect: Vec<u8> = (0..20).collect();
    assert_eq!(from_slice::<Vec<u8>>(&to_vec(&Unsized).unwrap()), Ok(expect));
}

proptest! {
    #[test]
    fn structs_round_trip(
        zed in ".*", flag in any::<bool>(), names in collection::vec(".*", 0..40),
        meta in collection::btree_map(".*", ".*", 0..20), b in collection::vec(any::<u8>(), 0..300),
        pointer in option::of(".*"), span in any::<i64>(), port in any::<i64>(), index in any::<u64>(),
        ratio in -1e300..1e300f64,
    ) {
        let value = Outer {
            zed, flag, names, meta, span: GoDuration(span), port, index, ratio,
            inner: Inner { a: String::new(), b: Bytes::from(b) },
            pointer: pointer.map(|a| Inner { a, b: Bytes::new() }),
            small: 0.5,
        };
        let bytes = to_vec(&value).unwrap();
        prop_assert_eq!(skip_value(&bytes), Ok(bytes.len()));
        prop_assert_eq!(from_slice::<Outer>(&bytes), Ok(value));
    }

    #[test]
    fn arbitrary_bytes_are_answered(bytes in collection::vec(any::<u8>(), 0..400)) {
        let _ = from_slice::<Outer>(&bytes);
        let _ = from_slice::<serde_json::Value>(&bytes);
        let _ = from_slice::<Vec<Option<Inner>>>(&bytes);
        let _ = from_slice::<RawValue>(&bytes);
        let _ = skip_value(&bytes);
    }

    #[test]
    fn broken_records_are_answered(at in 0usize..200, byte in any::<u8>()) {
        let mut bytes = to_vec(&Outer::default()).unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = from_slice::<Outer>(&bytes);
    }

    #[test]
    fn a_scanner_finds_the_end_however_the_bytes_arrive(names in collection::vec(".*", 0..20), step in 1usize..50) {
        let mut bytes = to_vec(&names).unwrap();
        let len = bytes.len();
        bytes.extend_from_slice(b"more");
        let mut scanner = ValueScanner::new();
        let mut seen = 0;
        let found = loop {
            seen = (seen + step).min(bytes.len());
            if let Some(found) = scanner.advance(&bytes[..seen]).unwrap() {
                break found;
            }
            assert!(seen < bytes.len());
        };
        prop_assert_eq!(found, len);
    }
}
