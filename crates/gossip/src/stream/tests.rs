//! Golden bytes were recorded from memberlist 0.5.0: one line a stream, of label, version and key, compression, nonce,
//! message, stream.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::envelope::Label;
use crate::envelope::tests::{envelope_of, nonce_of, unhex};
use crate::keyring::{Key, Keyring};

const STREAMS: &str = include_str!("streams.golden.txt");

fn encrypted() -> Envelope {
    let keyring = Keyring::new(Key::new(&[1; 16]).unwrap());
    Envelope { keyring: Some(Arc::new(keyring)), compress: false, ..Envelope::default() }
}

fn plain() -> Envelope {
    Envelope { compress: false, ..Envelope::default() }
}

fn user(body: &[u8]) -> Vec<u8> {
    let mut message = vec![8, 0x81, 0xaa];
    message.extend_from_slice(b"UserMsgLen");
    msgpack::write_to(&mut message, &body.len()).unwrap();
    message.extend_from_slice(body);
    message
}

fn read_in(mut reader: StreamReader, stream: &[u8], step: usize) -> Result<Option<Bytes>, Refusal> {
    for piece in stream.chunks(step.max(1)) {
        if let Some(message) = reader.push(piece)? {
            return Ok(Some(message));
        }
    }
    Ok(None)
}

#[test]
fn streams_of_the_reference_open_and_ours_are_the_same_bytes() {
    let mut cases = 0;
    for line in STREAMS.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [label, key, compress, nonce, message, stream] = fields[..] else { panic!("{line}") };
        let envelope = Envelope { compress: compress == "true", ..envelope_of(label, key) };
        let (message, stream) = (unhex(message), unhex(stream));
        assert_eq!(envelope.seal_stream(&message, nonce_of(nonce)), stream, "{line}");
        for step in [1, 7, stream.len()] {
            let read = read_in(StreamReader::incoming(envelope.clone()), &stream, step);
            assert_eq!(read, Ok(Some(message.clone().into())), "{line}");
        }
        // All but the last byte is not yet a message.
        let early = read_in(StreamReader::incoming(envelope.clone()), &stream[..stream.len() - 1], 5);
        assert_eq!(early, Ok(None), "{line}");
        // An answer is the same behind the label.
        let reply = envelope.seal_reply(&message, nonce_of(nonce));
        let header = if label == "-" { 0 } else { 2 + label.len() };
        assert_eq!(reply, stream[header..], "{line}");
        assert_eq!(read_in(StreamReader::reply(envelope), &reply, 3), Ok(Some(message.into())), "{line}");
        cases += 1;
    }
    assert_eq!(cases, 80);
}

#[test]
fn what_follows_a_message_is_ignored() {
    let message = user(b"hello");
    for envelope in [plain(), encrypted(), Envelope::default()] {
        let stream = [&envelope.seal_stream(&message, [0; 12])[..], b"and more"].concat();
        assert_eq!(read_in(StreamReader::incoming(envelope), &stream, stream.len()), Ok(Some(message.clone().into())));
    }
}

#[test]
fn streams_of_another_pool_are_refused() {
    let ping = [0, 0x80];
    let sealed = encrypted().seal_stream(&ping, [0; 12]);
    let read = |envelope: Envelope, stream: &[u8]| read_in(StreamReader::incoming(envelope), stream, 9).unwrap_err();
    assert_eq!(read(plain(), &sealed), Refusal::UnexpectedEncryption);
    assert_eq!(read(encrypted(), &ping), Refusal::PlainStream);
    assert!(Refusal::PlainStream.is_answered());
    let other = Keyring::new(Key::new(&[2; 16]).unwrap());
    assert_eq!(read(Envelope { keyring: Some(Arc::new(other)), ..plain() }, &sealed), Refusal::NoKey);
    let blue = Envelope { label: Label::new("blue").unwrap(), ..encrypted() };
    assert_eq!(read(blue.clone(), &sealed), Refusal::Label(String::new()));
    assert_eq!(read(encrypted(), &blue.seal_stream(&ping, [0; 12])), Refusal::Label("blue".into()));
    assert_eq!(read(encrypted(), &blue.seal_reply(&ping, [0; 12])), Refusal::NoKey);
    let lenient = Envelope { verify_incoming: false, ..encrypted() };
    assert_eq!(read_in(StreamReader::incoming(lenient), &ping, 9), Ok(Some(ping.to_vec().into())));
    assert_eq!(read(plain(), &[1, 0x80]), Refusal::StreamKind(1));
    assert_eq!(read(plain(), &[7, 0x80]), Refusal::StreamKind(7));
}

#[test]
fn lengths_that_are_claimed_are_not_believed() {
    let read = |stream: &[u8]| read_in(StreamReader::incoming(plain()), stream, 1000);
    let mut long = vec![8, 0x81, 0xaa];
    long.extend_from_slice(b"UserMsgLen");
    let huge = [&long[..], &[0xce, 0x02, 0, 0, 0]].concat();
    assert_eq!(read(&huge), Err(Refusal::TooLarge(0x0200_0000)));
    let negative = [&long[..], &[0xff]].concat();
    assert_eq!(read(&negative), Ok(Some(negative.clone().into())));
    let mut nodes = vec![6, 0x81, 0xa5];
    nodes.extend_from_slice(b"Nodes");
    assert!(matches!(read(&[&nodes[..], &[0xff]].concat()), Err(Refusal::TooLarge(_))));
    assert!(matches!(read(&[&nodes[..], &[0xce, 0xff, 0, 0, 0]].concat()), Err(Refusal::TooLarge(_))));
    let sealed = [10, 0x01, 0x40, 0, 1];
    assert_eq!(read_in(StreamReader::incoming(encrypted()), &sealed, 9), Err(Refusal::TooLarge(0x0140_0001)));
}

#[test]
fn an_endless_stream_is_cut_off() {
    // A ping whose only value is an endless string.
    let mut reader = StreamReader::incoming(plain());
    assert_eq!(reader.push(&[0, 0xdb, 0xff, 0xff, 0xff, 0xff]), Ok(None));
    let piece = vec![0; 1 << 20];
    let refused = (0..32).find_map(|_| reader.push(&piece).err());
    assert!(matches!(refused, Some(Refusal::TooLarge(_))));
    assert_eq!((reader.buffered(), reader.push(&piece)), (0, Ok(None)));
}

#[test]
fn a_bomb_stops_at_the_bound() {
    let bomb = compress(&vec![8; MESSAGE_MAX + 1]).unwrap();
    assert!(matches!(read_in(StreamReader::incoming(plain()), &bomb, bomb.len()), Err(Refusal::TooLarge(_))));
}

proptest! {
    #[test]
    fn what_is_sealed_opens_in_any_pieces(
        body in vec(any::<u8>(), 0..3000),
        step in 1usize..200,
        (encrypt, compress) in any::<(bool, bool)>(),
        nonce in any::<[u8; 12]>(),
    ) {
        let envelope = Envelope { compress, ..if encrypt { encrypted() } else { plain() } };
        let message = user(&body);
        let stream = envelope.seal_stream(&message, nonce);
        prop_assert_eq!(read_in(StreamReader::incoming(envelope), &stream, step), Ok(Some(message.into())));
    }

    #[test]
    fn garbage_never_panics(bytes in vec(any::<u8>(), 0..300), first in 0u8..14, step in 1usize..40) {
        for envelope in [plain(), encrypted(), Envelope { verify_incoming: false, ..encrypted() }] {
            let _ = read_in(StreamReader::incoming(envelope.clone()), &bytes, step);
            let stream = [&[first][..], &bytes].concat();
            let _ = read_in(StreamReader::reply(envelope), &stream, step);
        }
        prop_assert!(true);
    }
}
