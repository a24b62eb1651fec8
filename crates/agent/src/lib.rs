//! The agent: what one machine does for the services that run on it.
//!
//! Always true: nothing here decides what replicated state means.
//! Not here: the servers' loop (`server`), the faces users talk to (`api`, `dns`).

pub mod check;
