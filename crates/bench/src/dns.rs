//! Load over DNS: sockets that ask again as soon as they are answered.

use std::net::{SocketAddr, UdpSocket};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use domain::base::iana::Rtype;
use domain::base::{MessageBuilder, Name};

/// Queries that are under way at once on one socket.
const WINDOW: usize = 32;

/// Answers a second to A queries for `name`.
pub fn rate(server: SocketAddr, name: &str, span: Duration) -> Result<f64> {
    let name: Name<Vec<u8>> = Name::from_str(name).map_err(|error| anyhow!("{error}"))?;
    let mut question = MessageBuilder::new_vec().question();
    question.header_mut().set_rd(true);
    question.push((&name, Rtype::A)).map_err(|error| anyhow!("{error}"))?;
    let query = question.finish();
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    for _ in 0..WINDOW {
        socket.send(&query)?;
    }
    let (mut answer, started, mut count) = ([0; 4096], Instant::now(), 0u32);
    while started.elapsed() < span {
        // The place of a lost packet in the window is filled again.
        count += u32::from(socket.recv(&mut answer).is_ok());
        socket.send(&query)?;
    }
    Ok(f64::from(count) / started.elapsed().as_secs_f64())
}
