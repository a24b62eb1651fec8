//! The kinds of checks that run at intervals, under one roof.
//!
//! Always true: making a probe touches neither the network nor files; certificates are read at the first handshake.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::{Mutex, PoisonError};

use super::Verdict;
use super::definition::{CheckType, Kind};
use super::docker::{self, Docker, Engine};
use super::grpc::{self, Grpc};
use super::h2ping::{self, H2Ping};
use super::http::{self, Http};
use super::os_service::{self, OsService};
use super::output;
use super::script::{self, Lingering, Script};
use super::tcp::{self, Tcp};
use super::udp::{self, Udp};

/// What checks need to know of the agent they run on.
#[derive(Debug)]
pub struct Surroundings {
    /// The agent's `check_output_max_size`.
    pub output_bytes_max: usize,
    pub trust: Trust,
    /// `DOCKER_HOST`, empty when not set.
    pub docker_host: String,
    /// The program that speaks to the service manager.
    pub service_manager: Vec<OsString>,
}

impl Surroundings {
    /// Those of a process that was started with these variables.
    pub fn new(output_bytes_max: usize, trust: Trust, docker_host: Option<String>) -> Surroundings {
        Surroundings {
            output_bytes_max,
            trust,
            docker_host: docker_host.unwrap_or_default(),
            service_manager: vec![OsString::from("systemctl")],
        }
    }
}

/// TLS of checks: the agent's own when `enable_agent_tls_for_checks` is set, else the system's.
#[derive(Debug)]
pub struct Trust {
    base: net::tls::Settings,
    /// By `skip_verify` and whether HTTP/2 is offered: checks share what was read.
    made: Mutex<BTreeMap<(bool, bool), net::tls::ClientConfig>>,
}

impl Trust {
    pub fn new(base: net::tls::Settings) -> Trust {
        Trust { base, made: Mutex::new(BTreeMap::new()) }
    }

    fn config(&self, check: &CheckType, offers_h2: bool) -> net::tls::ClientConfig {
        let skip_verify = check.tls_skip_verify;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = made.entry((skip_verify, offers_h2)).or_insert_with(|| {
            let settings = net::tls::Settings {
                skip_verify,
                server_name: None,
                alpn: if offers_h2 { vec![b"h2".to_vec()] } else { Vec::new() },
                ..self.base.clone()
            };
            settings.when_needed()
        });
        shared.with_server_name(Some(check.tls_server_name.clone()))
    }
}

/// A check that is run again and again.
#[derive(Clone, Debug)]
pub enum Probe {
    Http(Http),
    Tcp(Tcp),
    Udp(Udp),
    Grpc(Grpc),
    H2Ping(H2Ping),
    Docker(Docker),
    OsService(OsService),
    Script(Script),
}

impl Probe {
    /// Nothing for TTL and alias checks, which are not run at intervals. An error refuses the registration.
    pub fn new(check: &CheckType, surroundings: &Surroundings) -> Result<Option<Probe>, String> {
        let kind = check.kind().ok_or_else(|| "Check type is not valid".to_owned())?;
        let output_bytes_max = output::bytes_max(surroundings.output_bytes_max, check.output_max_size);
        let trust = &surroundings.trust;
        let either = |proxy: &String, direct: &String| if proxy.is_empty() { direct } else { proxy }.clone();
        let probe = match kind {
            Kind::Ttl | Kind::Alias => return Ok(None),
            Kind::Http => Probe::Http(Http {
                url: either(&check.proxy_http, &check.http),
                method: check.method.clone(),
                header: check.header.clone(),
                body: check.body.clone(),
                disable_redirects: check.disable_redirects,
                timeout: check.timeout_or(http::TIMEOUT_DEFAULT),
                output_bytes_max,
                tls: trust.config(check, false),
            }),
            Kind::Tcp => Probe::Tcp(Tcp {
                address: check.tcp.clone(),
                tls: check.tcp_use_tls.then(|| trust.config(check, false)),
                timeout: check.timeout_or(tcp::TIMEOUT_DEFAULT),
            }),
            Kind::Udp => {
                Probe::Udp(Udp { address: check.udp.clone(), timeout: check.timeout_or(udp::TIMEOUT_DEFAULT) })
            }
            Kind::Grpc => Probe::Grpc(Grpc {
                target: check.grpc.clone(),
                proxy_target: Some(check.proxy_grpc.clone()).filter(|proxy| !proxy.is_empty()),
                tls: check.grpc_use_tls.then(|| trust.config(check, true)),
                authority: Some(check.tls_server_name.clone()).filter(|name| check.grpc_use_tls && !name.is_empty()),
                timeout: check.timeout_or(grpc::TIMEOUT_DEFAULT),
            }),
            Kind::H2Ping => Probe::H2Ping(H2Ping {
                target: check.h2ping.clone(),
                tls: check.h2ping_use_tls.then(|| trust.config(check, true)),
                timeout: check.timeout_or(h2ping::TIMEOUT_DEFAULT),
            }),
            Kind::Docker => Probe::Docker(Docker {
                engine: Engine::parse(&surroundings.docker_host)?,
                container: check.docker_container_id.clone(),
                args: check.script_args.clone(),
                timeout: check.timeout_or(docker::TIMEOUT_DEFAULT),
                output_bytes_max,
            }),
            Kind::OsService => Probe::OsService(OsService {
                unit: check.os_service.clone(),
                timeout: check.timeout_or(os_service::TIMEOUT_DEFAULT),
                manager: surroundings.service_manager.clone(),
            }),
            Kind::Script => Probe::Script(Script {
                args: check.script_args.clone(),
                timeout: check.timeout_or(script::TIMEOUT_DEFAULT),
                output_bytes_max,
            }),
        };
        Ok(Some(probe))
    }

    pub async fn run(&self) -> (Verdict, Option<Lingering>) {
        let verdict = match self {
            Probe::Http(http) => http.run().await,
            Probe::Tcp(tcp) => tcp.run().await,
            Probe::Udp(udp) => udp.run().await,
            Probe::Grpc(grpc) => grpc.run().await,
            Probe::H2Ping(h2ping) => h2ping.run().await,
            Probe::Docker(docker) => docker.run().await,
            Probe::OsService(os_service) => os_service.run().await,
            Probe::Script(script) => return script.run().await,
        };
        (verdict, None)
    }
}

#[cfg(test)]
mod tests {
    use super::{Probe, Surroundings, Trust};
    use crate::check::definition::CheckType;
    use std::time::Duration;

    fn probe(body: &str) -> Result<Option<Probe>, String> {
        let check: CheckType = wire::json::from_slice(body.as_bytes(), wire::json::Options::STRICT_ALIASES).unwrap();
        let trust = Trust::new(net::tls::Settings::default());
        let surroundings = Surroundings::new(4096, trust, Some("nonsense".to_owned()));
        Probe::new(&check, &surroundings)
    }

    #[test]
    fn definitions_become_probes_with_their_kinds_defaults() {
        let made = probe(r#"{"Interval":"1s","HTTP":"http://a/","ProxyHTTP":"http://b/","OutputMaxSize":5}"#);
        let Ok(Some(Probe::Http(http))) = made else {
            panic!("{made:?}");
        };
        assert_eq!(http.url, "http://b/");
        assert_eq!(http.timeout, Duration::from_secs(10));
        assert_eq!(http.output_bytes_max, 5);
        let made = probe(r#"{"Interval":"1s","Args":["a"],"Timeout":"3s"}"#);
        let Ok(Some(Probe::Script(script))) = made else {
            panic!("{made:?}");
        };
        assert_eq!(script.timeout, Duration::from_secs(3));
        assert!(matches!(probe(r#"{"TTL":"1s"}"#), Ok(None)));
        assert!(matches!(probe(r#"{"AliasNode":"n"}"#), Ok(None)));
    }

    #[test]
    fn what_is_no_check_is_refused() {
        assert_eq!(probe(r#"{"Name":"n"}"#).unwrap_err(), "Check type is not valid");
        assert_eq!(
            probe(r#"{"Interval":"1s","Args":["a"],"DockerContainerID":"c"}"#).unwrap_err(),
            "unable to parse docker host `nonsense`"
        );
    }
}
