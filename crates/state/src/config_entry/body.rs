//! The one list of kinds.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    ExportedServices, FileSystemCertificate, IngressGateway, JwtProvider, Mesh, ProxyDefaults, Rules, SamenessGroup,
    ServiceDefaults, ServiceIntentions, ServiceResolver, ServiceRouter, ServiceSplitter, TerminatingGateway, Written,
};

/// What an entry says, by kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Body {
    ExportedServices(ExportedServices),
    FileSystemCertificate(FileSystemCertificate),
    IngressGateway(IngressGateway),
    JwtProvider(Box<JwtProvider>),
    Mesh(Mesh),
    ProxyDefaults(Box<ProxyDefaults>),
    SamenessGroup(SamenessGroup),
    ServiceDefaults(Box<ServiceDefaults>),
    ServiceIntentions(ServiceIntentions),
    ServiceResolver(ServiceResolver),
    ServiceRouter(ServiceRouter),
    ServiceSplitter(ServiceSplitter),
    TerminatingGateway(TerminatingGateway),
}

/// The words of all kinds that are accepted.
pub const KINDS: &[&str] = &[
    "exported-services",
    "file-system-certificate",
    "ingress-gateway",
    "jwt-provider",
    "mesh",
    "proxy-defaults",
    "sameness-group",
    "service-defaults",
    "service-intentions",
    "service-resolver",
    "service-router",
    "service-splitter",
    "terminating-gateway",
];

/// Where a body is read from.
trait Source {
    type Error;
    fn read<T: DeserializeOwned>(self) -> Result<T, Self::Error>;
}

impl Body {
    fn read<S: Source>(kind: &str, source: S) -> Result<Option<Body>, S::Error> {
        Ok(Some(match kind {
            "exported-services" => Body::ExportedServices(source.read()?),
            "file-system-certificate" => Body::FileSystemCertificate(source.read()?),
            "ingress-gateway" => Body::IngressGateway(source.read()?),
            "jwt-provider" => Body::JwtProvider(source.read()?),
            "mesh" => Body::Mesh(source.read()?),
            "proxy-defaults" => Body::ProxyDefaults(source.read()?),
            "sameness-group" => Body::SamenessGroup(source.read()?),
            "service-defaults" => Body::ServiceDefaults(source.read()?),
            "service-intentions" => Body::ServiceIntentions(source.read()?),
            "service-resolver" => Body::ServiceResolver(source.read()?),
            "service-router" => Body::ServiceRouter(source.read()?),
            "service-splitter" => Body::ServiceSplitter(source.read()?),
            "terminating-gateway" => Body::TerminatingGateway(source.read()?),
            _ => return Ok(None),
        }))
    }

    /// The word of the kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Body::ExportedServices(_) => "exported-services",
            Body::FileSystemCertificate(_) => "file-system-certificate",
            Body::IngressGateway(_) => "ingress-gateway",
            Body::JwtProvider(_) => "jwt-provider",
            Body::Mesh(_) => "mesh",
            Body::ProxyDefaults(_) => "proxy-defaults",
            Body::SamenessGroup(_) => "sameness-group",
            Body::ServiceDefaults(_) => "service-defaults",
            Body::ServiceIntentions(_) => "service-intentions",
            Body::ServiceResolver(_) => "service-resolver",
            Body::ServiceRouter(_) => "service-router",
            Body::ServiceSplitter(_) => "service-splitter",
            Body::TerminatingGateway(_) => "terminating-gateway",
        }
    }

    pub(super) fn rules(&self) -> &dyn Rules {
        match self {
            Body::ExportedServices(body) => body,
            Body::FileSystemCertificate(body) => body,
            Body::IngressGateway(body) => body,
            Body::JwtProvider(body) => &**body,
            Body::Mesh(body) => body,
            Body::ProxyDefaults(body) => &**body,
            Body::SamenessGroup(body) => body,
            Body::ServiceDefaults(body) => &**body,
            Body::ServiceIntentions(body) => body,
            Body::ServiceResolver(body) => body,
            Body::ServiceRouter(body) => body,
            Body::ServiceSplitter(body) => body,
            Body::TerminatingGateway(body) => body,
        }
    }

    pub(super) fn rules_mut(&mut self) -> &mut dyn Rules {
        match self {
            Body::ExportedServices(body) => body,
            Body::FileSystemCertificate(body) => body,
            Body::IngressGateway(body) => body,
            Body::JwtProvider(body) => &mut **body,
            Body::Mesh(body) => body,
            Body::ProxyDefaults(body) => &mut **body,
            Body::SamenessGroup(body) => body,
            Body::ServiceDefaults(body) => &mut **body,
            Body::ServiceIntentions(body) => body,
            Body::ServiceResolver(body) => body,
            Body::ServiceRouter(body) => body,
            Body::ServiceSplitter(body) => body,
            Body::TerminatingGateway(body) => body,
        }
    }

    /// One that has only a name; `None` when there is no such kind.
    pub(super) fn named(kind: &str, name: &str) -> Option<Body> {
        let tree = serde_json::json!({ "Name": name });
        Body::from_tree(kind, &tree).ok().map(|(body, ..)| body)
    }

    /// Reads a tree, with what all kinds have; says which keys meant nothing.
    pub(super) fn from_tree(kind: &str, tree: &Value) -> Result<(Body, Written, Vec<String>), String> {
        let (mut written, mut unused) = (Written::default(), Vec::new());
        let body = Body::read(kind, Tree { tree, written: &mut written, unused: &mut unused })?;
        let body = body.ok_or_else(|| format!("invalid config entry kind: {kind}"))?;
        Ok((body, written, unused))
    }

    /// Reads stored bytes.
    pub(super) fn from_packed(kind: &str, packed: &[u8]) -> Result<Option<Body>, wire::msgpack::Error> {
        Body::read(kind, Packed(packed))
    }
}

struct Tree<'a> {
    tree: &'a Value,
    written: &'a mut Written,
    unused: &'a mut Vec<String>,
}

impl Source for Tree<'_> {
    type Error = String;

    fn read<T: DeserializeOwned>(self) -> Result<T, String> {
        let (value, written, unused) = wire::weak::decode_two(self.tree)?;
        (*self.written, *self.unused) = (written, unused);
        Ok(value)
    }
}

struct Packed<'a>(&'a [u8]);

impl Source for Packed<'_> {
    type Error = wire::msgpack::Error;

    fn read<T: DeserializeOwned>(self) -> Result<T, wire::msgpack::Error> {
        wire::msgpack::from_slice(self.0)
    }
}
