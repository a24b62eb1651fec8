//! What goes wrong, and when.

use rand::Rng;
use replica::{Change, ProposalId};

use super::{MILLISECOND, Waiting, World, bytes_of, peer};
use crate::cluster::disk::Trouble;
use crate::cluster::plan::Planted;
impl World {
    pub(super) fn happens(&mut self, per_second: f64) -> bool {
        self.dice.random_bool((per_second * self.plan.faults / 1000.0).min(1.0))
    }

    pub(super) fn make_trouble(&mut self) {
        let count = self.servers.len();
        let now = self.now;
        let victim = self.dice.random_range(0..count);
        if self.happens(0.25) {
            self.crash(victim);
        }
        if self.happens(0.2) {
            let trouble = if self.dice.random_bool(0.5) { Trouble::DieBefore } else { Trouble::DieAfter };
            self.servers[victim].disk.trouble(trouble);
        }
        if self.happens(0.05) {
            // All at once: power is lost.
            for at in 0..count {
                self.crash(at);
            }
        }
        if self.blocked.is_empty() && self.happens(0.25) {
            self.part();
        }
        if !self.blocked.is_empty() && now >= self.heals_at {
            self.blocked.clear();
        }
        if self.happens(0.2) {
            self.history.figures.pauses += 1;
            self.servers[victim].paused_until = now + self.dice.random_range(50..3000) * MILLISECOND;
        }
        if self.happens(0.05) {
            self.history.figures.leaps += 1;
            self.servers[victim].leapt += self.dice.random_range(1..5000) * MILLISECOND;
        }
        if self.happens(0.15) {
            self.history.figures.slow_disks += 1;
            self.servers[victim].append_ns = self.dice.random_range(1..800) * MILLISECOND;
            self.servers[victim].slow_until = now + self.dice.random_range(100..4000) * MILLISECOND;
        }
        if self.happens(0.05) {
            self.history.figures.full_disks += 1;
            self.servers[victim].disk.trouble(Trouble::Full);
            self.servers[victim].full_until = now + self.dice.random_range(100..4000) * MILLISECOND;
        }
        for server in &mut self.servers {
            if server.append_ns > 0 && server.slow_until <= now {
                server.append_ns = 0;
            }
            if server.full_until > 0 && server.full_until <= now {
                server.full_until = 0;
                server.disk.trouble(Trouble::None);
            }
        }
        if self.happens(0.5) {
            self.snapshot(victim);
        }
        if self.happens(0.15) {
            self.hand_over();
        }
        if self.happens(0.4) {
            self.change_configuration();
        }
    }

    pub(super) fn part(&mut self) {
        self.history.figures.partitions += 1;
        let count = self.servers.len();
        self.heals_at = self.now + self.dice.random_range(100..5000) * MILLISECOND;
        let side: Vec<bool> = (0..count).map(|_| self.dice.random_bool(0.5)).collect();
        let one_way = self.dice.random_bool(0.3);
        for from in 0..count {
            for to in 0..count {
                if side[from] != side[to] && (!one_way || side[from]) {
                    self.blocked.insert((from, to));
                }
            }
        }
    }

    pub(super) fn snapshot(&mut self, at: usize) {
        if !self.is_up(at) || self.servers[at].unpublished.is_some() {
            return;
        }
        let trailing = self.dice.random_range(0..30);
        let lies = self.plan.planted == Planted::SnapshotsLie;
        let server = &mut self.servers[at];
        let earlier = lies.then(|| server.earlier.replace(server.published.clone())).flatten();
        let Some(replica) = &mut server.replica else { return };
        if replica.is_restoring() || replica.snapshot_meta().index == 0 {
            return;
        }
        let meta = replica.snapshot_meta();
        // A lie is the state that was published before, which may lack the last entries.
        let state = if lies { earlier.as_ref().unwrap_or(replica.state()) } else { replica.state() };
        server.disk.write_snapshot(meta, bytes_of(state));
        self.history.figures.snapshots += 1;
        if let Err(error) = replica.snapshot_taken(meta, trailing) {
            self.history.breach(format!("server {at} cannot compact: {error}"));
        }
    }

    pub(super) fn leader(&self) -> Option<usize> {
        (0..self.servers.len()).find(|at| self.servers[*at].leads && self.is_up(*at))
    }

    pub(super) fn hand_over(&mut self) {
        let Some(leader) = self.leader() else { return };
        let heir = self.servers[self.dice.random_range(0..self.servers.len())].id.clone();
        if let Some(replica) = &mut self.servers[leader].replica
            && replica.hand_over(&heir).is_ok()
        {
            self.history.figures.hand_overs += 1;
        }
    }

    /// Takes a server out, or back in, or gives it its vote.
    pub(super) fn change_configuration(&mut self) {
        let Some(leader) = self.leader() else { return };
        let id = self.servers[self.dice.random_range(0..self.servers.len())].id.clone();
        let takes_out = self.dice.random_bool(0.3);
        let server = &mut self.servers[leader];
        let Some(replica) = &mut server.replica else { return };
        let known = replica.configuration().peer(&id).cloned();
        let change = match known {
            Some(known) if known.voter && takes_out && replica.configuration().voters() > 2 => Change::Remove(id),
            Some(known) if known.voter => return,
            Some(_) => Change::Put(peer(&id, true)),
            None => Change::Put(peer(&id, false)),
        };
        server.next_id += 1;
        let number = server.next_id;
        if replica.change(ProposalId(number), &change).is_ok() {
            self.history.figures.changes += 1;
            server.waiting.insert(number, Waiting::Nobody);
        }
    }
}
