//! How a Serf member behaves, and the two sets of defaults that matter.

use std::time::Duration;

use super::coalesce::Window;
use super::consul;
use super::member::{Member, Tags};

#[derive(Debug, Clone)]
pub struct Config {
    /// Unique in the pool.
    pub name: String,
    pub tags: Tags,
    /// Serf protocol, 2 to 5.
    pub protocol: u8,
    /// How long a leave or a removal waits until it was passed on.
    pub broadcast_timeout: Duration,
    /// How long a member stays after it has left, to answer who has not heard of it yet.
    pub leave_propagate_delay: Duration,
    /// Member events gather for so long; `None` tells each at once.
    pub coalesce: Option<Window>,
    /// The same for user events that allow it.
    pub user_coalesce: Option<Window>,
    pub reap_interval: Duration,
    pub reconnect_interval: Duration,
    /// How long a failed member is remembered, and one that left.
    pub reconnect_timeout: Duration,
    pub tombstone_timeout: Duration,
    /// What a member makes of either timeout.
    pub timeout_of: fn(&Member, Duration) -> Duration,
    /// A member that was failed for less than this flaps.
    pub flap_timeout: Duration,
    pub queue_check_interval: Duration,
    pub queue_depth_warning: usize,
    /// How many messages of a kind may wait to be passed on.
    pub queue_depth_max: usize,
    /// If not 0, the bound is this or twice the number of members, whichever is greater, and `queue_depth_max` is of
    /// no concern.
    pub queue_depth_min: usize,
    /// How long the intents of strangers are kept.
    pub recent_intent_timeout: Duration,
    /// A query is open for the gossip interval times this times the logarithm of the members.
    pub query_timeout_multiplier: u32,
    pub query_size_limit: usize,
    pub query_response_size_limit: usize,
    pub user_event_size_limit: usize,
    /// Of two members with one name let the majority decide which stays.
    pub resolve_name_conflicts: bool,
    /// Estimate round-trip times.
    pub coordinates: bool,
    pub rejoin_after_leave: bool,
}

impl Config {
    /// As the `serf` program has it.
    #[must_use]
    pub fn serf(name: impl Into<String>) -> Config {
        Config {
            name: name.into(),
            tags: Tags::new(),
            protocol: 4,
            broadcast_timeout: Duration::from_secs(5),
            leave_propagate_delay: Duration::from_secs(1),
            coalesce: None,
            user_coalesce: None,
            reap_interval: Duration::from_secs(15),
            reconnect_interval: Duration::from_secs(30),
            reconnect_timeout: Duration::from_secs(24 * 3600),
            tombstone_timeout: Duration::from_secs(24 * 3600),
            timeout_of: |_, timeout| timeout,
            flap_timeout: Duration::from_secs(60),
            queue_check_interval: Duration::from_secs(30),
            queue_depth_warning: 128,
            queue_depth_max: 4096,
            queue_depth_min: 0,
            recent_intent_timeout: Duration::from_secs(5 * 60),
            query_timeout_multiplier: 16,
            query_size_limit: 1024,
            query_response_size_limit: 1024,
            user_event_size_limit: 512,
            resolve_name_conflicts: true,
            coordinates: true,
            rejoin_after_leave: false,
        }
    }

    /// As a Consul agent has it, in either pool.
    #[must_use]
    pub fn consul(name: impl Into<String>, tags: Tags) -> Config {
        Config {
            tags,
            // Long enough for a leave to reach 99.99 % of 100,000 members.
            leave_propagate_delay: Duration::from_secs(3),
            reconnect_timeout: Duration::from_secs(72 * 3600),
            timeout_of: consul::reconnect_timeout,
            queue_depth_warning: 1_000_000,
            queue_depth_min: 4096,
            // The vote may turn an agent off, which nobody expects of it.
            resolve_name_conflicts: false,
            ..Config::serf(name)
        }
    }
}
