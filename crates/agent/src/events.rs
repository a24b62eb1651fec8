//! User events on this agent: fired here, and remembered when they concern this node.

use std::sync::Arc;

use acl::Authorizer;
use parking_lot::Mutex;
use state::Index;
use state::event::{Ring, SIZE_MAX, UserEvent, validate};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::Agent;

#[derive(Default)]
pub(crate) struct Events {
    ring: Mutex<Ring>,
    fired: Arc<Notify>,
}

impl Agent {
    /// Fires an event. Without gossip this node is the whole pool, so it arrives here at once.
    pub fn fire_event(&self, mut event: UserEvent) -> Result<(), String> {
        validate(&event)?;
        let size = event.name.len() + event.payload.0.len();
        if size > SIZE_MAX {
            return Err(format!(
                "1 error occurred:\n\t* user event exceeds configured limit of {SIZE_MAX} bytes before encoding\n\n"
            ));
        }
        let concerns = self.with_local(|local| {
            let services = local.services().map(|local| (local.service.service.as_str(), &local.service.tags[..]));
            event.concerns(&self.settings().node_name, services)
        });
        if !concerns {
            return Ok(());
        }
        let events = &self.shared.events;
        let mut ring = events.ring.lock();
        event.lamport_time = ring.next_time();
        ring.push(event);
        drop(ring);
        events.fired.notify_waiters();
        Ok(())
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
