//! DNS: names to lookups, lookups to answers, and the loops around them.
//!
//! `name` reads what is asked, `answer` answers it from one immutable state, `encode` fits the answer into a
//! packet; all three are pure. `serve` has the sockets, `recurse` asks the recursors.
//!
//! Always true:
//! - Every lookup passes an authorizer.
//! - An answer never exceeds what its transport carries; it is never empty for want of room when there are
//!   instances.
//! - Malformed packets are answered with FORMERR or dropped, and never panic.

mod answer;
mod encode;
mod name;
mod record;
mod recurse;
mod serve;
mod settings;

pub use crate::answer::{Question, Reply, answer};
pub use crate::encode::{Transport, encode};
pub use crate::name::{Lookup, Zone};
pub use crate::serve::{Directory, Servers, serve};
pub use crate::settings::{RecursorStrategy, Settings, Soa};
