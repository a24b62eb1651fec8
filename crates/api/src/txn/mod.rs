//! How one speaks of this concept over HTTP.
pub mod http;
mod kept;
mod sent;
mod shown;
