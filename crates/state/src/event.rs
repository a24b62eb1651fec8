//! User events (`/v1/event`): the noun, whom one concerns, and an agent's ring of recent ones.
//!
//! Events are gossiped, not replicated: nothing here is part of [`crate::State`].

use std::collections::VecDeque;

use acl::{Authorizer, Need, Resource};
use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::Index;
use crate::octets::Octets;

/// How many events an agent remembers.
pub const RING_SIZE: usize = 256;
/// Name and payload together may not be longer than this.
pub const SIZE_MAX: usize = 512;

/// A user event as `/v1/event` shows it (`UserEvent`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct UserEvent {
    #[serde(rename = "ID")]
    pub id: String,
    pub name: String,
    pub payload: Octets,
    /// Regular expressions; empty matches everything.
    pub node_filter: String,
    pub service_filter: String,
    pub tag_filter: String,
    pub version: u64,
    #[serde(rename = "LTime")]
    pub lamport_time: u64,
}

/// Why an event cannot be fired, in the reference's words.
pub fn validate(event: &UserEvent) -> Result<(), String> {
    if event.name.is_empty() {
        return Err("User event missing name".to_owned());
    }
    if !event.tag_filter.is_empty() && event.service_filter.is_empty() {
        return Err("Cannot provide tag filter without service filter".to_owned());
    }
    for (what, filter) in [("node", &event.node_filter), ("service", &event.service_filter), ("tag", &event.tag_filter)]
    {
        filter::check_pattern(filter).map_err(|error| format!("Invalid {what} filter: {error}"))?;
        if Regex::new(filter).is_err() {
            return Err(format!("Invalid {what} filter: error parsing regexp: expression too large: `{filter}`"));
        }
    }
    Ok(())
}

impl UserEvent {
    /// Whether this event concerns an agent with this node name and these services (name and tags each).
    #[must_use]
    pub fn concerns<'a>(&self, node: &str, services: impl IntoIterator<Item = (&'a str, &'a [String])>) -> bool {
        let matches = |filter: &str, text: &str| {
            filter.is_empty() || Regex::new(filter).is_ok_and(|filter| filter.is_match(text))
        };
        if !matches(&self.node_filter, node) {
            return false;
        }
        if self.service_filter.is_empty() {
            return true;
        }
        services.into_iter().any(|(name, tags)| {
            matches(&self.service_filter, name)
                && (self.tag_filter.is_empty() || tags.iter().any(|tag| matches(&self.tag_filter, tag)))
        })
    }

    /// The index that `/v1/event/list` gives for a list that ends with this event: both halves of its id
    /// xor-ed. Not monotonic.
    #[must_use]
    pub fn index(&self) -> Index {
        let hex: String = self.id.chars().filter(|character| *character != '-').collect();
        let id = u128::from_str_radix(&hex, 16).unwrap_or(0);
        let halves = id.to_be_bytes();
        let (high, low) = halves.split_at(8);
        let half = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().unwrap_or_default());
        Index(half(high) ^ half(low))
    }
}

/// The most recent events of an agent, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Ring {
    events: VecDeque<UserEvent>,
}

impl Ring {
    /// Remembers an event, forgetting the oldest when full.
    pub fn push(&mut self, event: UserEvent) {
        if self.events.len() == RING_SIZE {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// The Lamport time of the next event that is fired here.
    #[must_use]
    pub fn next_time(&self) -> u64 {
        self.events.back().map_or(1, |last| last.lamport_time + 1)
    }

    /// The remembered events of a name (`""`: all) that the token may see, oldest first, and their index.
    #[must_use]
    pub fn list(&self, name: &str, may: &dyn Authorizer) -> (Index, Vec<UserEvent>) {
        let visible = |event: &&UserEvent| {
            (name.is_empty() || event.name == name) && may.allows(Need::read(Resource::Event(&event.name)))
        };
        let events: Vec<_> = self.events.iter().filter(visible).cloned().collect();
        (events.last().map_or(Index(1), UserEvent::index), events)
    }
}

#[cfg(test)]
mod tests {
    use acl::AllowAll;

    use super::{RING_SIZE, Ring, UserEvent};
    use crate::Index;

    #[test]
    fn the_ring_forgets_the_oldest() {
        let mut ring = Ring::default();
        assert_eq!(ring.list("", &AllowAll), (Index(1), vec![]));
        for at in 0..RING_SIZE + 3 {
            ring.push(UserEvent { name: format!("e{at}"), ..UserEvent::default() });
        }
        let (_, events) = ring.list("", &AllowAll);
        assert_eq!((events.len(), events[0].name.as_str()), (RING_SIZE, "e3"));
        assert_eq!(ring.list("e5", &AllowAll).1.len(), 1);
    }

    #[test]
    fn the_index_is_the_id_folded() {
        let event = UserEvent { id: "00000000-0000-0003-0000-000000000005".into(), ..UserEvent::default() };
        assert_eq!(event.index(), Index(6));
    }

    #[test]
    fn filters_choose_agents() {
        let tags = vec!["v1".to_owned()];
        let services = [("web", tags.as_slice())];
        let event = |node: &str, service: &str, tag: &str| UserEvent {
            node_filter: node.into(),
            service_filter: service.into(),
            tag_filter: tag.into(),
            ..UserEvent::default()
        };
        assert!(event("", "", "").concerns("n1", services));
        assert!(event("^n", "web", "v[12]").concerns("n1", services));
        assert!(!event("^m", "", "").concerns("n1", services));
        assert!(!event("", "web", "v2").concerns("n1", services));
    }
}
