//! Sidecar proxies: services that are registered with the service that they stand beside.
//!
//! Always true: a sidecar's id is its service's with a suffix, so that registering again replaces it; it goes when its
//! service does.
//! Not here: the proxy itself, and what it is configured with (the mesh).

use std::ops::RangeInclusive;

use state::Error;
use state::catalog::{CONNECT_PROXY, NodeService, faults, faults_text};
use wire::duration::GoDuration;

use crate::check::definition::CheckType;
use crate::local::Local;
use crate::service::{ServiceDefinition, check_meta};

/// What is put behind id and name of the service.
const SUFFIX: &str = "-sidecar-proxy";
/// Where a proxy reaches its service, unless told otherwise.
const LOCAL_ADDRESS: &str = "127.0.0.1";
/// How often a proxy is asked whether it listens.
const LISTENING_INTERVAL: GoDuration = GoDuration(10 * 1_000_000_000);

/// A sidecar that is to be registered.
#[derive(Debug, Clone)]
pub struct Sidecar {
    /// Port zero: one is to be chosen.
    pub service: NodeService,
    pub checks: Vec<CheckType>,
    /// Empty: that of the service.
    pub token: String,
}

/// The id of a service's sidecar.
#[must_use]
pub fn id_of(service_id: &str) -> String {
    format!("{service_id}{SUFFIX}")
}

impl ServiceDefinition {
    /// The sidecar that comes with this service, with what it takes over from it.
    pub fn sidecar(&self) -> Result<Option<Sidecar>, Error> {
        let Some(written) = self.connect.as_ref().and_then(|connect| connect.sidecar_service.as_deref()) else {
            return Ok(None);
        };
        check_meta(&written.meta).map_err(|reason| Error::invalid(format!("Invalid SidecarService: {reason}")))?;
        let parent = self.node_service();
        let mut sidecar = written.node_service();
        sidecar.id = id_of(&parent.id);
        fill(&mut sidecar.kind, CONNECT_PROXY);
        fill(&mut sidecar.service, &format!("{}{SUFFIX}", parent.service));
        fill(&mut sidecar.address, &parent.address);
        if sidecar.meta.is_none() {
            sidecar.meta.clone_from(&parent.meta);
        }
        if sidecar.tags.is_empty() {
            sidecar.tags.clone_from(&parent.tags);
        }
        if sidecar.locality.is_none() {
            sidecar.locality.clone_from(&parent.locality);
        }
        let proxy = &mut sidecar.proxy;
        fill(&mut proxy.destination_service_name, &parent.service);
        fill(&mut proxy.destination_service_id, &parent.id);
        if proxy.local_service_socket_path.is_empty() {
            let is_placed = !proxy.local_service_address.is_empty() && proxy.local_service_port > 0;
            if !is_placed && !parent.socket_path.is_empty() {
                proxy.local_service_socket_path.clone_from(&parent.socket_path);
            } else if !is_placed {
                fill(&mut proxy.local_service_address, LOCAL_ADDRESS);
                if proxy.local_service_port < 1 {
                    proxy.local_service_port = parent.port;
                }
            }
        }
        let faults = faults(&sidecar, true);
        if !faults.is_empty() {
            return Err(Error::invalid(format!("Failed Validation: {}", faults_text(&faults))));
        }
        let checks = written.all_checks().cloned().collect();
        Ok(Some(Sidecar { service: sidecar, checks, token: written.token.clone() }))
    }
}

fn fill(field: &mut String, default: &str) {
    if field.is_empty() {
        default.clone_into(field);
    }
}

impl Sidecar {
    /// Chooses a port if none was given, and the checks if none were.
    pub(crate) fn settle(&mut self, local: &Local, ports: &RangeInclusive<i64>) -> Result<(), Error> {
        if self.service.port < 1 {
            self.service.port = free_port(local, &self.service.id, ports)?;
        }
        self.service.imply_addresses();
        if self.checks.is_empty() {
            self.checks = default_checks(&self.service);
        }
        Ok(())
    }
}

/// The port that a sidecar has already, or the lowest that no service of this agent has.
fn free_port(local: &Local, id: &str, ports: &RangeInclusive<i64>) -> Result<i64, Error> {
    let in_range = |port: &i64| *port > 0 && ports.contains(port);
    if let Some(own) = local.service(id).map(|local| local.service.port).filter(in_range) {
        return Ok(own);
    }
    let taken: std::collections::BTreeSet<i64> = local.services().map(|local| local.service.port).collect();
    let is_enabled = *ports.start() > 0 && *ports.end() > 0;
    let free = ports.clone().find(|port| !taken.contains(port));
    free.filter(|_| is_enabled).ok_or_else(|| {
        Error::failed(if is_enabled {
            format!(
                "no port provided for sidecar_service and none left in the configured range [{}, {}]",
                ports.start(),
                ports.end()
            )
        } else {
            "no port provided for sidecar_service and auto-assignment disabled in config".to_owned()
        })
    })
}

/// Whether the proxy listens, and how the service is.
fn default_checks(sidecar: &NodeService) -> Vec<CheckType> {
    let host = match sidecar.address.as_str() {
        "" => &sidecar.proxy.local_service_address,
        address => address,
    };
    let tcp =
        if host.contains(':') { format!("[{host}]:{}", sidecar.port) } else { format!("{host}:{}", sidecar.port) };
    let service_id = sidecar.id.strip_suffix(SUFFIX).unwrap_or(&sidecar.id);
    vec![
        CheckType {
            name: "Connect Sidecar Listening".to_owned(),
            tcp,
            interval: LISTENING_INTERVAL,
            ..CheckType::default()
        },
        CheckType {
            name: format!("Connect Sidecar Aliasing {service_id}"),
            alias_service: service_id.to_owned(),
            ..CheckType::default()
        },
    ]
}

#[cfg(test)]
mod tests {
    use state::catalog::NodeService;

    use super::{Sidecar, free_port};
    use crate::local::{Local, Source};
    use crate::service::{Connect, ServiceDefinition};

    fn parent(sidecar: ServiceDefinition) -> ServiceDefinition {
        ServiceDefinition {
            id: "w1".into(),
            name: "web".into(),
            port: 80,
            tags: vec!["a".into()],
            connect: Some(Connect { native: false, sidecar_service: Some(Box::new(sidecar)) }),
            ..ServiceDefinition::default()
        }
    }

    fn settled(sidecar: ServiceDefinition, local: &Local) -> Sidecar {
        let mut sidecar = parent(sidecar).sidecar().unwrap().unwrap();
        sidecar.settle(local, &(21000..=21001)).unwrap();
        sidecar
    }

    #[test]
    fn a_sidecar_takes_over_what_it_does_not_say() {
        let sidecar = settled(ServiceDefinition::default(), &Local::default());
        let (service, proxy) = (&sidecar.service, &sidecar.service.proxy);
        assert_eq!((service.id.as_str(), service.service.as_str()), ("w1-sidecar-proxy", "web-sidecar-proxy"));
        assert_eq!((service.kind.as_str(), service.port), ("connect-proxy", 21000));
        assert_eq!(service.tags, ["a"]);
        assert_eq!((proxy.destination_service_name.as_str(), proxy.destination_service_id.as_str()), ("web", "w1"));
        assert_eq!((proxy.local_service_address.as_str(), proxy.local_service_port), ("127.0.0.1", 80));
        assert_eq!(sidecar.checks[0].tcp, "127.0.0.1:21000");
        assert_eq!(sidecar.checks[1].alias_service, "w1");
        let own = ServiceDefinition { name: "other".into(), tags: vec!["z".into()], port: 9, ..Default::default() };
        let sidecar = settled(own, &Local::default());
        assert_eq!((sidecar.service.service.as_str(), sidecar.service.port), ("other", 9));
        assert_eq!(sidecar.service.tags, ["z"]);
    }

    #[test]
    fn ports_are_kept_and_run_out() {
        let mut local = Local::default();
        let ports = 21000..=21001;
        let service = |id: &str, port| NodeService { id: id.into(), port, ..NodeService::default() };
        local.put_service(service("a", 21000), String::new(), Source::Api, true);
        assert_eq!(free_port(&local, "b", &ports).unwrap(), 21001);
        assert_eq!(free_port(&local, "a", &ports).unwrap(), 21000);
        local.put_service(service("c", 21001), String::new(), Source::Api, false);
        assert_eq!(
            free_port(&local, "b", &ports).unwrap_err().to_string(),
            "no port provided for sidecar_service and none left in the configured range [21000, 21001]"
        );
        assert_eq!(
            free_port(&local, "b", &(-1..=-1)).unwrap_err().to_string(),
            "no port provided for sidecar_service and auto-assignment disabled in config"
        );
    }
}
