//! Arguments and answers as maps: what is asked beside the options that all reads share, what is answered beside its
//! facts (protocols.md A4).

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use state::{Error, Index, Query};
use wire::msgpack::{self, RawValue};

use crate::{Answer, QueryMeta, ReadMode, ReadOptions};

/// The fields of a struct on the wire, by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fields(BTreeMap<String, RawValue>);

impl Fields {
    /// One field.
    pub fn of<T: Serialize + ?Sized>(name: &str, value: &T) -> Result<Self, msgpack::Error> {
        Ok(Fields(BTreeMap::from([(name.to_owned(), RawValue::encode(value)?)])))
    }

    /// All fields of a struct.
    pub fn all<T: Serialize + ?Sized>(value: &T) -> Result<Self, msgpack::Error> {
        Ok(Fields(msgpack::from_slice(&msgpack::to_vec(value)?)?))
    }

    /// Those of both.
    #[must_use]
    pub fn and(mut self, other: Fields) -> Self {
        self.0.extend(other.0);
        self
    }

    /// A field; the zero value when it is not there.
    pub fn get<T: DeserializeOwned + Default>(&self, name: &str) -> Result<T, msgpack::Error> {
        self.0.get(name).map_or_else(|| Ok(T::default()), RawValue::decode)
    }

    /// Takes the fields for those of a struct.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, msgpack::Error> {
        msgpack::from_slice(&self.encode()?)
    }

    pub fn encode(&self) -> Result<Vec<u8>, msgpack::Error> {
        msgpack::to_vec(&self.0)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, msgpack::Error> {
        Ok(Fields(msgpack::from_slice(bytes)?))
    }
}

/// A query that travels: its answer as fields, and back.
pub trait Carried: Query {
    /// The answer without its facts.
    fn pack(&self, answer: Self::Answer) -> Result<Fields, msgpack::Error>;
    fn unpack(&self, fields: &Fields) -> Result<Self::Answer, msgpack::Error>;

    /// Keeps the rows that a `?filter=` expression lets through, where this method has such rows.
    fn filter(&self, _answer: &mut Self::Answer, _expression: &str) -> Result<(), Error> {
        Ok(())
    }
}

/// What every call says besides (`structs.QueryOptions`, `WriteRequest`, the datacenter).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Options {
    pub datacenter: String,
    pub token: String,
    pub min_query_index: u64,
    /// Nanoseconds.
    pub max_query_time: i64,
    pub allow_stale: bool,
    pub require_consistent: bool,
    pub use_cache: bool,
    pub max_stale_duration: i64,
    pub max_age: i64,
    pub must_revalidate: bool,
    pub stale_if_error: i64,
    pub filter: String,
    pub allow_not_modified_response: bool,
}

impl Options {
    pub fn of(datacenter: &str, options: &ReadOptions) -> Self {
        Options {
            datacenter: datacenter.to_owned(),
            min_query_index: options.min_index.0,
            max_query_time: i64::try_from(options.wait.as_nanos()).unwrap_or(i64::MAX),
            allow_stale: options.mode == ReadMode::Stale,
            require_consistent: options.mode == ReadMode::Consistent,
            ..Options::default()
        }
    }

    pub fn mode(&self) -> ReadMode {
        match (self.require_consistent, self.allow_stale) {
            (true, _) => ReadMode::Consistent,
            (false, true) => ReadMode::Stale,
            (false, false) => ReadMode::Default,
        }
    }

    pub fn read_options(&self) -> ReadOptions {
        let wait = u64::try_from(self.max_query_time).ok().map(Duration::from_nanos);
        ReadOptions::blocking(Index(self.min_query_index), wait, self.mode(), &mut rand::rng())
    }
}

/// The facts of an answer (`structs.QueryMeta`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Meta {
    pub index: u64,
    /// Nanoseconds.
    pub last_contact: i64,
    pub known_leader: bool,
    pub consistency_level: String,
    pub not_modified: bool,
    pub backend: i64,
    #[serde(rename = "ResultsFilteredByACLs")]
    pub results_filtered_by_acls: bool,
}

impl From<QueryMeta> for Meta {
    fn from(meta: QueryMeta) -> Self {
        Meta {
            index: meta.index.0,
            last_contact: i64::try_from(meta.last_contact.as_nanos()).unwrap_or(i64::MAX),
            known_leader: meta.known_leader,
            results_filtered_by_acls: meta.filtered,
            ..Meta::default()
        }
    }
}

impl Meta {
    pub fn facts(&self, mode: ReadMode) -> QueryMeta {
        QueryMeta {
            index: Index(self.index.max(1)),
            known_leader: self.known_leader,
            last_contact: Duration::from_nanos(u64::try_from(self.last_contact).unwrap_or(0)),
            mode,
            filtered: self.results_filtered_by_acls,
        }
    }
}

/// A call's arguments.
pub(crate) fn pack_query<Q: Query>(query: &Q, options: Options) -> Result<Vec<u8>, msgpack::Error> {
    Fields::all(query)?.and(Fields::all(&options)?).encode()
}

/// An answer as its method's body.
pub(crate) fn pack_answer<Q: Carried>(query: &Q, answer: Answer<Q::Answer>) -> Result<Vec<u8>, msgpack::Error> {
    query.pack(answer.answer)?.and(Fields::all(&Meta::from(answer.meta))?).encode()
}

/// A method's body as an answer.
pub(crate) fn unpack_answer<Q: Carried>(
    query: &Q,
    body: &Bytes,
    mode: ReadMode,
) -> Result<Answer<Q::Answer>, msgpack::Error> {
    let fields = Fields::decode(body)?;
    let meta: Meta = fields.read()?;
    Ok(Answer { answer: query.unpack(&fields)?, meta: meta.facts(mode) })
}
