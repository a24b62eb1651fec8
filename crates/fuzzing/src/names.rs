//! DNS requests.

use std::net::IpAddr;
use std::sync::OnceLock;

use acl::AllowAll;
use dns::{Aliases, Context, Outcome, Settings, Transport, answer};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::world;

/// The octets of a header.
const HEADER: usize = 12;
/// The most that EDNS can ask for; what is larger does not fit a datagram.
const UDP_MAX: usize = 65_535;

/// One packet from anybody.
pub fn dns_packets(data: &[u8]) {
    static SETTINGS: OnceLock<Settings> = OnceLock::new();
    let settings = SETTINGS.get_or_init(|| Settings::new("dc1", "n1"));
    let state = world::state();
    for transport in [Transport::Udp, Transport::Tcp] {
        let context = Context {
            state: &state,
            fetched: None,
            settings,
            may: &AllowAll,
            transport,
            source: Some(IpAddr::from([127, 0, 0, 1])),
            now_s: 1_700_000_000,
            aliases: &Aliases::default(),
        };
        let mut reply = Vec::new();
        let answered = answer(&context, data, &mut StdRng::seed_from_u64(7), &mut reply);
        if answered.outcome == Outcome::Reply {
            assert!((HEADER..=UDP_MAX).contains(&reply.len()), "a reply of {} octets", reply.len());
            assert_eq!(reply[..2], data[..2], "a reply carries the request's id");
            assert!(reply[2] & 0x80 != 0, "a reply says that it is one");
        }
    }
}
