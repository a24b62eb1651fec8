//! User events on this agent: fired here, and remembered when they concern this node.

use std::sync::Arc;

use acl::Authorizer;
use gossip::serf::consul::{self, ConsulEvent, EventPayload};
use parking_lot::Mutex;
use state::Index;
use state::event::{Ring, SIZE_MAX, UserEvent, validate};
use state::kv::Octets;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::Agent;

/// The version of the payload that is written.
const PAYLOAD_VERSION: u64 = 1;

#[derive(Default)]
pub(crate) struct Events {
    ring: Mutex<Ring>,
    fired: Arc<Notify>,
}

impl Agent {
    /// Fires an event: it goes to all members of the LAN pool, this one among them.
    pub async fn fire_event(&self, mut event: UserEvent) -> Result<(), String> {
        validate(&event)?;
        let size = event.name.len() + event.payload.0.len();
        if size > SIZE_MAX {
            return Err(format!(
                "1 error occurred:\n\t* user event exceeds configured limit of {SIZE_MAX} bytes before encoding\n\n"
            ));
        }
        if self.shared.pools.get().is_some() {
            let payload = EventPayload {
                id: event.id.clone(),
                name: event.name.clone(),
                payload: event.payload.0.clone(),
                node_filter: event.node_filter.clone(),
                service_filter: event.service_filter.clone(),
                tag_filter: event.tag_filter.clone(),
                version: PAYLOAD_VERSION,
            };
            return self.gossip_event(consul::event_name(&event.name), payload.encode()).await;
        }
        event.lamport_time = self.shared.events.ring.lock().next_time();
        self.remember(event);
        Ok(())
    }

    /// An event of the pool has come, be it our own.
    pub(crate) fn take_user_event(&self, told: &gossip::serf::UserEvent) {
        match consul::classify_event(&told.name) {
            ConsulEvent::User(_) => {}
            ConsulEvent::NewLeader => {
                tracing::info!(target: "agent", payload = %String::from_utf8_lossy(&told.payload), "New leader elected");
                return;
            }
            ConsulEvent::Unknown | ConsulEvent::Foreign => return,
        }
        match EventPayload::decode(&told.payload) {
            Ok(payload) => self.remember(UserEvent {
                id: payload.id,
                name: payload.name,
                payload: Octets(payload.payload),
                node_filter: payload.node_filter,
                service_filter: payload.service_filter,
                tag_filter: payload.tag_filter,
                version: payload.version,
                lamport_time: told.time.0,
            }),
            Err(error) => tracing::error!(target: "agent", %error, "Failed to decode event"),
        }
    }

    /// Keeps an event if it concerns this node.
    fn remember(&self, event: UserEvent) {
        let concerns = self.with_local(|local| {
            let services = local.services().map(|local| (local.service.service.as_str(), &local.service.tags[..]));
            event.concerns(&self.settings().node_name, services)
        });
        if !concerns {
            return;
        }
        self.shared.events.ring.lock().push(event);
        self.shared.events.fired.notify_waiters();
    }

    /// Resolves at the next event. Take it before looking at the list, so that none is missed.
    pub fn event_fired(&self) -> OwnedNotified {
        Arc::clone(&self.shared.events.fired).notified_owned()
    }

    /// The remembered events of a name (`""`: all) that the token may see, and their index.
    #[must_use]
    pub fn events(&self, name: &str, may: &dyn Authorizer) -> (Index, Vec<UserEvent>) {
        self.shared.events.ring.lock().list(name, may)
    }
}
