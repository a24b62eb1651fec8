//! Processes under measurement: the agent, and the bare servers beside it.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::load::{Connection, request};

/// A running agent; killed when dropped.
pub struct Subject {
    child: Child,
    pub http: SocketAddr,
    pub dns: SocketAddr,
    /// From start to the first answer.
    pub ready_in: Duration,
}

/// A running bare server; killed when dropped.
pub struct Bare {
    child: Child,
    pub address: SocketAddr,
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("CURULE_BIN") {
        return Ok(path.into());
    }
    let own = std::env::current_exe()?;
    let path = own.parent().context("no directory")?.join("curule");
    if !path.exists() {
        bail!("{} is missing: cargo build --release -p curule", path.display());
    }
    Ok(path)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Subject {
    /// Starts a persistent server, or a -dev agent without a directory.
    pub async fn start(data_dir: Option<&Path>) -> Result<Self> {
        let (http, dns) = (free_port()?, free_port()?);
        let mut command = Command::new(binary()?);
        command.arg("agent");
        match data_dir {
            None => command.arg("-dev"),
            Some(dir) => command
                .args(["-server", "-bootstrap-expect=1", "-bind=127.0.0.1"])
                .arg(format!("-data-dir={}", dir.display())),
        };
        let config = tempfile::Builder::new().suffix(".json").tempfile()?;
        std::fs::write(config.path(), r#"{"limits":{"http_max_conns_per_client":8000}}"#)?;
        command
            .arg(format!("-config-file={}", config.path().display()))
            .args([format!("-http-port={http}"), format!("-dns-port={dns}")])
            .args([format!("-server-port={}", free_port()?), format!("-serf-lan-port={}", free_port()?)])
            .args([format!("-serf-wan-port={}", free_port()?), "-log-level=error".to_owned()])
            .args(["-grpc-port=-1", "-grpc-tls-port=-1"])
            .stdout(Stdio::null());
        let started = Instant::now();
        let child = command.spawn()?;
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let mut subject = Subject { child, http: address(http), dns: address(dns), ready_in: Duration::ZERO };
        while started.elapsed() < Duration::from_secs(30) {
            if let Ok(mut connection) = Connection::open(subject.http).await
                && let Ok((200, ..)) = connection.ask(&request("GET", "/v1/status/leader", b"")).await
            {
                subject.ready_in = started.elapsed();
                return Ok(subject);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        bail!("the agent did not get ready")
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
        Ok(kib * 1024)
    }

    /// Waits for the agent to end.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Bare {
    pub fn http(body: &Path) -> Result<Self> {
        Bare::start(&["bare-http", body.to_str().context("path")?])
    }

    pub fn udp() -> Result<Self> {
        Bare::start(&["bare-udp"])
    }

    fn start(arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?).args(arguments).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        Ok(Bare { child, address: SocketAddr::from(([127, 0, 0, 1], line.trim().parse()?)) })
    }
}
