//! How one speaks of this concept over HTTP.
pub mod http;
mod sent;
mod shown;
