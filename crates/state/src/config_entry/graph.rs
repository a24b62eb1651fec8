//! Whether entries make sense together: services, their protocols, and where they lead.
//!
//! Always true: what is checked is the state as it would be; a write that leaves a chain which cannot be followed is
//! refused and changes nothing.
//! Not here: what proxies are told. A chain is followed only as far as its faults go.

use std::collections::{BTreeMap, BTreeSet};

use wire::json::quote;

use super::proxy_defaults::GLOBAL;
use super::service_resolver::ServiceResolver;
use super::{Body, Entry, ExportedServices, Key, Table, is_http, key, several};

/// How many splitters may stand behind each other.
const SPLITTERS_MAX: usize = 128;
/// Chains are compared as they would be in a datacenter of this name.
const DATACENTER: &str = "dc1";

/// The entries as they would be.
pub(super) struct Proposed<'a> {
    table: &'a Table,
    at: Key,
    new: Option<&'a Entry>,
}

impl<'a> Proposed<'a> {
    pub(super) fn new(table: &'a Table, at: Key, new: Option<&'a Entry>) -> Self {
        Proposed { table, at, new }
    }

    fn get(&self, kind: &'static str, name: &str) -> Option<&'a Body> {
        if self.at == key(kind, name) {
            return self.new.map(|entry| &entry.body);
        }
        self.table.get(kind, name).map(|entry| &entry.body)
    }

    fn of_kind(&self, kind: &'static str) -> impl Iterator<Item = &'a Body> {
        let kept = self.table.of_kind(kind).filter(|entry| entry.key() != self.at);
        kept.map(|entry| &entry.body).chain(self.new.filter(|entry| entry.kind == kind).map(|entry| &entry.body))
    }

    /// Refuses what would make no sense.
    pub(super) fn check(&self, existing: Option<&Entry>) -> Result<(), String> {
        let (kind, name) = (self.at.0, self.new.or(existing).map_or("", Entry::name));
        match self.new.map(|entry| &entry.body) {
            Some(Body::ProxyDefaults(new)) => self.check_tls_mode(&new.mutual_tls_mode, existing)?,
            Some(Body::ServiceDefaults(new)) => self.check_tls_mode(&new.mutual_tls_mode, existing)?,
            Some(Body::ServiceIntentions(new)) => {
                let missing = new.providers().into_iter().filter(|name| self.get("jwt-provider", name).is_none());
                let text = |name| format!("Referenced JWT Provider does not exist. Provider Name: {name}");
                several(&missing.map(text).collect::<Vec<_>>())?;
            }
            _ => {}
        }
        let clash = match kind {
            "ingress-gateway" => Some("terminating-gateway"),
            "terminating-gateway" => Some("ingress-gateway"),
            _ => None,
        };
        if let Some(other) = clash.filter(|other| self.get(other, name).is_some()) {
            return Err(format!(
                "cannot create a {} config entry with name {}, a {} config entry with that name already exists",
                quote(kind),
                quote(name),
                quote(other)
            ));
        }
        if kind == "jwt-provider" && self.new.is_none() {
            self.check_unreferenced(name)?;
        }
        self.check_services(kind, name)
    }

    fn check_tls_mode(&self, mode: &str, existing: Option<&Entry>) -> Result<(), String> {
        let before = match existing.map(|entry| &entry.body) {
            Some(Body::ProxyDefaults(before)) => before.mutual_tls_mode.as_str(),
            Some(Body::ServiceDefaults(before)) => before.mutual_tls_mode.as_str(),
            _ => "",
        };
        let allowed = || match self.get("mesh", super::mesh::MESH) {
            Some(Body::Mesh(mesh)) => mesh.allow_enabling_permissive_mutual_tls,
            _ => false,
        };
        if mode != "permissive" || before == mode || allowed() {
            return Ok(());
        }
        Err("cannot set MutualTLSMode=permissive because AllowEnablingPermissiveMutualTLS=false in the mesh config \
             entry"
            .into())
    }

    fn check_unreferenced(&self, provider: &str) -> Result<(), String> {
        for body in self.of_kind("service-intentions") {
            if let Body::ServiceIntentions(intentions) = body
                && intentions.providers().contains(provider)
            {
                return Err(format!(
                    "cannot delete jwt provider config entry referenced by an intention. Provider name: {provider}, \
                     intention name: {}",
                    intentions.name
                ));
            }
        }
        Ok(())
    }

    fn check_services(&self, kind: &'static str, name: &str) -> Result<(), String> {
        let (mut chains, mut ingress, mut intentions) = (BTreeSet::new(), Vec::new(), Vec::new());
        let mut is_strict = false;
        match (kind, self.new.map(|entry| &entry.body)) {
            ("exported-services", Some(Body::ExportedServices(exported))) => {
                return self.exported_to_peers(exported).iter().try_for_each(|name| self.check_export(name));
            }
            ("exported-services" | "mesh", _) | ("service-intentions" | "ingress-gateway", None) => {
                return Ok(());
            }
            ("proxy-defaults", _) => {
                for kind in ["service-router", "service-splitter", "service-resolver"] {
                    chains.extend(self.of_kind(kind).map(|body| body.rules().name()));
                }
                ingress.extend(self.of_kind("ingress-gateway"));
                intentions.extend(self.of_kind("service-intentions"));
            }
            ("service-intentions", Some(new)) => intentions.push(new),
            ("ingress-gateway", Some(new)) => {
                ingress.push(new);
                is_strict = true;
            }
            _ => {
                intentions.extend(self.of_kind("service-intentions"));
                chains.insert(name);
                for kind in ["service-router", "service-splitter", "service-resolver"] {
                    let linked = self.of_kind(kind).filter(|body| body.rules().related().contains(&name));
                    chains.extend(linked.map(|body| body.rules().name()));
                }
                ingress.extend(self.of_kind("ingress-gateway").filter(|body| body.rules().related().contains(&name)));
            }
        }
        chains.extend(ingress.iter().flat_map(|body| body.rules().related()));
        chains.extend(intentions.iter().map(|body| body.rules().name()));
        let mut compiled = BTreeMap::new();
        for name in chains {
            let chain = Chain::follow(self, name)?;
            self.check_exported_chain(name, &chain)?;
            compiled.insert(name, chain);
        }
        ingress.iter().try_for_each(|body| check_ingress(body, &compiled, is_strict))?;
        intentions.iter().try_for_each(|body| check_intentions(body, &compiled))
    }

    /// The services that an entry opens to a peer; all that have a chain for `*`.
    fn exported_to_peers(&self, exported: &'a ExportedServices) -> BTreeSet<&'a str> {
        let mut names = BTreeSet::new();
        for service in &exported.services {
            if service.consumers.iter().all(|consumer| consumer.peer.is_empty()) {
                continue;
            }
            if service.name != "*" {
                names.insert(service.name.as_str());
                continue;
            }
            for kind in ["service-router", "service-splitter", "service-resolver"] {
                names.extend(self.of_kind(kind).map(|body| body.rules().name()));
            }
        }
        names
    }

    /// A chain that is open to peers must not leave the datacenter.
    fn check_export(&self, name: &str) -> Result<(), String> {
        let chain = Chain::follow(self, name)?;
        let resolvers = chain.services.iter().filter_map(|service| match self.get("service-resolver", service) {
            Some(Body::ServiceResolver(resolver)) => Some(resolver),
            _ => None,
        });
        for resolver in resolvers {
            let redirect = resolver.redirect.as_ref();
            let leaves = |word: &str| Err(format!("peer exported service {} contains {word}", quote(name)));
            if redirect.is_some_and(|redirect| !redirect.datacenter.is_empty()) {
                return leaves("cross-datacenter resolver redirect");
            }
            if redirect.is_some_and(|redirect| !redirect.peer.is_empty()) {
                return leaves("cross-peer resolver redirect");
            }
            let far = resolver.failover.values().any(|failover| {
                !failover.datacenters.is_empty() || failover.targets.iter().any(|target| !target.datacenter.is_empty())
            });
            if far {
                return leaves("cross-datacenter failover");
            }
        }
        Ok(())
    }

    fn check_exported_chain(&self, name: &str, chain: &Chain) -> Result<(), String> {
        let is_exported = self.of_kind("exported-services").any(|body| match body {
            Body::ExportedServices(exported) => exported
                .services
                .iter()
                .any(|service| service.name == name || (service.name == "*" && name != "consul")),
            _ => false,
        });
        if !is_exported {
            return Ok(());
        }
        self.check_export(name)?;
        if is_http(&chain.protocol) {
            return Ok(());
        }
        let current = Proposed { table: self.table, at: ("", String::new()), new: None };
        let before = Chain::follow(&current, name)
            .map_err(|error| format!("error compiling current discovery chain for {}: {error}", quote(name)))?;
        match chain.targets.iter().find(|(identity, _)| !before.targets.contains_key(*identity)) {
            None => Ok(()),
            Some((_, target)) => Err(format!(
                "peer exported service {} uses protocol={} and cannot introduce new discovery chain targets like {}",
                quote(name),
                quote(&chain.protocol),
                quote(target)
            )),
        }
    }

    pub(super) fn protocol(&self, service: &str) -> String {
        let said = match (self.get("service-defaults", service), self.get("proxy-defaults", GLOBAL)) {
            (Some(Body::ServiceDefaults(defaults)), _) => defaults.protocol.clone(),
            (_, Some(Body::ProxyDefaults(defaults))) => defaults.protocol().unwrap_or_default(),
            _ => String::new(),
        };
        if said.is_empty() { "tcp".into() } else { said.to_lowercase() }
    }

    fn resolver(&self, target: &Target) -> ServiceResolver {
        match self.get("service-resolver", &target.service) {
            Some(Body::ServiceResolver(resolver)) if target.peer.is_empty() => resolver.clone(),
            _ => ServiceResolver { name: target.service.clone(), ..ServiceResolver::default() },
        }
    }
}

fn check_ingress(body: &Body, chains: &BTreeMap<&str, Chain>, is_strict: bool) -> Result<(), String> {
    let Body::IngressGateway(gateway) = body else { return Ok(()) };
    for listener in gateway.listeners.iter().flatten() {
        for service in listener.services.iter().flatten() {
            let Some(chain) = chains.get(service.name.as_str()) else { continue };
            // TCP in front of a service that speaks more is no harm when nothing looks at its requests.
            let is_plain = listener.protocol == "tcp" && chain.starts_at_resolver();
            if chain.protocol != listener.protocol && (is_strict || !is_plain) {
                return Err(format!(
                    "service {} has protocol {}, which does not match defined listener protocol {}",
                    quote(&service.name),
                    quote(&chain.protocol),
                    quote(&listener.protocol)
                ));
            }
        }
    }
    Ok(())
}

fn check_intentions(body: &Body, chains: &BTreeMap<&str, Chain>) -> Result<(), String> {
    let Body::ServiceIntentions(intentions) = body else { return Ok(()) };
    if intentions.name == "*" || !intentions.has_permissions() {
        return Ok(());
    }
    match chains.get(intentions.name.as_str()) {
        Some(chain) if !is_http(&chain.protocol) => Err(format!(
            "service {} has protocol {}, which is incompatible with L7 intentions permissions",
            quote(&intentions.name),
            quote(&chain.protocol)
        )),
        _ => Ok(()),
    }
}

/// Instances that a chain may end at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Target {
    service: String,
    subset: String,
    datacenter: String,
    peer: String,
}

impl Target {
    fn of(service: &str, subset: &str) -> Self {
        Target { service: service.into(), subset: subset.into(), datacenter: DATACENTER.into(), peer: String::new() }
    }

    fn id(&self) -> String {
        let subset = if self.subset.is_empty() { String::new() } else { format!("{}.", self.subset) };
        if self.peer.is_empty() {
            format!("{subset}{}.default.default.{}", self.service, self.datacenter)
        } else {
            format!("{subset}{}.default.default.external.{}", self.service, self.peer)
        }
    }

    /// The same, but for what is said.
    fn rewritten(&self, service: &str, subset: &str, datacenter: &str, peer: &str) -> Self {
        let mut target = self.clone();
        if !service.is_empty() && service != target.service {
            target.service = service.into();
            target.subset.clear();
        }
        if !subset.is_empty() {
            target.subset = subset.into();
        }
        if !datacenter.is_empty() {
            target.datacenter = datacenter.into();
        }
        target.peer = peer.into();
        if target.peer.is_empty() {
            if target.datacenter.is_empty() {
                target.datacenter = DATACENTER.into();
            }
        } else {
            target.datacenter.clear();
        }
        target
    }
}

/// Where the traffic for one service may go.
struct Chain {
    name: String,
    protocol: String,
    /// Node → nodes that it leads to.
    nodes: BTreeMap<String, Vec<String>>,
    start: String,
    is_advanced: bool,
    /// Every service on the way.
    services: BTreeSet<String>,
    /// Identity → target that has it, but for those that are only failed over to.
    targets: BTreeMap<(String, String), String>,
}

impl Chain {
    fn follow(proposed: &Proposed<'_>, name: &str) -> Result<Chain, String> {
        if name.is_empty() {
            return Err("serviceName is required".into());
        }
        let mut chain = Chain {
            name: name.into(),
            protocol: String::new(),
            nodes: BTreeMap::new(),
            start: String::new(),
            is_advanced: false,
            services: BTreeSet::new(),
            targets: BTreeMap::new(),
        };
        chain.start = match proposed.get("service-router", name) {
            Some(Body::ServiceRouter(router)) => {
                chain.is_advanced = true;
                chain.speaks(proposed, &router.name)?;
                let mut next = Vec::new();
                for route in router.routes.iter().flatten() {
                    let destination = route.destination.clone().unwrap_or_default();
                    let service = if destination.service.is_empty() { name } else { &destination.service };
                    next.push(chain.behind(proposed, service, &destination.service_subset)?);
                }
                next.push(chain.behind(proposed, &router.name, "")?);
                let node = format!("router:{}.default.default", router.name);
                chain.nodes.insert(node.clone(), next);
                node
            }
            _ => chain.behind(proposed, name, "")?,
        };
        chain.check_circles()?;
        if chain.is_advanced && !is_http(&chain.protocol) {
            return Err(format!(
                "discovery chain {} uses a protocol {} that does not permit advanced routing or splitting behavior",
                quote(name),
                quote(&chain.protocol)
            ));
        }
        Ok(chain)
    }

    fn starts_at_resolver(&self) -> bool {
        self.start.starts_with("resolver:")
    }

    /// One chain speaks one protocol.
    fn speaks(&mut self, proposed: &Proposed<'_>, service: &str) -> Result<(), String> {
        let protocol = proposed.protocol(service);
        if self.protocol.is_empty() {
            self.protocol.clone_from(&protocol);
        }
        if self.protocol == protocol {
            return Ok(());
        }
        Err(format!(
            "discovery chain {} uses inconsistent protocols; service {} has {} which is not {}",
            quote(&self.name),
            quote(service),
            quote(&protocol),
            quote(&self.protocol)
        ))
    }

    /// The splitter of a service, else its resolver.
    fn behind(&mut self, proposed: &Proposed<'_>, service: &str, subset: &str) -> Result<String, String> {
        if subset.is_empty()
            && let Some(node) = self.splitter(proposed, service, 0)?
        {
            return Ok(node);
        }
        self.resolve(proposed, Target::of(service, subset), false)
    }

    fn splitter(&mut self, proposed: &Proposed<'_>, service: &str, depth: usize) -> Result<Option<String>, String> {
        let node = format!("splitter:{service}.default.default");
        if self.nodes.contains_key(&node) {
            return Ok(Some(node));
        }
        let Some(Body::ServiceSplitter(splitter)) = proposed.get("service-splitter", service) else { return Ok(None) };
        if depth > SPLITTERS_MAX {
            return Err(format!(
                "discovery chain {} has more than {SPLITTERS_MAX} splitters in a row",
                quote(&self.name)
            ));
        }
        // Known before it is followed: splitters may lead to each other.
        self.nodes.insert(node.clone(), Vec::new());
        self.services.insert(service.into());
        let mut next = Vec::new();
        for split in splitter.splits.iter().flatten() {
            let to = if split.service.is_empty() { service } else { &split.service };
            let inner = if to != service && split.service_subset.is_empty() {
                self.splitter(proposed, to, depth + 1)?
            } else {
                None
            };
            next.push(match inner {
                Some(inner) => inner,
                None => self.resolve(proposed, Target::of(to, &split.service_subset), false)?,
            });
        }
        self.is_advanced = true;
        self.nodes.insert(node.clone(), next);
        Ok(Some(node))
    }

    fn resolve(&mut self, proposed: &Proposed<'_>, mut target: Target, for_failover: bool) -> Result<String, String> {
        let mut passed: Vec<String> = Vec::new();
        let resolver = loop {
            let node = format!("resolver:{}", target.id());
            if self.nodes.contains_key(&node) {
                return Ok(node);
            }
            if target.peer.is_empty() {
                self.speaks(proposed, &target.service)?;
            }
            self.services.insert(target.service.clone());
            let resolver = proposed.resolver(&target);
            let is_circle = passed.contains(&target.id());
            passed.push(target.id());
            if is_circle {
                return Err(format!("detected circular resolver redirect: [{}]", passed.join(" -> ")));
            }
            if let Some(redirect) = &resolver.redirect {
                let (service, subset) = (&redirect.service, &redirect.service_subset);
                let redirected = target.rewritten(service, subset, &redirect.datacenter, &redirect.peer);
                if redirected.id() != target.id() {
                    target = redirected;
                    continue;
                }
            }
            if target.subset.is_empty() && !resolver.default_subset.is_empty() {
                target = target.rewritten("", &resolver.default_subset, "", "");
                continue;
            }
            break resolver;
        };
        if !target.subset.is_empty() && !resolver.has_subset(&target.subset) {
            let (service, subset) = (quote(&target.service), quote(&target.subset));
            return Err(format!("service {service} does not have a subset named {subset}"));
        }
        check_external(proposed, &target, &resolver)?;
        let node = format!("resolver:{}", target.id());
        if for_failover {
            return Ok(node);
        }
        self.nodes.insert(node.clone(), Vec::new());
        self.targets.insert((target.service.clone(), target.datacenter.clone()), target.id());
        let failover = resolver.failover.get(&target.subset).or_else(|| resolver.failover.get("*"));
        let Some(failover) = failover else { return Ok(node) };
        let (service, subset) = (&failover.service, &failover.service_subset);
        let mut targets: Vec<Target> = if !failover.datacenters.is_empty() {
            failover.datacenters.iter().map(|dc| target.rewritten(service, subset, dc, "")).collect()
        } else if failover.targets.is_empty() {
            vec![target.rewritten(service, subset, "", "")]
        } else {
            let to = failover.targets.iter();
            to.map(|to| target.rewritten(&to.service, &to.service_subset, &to.datacenter, &to.peer)).collect()
        };
        targets.retain(|other| other.id() != target.id());
        for other in targets {
            self.resolve(proposed, other, true)?;
        }
        Ok(node)
    }

    /// Nothing may lead back to itself.
    fn check_circles(&self) -> Result<(), String> {
        // `None` marks where a visit ends.
        let mut todo: Vec<Option<&str>> = vec![Some(&self.start)];
        let mut visiting: Vec<&str> = Vec::new();
        // What was left once leads nowhere back: without this, the ways through a few splitters are too many to walk.
        let mut left: BTreeSet<&str> = BTreeSet::new();
        while let Some(next) = todo.pop() {
            let Some(current) = next else {
                left.extend(visiting.pop());
                continue;
            };
            if left.contains(current) {
                continue;
            }
            let is_circle = visiting.contains(&current);
            visiting.push(current);
            if is_circle {
                return Err(format!("detected circular reference: [{}]", visiting.join(" -> ")));
            }
            todo.push(None);
            todo.extend(self.nodes.get(current).into_iter().flatten().map(|node| Some(node.as_str())));
        }
        Ok(())
    }
}

/// What lies outside cannot be divided here.
fn check_external(proposed: &Proposed<'_>, target: &Target, resolver: &ServiceResolver) -> Result<(), String> {
    let is_external = match proposed.get("service-defaults", &target.service) {
        Some(Body::ServiceDefaults(defaults)) => !defaults.external_sni.is_empty(),
        _ => false,
    };
    if !is_external {
        return Ok(());
    }
    for (word, set) in [
        ("redirects", resolver.redirect.is_some()),
        ("subsets", !resolver.subsets.is_empty()),
        ("failover", !resolver.failover.is_empty()),
    ] {
        if set {
            let service = quote(&target.service);
            return Err(format!(
                "service {service} has an external SNI set; cannot define {word} for external services"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::config_entry::{ConfigEntryRequest, Entry, Op};
    use crate::{Command, Index, Outcome, State};

    fn write(state: &mut State, entry: &serde_json::Value) -> Result<(), String> {
        let entry = Box::new(Entry::from_tree(entry).unwrap());
        let mut command = Command::ConfigEntry(ConfigEntryRequest { op: Op::Upsert, datacenter: String::new(), entry });
        command.prepare(state).map_err(|error| error.to_string())?;
        let index = Index(state.applied().0 + 1);
        match state.apply(index, command).outcome {
            Outcome::Decided(true) => Ok(()),
            Outcome::Failed(error) => Err(error.to_string()),
            other => panic!("{other:?}"),
        }
    }

    fn http() -> State {
        let mut state = State::default();
        let defaults = json!({"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "http"}});
        write(&mut state, &defaults).unwrap();
        state
    }

    fn splitter(name: &str, to: &[&str]) -> serde_json::Value {
        #[expect(clippy::cast_precision_loss, reason = "there are few")]
        let weight = 100.0 / to.len() as f32;
        let splits: Vec<_> = to.iter().map(|to| json!({"Weight": weight, "Service": to})).collect();
        json!({"Kind": "service-splitter", "Name": name, "Splits": splits})
    }

    #[test]
    fn many_ways_are_walked_once() {
        let mut state = http();
        // Each of 40 services leads to two that lead on: 2^40 ways.
        for at in (0..40).rev() {
            let (left, right) = (format!("l{}", at + 1), format!("r{}", at + 1));
            for name in [format!("l{at}"), format!("r{at}")] {
                write(&mut state, &splitter(&name, &[&left, &right])).unwrap();
            }
        }
        let error = write(&mut state, &splitter("l40", &["l0"])).unwrap_err();
        assert!(error.starts_with("detected circular reference: [splitter:"), "{error}");
    }

    #[test]
    fn a_row_of_splitters_has_an_end() {
        let mut state = http();
        let mut refused = None;
        for at in (0..300).rev() {
            let wrote = write(&mut state, &splitter(&format!("s{at}"), &[&format!("s{}", at + 1)]));
            if let Err(error) = wrote {
                refused = Some(error);
                break;
            }
        }
        assert!(refused.unwrap().contains("splitters in a row"));
    }

    #[test]
    fn resolvers_do_not_send_each_other_round() {
        let mut state = http();
        let redirect =
            |name: &str, to: &str| json!({"Kind": "service-resolver", "Name": name, "Redirect": {"Service": to}});
        write(&mut state, &redirect("a", "b")).unwrap();
        write(&mut state, &redirect("b", "c")).unwrap();
        let error = write(&mut state, &redirect("c", "a")).unwrap_err();
        assert!(error.starts_with("detected circular resolver redirect: ["), "{error}");
    }

    #[test]
    fn what_says_the_same_moves_nothing() {
        let mut state = http();
        let entry = splitter("a", &["b"]);
        write(&mut state, &entry).unwrap();
        let before = state.indexes.get(super::super::INDEX);
        write(&mut state, &entry).unwrap();
        assert_eq!(state.indexes.get(super::super::INDEX), before);
    }
}
