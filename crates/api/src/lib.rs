//! How one speaks to Curule: the HTTP API and the command line, one folder per concept.
//!
//! A face: it parses, asks, formats. Meaning lives in `state`, waiting in `server` and `agent`.

pub mod agent;
pub mod catalog;
pub mod cli;
pub mod event;
pub mod kv;
pub mod lock;
pub mod operator;
pub mod snapshot;
pub mod watch;
