//! Requests as bytes: the kind goes before the request, both inside one byte string, because the reference has to know
//! the kind before it can read the rest (protocols.md A5).

use serde::de::{Error as _, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wire::msgpack::{self, RawValue};

use super::{Body, Common, ConfigEntryRequest, Entry, Op};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Outgoing<'a, E> {
    datacenter: &'a str,
    entry: E,
    op: Op,
    token: &'a str,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Incoming {
    datacenter: String,
    entry: RawValue,
    op: Op,
}

/// A byte string.
struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// Kinds whose own bytes are a byte string once more.
fn is_wrapped_twice(kind: &str) -> bool {
    kind == "proxy-defaults"
}

fn pack(request: &ConfigEntryRequest) -> Result<Vec<u8>, msgpack::Error> {
    let ConfigEntryRequest { op, datacenter, entry } = request;
    let (op, token) = (*op, "");
    let mut out = msgpack::to_vec(entry.kind())?;
    if is_wrapped_twice(entry.kind()) {
        let inner = msgpack::to_vec(entry)?;
        msgpack::write_to(&mut out, &Outgoing { datacenter, entry: Raw(&inner), op, token })?;
    } else {
        msgpack::write_to(&mut out, &Outgoing { datacenter, entry, op, token })?;
    }
    Ok(out)
}

impl Serialize for ConfigEntryRequest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&pack(self).map_err(S::Error::custom)?)
    }
}

fn unpack(bytes: &[u8]) -> Result<ConfigEntryRequest, String> {
    let text = |error: msgpack::Error| error.to_string();
    let mut decoder = msgpack::Decoder::new(bytes);
    let kind: String = decoder.decode().map_err(text)?;
    let Incoming { datacenter, entry, op } = decoder.decode().map_err(text)?;
    let entry = Entry::from_packed(&kind, entry.as_bytes()).map_err(text)?;
    let entry = entry.ok_or_else(|| format!("invalid config entry kind: {kind}"))?;
    Ok(ConfigEntryRequest { op, datacenter, entry: Box::new(entry) })
}

impl Entry {
    /// Reads the bytes of an entry; `None` when its kind is not known here.
    pub fn from_packed(kind: &str, packed: &[u8]) -> Result<Option<Self>, msgpack::Error> {
        let inner: bytes::Bytes;
        let packed = if is_wrapped_twice(kind) {
            inner = msgpack::from_slice(packed)?;
            &inner
        } else {
            packed
        };
        let Some(mut body) = Body::from_packed(kind, packed)? else { return Ok(None) };
        if let Body::ProxyDefaults(defaults) = &mut body {
            // The reference keeps here what it finds in the opaque part, where we look when it is asked for.
            defaults.protocol.clear();
        }
        let Common { meta, hash, create_index, modify_index } = msgpack::from_slice(packed)?;
        Ok(Some(Entry { meta, hash, create_index, modify_index, ..Entry::new(body) }))
    }

    /// The kind that a stored request is about, which says whether it can be read here.
    pub fn kind_of_packed(request: &RawValue) -> Result<String, msgpack::Error> {
        let inner: bytes::Bytes = request.decode()?;
        msgpack::Decoder::new(&inner).decode()
    }
}

impl<'de> Deserialize<'de> for ConfigEntryRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Wrapped;
        impl Visitor<'_> for Wrapped {
            type Value = ConfigEntryRequest;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a wrapped config entry request")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<ConfigEntryRequest, E> {
                unpack(bytes).map_err(E::custom)
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ConfigEntryRequest, E> {
                self.visit_bytes(text.as_bytes())
            }
        }
        if deserializer.is_human_readable() {
            return Err(D::Error::custom("a config entry request has no JSON form"));
        }
        deserializer.deserialize_bytes(Wrapped)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ConfigEntryRequest, Entry, Op};

    fn request(json: &str) -> ConfigEntryRequest {
        let entry = Entry::from_tree(&serde_json::from_str(json).unwrap()).unwrap();
        ConfigEntryRequest { op: Op::UpsertCas, datacenter: "dc1".into(), entry: Box::new(entry) }
    }

    #[test]
    fn requests_come_back_as_they_were() {
        for json in [
            r#"{"Kind":"exported-services","Name":"default","Services":[{"Name":"a","Consumers":[{"Peer":"p"}]}]}"#,
            r#"{"Kind":"proxy-defaults","Name":"global","Config":{"a":1.5,"b":{"c":["d",null,true,7.0]}}}"#,
            r#"{"Kind":"mesh","Meta":{"a":"b"},"TLS":{"Incoming":{"TLSMinVersion":"TLSv1_2"}}}"#,
            r#"{"Kind":"service-resolver","Name":"a","ConnectTimeout":"5s","Subsets":{"v1":{"Filter":"x == y"}}}"#,
            r#"{"Kind":"service-splitter","Name":"a","Splits":[{"Weight":33.33},{"Weight":66.67,"Service":"b"}]}"#,
            r#"{"Kind":"jwt-provider","Name":"a","JSONWebKeySet":{"Remote":{"JWKSCluster":{"TLSCertificates":
                {"TrustedCA":{"InlineBytes":"abc"}}}}}}"#,
            r#"{"Kind":"service-defaults","Name":"a","UpstreamConfig":{"Defaults":{"PassiveHealthCheck":
                {"BaseEjectionTime":"3s","EnforcingConsecutive5xx":5}}}}"#,
        ] {
            let request = request(json);
            let bytes = wire::msgpack::to_vec(&request).unwrap();
            let again: ConfigEntryRequest = wire::msgpack::from_slice(&bytes).unwrap();
            assert_eq!(again, request, "{json}");
        }
    }

    #[test]
    fn the_kind_stands_before_the_request_in_one_string() {
        let bytes = wire::msgpack::to_vec(&request(r#"{"Kind":"mesh"}"#)).unwrap();
        // A raw string of 8-bit length is not part of the dialect: 16 bits.
        assert_eq!(bytes[0], 0xda);
        assert_eq!(&bytes[3..8], b"\xa4mesh");
    }
}
