//! From a written check to the task that runs it.

use tokio::task::AbortHandle;

use crate::Agent;
use crate::check::definition::{CheckType, Kind};

/// Starts the task of a check that is asked at intervals.
pub(crate) fn spawn(
    _agent: &Agent,
    _check_id: &str,
    _check: &CheckType,
    _kind: Kind,
    _service_id: &str,
) -> Option<AbortHandle> {
    None
}
