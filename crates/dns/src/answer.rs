//! Answers from one state.

use std::net::IpAddr;
use std::sync::Arc;

use acl::Authorizer;
use domain::base::iana::{Rcode, Rtype};
use rand::Rng;
use rand::seq::SliceRandom;
use state::catalog::{
    CatalogListNodes, CatalogNodeServices, CatalogServiceNodes, CheckServiceNode, Node, NodeQuery, NodesQuery,
    ServiceQuery,
};
use state::coordinate::Source;
use state::health::{HealthFilter, HealthServiceNodes};
use state::prepared_query::PreparedQueryExecute;
use state::{Query, Seen, State, execute};
use wire::duration::GoDuration;

use crate::Settings;
use crate::name::{Lookup, ServiceKind, Zone, classify};
use crate::record::{Data, OwnName, Record, hex, meta_text, name};

/// Name servers in an answer at most.
const NAME_SERVERS_MAX: usize = 3;
/// The servers' own service.
const SERVERS: &str = "consul";

/// What is asked, as far as answers depend on it.
#[derive(Debug, Clone)]
pub struct Question {
    /// As it was asked, for owners of answers.
    pub name: OwnName,
    pub labels: Vec<String>,
    pub qtype: Rtype,
    /// The sender, or the subnet that a resolver names in its place.
    pub source_ip: Option<IpAddr>,
}

/// An answer before it is fitted into a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub rcode: Rcode,
    /// We speak for this name.
    pub authoritative: bool,
    pub answers: Vec<Record>,
    pub authority: Vec<Record>,
    pub additional: Vec<Record>,
    /// The answer came from a prepared query, and so depends on the subnet of the client.
    pub depends_on_subnet: bool,
}

impl Default for Reply {
    fn default() -> Self {
        Reply {
            rcode: Rcode::NOERROR,
            authoritative: false,
            answers: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
            depends_on_subnet: false,
        }
    }
}

/// Everything that an answer is made from.
struct Answering<'a, R> {
    state: &'a State,
    settings: &'a Settings,
    may: &'a dyn Authorizer,
    dice: &'a mut R,
    question: &'a Question,
    /// The domain as it was asked.
    domain: String,
    serial: u32,
}

/// Answers a question; `None` when it is for the recursors. `now` is in seconds since 1970.
pub fn answer(
    question: &Question,
    state: &State,
    settings: &Settings,
    may: &dyn Authorizer,
    dice: &mut impl Rng,
    now: u64,
) -> Option<Reply> {
    let has_recursors = !settings.recursors.is_empty();
    let (zone, domain) = match classify(&question.labels, question.qtype, settings) {
        Zone::Own { lookup, domain } => (Some(lookup), domain),
        Zone::Reverse(address) => {
            let mut answering = Answering {
                state,
                settings,
                may,
                dice,
                question,
                domain: settings.domain.clone(),
                #[allow(clippy::cast_possible_truncation, reason = "serials wrap by design (RFC 1982)")]
                serial: now as u32,
            };
            return match answering.pointer(address) {
                Some(reply) => Some(reply),
                None if has_recursors => None,
                None => Some(answering.nothing()),
            };
        }
        Zone::Foreign if has_recursors => return None,
        Zone::Foreign => return Some(Reply { rcode: Rcode::REFUSED, ..Reply::default() }),
    };
    #[allow(clippy::cast_possible_truncation, reason = "serials wrap by design (RFC 1982)")]
    let serial = now as u32;
    let mut answering = Answering { state, settings, may, dice, question, domain, serial };
    let lookup = zone?;
    Some(match question.qtype {
        Rtype::AXFR => Reply { rcode: Rcode::NOTIMP, authoritative: true, ..Reply::default() },
        Rtype::SOA => answering.start_of_authority(),
        Rtype::NS => answering.name_servers(),
        _ => answering.look_up(&lookup),
    })
}

impl<R: Rng> Answering<'_, R> {
    fn run<Q: Query>(&self, query: &Q) -> Option<Q::Answer> {
        // Compat: what may not be seen looks absent.
        execute(query, self.state, &mut Seen::default(), self.may).ok().map(|found| found.answer)
    }

    fn own_name(&self, rest: &str) -> Option<OwnName> {
        name(&format!("{rest}.{}.", self.domain))
    }

    fn ok(&self) -> Reply {
        Reply { authoritative: true, ..Reply::default() }
    }

    /// Nothing of this name exists.
    fn nothing(&self) -> Reply {
        Reply { rcode: Rcode::NXDOMAIN, authority: self.soa().into_iter().collect(), ..self.ok() }
    }

    fn soa(&self) -> Option<Record> {
        let soa = self.settings.soa;
        Some(Record {
            owner: name(&format!("{}.", self.domain))?,
            ttl: soa.min_ttl,
            data: Data::Soa {
                mname: self.own_name("ns")?,
                rname: self.own_name("hostmaster")?,
                serial: self.serial,
                refresh: soa.refresh,
                retry: soa.retry,
                expire: soa.expire,
                minimum: soa.min_ttl,
            },
        })
    }

    fn start_of_authority(&mut self) -> Reply {
        let servers = self.name_servers();
        Reply {
            answers: self.soa().into_iter().collect(),
            authority: servers.answers,
            additional: servers.additional,
            ..self.ok()
        }
    }

    fn name_servers(&mut self) -> Reply {
        let mut reply = self.ok();
        let mut servers = self.instances(SERVERS, "", ServiceKind::Plain);
        servers.shuffle(self.dice);
        let Some(owner) = name(&format!("{}.", self.domain)) else { return reply };
        for server in servers {
            let is_plain = server.node.node.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-');
            let Some(target) = self.node_name(&server.node).filter(|_| is_plain) else { continue };
            if reply.answers.len() == NAME_SERVERS_MAX {
                break;
            }
            let ttl = self.settings.node_ttl;
            reply.answers.push(Record { owner: Arc::clone(&owner), ttl, data: Data::Ns(Arc::clone(&target)) });
            if let Ok(address) = server.node.address.parse() {
                reply.additional.push(Record { owner: target, ttl, data: Data::of(address) });
            }
        }
        reply
    }

    fn look_up(&mut self, lookup: &Lookup) -> Reply {
        match lookup {
            Lookup::Apex | Lookup::Nothing => self.nothing(),
            Lookup::Virtual => self.ok(),
            Lookup::Node(node) => self.node(node),
            Lookup::Address(address) => self.address(*address),
            Lookup::Service { name, tag, kind } => {
                let instances = self.instances(name, tag, *kind);
                let ttl = self.settings.ttl_of_service(name);
                self.service(instances, ttl, true)
            }
            Lookup::PreparedQuery(query) => self.prepared_query(query),
        }
    }

    fn node_name(&self, node: &Node) -> Option<OwnName> {
        self.own_name(&format!("{}.node.{}", node.node, self.settings.datacenter))
    }

    fn node(&mut self, asked: &str) -> Reply {
        let query = CatalogNodeServices(NodeQuery { node: asked.to_owned(), ..NodeQuery::default() });
        let found = self.run(&query).flatten();
        // The catalog also finds nodes by the beginning of their id; DNS does not.
        let node = found.map(|found| found.node).filter(|node| node.node.eq_ignore_ascii_case(asked));
        let Some(node) = node else { return self.nothing() };
        let (owner, ttl) = (Arc::clone(&self.question.name), self.settings.node_ttl);
        let mut reply = self.ok();
        let record = |data| Record { owner: Arc::clone(&owner), ttl, data };
        match node.address.parse::<IpAddr>() {
            Ok(address) if self.wants(address) => reply.answers.push(record(Data::of(address))),
            Ok(_) => {}
            Err(_) if matches!(self.question.qtype, Rtype::A | Rtype::AAAA | Rtype::ANY) => {
                reply.answers.extend(name(&dotted(&node.address)).map(|target| record(Data::Cname(target))));
            }
            Err(_) => {}
        }
        let texts = self.texts(&node, &owner, ttl);
        match self.question.qtype {
            Rtype::TXT | Rtype::ANY => reply.answers.extend(texts),
            Rtype::A | Rtype::AAAA if self.settings.node_meta_txt => reply.additional.extend(texts),
            _ => {}
        }
        reply
    }

    fn texts(&self, node: &Node, owner: &OwnName, ttl: u32) -> Vec<Record> {
        let meta = node.meta.iter().flatten();
        meta.map(|(key, value)| {
            Record { owner: Arc::clone(owner), ttl, data: Data::Txt(meta_text(key, value)) }
        })
        .collect()
    }

    /// Whether an address answers this type of question.
    fn wants(&self, address: IpAddr) -> bool {
        match self.question.qtype {
            Rtype::ANY => true,
            Rtype::A => address.is_ipv4(),
            Rtype::AAAA => address.is_ipv6(),
            _ => false,
        }
    }

    fn address(&mut self, address: IpAddr) -> Reply {
        let record = Record {
            owner: Arc::clone(&self.question.name),
            ttl: self.settings.node_ttl,
            data: Data::of(address),
        };
        let mut reply = self.ok();
        // Compat: asked for something else, the address is told all the same, as an extra.
        let section = if self.wants(address) { &mut reply.answers } else { &mut reply.additional };
        section.push(record);
        reply
    }

    fn instances(&self, service: &str, tag: &str, kind: ServiceKind) -> Vec<CheckServiceNode> {
        let only_passing = self.settings.only_passing;
        let query = HealthServiceNodes(ServiceQuery {
            service_name: service.to_owned(),
            tag_filter: !tag.is_empty(),
            service_tags: Some(tag.to_owned()).filter(|tag| !tag.is_empty()).into_iter().collect(),
            connect: kind == ServiceKind::Connect,
            ingress: kind == ServiceKind::Ingress,
            health_filter_type: if only_passing { HealthFilter::OnlyPassing } else { HealthFilter::NotCritical },
            ..ServiceQuery::default()
        });
        self.run(&query).unwrap_or_default()
    }

    fn prepared_query(&mut self, asked: &str) -> Reply {
        let query = PreparedQueryExecute {
            query_id_or_name: asked.to_owned(),
            connect: false,
            source: Source {
                ip: self.question.source_ip.map(|ip| ip.to_string()).unwrap_or_default(),
                ..Source::default()
            },
            agent: Source { node: self.settings.node_name.clone(), ..Source::default() },
        };
        let reply = match self.run(&query) {
            None => self.nothing(),
            Some(executed) => {
                let ttl = match GoDuration::parse(&executed.query.dns.ttl) {
                    Ok(ttl) => u32::try_from(ttl.to_std().as_secs()).unwrap_or(u32::MAX),
                    Err(_) => self.settings.ttl_of_service(&executed.query.service.service.to_lowercase()),
                };
                self.service(executed.nodes, ttl, !executed.is_sorted)
            }
        };
        Reply { depends_on_subnet: reply.rcode == Rcode::NOERROR, ..reply }
    }

    fn service(&mut self, mut instances: Vec<CheckServiceNode>, ttl: u32, shuffle: bool) -> Reply {
        if instances.is_empty() {
            return self.nothing();
        }
        if shuffle {
            instances.shuffle(self.dice);
        }
        let mut reply = self.ok();
        match self.question.qtype {
            Rtype::SRV => self.service_records(&instances, ttl, &mut reply),
            // Compat: a service asked for texts answers with addresses.
            Rtype::A | Rtype::AAAA | Rtype::ANY | Rtype::TXT => self.service_addresses(&instances, ttl, &mut reply),
            _ => {}
        }
        if reply.answers.is_empty() {
            reply.authority.extend(self.soa());
        }
        reply
    }

    fn service_addresses(&self, instances: &[CheckServiceNode], ttl: u32, reply: &mut Reply) {
        let limit = match self.settings.a_record_limit {
            0 => usize::MAX,
            limit => limit,
        };
        for instance in instances {
            if reply.answers.len() >= limit {
                break;
            }
            let address = service_address(instance);
            let data = match address.parse::<IpAddr>() {
                Ok(ip) if self.question.qtype == Rtype::TXT || self.wants(ip) => Data::of(ip),
                Ok(_) => continue,
                Err(_) => match name(&dotted(address)) {
                    Some(target) => Data::Cname(target),
                    None => continue,
                },
            };
            let record = Record { owner: Arc::clone(&self.question.name), ttl, data };
            let is_alias = matches!(record.data, Data::Cname(_));
            // A name has one alias at most, and nothing beside it.
            if is_alias && !reply.answers.is_empty() {
                continue;
            }
            if !reply.answers.contains(&record) {
                reply.answers.push(record);
            }
            if is_alias {
                break;
            }
        }
    }

    fn service_records(&self, instances: &[CheckServiceNode], ttl: u32, reply: &mut Reply) {
        for instance in instances {
            let Some(target) = self.target(instance) else { continue };
            let record = Record {
                owner: Arc::clone(&self.question.name),
                ttl,
                data: Data::Srv {
                    weight: weight(instance),
                    port: u16::try_from(instance.service.port).unwrap_or(0),
                    target: Arc::clone(&target),
                },
            };
            if reply.answers.contains(&record) {
                continue;
            }
            reply.answers.push(record);
            if let Ok(ip) = service_address(instance).parse() {
                let extra = Record { owner: target, ttl, data: Data::of(ip) };
                if !reply.additional.contains(&extra) {
                    reply.additional.push(extra);
                }
            }
            if self.settings.node_meta_txt
                && let Some(owner) = self.node_name(&instance.node)
            {
                reply.additional.extend(self.texts(&instance.node, &owner, ttl));
            }
        }
    }

    /// What an SRV record points to: a name for the node, for the service's own address, or that address if it
    /// is a name itself. Distinct instances have distinct targets.
    fn target(&self, instance: &CheckServiceNode) -> Option<OwnName> {
        let own = &instance.service.address;
        let node = &instance.node;
        match (own.as_str(), own.parse::<IpAddr>()) {
            ("", _) => match node.address.parse::<IpAddr>() {
                Ok(_) => self.node_name(node),
                Err(_) => name(&dotted(&node.address)),
            },
            (_, Ok(ip)) => self.own_name(&format!("{}.addr.{}", hex(ip), self.settings.datacenter)),
            (host, Err(_)) => name(&dotted(host)),
        }
    }

    fn pointer(&mut self, address: IpAddr) -> Option<Reply> {
        let text = address.to_string();
        let nodes = self.run(&CatalogListNodes(NodesQuery::default())).unwrap_or_default();
        let node = nodes.iter().find(|node| node.address.parse() == Ok(address)).and_then(|node| self.node_name(node));
        let target = node.or_else(|| {
            let query = ServiceQuery { service_address: text, ..ServiceQuery::default() };
            let rows = self.run(&CatalogServiceNodes(query)).unwrap_or_default();
            let service = rows.first()?.service().service.clone();
            self.own_name(&format!("{service}.service.{}", self.settings.datacenter))
        })?;
        let record = Record { owner: Arc::clone(&self.question.name), ttl: 0, data: Data::Ptr(target) };
        Some(Reply { answers: vec![record], ..self.ok() })
    }
}

/// The address that clients should use.
fn service_address(instance: &CheckServiceNode) -> &str {
    if instance.service.address.is_empty() { &instance.node.address } else { &instance.service.address }
}

/// A host name as an absolute DNS name.
fn dotted(host: &str) -> String {
    if host.ends_with('.') { host.to_owned() } else { format!("{host}.") }
}

/// The weight of an instance by its health.
fn weight(instance: &CheckServiceNode) -> u16 {
    let weights = instance.service.weights.as_ref();
    let is_warning = instance.checks.iter().any(|check| check.status == "warning");
    let weight = match weights {
        None => 1,
        Some(weights) if is_warning => weights.warning,
        Some(weights) => weights.passing,
    };
    u16::try_from(weight).unwrap_or(1)
}
