//! The catalog: nodes and the services on them (`/v1/catalog`).

mod noun;

use acl::Authorizer;

pub use self::noun::{
    DeregisterRequest, Locality, Node, NodeService, Proxy, RegisterRequest, ServiceAddress, ServiceConnect, Weights,
};
use crate::{Apply, Error, Outcome, State};

#[derive(Debug, Clone, Default)]
pub(crate) struct Table {}

impl Table {
    /// The node of this name, in any case of letters.
    pub(crate) fn node(&self, _name: &str) -> Option<&std::sync::Arc<Node>> {
        None
    }
}

impl RegisterRequest {
    pub(crate) fn prepare(&mut self, _state: &State) -> Result<(), Error> {
        Ok(())
    }

    pub(crate) fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        Ok(())
    }
}

impl DeregisterRequest {
    pub(crate) fn prepare(&mut self, _state: &State) -> Result<(), Error> {
        Ok(())
    }

    pub(crate) fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        Ok(())
    }
}

pub(crate) fn register(_state: &mut State, _apply: &mut Apply, _request: RegisterRequest) -> Outcome {
    Outcome::Failed(Error::failed("wall"))
}

pub(crate) fn deregister(_state: &mut State, _apply: &mut Apply, _request: &DeregisterRequest) -> Outcome {
    Outcome::Failed(Error::failed("wall"))
}
