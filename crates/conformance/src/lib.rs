//! The harness of the conformance tests: black-box checks of one running agent, over its sockets only.
//!
//! The subject is chosen at run time. With `CONFORMANCE_HTTP=host:port` (and `CONFORMANCE_DNS`) the tests talk to an
//! agent that runs already, whoever made it; this is how the expectations themselves are proved. Without them each test
//! binary starts one `-dev` agent of ours (`CURULE_BIN`, or `curule` beside the test executable's directory).
//!
//! Always true: all tests of a binary share one agent and run in parallel, so each uses names of its own
//! ([`unique`]); no agent outlives its test process, however that ends; every wait has a bound.
//! It does not know any of our crates: it would test a stranger the same way.

mod answer;
mod call;
mod dns;
mod subject;

pub use answer::Answer;
pub use call::Call;
pub use dns::{Question, Reply};
pub use serde_json::{Value, json};
pub use subject::{Agent, agent, start, start_agent};

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a condition may take to become true before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A name no other test, and no earlier run against the same agent, has used.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{}-{count}", std::process::id())
}

/// Asks until there is an answer, and fails with `what` after [`PATIENCE`].
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "did not happen in {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// Runs its closure when dropped: what a test registered goes away even when it fails.
pub struct Cleanup<F: FnMut()>(F);

/// Undoes a test's registrations at the end of the scope.
pub fn cleanup<F: FnMut()>(undo: F) -> Cleanup<F> {
    Cleanup(undo)
}

impl<F: FnMut()> Drop for Cleanup<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Standard base64, as values and payloads travel in JSON.
pub fn base64(bytes: impl AsRef<[u8]>) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
