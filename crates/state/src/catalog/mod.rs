//! The catalog: nodes and the services on them (`/v1/catalog`).
//!
//! Always true:
//! - Names and ids of nodes, services and checks are found in any case and shown as they were written.
//! - What is on a node goes with it; what a service has goes with the service; a name belongs to one node id.
//! - Registering what is already there moves no index and wakes nobody.
//! - A write touches the services whose answers show it and no others.
//!
//! Not here: virtual addresses, gateways, imported services and everything else of the mesh beyond carrying
//! its fields; lists of datacenters; the `consul` service, which the leader registers like any other.

use std::sync::Arc;

use crate::State;
use crate::health::HealthCheck;

mod dump;
mod filter;
pub(crate) mod gateway;
pub(crate) mod index;
mod noun;
mod proxy;
mod query;
mod register;
mod row;
mod snapshot;
mod table;
#[cfg(test)]
mod tests;
mod write;

pub use self::dump::{DumpQuery, InternalNodeDump, InternalNodeInfo, InternalServiceDump, NodeInfo};
pub use self::filter::{check_service_node_shape, node_service_shape, node_shape, service_node_shape};
pub use self::gateway::{CatalogGatewayServices, CompoundName, GatewayService};
pub(crate) use self::noun::fold;
pub use self::noun::{
    CONNECT_PROXY, DeregisterRequest, Locality, Node, NodeService, RegisterRequest, ServiceAddress, StringMap, Weights,
    meta_matches,
};
pub use self::proxy::{
    AccessLogs, Expose, ExposePath, MeshGateway, Proxy, ServiceConnect, TransparentProxy, Upstream, faults, faults_text,
};
pub use self::query::{
    CatalogListNodes, CatalogListServices, CatalogNodeServiceList, CatalogNodeServices, CatalogServiceList,
    CatalogServiceNodes, NodeQuery, NodesQuery, ServiceQuery, tags_by_name,
};
pub(crate) use self::query::{may_read, no_peer};
pub(crate) use self::register::{authorize_service, deregister, prepare_service, refuse_bad_node, register};
pub use self::row::{CheckServiceNode, NodeServiceList, NodeServices, ServiceNode};
pub(crate) use self::snapshot::{records, restore};
pub use self::table::Instance;
pub(crate) use self::table::{Pair, Table, Triple};
pub use self::write::{SERF_HEALTH, refuse_bad_meta};
pub(crate) use self::write::{as_expected, missing_node, put_node, put_service, remove_node, remove_service};

impl State {
    /// The node of this name, for duties that compare before they write.
    #[must_use]
    pub fn node_by_name(&self, name: &str) -> Option<&Arc<Node>> {
        self.catalog.node(name)
    }

    /// A service of a node, for duties that compare before they write.
    #[must_use]
    pub fn service_on(&self, node: &str, id: &str) -> Option<&Arc<NodeService>> {
        self.catalog.instance(node, id).map(|instance| &instance.service)
    }

    /// The names of the nodes whose gossip membership is watched, for duties that compare before they write.
    pub fn members_registered(&self) -> impl Iterator<Item = &str> {
        let watched = |name: &&Arc<str>| self.health.check(name, SERF_HEALTH).is_some();
        self.catalog.nodes().map(|(name, _)| name).filter(watched).map(|name| &**name)
    }

    /// A check of a node, for duties that compare before they write.
    #[must_use]
    pub fn check_on(&self, node: &str, id: &str) -> Option<&Arc<HealthCheck>> {
        self.health.check(node, id)
    }
}
