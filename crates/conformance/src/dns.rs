//! One DNS question over UDP or TCP, written by hand; the answer is read into plain text, record by record.
//!
//! A record reads `owner ttl TYPE data`, names with their final dot: what `dig` would print, so expectations are plain
//! strings.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest chain of compression pointers that is followed.
const MAX_POINTERS: usize = 64;
const OPT: u16 = 41;

/// A question that has not been asked.
#[derive(Clone)]
#[must_use = "a question does nothing until it is asked"]
pub struct Question {
    to: SocketAddr,
    name: String,
    kind: u16,
    payload: Option<u16>,
    tcp: bool,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    /// Response code: 0 NOERROR, 2 SERVFAIL, 3 NXDOMAIN, 4 NOTIMP, 5 REFUSED.
    pub code: u8,
    /// Set flags among `aa`, `tc`, `rd`, `ra`, in that order.
    pub flags: Vec<&'static str>,
    /// The question as it was echoed.
    pub question: String,
    /// Answer section.
    pub answer: Vec<String>,
    /// Authority section.
    pub authority: Vec<String>,
    /// Additional section without the OPT record.
    pub additional: Vec<String>,
    /// The size in the OPT record, if there is one.
    pub payload: Option<u16>,
    /// Bytes on the wire.
    pub size: usize,
}

impl Question {
    pub(crate) fn new(to: SocketAddr, name: &str, kind: &str) -> Self {
        Self { to, name: name.into(), kind: code_of(kind), payload: None, tcp: false }
    }

    /// Sends an OPT record with this payload size.
    pub fn edns(mut self, payload: u16) -> Self {
        self.payload = Some(payload);
        self
    }

    /// Asks over TCP.
    pub fn tcp(mut self) -> Self {
        self.tcp = true;
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, u8::from(self.payload.is_some())];
        for label in self.name.trim_end_matches('.').split('.').filter(|label| !label.is_empty()) {
            bytes.push(u8::try_from(label.len()).expect("labels are short"));
            bytes.extend_from_slice(label.as_bytes());
        }
        bytes.push(0);
        bytes.extend_from_slice(&self.kind.to_be_bytes());
        bytes.extend_from_slice(&[0, 1]);
        if let Some(payload) = self.payload {
            bytes.push(0);
            bytes.extend_from_slice(&OPT.to_be_bytes());
            bytes.extend_from_slice(&payload.to_be_bytes());
            bytes.extend_from_slice(&[0; 6]);
        }
        bytes
    }

    /// Asks, and reads the reply.
    pub fn ask(self) -> Reply {
        let label = format!("DNS {} {}", self.name, type_name(self.kind));
        let exchanged = if self.tcp { self.over_tcp() } else { self.over_udp() };
        match exchanged {
            Ok(bytes) => read(&label, &bytes),
            Err(error) => panic!("{label}: {error}"),
        }
    }

    fn over_udp(&self) -> std::io::Result<Vec<u8>> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.send_to(&self.bytes(), self.to)?;
        let mut buffer = vec![0; 65_535];
        let length = socket.recv(&mut buffer)?;
        buffer.truncate(length);
        Ok(buffer)
    }

    fn over_tcp(&self) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(self.to)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let bytes = self.bytes();
        let length = u16::try_from(bytes.len()).expect("questions are short");
        stream.write_all(&length.to_be_bytes())?;
        stream.write_all(&bytes)?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut buffer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut buffer)?;
        Ok(buffer)
    }
}

fn code_of(kind: &str) -> u16 {
    match kind {
        "A" => 1,
        "NS" => 2,
        "CNAME" => 5,
        "SOA" => 6,
        "PTR" => 12,
        "MX" => 15,
        "TXT" => 16,
        "AAAA" => 28,
        "SRV" => 33,
        "AXFR" => 252,
        "ANY" => 255,
        other => panic!("no code for {other}"),
    }
}

fn type_name(code: u16) -> String {
    let known = ["A", "NS", "CNAME", "SOA", "PTR", "MX", "TXT", "AAAA", "SRV", "AXFR", "ANY"];
    known.into_iter().find(|name| code_of(name) == code).map_or_else(|| format!("TYPE{code}"), str::to_owned)
}

fn read(label: &str, bytes: &[u8]) -> Reply {
    let mut reader = Reader { label, bytes, at: 0 };
    let id = reader.u16();
    assert_eq!(id, 0x1234, "{label}: id");
    let (high, low) = (reader.u8(), reader.u8());
    assert!(high & 0x80 != 0, "{label}: not a response");
    let flags = [(high & 4, "aa"), (high & 2, "tc"), (high & 1, "rd"), (low & 0x80, "ra")];
    let counts = [reader.u16(), reader.u16(), reader.u16(), reader.u16()];
    let question = (0..counts[0])
        .map(|_| {
            let name = reader.name();
            let kind = type_name(reader.u16());
            reader.u16();
            format!("{name} {kind}")
        })
        .collect();
    let mut payload = None;
    let mut section = |count: u16| -> Vec<String> { (0..count).filter_map(|_| reader.record(&mut payload)).collect() };
    let (answer, authority, additional) = (section(counts[1]), section(counts[2]), section(counts[3]));
    Reply {
        code: low & 0x0f,
        flags: flags.into_iter().filter(|(bit, _)| *bit != 0).map(|(_, name)| name).collect(),
        question,
        answer,
        authority,
        additional,
        payload,
        size: bytes.len(),
    }
}

struct Reader<'a> {
    label: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> &[u8] {
        let Some(taken) = self.bytes.get(self.at..self.at + count) else {
            panic!("{}: the reply ends at {} inside a record", self.label, self.bytes.len())
        };
        self.at += count;
        taken
    }

    fn u8(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn u16(&mut self) -> u16 {
        let pair = self.take(2);
        u16::from_be_bytes([pair[0], pair[1]])
    }

    fn u32(&mut self) -> u32 {
        u32::from(self.u16()) << 16 | u32::from(self.u16())
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        let mut back = None;
        for _ in 0..MAX_POINTERS {
            let length = self.u8();
            match length {
                0 => {
                    self.at = back.unwrap_or(self.at);
                    return if name.is_empty() { ".".into() } else { name };
                }
                0xc0.. => {
                    let low = self.u8();
                    back = back.or(Some(self.at));
                    self.at = usize::from(length & 0x3f) << 8 | usize::from(low);
                }
                _ => {
                    name.push_str(&String::from_utf8_lossy(self.take(usize::from(length))));
                    name.push('.');
                }
            }
        }
        panic!("{}: endless name", self.label)
    }

    /// One record as text; an OPT record goes into `payload` instead.
    fn record(&mut self, payload: &mut Option<u16>) -> Option<String> {
        let owner = self.name();
        let kind = self.u16();
        let class = self.u16();
        let ttl = self.u32();
        let length = usize::from(self.u16());
        let end = self.at + length;
        if kind == OPT {
            *payload = Some(class);
            self.at = end;
            return None;
        }
        let data = match type_name(kind).as_str() {
            "A" => {
                let octets: [u8; 4] = self.take(4).try_into().expect("four were taken");
                IpAddr::from(octets).to_string()
            }
            "AAAA" => {
                let octets: [u8; 16] = self.take(16).try_into().expect("sixteen were taken");
                IpAddr::from(octets).to_string()
            }
            "NS" | "CNAME" | "PTR" => self.name(),
            "SRV" => {
                let numbers = [self.u16(), self.u16(), self.u16()];
                format!("{} {} {} {}", numbers[0], numbers[1], numbers[2], self.name())
            }
            "TXT" => {
                let mut texts = Vec::new();
                while self.at < end {
                    let length = usize::from(self.u8());
                    texts.push(format!("{:?}", String::from_utf8_lossy(self.take(length))));
                }
                texts.join(" ")
            }
            "SOA" => {
                let names = format!("{} {}", self.name(), self.name());
                // The serial is the time of day: it says nothing.
                self.u32();
                let rest: Vec<String> = (0..4).map(|_| self.u32().to_string()).collect();
                format!("{names} {}", rest.join(" "))
            }
            _ => format!("{:?}", self.take(length)),
        };
        assert_eq!(self.at, end, "{}: length of a record of type {}", self.label, type_name(kind));
        Some(format!("{owner} {ttl} {} {data}", type_name(kind)))
    }
}
