//! An agent's stand-in for tests: a small HTTP server with scripted answers, and a way to run a command line against it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::cli::{Environment, Io, Program, ServiceDefinitions, Version, run};

/// What was asked.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub method: String,
    /// Still encoded.
    pub path: String,
    /// Still encoded, without the question mark.
    pub query: String,
    /// As `name: value`, names in lower case.
    pub headers: Vec<String>,
    pub body: Vec<u8>,
}

impl Asked {
    /// `PUT /v1/kv/a?flags=3`
    pub fn line(&self) -> String {
        let mark = if self.query.is_empty() { "" } else { "?" };
        format!("{} {}{mark}{}", self.method, self.path, self.query)
    }

    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<String>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        Reply { status, headers: Vec::new(), body: body.into() }
    }

    pub fn ok(body: impl Into<Vec<u8>>) -> Reply {
        Reply::new(200, body)
    }

    pub fn with(mut self, header: impl Into<String>) -> Reply {
        self.headers.push(header.into());
        self
    }

    pub fn indexed(self, index: u64) -> Reply {
        self.with(format!("X-Consul-Index: {index}"))
    }
}

type Script = dyn Fn(&Asked) -> Reply + Send + Sync;

pub struct StandIn {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    closed: Arc<AtomicBool>,
}

impl StandIn {
    pub fn new(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> StandIn {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, closed) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let script: Arc<Script> = Arc::new(script);
        let (log, end) = (Arc::clone(&asked), Arc::clone(&closed));
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let (script, log) = (Arc::clone(&script), Arc::clone(&log));
                std::thread::spawn(move || serve(connection.unwrap(), &*script, &log));
            }
        });
        StandIn { address, asked, closed }
    }

    /// Everything asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub fn lines(&self) -> Vec<String> {
        self.asked().iter().map(Asked::line).collect()
    }

    /// Runs `consul <arguments>` against this.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_reading(arguments, b"")
    }

    pub fn run_reading(&self, arguments: &[&str], input: &[u8]) -> Outcome {
        let address = ("CONSUL_HTTP_ADDR".to_owned(), self.address.to_string());
        run_in([address].into(), arguments, input)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: TcpStream, script: &Script, log: &Mutex<Vec<Asked>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut first = String::new();
    if reader.read_line(&mut first).unwrap_or(0) == 0 {
        return;
    }
    let mut words = first.split_whitespace();
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default().to_owned();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut asked = Asked { method, path: path.to_owned(), query: query.to_owned(), ..Asked::default() };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        asked.headers.push(format!("{}: {value}", name.to_ascii_lowercase()));
    }
    if let Some(length) = asked.header("content-length") {
        asked.body = vec![0; length.parse().unwrap()];
        reader.read_exact(&mut asked.body).unwrap();
    } else if asked.header("transfer-encoding").is_some() {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).unwrap();
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            let mut piece = vec![0; size + 2];
            reader.read_exact(&mut piece).unwrap();
            if size == 0 {
                break;
            }
            asked.body.extend_from_slice(&piece[..size]);
        }
    }
    log.lock().unwrap().push(asked.clone());
    let reply = script(&asked);
    let mut out =
        format!("HTTP/1.1 {} X\r\nConnection: close\r\nContent-Length: {}\r\n", reply.status, reply.body.len());
    for header in &reply.headers {
        out.push_str(&format!("{header}\r\n"));
    }
    out.push_str("\r\n");
    let mut stream = stream;
    let _ = stream.write_all(&[out.as_bytes(), &reply.body].concat());
}

/// What a command line did.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub code: i32,
    pub out: String,
    pub err: String,
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub fn program() -> Program {
    Program {
        name: "consul".to_owned(),
        version: Version {
            version: "1.22.0".to_owned(),
            prerelease: "dev".to_owned(),
            build_date: "1970-01-01T00:00:01Z".to_owned(),
            protocol: 2,
            protocol_min: 2,
            protocol_max: 3,
            ..Version::default()
        },
        validate: Box::new(|what| match what.paths[0].as_str() {
            "good" => Ok(vec!["take care".to_owned()]),
            other => Err(format!("{other} is bad")),
        }),
        read_services: Box::new(|paths| {
            let bodies = paths.iter().map(|path| serde_json::json!({ "Name": path, "Port": 80 })).collect();
            Ok(ServiceDefinitions { warnings: vec!["take care".to_owned()], bodies })
        }),
        elsewhere: vec![("agent", "Runs an agent")],
    }
}

pub fn run_in(environment: Environment, arguments: &[&str], input: &[u8]) -> Outcome {
    let (out, err) = (Captured::default(), Captured::default());
    let mut io = Io {
        input: Box::new(std::io::Cursor::new(input.to_vec())),
        out: Box::new(out.clone()),
        err: Box::new(err.clone()),
        environment,
    };
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let code = run(&program(), &arguments, &mut io);
    Outcome { code, out: out.text(), err: err.text() }
}
