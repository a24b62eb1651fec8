//! The end of a run: the faults are over, and everything has to come right.

use super::{MILLISECOND, Pending, QUIET, SECOND, World};
use crate::cluster::disk::Trouble;
use crate::cluster::linear::Action;
impl World {
    /// No more faults: everybody comes back, one leads, all agree, and every key is read once more.
    pub(super) fn come_right(&mut self) {
        if !self.history.breaches.is_empty() {
            return;
        }
        self.quiet = true;
        self.blocked.clear();
        for server in &mut self.servers {
            server.down_until = 0;
            server.paused_until = 0;
            server.append_ns = 0;
            server.disk.trouble(Trouble::None);
        }
        let end = self.now + QUIET;
        while self.now < end && self.history.breaches.is_empty() {
            self.step();
        }
        if !self.history.breaches.is_empty() {
            return;
        }
        for client in 0..self.clients.len() {
            self.lost(client);
        }
        let Some(leader) = self.leader() else {
            self.history.breach("nobody leads after the faults are over".to_owned());
            return;
        };
        // Whoever is in the configuration has what the leader has.
        let settled = self.now + 2 * SECOND;
        self.clients_rest = true;
        while self.now < settled {
            self.step();
        }
        let Some(configuration) = self.servers[leader].replica.as_ref().map(|replica| replica.configuration().clone())
        else {
            return;
        };
        let behind: Vec<String> = self
            .servers
            .iter()
            .filter(|server| configuration.peer(&server.id).is_some())
            .filter(|server| server.published.applied() != self.servers[leader].published.applied())
            .map(|server| format!("{} is at {:?}", server.id, server.published.applied()))
            .collect();
        if !behind.is_empty() {
            let at = self.servers[leader].published.applied();
            self.history.breach(format!("after the faults are over the leader is at {at:?}, but {behind:?}"));
        }
        let keys: Vec<String> = self.history.operations.keys().cloned().collect();
        for key in keys {
            let pending = Pending { key, began: self.now, action: Action::Read(None), is_unchecked: false };
            self.clients[0].pending = Some(pending);
            self.now += MILLISECOND;
            self.answer_read(leader, 0);
        }
    }
}
