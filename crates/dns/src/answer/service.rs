//! Instances of services and of prepared queries as records.

use std::collections::HashSet;
use std::net::IpAddr;

use bytes::Bytes;
use domain::base::Name;
use domain::base::iana::Rtype;
use rand::Rng;
use rand::seq::SliceRandom;
use state::Seen;
use state::catalog::{CheckServiceNode, ServiceQuery};
use state::coordinate::Source;
use state::health::{CRITICAL, HealthFilter, HealthServiceNodes, PASSING, WARNING};
use state::prepared_query::PreparedQueryExecute;
use wire::duration::GoDuration;

use super::address::{self, Address};
use super::lookup::{miss, push_metadata};
use super::{Answerer, Asked, Found, Miss};
use crate::labels::Place;
use crate::name;
use crate::record::{Content, Record, wants};
use crate::settings::Settings;

/// Most records of one alias for askers that do not speak EDNS.
const MAX_ALIAS_RECORDS: usize = 5;

/// What is asked of health about a service, but for which instances settings let pass.
pub(super) fn by_tag(service: &str, tag: &str, place: Place<'_>) -> ServiceQuery {
    ServiceQuery {
        service_name: service.to_owned(),
        service_tags: if tag.is_empty() { Vec::new() } else { vec![tag.to_owned()] },
        tag_filter: !tag.is_empty(),
        peer_name: place.peer.unwrap_or_default().to_owned(),
        ..ServiceQuery::default()
    }
}

/// See [`by_tag`]; what makes the service reachable through the mesh.
pub(super) fn mesh(service: &str) -> ServiceQuery {
    ServiceQuery { connect: true, ..by_tag(service, "", Place::default()) }
}

/// See [`by_tag`]; the gateways that expose the service.
pub(super) fn ingress(service: &str) -> ServiceQuery {
    ServiceQuery { ingress: true, ..by_tag(service, "", Place::default()) }
}

/// The healthy instances of a service.
pub(super) fn instances(service: &str, settings: &Settings) -> HealthServiceNodes {
    healthy(by_tag(service, "", Place::default()), settings)
}

fn healthy(query: ServiceQuery, settings: &Settings) -> HealthServiceNodes {
    let health_filter_type = if settings.only_passing { HealthFilter::OnlyPassing } else { HealthFilter::NotCritical };
    HealthServiceNodes(ServiceQuery { health_filter_type, ..query })
}

impl<R: Rng> Answerer<'_, R> {
    pub(super) fn service(&mut self, asked: Asked<'_>, query: ServiceQuery, found: &mut Found) -> Result<(), Miss> {
        let query = healthy(query, self.settings());
        let context = self.context;
        let known = state::execute(&query, context.state, &mut Seen::default(), context.may).map_err(miss)?;
        let mut instances = known.answer;
        instances.shuffle(self.rng);
        let ttl_s = self.settings().service_ttl.of(&query.0.service_name);
        let result = self.instances(asked, &instances, ttl_s, found);
        // An address that several instances share is more likely to come early: that order cannot be drawn without them.
        self.any_order = found.answer.len() == instances.len();
        result
    }

    pub(super) fn query(&mut self, asked: Asked<'_>, id_or_name: &str, found: &mut Found) -> Result<(), Miss> {
        let (context, settings) = (self.context, self.context.settings);
        // Compat: the subnet that the asker speaks for wins over the asker's own address.
        let subnet = self.request.subnet().map(|subnet| subnet.address);
        let ip = subnet.or(context.source).map(|ip| ip.to_canonical().to_string()).unwrap_or_default();
        let query = PreparedQueryExecute {
            query_id_or_name: id_or_name.to_owned(),
            source: Source { ip, ..Source::default() },
            agent: Source {
                datacenter: settings.datacenter.clone(),
                segment: settings.segment.clone(),
                node: settings.node_name.clone(),
                ..Source::default()
            },
            ..PreparedQueryExecute::default()
        };
        let known = state::execute(&query, context.state, &mut Seen::default(), context.may).map_err(miss)?;
        let mut executed = known.answer;
        if !executed.is_sorted {
            executed.nodes.shuffle(self.rng);
        }
        let own_ttl = &executed.query.dns.ttl;
        let ttl_s = if own_ttl.is_empty() {
            settings.service_ttl.of(&executed.query.service.service)
        } else {
            const NANOSECONDS: i64 = 1_000_000_000;
            let seconds = GoDuration::parse(own_ttl).map_or(0, |ttl| ttl.0 / NANOSECONDS);
            u32::try_from(seconds).unwrap_or_default()
        };
        self.instances(asked, &executed.nodes, ttl_s, found)
    }

    fn instances(
        &mut self,
        asked: Asked<'_>,
        instances: &[CheckServiceNode],
        ttl_s: u32,
        found: &mut Found,
    ) -> Result<(), Miss> {
        if instances.is_empty() {
            return Err(Miss::Name);
        }
        if asked.question.rtype == Rtype::SRV {
            self.servers_of(asked, instances, ttl_s, found);
        } else {
            self.addresses_of(asked, instances, ttl_s, found);
        }
        if found.answer.is_empty() { Err(Miss::Kind) } else { Ok(()) }
    }

    /// Each address once; an alias only when there is no address at all.
    fn addresses_of(&mut self, asked: Asked<'_>, instances: &[CheckServiceNode], ttl_s: u32, found: &mut Found) {
        let rtype = asked.question.rtype;
        let owner = &asked.question.name;
        let limit = self.settings().a_record_limit;
        found.answer.reserve(instances.len());
        let mut given = Given::default();
        let mut alias = None;
        for instance in instances {
            match address::of_instance(instance, rtype, |text| is_name(text, owner)) {
                Some(Address::Node(ip) | Address::Own(ip)) if wants(rtype, ip) && given.is_new(ip) => {
                    found.answer.push(Record::address(owner.clone(), ttl_s, ip));
                }
                Some(Address::Name(text)) if alias.is_none() => alias = name::from_text(text),
                _ => {}
            }
            if limit > 0 && found.answer.len() >= limit {
                return;
            }
        }
        if let Some(target) = alias.filter(|_| found.answer.is_empty()) {
            let mut led_to = self.behind(&target, ttl_s, asked.depth);
            found.answer.push(Record { owner: owner.clone(), ttl_s, content: Content::Cname(target) });
            found.answer.append(&mut led_to);
        }
    }

    /// An SRV record for each place, with addresses and metadata of nodes aside.
    fn servers_of(&mut self, asked: Asked<'_>, instances: &[CheckServiceNode], ttl_s: u32, found: &mut Found) {
        let zone = &asked.zone.name;
        found.answer.reserve(instances.len());
        let mut given = HashSet::with_capacity(instances.len());
        for instance in instances {
            let (node, service) = (&*instance.node, &*instance.service);
            if !given.insert((&node.node, &service.address, service.port)) {
                continue;
            }
            let node_name = name::below(&[&node.node, "node", &node.datacenter], zone);
            let is_asked = |text: &str| is_name(text, &asked.question.name);
            let (target, mut aside) = match address::of_instance(instance, Rtype::SRV, is_asked) {
                None => continue,
                Some(Address::Node(ip)) => (node_name.clone(), at(node_name.as_ref(), ttl_s, ip)),
                Some(Address::Own(ip)) => {
                    let name = name::below(&[&spelled(ip), "addr", &node.datacenter], zone);
                    let aside = at(name.as_ref(), ttl_s, ip);
                    (name, aside)
                }
                Some(Address::Name(text)) => {
                    let name = name::from_text(text);
                    let aside = name.as_ref().map(|name| self.behind(name, ttl_s, asked.depth));
                    (name, aside.unwrap_or_default())
                }
            };
            // A name that does not fit the wire is left out, where the reference would not answer at all.
            let Some(target) = target else { continue };
            found.answer.push(Record {
                owner: asked.question.name.clone(),
                ttl_s,
                // Compat: both are cut to their width.
                content: Content::Srv { weight: weight(instance) as u16, port: service.port as u16, target },
            });
            found.additional.append(&mut aside);
            if let Some(owner) = node_name.filter(|_| self.settings().enable_additional_node_meta_txt) {
                push_metadata(node, &owner, ttl_s, &mut found.additional);
            }
        }
    }

    /// Addresses and aliases that an alias leads to, with the lifetime of the service.
    fn behind(&mut self, target: &Name<Bytes>, ttl_s: u32, depth: u8) -> Vec<Record> {
        // Compat: names that lead to each other within the zone are followed as if asked without EDNS.
        let inner = depth < super::MAX_DEPTH;
        let most = if self.request.edns.is_some() && !inner { usize::MAX } else { MAX_ALIAS_RECORDS };
        let mut records = self.follow(target, depth);
        records.retain(|record| matches!(record.content, Content::Cname(_) | Content::A(_) | Content::Aaaa(_)));
        records.truncate(most);
        for record in &mut records {
            record.ttl_s = ttl_s;
        }
        records
    }
}

fn at(owner: Option<&Name<Bytes>>, ttl_s: u32, ip: IpAddr) -> Vec<Record> {
    owner.map(|owner| Record::address(owner.clone(), ttl_s, ip)).into_iter().collect()
}

/// The label that spells an address out.
fn spelled(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => hex::encode(ip.octets()),
        IpAddr::V6(ip) => hex::encode(ip.octets()),
    }
}

/// Whether a text is the name, letter case included.
fn is_name(text: &str, name: &Name<Bytes>) -> bool {
    name::from_text(text).is_some_and(|other| other.as_slice() == name.as_slice())
}

/// The addresses that are in the answer already: few are searched, many are hashed.
#[derive(Default)]
struct Given {
    few: Vec<IpAddr>,
    many: HashSet<IpAddr>,
}

impl Given {
    const FEW: usize = 16;

    fn is_new(&mut self, ip: IpAddr) -> bool {
        if self.few.contains(&ip) {
            return false;
        }
        if self.few.len() < Self::FEW {
            self.few.push(ip);
            return true;
        }
        self.many.insert(ip)
    }
}

/// The weight of an instance for its health.
///
/// Compat: in maintenance it has none, and one in a state of no known name.
fn weight(instance: &CheckServiceNode) -> i64 {
    const NODE_MAINTENANCE: &str = "_node_maintenance";
    const SERVICE_MAINTENANCE: &str = "_service_maintenance:";
    let (passing, warning) =
        instance.service.weights.as_ref().map_or((1, 1), |weights| (weights.passing, weights.warning));
    let (mut worst, mut in_maintenance) = (passing, false);
    let (mut warns, mut fails) = (false, false);
    for check in &instance.checks {
        if !check.service_name.is_empty() && check.service_name != instance.service.service {
            continue;
        }
        if check.check_id == NODE_MAINTENANCE || check.check_id.starts_with(SERVICE_MAINTENANCE) {
            in_maintenance = true;
            continue;
        }
        match check.status.as_str() {
            PASSING => {}
            WARNING => warns = true,
            CRITICAL => fails = true,
            _ => return 1,
        }
    }
    if in_maintenance || fails {
        worst = 0;
    } else if warns {
        worst = warning;
    }
    worst
}
