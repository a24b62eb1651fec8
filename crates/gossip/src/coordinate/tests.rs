//! The golden run was recorded from serf 0.10.1: step, distance to the first peer in nanoseconds, then the bits of the
//! vector, error, adjustment and height; and last the bytes that an ack carries then.

use proptest::array::uniform8;
use proptest::prelude::{any, prop_assert, proptest};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

const RUN: &str = include_str!("client.golden.txt");

/// The generator that both sides of the recording ran.
struct Sequence(u32);

impl Sequence {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(self.0 >> 8) / f64::from(1 << 24)
    }
}

fn random() -> StdRng {
    StdRng::seed_from_u64(1)
}

fn bits(coordinate: &Coordinate) -> String {
    let parts = coordinate.vec.iter().chain([&coordinate.error, &coordinate.adjustment, &coordinate.height]);
    parts.map(|part| format!("{:016x}", part.to_bits())).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_run_of_the_reference_comes_to_the_same_bits() {
    let mut sequence = Sequence(42);
    let peers: Vec<Coordinate> = (0..5)
        .map(|_| Coordinate {
            vec: (0..DIMENSIONS).map(|_| sequence.next() * 0.2 - 0.1).collect(),
            error: sequence.next(),
            height: sequence.next() * 0.01,
            adjustment: sequence.next() * 0.004 - 0.002,
        })
        .collect();
    let mut client = Client::new();
    let mut random = random();
    let mut lines = Vec::new();
    for step in 0..200 {
        let peer = (sequence.next() * 5.0) as usize;
        let mut rtt = Duration::from_nanos((sequence.next() * 5e7) as u64);
        if step % 37 == 36 {
            rtt = Duration::ZERO;
        }
        client.update(&format!("n{peer}"), &peers[peer], rtt, &mut random).unwrap();
        if step % 20 == 19 || step < 3 {
            let distance = client.distance_to(&peers[0]).unwrap().as_nanos();
            lines.push(format!("{step} {distance} {}", bits(client.coordinate())));
        }
    }
    let wire: String = client.coordinate().to_ack_payload().iter().map(|byte| format!("{byte:02x}")).collect();
    lines.push(format!("wire {wire}"));
    assert_eq!(lines, RUN.lines().collect::<Vec<_>>());
    let payload = client.coordinate().to_ack_payload();
    assert_eq!(Coordinate::from_ack_payload(&payload).unwrap().as_ref(), Some(client.coordinate()));
}

#[test]
fn what_cannot_be_is_rejected_as_the_reference_words_it() {
    let mut client = Client::new();
    let mut update = |other: &Coordinate, rtt| client.update("n", other, rtt, &mut random()).unwrap_err().to_string();
    let far = Duration::from_millis(10_001);
    let range = "round trip time not in valid range, duration 10.001s is not a positive value less than 10s ";
    assert_eq!(update(&Coordinate::origin(), far), range);
    let flat = Coordinate { vec: vec![0.0; 2], ..Coordinate::origin() };
    assert_eq!(update(&flat, Duration::ZERO), "dimensions aren't compatible");
    let lost = Coordinate { height: f64::NAN, ..Coordinate::origin() };
    assert_eq!(update(&lost, Duration::ZERO), "coordinate is invalid");
    assert_eq!(client.coordinate(), &Coordinate::origin());
    assert_eq!(Coordinate::from_ack_payload(&[]), Ok(None));
    assert_eq!(Coordinate::from_ack_payload(&[2]), Err(Rejected::Version(2)));
    assert!(matches!(Coordinate::from_ack_payload(&[1, 0xc1]), Err(Rejected::Malformed(_))));
}

#[test]
fn numbers_out_of_bounds_reset_the_client() {
    let mut client = Client::new();
    let far = Coordinate { vec: vec![f64::MAX; DIMENSIONS], ..Coordinate::origin() };
    client.update("n", &far, Duration::from_millis(1), &mut random()).unwrap();
    assert_eq!((client.resets(), client.coordinate()), (1, &Coordinate::origin()));
}

#[test]
fn two_clients_learn_their_distance() {
    let mut random = random();
    let (mut here, mut there) = (Client::new(), Client::new());
    let rtt = Duration::from_millis(40);
    for _ in 0..200 {
        let other = there.coordinate().clone();
        here.update("there", &other, rtt, &mut random).unwrap();
        let other = here.coordinate().clone();
        there.update("here", &other, rtt, &mut random).unwrap();
    }
    let guess = here.distance_to(there.coordinate()).unwrap();
    assert!(guess.abs_diff(rtt) < Duration::from_millis(1), "{guess:?}");
    here.forget_node("there");
    assert!(here.latencies.is_empty());
}

proptest! {
    #[test]
    fn whatever_peers_say_we_stay_finite(
        places in proptest::collection::vec((uniform8(any::<f64>()), any::<[f64; 3]>(), 0u64..10_000_000_000), 1..20),
    ) {
        let (mut client, mut random) = (Client::new(), random());
        for (vec, [error, adjustment, height], rtt) in places {
            let other = Coordinate { vec: vec.to_vec(), error, adjustment, height };
            let _ = client.update("n", &other, Duration::from_nanos(rtt), &mut random);
            prop_assert!(client.coordinate().is_valid());
            let _ = client.distance_to(&other);
        }
    }

    #[test]
    fn any_payload_is_read_or_rejected(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Coordinate::from_ack_payload(&payload);
        let _ = Coordinate::from_ack_payload(&[&[1], &payload[..]].concat());
    }
}
