//! Connections: sockets, TLS, a small HTTP/1.1 client, and the sockets that gossip runs over.
//!
//! Always true: nothing here is global (no shared pools, no process-wide TLS provider); every wait can be bounded by
//! the caller; failures read as Go words them, because check outputs and command line errors carry these texts to
//! users and scripts.
//! Not here: what the bytes mean.

pub mod dial;
pub mod go_text;
pub mod gossip;
pub mod http_client;
pub mod rpc;
pub mod tls;
