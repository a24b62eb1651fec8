//! A UDP and a TCP socket of the same address, and sending from it.
//!
//! Always true: addresses that leave this file are those that members know each other by: an IPv4 peer of an IPv6
//! socket is an IPv4 address.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};
use tokio::time::timeout;

/// What the kernel is asked to keep for us between two reads; it gives what it allows.
const RECEIVE_BUFFER: usize = 2 * 1024 * 1024;
/// How often another port is tried when any will do and UDP does not get the one that TCP got.
const ANY_PORT_TRIES: usize = 16;
/// How long a packet waits for the kernel to have room. It is one packet of many: better lost than late.
const SEND_WAIT: Duration = Duration::from_millis(100);

/// Both sockets of a member.
#[derive(Debug)]
pub struct Sockets {
    pub(super) udp: UdpSocket,
    pub(super) tcp: TcpListener,
    address: SocketAddr,
}

/// Listens on both; with port 0, on any port that is free for both.
pub async fn bind(address: SocketAddr) -> io::Result<Sockets> {
    let mut tries = if address.port() == 0 { ANY_PORT_TRIES } else { 1 };
    loop {
        tries -= 1;
        let tcp = TcpListener::bind(address).await?;
        let bound = tcp.local_addr()?;
        match UdpSocket::bind(bound).await {
            Ok(udp) => {
                // The kernel's own size will do if it refuses.
                let _ = socket2::SockRef::from(&udp).set_recv_buffer_size(RECEIVE_BUFFER);
                return Ok(Sockets { udp, tcp, address: bound });
            }
            Err(error) if tries > 0 && error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
}

impl Sockets {
    /// Where we listen, with the port that was found.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) async fn send(&self, to: SocketAddr, packet: &[u8]) -> io::Result<()> {
        let to = match (self.address.ip(), to.ip()) {
            (IpAddr::V6(_), IpAddr::V4(ip)) => SocketAddr::from((ip.to_ipv6_mapped(), to.port())),
            _ => to,
        };
        match self.udp.try_send_to(packet, to) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                timeout(SEND_WAIT, self.udp.send_to(packet, to)).await??;
            }
            sent => {
                sent?;
            }
        }
        Ok(())
    }
}

/// The address that a member is known by.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
