//! What the replica does, as metrics.

use std::time::Instant;

use replica::Probe;

use crate::turn::record_ms;

/// Times appends and applications.
pub(crate) struct Timing {
    storing: Instant,
    applying: Instant,
}

impl Timing {
    pub fn new() -> Self {
        Timing { storing: Instant::now(), applying: Instant::now() }
    }
}

impl Probe for Timing {
    fn storing(&mut self, entries: usize) {
        self.storing = Instant::now();
        metrics::gauge!("consul.raft.leader.dispatchNumLogs").set(entries as f64);
    }

    fn stored(&mut self) {
        record_ms("consul.raft.leader.dispatchLog", self.storing);
    }

    fn applying(&mut self) {
        self.applying = Instant::now();
    }

    fn applied(&mut self, kind: &'static str) {
        let name = match kind {
            "register" => "consul.fsm.register",
            "deregister" => "consul.fsm.deregister",
            "kvs" => "consul.fsm.kvs",
            "session" => "consul.fsm.session",
            "tombstone" => "consul.fsm.tombstone",
            "coordinate.batch-update" => "consul.fsm.coordinate.batch-update",
            "prepared-query" => "consul.fsm.prepared-query",
            "txn" => "consul.fsm.txn",
            _ => "consul.fsm.autopilot",
        };
        record_ms(name, self.applying);
        record_ms("consul.raft.fsm.apply", self.applying);
    }
}
