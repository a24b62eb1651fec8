//! Coordinates on their way to the catalog: collected, and written in batches.
//!
//! Always true: of one node and segment only the newest waits; no more wait than one period can write.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use acl::AllowAll;
use parking_lot::Mutex;
use server::{Error, Server};
use state::Command;
use state::coordinate::{Coord, Coordinate};

/// How waiting coordinates are written (`coordinate.update_period` and its like).
#[derive(Debug, Clone, Copy)]
pub struct CoordinateBatches {
    /// How often.
    pub period: Duration,
    /// Coordinates of one log entry at most.
    pub size: usize,
    /// Log entries of one period at most; what is beyond waits for its node to report again.
    pub count: usize,
}

impl Default for CoordinateBatches {
    fn default() -> Self {
        CoordinateBatches { period: Duration::from_secs(5), size: 128, count: 5 }
    }
}

/// Collects coordinates.
#[derive(Clone)]
pub struct Coordinates {
    batches: CoordinateBatches,
    /// By node and segment. A mutex, since updates are rare and short.
    waiting: Arc<Mutex<BTreeMap<(String, String), Coordinate>>>,
}

impl Coordinates {
    /// Starts the task that writes; it ends with the last handle.
    #[must_use]
    pub fn new(server: Server, batches: CoordinateBatches) -> Self {
        let waiting: Arc<Mutex<BTreeMap<(String, String), Coordinate>>> = Arc::default();
        let weak = Arc::downgrade(&waiting);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(batches.period).await;
                let Some(waiting) = weak.upgrade() else { return };
                let taken: Vec<Coordinate> = std::mem::take(&mut *waiting.lock()).into_values().collect();
                for batch in taken.chunks(batches.size.max(1)).take(batches.count) {
                    if let Err(error) = server.write(Command::CoordinateBatchUpdate(batch.to_vec()), &AllowAll).await {
                        tracing::warn!(%error, "coordinates could not be written");
                    }
                }
            }
        });
        Coordinates { batches, waiting }
    }

    /// Takes one in, or refuses what no coordinate can be.
    pub fn update(&self, coordinate: Coordinate) -> Result<(), Error> {
        let refuse = |text: &'static str| Err(Error::Refused(state::Error::failed(text)));
        let Some(coord) = &coordinate.coord else { return refuse("invalid coordinate") };
        if coord.vec.len() != Coord::default().vec.len() {
            return refuse("incompatible coordinate");
        }
        if !coord.valid() {
            return refuse("invalid coordinate");
        }
        let mut waiting = self.waiting.lock();
        if waiting.len() < self.batches.size.saturating_mul(self.batches.count) {
            waiting.insert((coordinate.node.clone(), coordinate.segment.clone()), coordinate);
        }
        Ok(())
    }
}
