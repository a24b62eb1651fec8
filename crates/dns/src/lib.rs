//! The DNS face: service discovery for whatever can resolve a name.
//!
//! Two halves. [`answer`] is pure: bytes of a request and one state in, bytes of a reply out; what it cannot
//! know by itself it names in its [`Outcome`]. [`serve`] is the shell around it: sockets, time, chance and
//! upstream resolvers.
//!
//! Always true:
//! - No request makes it panic, loop without a bound, or send more over UDP than the asker said it can take,
//!   save a single record that is longer than that.
//! - Everything that is shown was asked for through an [`acl::Authorizer`].
//! - Question and owner names are echoed with the letter case in which they came.
//!
//! Not here: other datacenters, peers, virtual addresses, and caches. A lookup in another datacenter says
//! that there is no such name.

mod answer;
mod labels;
mod message;
mod name;
mod record;
mod request;
mod serve;
mod settings;
mod truncate;

pub use answer::{Aliases, Answered, Context, Fetched, Outcome, Subject, Transport, answer};
pub use serve::{Listeners, Sources, bind, serve};
pub use settings::{BadAddress, RecursorStrategy, ServiceTtls, Settings, Soa, domain, recursor_address};
