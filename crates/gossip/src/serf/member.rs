//! A member as Serf knows it, and how its tags travel.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;
use wire::msgpack;

use crate::delegate::{Node, NodeState};

/// What a member says of itself.
pub type Tags = BTreeMap<String, String>;

/// The encoded tags may not be longer: memberlist's bound for metadata.
pub const TAGS_MAX: usize = 512;

/// Tells a map of tags from the bare role of protocol 2.
const TAGS_MAGIC: u8 = 255;

/// The first Serf protocol that has tags.
const FIRST_WITH_TAGS: u8 = 3;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    pub address: SocketAddr,
    pub tags: Tags,
    pub status: MemberStatus,
    /// Memberlist protocol: least, most, spoken; then the same of Serf's.
    pub versions: [u8; 6],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberStatus {
    None,
    Alive,
    /// Has said that it leaves, and is still here.
    Leaving,
    Left,
    Failed,
}

impl MemberStatus {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            MemberStatus::None => "none",
            MemberStatus::Alive => "alive",
            MemberStatus::Leaving => "leaving",
            MemberStatus::Left => "left",
            MemberStatus::Failed => "failed",
        }
    }
}

impl fmt::Display for MemberStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Member {
    /// A node that asks to be let in. Its status is known only if it has left.
    #[must_use]
    pub fn candidate(node: &Node) -> Member {
        let status = if node.state == NodeState::Left { MemberStatus::Left } else { MemberStatus::None };
        Member {
            name: node.name.clone(),
            address: node.address,
            tags: decode_tags(&node.meta).unwrap_or_default(),
            status,
            versions: node.versions,
        }
    }

    /// The value of a tag, "" if it is not there.
    #[must_use]
    pub fn tag(&self, tag: &str) -> &str {
        self.tags.get(tag).map_or("", String::as_str)
    }
}

/// Tags as a member of this Serf protocol sends them. Before protocol 3 there was only the role.
#[must_use]
pub fn encode_tags(protocol: u8, tags: &Tags) -> Bytes {
    if protocol < FIRST_WITH_TAGS {
        return Bytes::copy_from_slice(tags.get("role").map_or(&[], |role| role.as_bytes()));
    }
    let mut out = vec![TAGS_MAGIC];
    msgpack::write_to(&mut out, tags).expect("tags are strings shorter than 4 GiB");
    out.into()
}

/// The tags of a member, from its metadata.
pub fn decode_tags(meta: &[u8]) -> Result<Tags, msgpack::Error> {
    match meta.split_first() {
        Some((&TAGS_MAGIC, map)) => {
            let tags: Option<Tags> = msgpack::Decoder::new(map).decode()?;
            Ok(tags.unwrap_or_default())
        }
        _ => Ok(Tags::from([("role".to_owned(), String::from_utf8_lossy(meta).into_owned())])),
    }
}

#[cfg(test)]
mod tests {
    use super::{Tags, decode_tags, encode_tags};

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        pairs.iter().map(|(tag, value)| ((*tag).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn tags_have_the_bytes_of_the_reference() {
        assert_eq!(&encode_tags(4, &tags(&[("role", "consul")]))[..], b"\xff\x81\xa4role\xa6consul");
        assert_eq!(&encode_tags(4, &Tags::new())[..], b"\xff\x80");
        assert_eq!(&encode_tags(2, &tags(&[("role", "consul"), ("x", "y")]))[..], b"consul");
        assert_eq!(&encode_tags(2, &Tags::new())[..], b"");
    }

    #[test]
    fn tags_are_read_from_both_forms() {
        let both = tags(&[("dc", "dc1"), ("role", "node")]);
        assert_eq!(decode_tags(&encode_tags(4, &both)), Ok(both));
        assert_eq!(decode_tags(b"web"), Ok(tags(&[("role", "web")])));
        assert_eq!(decode_tags(b""), Ok(tags(&[("role", "")])));
        assert_eq!(decode_tags(b"\xff\xc0"), Ok(Tags::new()));
        assert!(decode_tags(b"\xff\x81").is_err());
    }
}
