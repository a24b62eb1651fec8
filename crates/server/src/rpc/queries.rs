//! The form of each query's answer (types.tsv: `Indexed…`, `…Response`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use filter::{Filter, Record, Shape};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use state::autopilot::{AutopilotGet, Config};
use state::catalog::{
    CatalogGatewayServices, CatalogListNodes, CatalogListServices, CatalogNodeServiceList, CatalogNodeServices,
    CatalogServiceList, CatalogServiceNodes, CheckServiceNode, InternalNodeDump, InternalNodeInfo, InternalServiceDump,
    NodeServiceList, ServiceNode, check_service_node_shape, node_service_shape, node_shape, service_node_shape,
    tags_by_name,
};
use state::config_entry::{
    ConfigEntryGet, ConfigEntryList, ConfigEntryListAll, ConfigEntryRequest, ConfigEntryResolveServiceConfig,
    ConfigEntryResolvedExports, Entry as ConfigEntry, Op as ConfigOp,
};
use state::coordinate::{CoordinateListNodes, CoordinateNode};
use state::health::{ChecksInState, HealthNodeChecks, HealthServiceChecks, HealthServiceNodes, check_shape};
use state::kv::{Entry, KvGet, KvKeys, KvList};
use state::prepared_query::{
    DnsOptions, Executed, PreparedQuery, PreparedQueryExecute, PreparedQueryExplain, PreparedQueryGet,
    PreparedQueryList, ServiceQuery,
};
use state::session::{NodeSessions, SessionGet, SessionList};
use state::txn::{TxnRead, TxnResponse};
use state::usage::{OperatorUsage, ServiceUsage};
use state::{Error, Query};
use wire::msgpack;

use super::envelope::{Carried, Fields};

fn parse(expression: &str, shape: &'static Shape) -> Result<Option<Filter>, Error> {
    if expression.is_empty() {
        return Ok(None);
    }
    let parsed = Filter::parse(expression, shape);
    parsed.map(Some).map_err(|error| Error::failed(format!("Failed to create boolean expression evaluator: {error}")))
}

fn retain<T: Record>(rows: &mut Vec<T>, expression: &str, shape: &'static Shape) -> Result<(), Error> {
    if let Some(filter) = parse(expression, shape)? {
        rows.retain(|row| filter.matches(row));
    }
    Ok(())
}

fn retain_shared<T: Record>(rows: &mut Vec<Arc<T>>, expression: &str, shape: &'static Shape) -> Result<(), Error> {
    if let Some(filter) = parse(expression, shape)? {
        rows.retain(|row| filter.matches(&**row));
    }
    Ok(())
}

/// A query whose answer is one field.
macro_rules! one_field {
    ($query:ty, $name:literal) => {
        one_field!($query, $name, |_answer, _expression| Ok(()));
    };
    ($query:ty, $name:literal, $filter:expr) => {
        impl Carried for $query {
            fn pack(&self, answer: <$query as Query>::Answer) -> Result<Fields, msgpack::Error> {
                Fields::of($name, &answer)
            }
            fn unpack(&self, fields: &Fields) -> Result<<$query as Query>::Answer, msgpack::Error> {
                fields.get($name)
            }
            fn filter(&self, answer: &mut <$query as Query>::Answer, expression: &str) -> Result<(), Error> {
                let filter: fn(&mut <$query as Query>::Answer, &str) -> Result<(), Error> = $filter;
                filter(answer, expression)
            }
        }
    };
}

one_field!(CatalogListNodes, "Nodes", |rows, text| retain_shared(rows, text, node_shape()));
one_field!(CatalogServiceNodes, "ServiceNodes", |rows, text| retain(rows, text, service_node_shape()));
one_field!(CatalogNodeServiceList, "NodeServices", |answer: &mut NodeServiceList, text| {
    retain_shared(&mut answer.services, text, node_service_shape())
});
one_field!(CatalogGatewayServices, "Services");
one_field!(InternalNodeInfo, "Dump");
one_field!(InternalNodeDump, "Dump");
one_field!(InternalServiceDump, "Nodes", |rows, text| retain(rows, text, check_service_node_shape()));
one_field!(HealthServiceNodes, "Nodes", |rows, text| retain(rows, text, check_service_node_shape()));
one_field!(ChecksInState, "HealthChecks", |rows, text| retain_shared(rows, text, check_shape()));
one_field!(HealthNodeChecks, "HealthChecks", |rows, text| retain_shared(rows, text, check_shape()));
one_field!(HealthServiceChecks, "HealthChecks", |rows, text| retain_shared(rows, text, check_shape()));
one_field!(CoordinateListNodes, "Coordinates");
one_field!(CoordinateNode, "Coordinates");
one_field!(SessionGet, "Sessions");
one_field!(SessionList, "Sessions");
one_field!(NodeSessions, "Sessions");
one_field!(PreparedQueryGet, "Queries");
one_field!(PreparedQueryList, "Queries");
one_field!(KvList, "Entries");
one_field!(ConfigEntryResolvedExports, "Services");

impl Carried for CatalogNodeServices {
    fn pack(&self, answer: Self::Answer) -> Result<Fields, msgpack::Error> {
        Fields::of("NodeServices", &answer)
    }

    fn unpack(&self, fields: &Fields) -> Result<Self::Answer, msgpack::Error> {
        fields.get("NodeServices")
    }

    fn filter(&self, answer: &mut Self::Answer, expression: &str) -> Result<(), Error> {
        if let (Some(filter), Some(answer)) = (parse(expression, node_service_shape())?, answer) {
            answer.services.retain(|_, service| filter.matches(&**service));
        }
        Ok(())
    }
}

/// Names with their tags. On the way back each name is one row that has all of them.
impl Carried for CatalogListServices {
    fn pack(&self, answer: Self::Answer) -> Result<Fields, msgpack::Error> {
        Fields::of("Services", &tags_by_name(&answer))
    }

    fn unpack(&self, fields: &Fields) -> Result<Self::Answer, msgpack::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Row {
            service_name: String,
            service_tags: Vec<String>,
        }
        let services: BTreeMap<String, Option<Vec<String>>> = fields.get("Services")?;
        let rows = services.into_iter().map(|(service_name, tags)| {
            let row = Row { service_name, service_tags: tags.unwrap_or_default() };
            msgpack::from_slice::<ServiceNode>(&msgpack::to_vec(&row)?)
        });
        rows.collect()
    }

    fn filter(&self, answer: &mut Self::Answer, expression: &str) -> Result<(), Error> {
        retain(answer, expression, service_node_shape())
    }
}

impl Carried for CatalogServiceList {
    fn pack(&self, answer: Self::Answer) -> Result<Fields, msgpack::Error> {
        let names: Vec<Name> = answer.into_iter().map(|name| Name { name }).collect();
        Fields::of("Services", &names)
    }

    fn unpack(&self, fields: &Fields) -> Result<BTreeSet<String>, msgpack::Error> {
        Ok(fields.get::<Vec<Name>>("Services")?.into_iter().map(|name| name.name).collect())
    }
}

/// `structs.ServiceName`.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Name {
    name: String,
}

impl Carried for KvGet {
    fn pack(&self, answer: Self::Answer) -> Result<Fields, msgpack::Error> {
        Fields::of("Entries", &answer.map(|entry| vec![entry]))
    }

    fn unpack(&self, fields: &Fields) -> Result<Self::Answer, msgpack::Error> {
        Ok(fields.get::<Vec<Arc<Entry>>>("Entries")?.into_iter().next())
    }
}

/// The keys as they are shown. On the way back each is an entry without a value; cutting them again changes nothing.
impl Carried for KvKeys {
    fn pack(&self, answer: Self::Answer) -> Result<Fields, msgpack::Error> {
        Fields::of("Keys", &self.0.cut(&answer))
    }

    fn unpack(&self, fields: &Fields) -> Result<Self::Answer, msgpack::Error> {
        let keys: Vec<String> = fields.get("Keys")?;
        Ok(keys.into_iter().map(|key| Arc::new(Entry { key: key.into(), ..Entry::default() })).collect())
    }
}

/// `structs.PreparedQueryExecuteResponse`, as far as it says what was found.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Execution {
    service: String,
    nodes: Vec<CheckServiceNode>,
    #[serde(rename = "DNS")]
    dns: DnsOptions,
    datacenter: String,
    peer_name: String,
    failovers: i64,
}

impl Carried for PreparedQueryExecute {
    fn pack(&self, mut answer: Self::Answer) -> Result<Fields, msgpack::Error> {
        if !answer.is_sorted {
            answer.nodes.shuffle(&mut rand::rng());
        }
        Fields::all(&Execution {
            service: answer.query.service.service,
            nodes: answer.nodes,
            dns: answer.query.dns,
            datacenter: String::new(),
            peer_name: answer.query.service.peer,
            failovers: 0,
        })
    }

    fn unpack(&self, fields: &Fields) -> Result<Self::Answer, msgpack::Error> {
        let found: Execution = fields.read()?;
        let service = ServiceQuery { service: found.service, peer: found.peer_name, ..ServiceQuery::default() };
        let query = PreparedQuery { service, dns: found.dns, ..PreparedQuery::default() };
        // Whoever executed it has sorted or shuffled.
        Ok(Executed { query, nodes: found.nodes, is_sorted: true })
    }
}

impl Carried for PreparedQueryExplain {
    fn pack(&self, answer: Self::Answer) -> Result<Fields, msgpack::Error> {
        Fields::of("Query", &answer)
    }

    fn unpack(&self, fields: &Fields) -> Result<Self::Answer, msgpack::Error> {
        fields.get("Query")
    }
}

impl Carried for TxnRead {
    fn pack(&self, answer: Self::Answer) -> Result<Fields, msgpack::Error> {
        Fields::all(&answer)
    }

    fn unpack(&self, fields: &Fields) -> Result<TxnResponse, msgpack::Error> {
        fields.read()
    }
}

impl Carried for OperatorUsage {
    fn pack(&self, answer: Self::Answer) -> Result<Fields, msgpack::Error> {
        // The datacenter is for the asker to name: there is one.
        Fields::of("Usage", &BTreeMap::from([("", answer)]))
    }

    fn unpack(&self, fields: &Fields) -> Result<ServiceUsage, msgpack::Error> {
        let usage: BTreeMap<String, ServiceUsage> = fields.get("Usage")?;
        Ok(usage.into_values().next().unwrap_or_default())
    }
}

/// The configuration itself, without facts.
impl Carried for AutopilotGet {
    fn pack(&self, answer: Self::Answer) -> Result<Fields, msgpack::Error> {
        Fields::all(&answer.unwrap_or_default())
    }

    fn unpack(&self, fields: &Fields) -> Result<Option<Config>, msgpack::Error> {
        fields.read().map(Some)
    }
}

// Compat: the reference's agents are told of config entries in a form of their own, which is not built yet; these travel
// between our own agents as they stand in the log.

fn packed(entry: &ConfigEntry) -> ConfigEntryRequest {
    ConfigEntryRequest { op: ConfigOp::default(), datacenter: String::new(), entry: Box::new(entry.clone()) }
}

impl Carried for ConfigEntryGet {
    fn pack(&self, answer: Self::Answer) -> Result<Fields, msgpack::Error> {
        Fields::of("CuruleEntry", &answer.map(|entry| packed(&entry)))
    }

    fn unpack(&self, fields: &Fields) -> Result<Self::Answer, msgpack::Error> {
        let entry: Option<ConfigEntryRequest> = fields.get("CuruleEntry")?;
        Ok(entry.map(|request| Arc::new(*request.entry)))
    }
}

macro_rules! config_entries {
    ($query:ty) => {
        impl Carried for $query {
            fn pack(&self, answer: Self::Answer) -> Result<Fields, msgpack::Error> {
                let entries: Vec<_> = answer.iter().map(|entry| packed(entry)).collect();
                Fields::of("CuruleEntries", &entries)
            }
            fn unpack(&self, fields: &Fields) -> Result<Self::Answer, msgpack::Error> {
                let entries: Vec<ConfigEntryRequest> = fields.get("CuruleEntries")?;
                Ok(entries.into_iter().map(|request| Arc::new(*request.entry)).collect())
            }
        }
    };
}

config_entries!(ConfigEntryList);
config_entries!(ConfigEntryListAll);

impl Carried for ConfigEntryResolveServiceConfig {
    fn pack(&self, answer: Self::Answer) -> Result<Fields, msgpack::Error> {
        Fields::all(&answer)
    }

    fn unpack(&self, fields: &Fields) -> Result<Self::Answer, msgpack::Error> {
        fields.read()
    }
}
