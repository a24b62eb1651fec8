//! Registration and deregistration as `Catalog.Register` and `Catalog.Deregister` mean them.

use std::net::IpAddr;
use std::sync::Arc;

use acl::{Authorizer, Need, Resource};

use super::noun::{CONNECT_PROXY, DeregisterRequest, Node, NodeService, RegisterRequest, fold};
use super::{proxy, write};
use crate::health::{self, HealthCheck};
use crate::{Apply, Error, Outcome, State};

impl RegisterRequest {
    /// The node that this request describes.
    pub(crate) fn described_node(&self) -> Node {
        Node {
            id: self.id.clone(),
            node: self.node.clone(),
            address: self.address.clone(),
            datacenter: self.datacenter.clone(),
            peer_name: String::new(),
            tagged_addresses: self.tagged_addresses.clone(),
            meta: self.node_meta.clone(),
            locality: self.locality.clone(),
            create_index: self.create_index,
            modify_index: self.modify_index,
        }
    }

    /// Whether this writes the node itself, and not only what is on it.
    pub(crate) fn changes_node(&self, existing: Option<&Arc<Node>>) -> bool {
        existing.is_none_or(|existing| !self.skip_node_update && !existing.same_content(&self.described_node()))
    }

    fn all_checks(&self) -> impl Iterator<Item = &HealthCheck> {
        self.checks.iter().chain(&self.check)
    }

    pub(crate) fn prepare(&mut self, state: &State) -> Result<(), Error> {
        if self.names_a_peer() {
            return Err(Error::failed("cannot register requests with PeerName in them"));
        }
        refuse_bad_node(&self.node, &self.id)?;
        if self.address.is_empty() && !self.skip_node_update {
            return Err(Error::failed("Must provide address if SkipNodeUpdate is not set"));
        }
        if let Some(service) = &mut self.service {
            prepare_service(Arc::make_mut(service))?;
        }
        self.checks.extend(self.check.take());
        for check in &mut self.checks {
            if check.node.is_empty() {
                check.node.clone_from(&self.node);
            }
            health::prepare_check(check);
        }
        for check in &self.checks {
            self.service_of(check, state)?;
        }
        Ok(())
    }

    fn names_a_peer(&self) -> bool {
        !self.peer_name.is_empty()
            || self.service.as_ref().is_some_and(|service| !service.peer_name.is_empty())
            || self.all_checks().any(|check| !check.peer_name.is_empty())
    }

    /// The name of the service whose check this is, `None` for a check of the node. A check must be about
    /// this node, and about a service that is there or comes with it.
    fn service_of<'a>(&'a self, check: &HealthCheck, state: &'a State) -> Result<Option<&'a str>, Error> {
        if !check.node.is_empty() && fold(&check.node) != fold(&self.node) {
            return Err(Error::failed(format!(
                "Node '{}' for check '{}' doesn't match register request node '{}'",
                check.node,
                health::effective_id(check),
                self.node
            )));
        }
        if check.service_id.is_empty() {
            return Ok(None);
        }
        if let Some(service) = self.service.as_ref().filter(|service| effective_id(service) == check.service_id) {
            return Ok(Some(&service.service));
        }
        match state.catalog.instance(&self.node, &check.service_id) {
            Some(instance) => Ok(Some(&instance.service.service)),
            None => Err(Error::failed(format!(
                "Unknown service ID '{}' for check ID '{}'",
                check.service_id,
                health::effective_id(check)
            ))),
        }
    }

    pub(crate) fn authorize(&self, state: &State, may: &dyn Authorizer) -> Result<(), Error> {
        if let Some(service) = &self.service {
            authorize_service(service, may)?;
        }
        // Services may repeat what the node already says without the right to change it.
        if self.changes_node(state.catalog.node(&self.node)) {
            may.require(Need::write(Resource::Node(&self.node)))?;
        }
        if let Some(service) = &self.service {
            // Taking over an id ends the service that has it. Folded like the write itself.
            if let Some(taken) = state.catalog.instance(&self.node, effective_id(service)) {
                may.require(Need::write(Resource::Service(&taken.service.service)))?;
            }
        }
        for check in self.all_checks() {
            match self.service_of(check, state)? {
                None => may.require(Need::write(Resource::Node(&self.node)))?,
                Some(service) => may.require(Need::write(Resource::Service(service)))?,
            }
        }
        Ok(())
    }
}

/// The id that a service gets: its own, or else its name.
fn effective_id(service: &NodeService) -> &str {
    if service.id.is_empty() { &service.service } else { &service.id }
}

/// Node rules that `/v1/txn` shares.
pub(crate) fn refuse_bad_node(name: &str, id: &str) -> Result<(), Error> {
    if name.is_empty() {
        return Err(Error::failed("Must provide node"));
    }
    if !id.is_empty() {
        refuse_bad_uuid(id).map_err(|fault| Error::failed(format!("Bad node ID: {fault}")))?;
    }
    Ok(())
}

/// The reference's own words for what is not a UUID.
fn refuse_bad_uuid(id: &str) -> Result<(), String> {
    const DASHES: [usize; 4] = [8, 13, 18, 23];
    if id.len() != 36 {
        return Err("uuid string is wrong length".into());
    }
    if DASHES.iter().any(|at| id.as_bytes()[*at] != b'-') {
        return Err("uuid is improperly formatted".into());
    }
    let digits = || id.char_indices().filter(|(at, _)| !DASHES.contains(at)).map(|(_, c)| c);
    match digits().find(|c| !c.is_ascii_hexdigit()) {
        None => Ok(()),
        // Go reports the byte, not the character.
        Some(c) => {
            let mut bytes = [0; 4];
            let first = char::from(c.encode_utf8(&mut bytes).as_bytes()[0]);
            let shown = if first.is_ascii_graphic() || first == ' ' || u32::from(first) >= 0xA1 {
                format!(" '{first}'")
            } else {
                String::new()
            };
            Err(format!("encoding/hex: invalid byte: U+{:04X}{shown}", u32::from(first)))
        }
    }
}

/// Service rules that `/v1/txn` shares: refuses what the reference refuses and gives it an id.
pub(crate) fn prepare_service(service: &mut NodeService) -> Result<(), Error> {
    let mut faults = Vec::new();
    if service.locality.as_ref().is_some_and(|locality| locality.region.is_empty() && !locality.zone.is_empty()) {
        faults.push("zone cannot be set without region".into());
    }
    faults.extend(proxy::faults(service, false));
    if !faults.is_empty() {
        return Err(Error::failed(proxy::faults_text(&faults)));
    }
    if service.id.is_empty() {
        service.id.clone_from(&service.service);
    }
    // Compat: an instance with neither id nor name passes.
    if !service.id.is_empty() && service.service.is_empty() {
        return Err(Error::failed("Must provide service name (Service.Service) when service ID is provided"));
    }
    if service.address.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified()) {
        return Err(Error::failed("Invalid service address"));
    }
    Ok(())
}

/// Service rights that `/v1/txn` shares: the service itself and what a proxy speaks for.
pub(crate) fn authorize_service(service: &NodeService, may: &dyn Authorizer) -> Result<(), Error> {
    may.require(Need::write(Resource::Service(&service.service)))?;
    if service.kind == CONNECT_PROXY {
        may.require(Need::write(Resource::Service(&service.proxy.destination_service_name)))?;
    }
    Ok(())
}

/// Upserts a node, a service on it and checks, all or nothing. Answers [`Outcome::Done`].
pub(crate) fn register(state: &mut State, apply: &mut Apply, request: RegisterRequest) -> Outcome {
    let before = state.clone();
    match try_register(state, apply, request) {
        Ok(()) => Outcome::Done,
        Err(error) => {
            *state = before;
            Outcome::Failed(error)
        }
    }
}

fn try_register(state: &mut State, apply: &mut Apply, mut request: RegisterRequest) -> Result<(), Error> {
    if request.changes_node(state.catalog.node(&request.node)) {
        write::put_node(state, apply, request.described_node())
            .map_err(|error| Error::failed(format!("failed inserting node: {error}")))?;
    }
    if let Some(service) = &request.service {
        write::put_service(state, apply, &request.node, service)
            .map_err(|error| Error::failed(format!("failed inserting service: {error}")))?;
    }
    let first = request.check.take();
    for check in first.into_iter().chain(request.checks) {
        if fold(&check.node) != fold(&request.node) {
            let (checked, node) = (check.node, request.node);
            return Err(Error::failed(format!("check node {checked:?} does not match node {node:?}")));
        }
        let node = check.node.clone();
        health::put_check(state, apply, check)
            .map_err(|error| Error::failed(format!("failed inserting check on node {node:?}: {error}")))?;
    }
    Ok(())
}

impl DeregisterRequest {
    pub(crate) fn prepare(&mut self, _state: &State) -> Result<(), Error> {
        if self.node.is_empty() {
            return Err(Error::failed("Must provide node"));
        }
        Ok(())
    }

    pub(crate) fn authorize(&self, state: &State, may: &dyn Authorizer) -> Result<(), Error> {
        // The right to a node is enough for everything on it: an agent may have lost the token of a service.
        let denied = match may.require(Need::write(Resource::Node(&self.node))) {
            Ok(()) => return Ok(()),
            Err(denied) => denied,
        };
        // In the order in which `apply` looks at the fields.
        if !self.service_id.is_empty() {
            let instance = state.catalog.instance(&self.node, &self.service_id);
            let instance =
                instance.ok_or_else(|| Error::failed(format!("Unknown service ID '{}'", self.service_id)))?;
            may.require(Need::write(Resource::Service(&instance.service.service)))?;
        } else if !self.check_id.is_empty() {
            let check = state.health.check(&self.node, &self.check_id);
            let check = check.ok_or_else(|| Error::failed(format!("Unknown check ID '{}'", self.check_id)))?;
            if check.service_id.is_empty() {
                return Err(denied.into());
            }
            may.require(Need::write(Resource::Service(&check.service_name)))?;
        } else {
            return Err(denied.into());
        }
        Ok(())
    }
}

/// Removes a service, a check or a whole node; what does not exist is already gone. Answers
/// [`Outcome::Done`].
pub(crate) fn deregister(state: &mut State, apply: &mut Apply, request: &DeregisterRequest) -> Outcome {
    // What a peer exported lives in key spaces that do not exist here.
    if request.peer_name.is_empty() {
        if !request.service_id.is_empty() {
            write::remove_service(state, apply, &request.node, &request.service_id);
        } else if !request.check_id.is_empty() {
            health::remove_check(state, apply, &request.node, &request.check_id);
        } else {
            write::remove_node(state, apply, &request.node);
        }
    }
    Outcome::Done
}
