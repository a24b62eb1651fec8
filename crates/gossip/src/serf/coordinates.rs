//! Temporary.
use bytes::Bytes;
use std::time::Duration;
pub(super) struct Coordinates;
pub(super) enum Refused {
    Update(String),
    Payload(String),
}
impl Coordinates {
    pub(super) fn new(_name: &str, _seed: u64) -> Coordinates {
        Coordinates
    }
    pub(super) fn payload(&self) -> Bytes {
        Bytes::new()
    }
    pub(super) fn forget(&mut self, _name: &str) {}
    pub(super) fn observe(&mut self, _name: &str, _rtt: Duration, _payload: &[u8]) -> Result<Option<f64>, Refused> {
        Ok(None)
    }
}
