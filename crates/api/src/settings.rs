//! What of the configuration concerns the API.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use ::http::header::{HeaderName, HeaderValue};

use crate::http::Network;

/// Settings of the HTTP face. Names follow the configuration keys.
#[derive(Debug, Clone)]
pub struct Settings {
    pub datacenter: String,
    pub primary_datacenter: String,
    pub node_name: String,
    pub node_id: String,
    pub bootstrap: bool,
    pub build_date: String,
    /// The version that this agent reports.
    pub version: String,
    /// When the process started.
    pub started: std::time::SystemTime,
    /// A -dev agent indents all JSON.
    pub is_dev: bool,
    /// `allow` or `deny`, as shown in `X-Consul-Default-Acl-Policy`.
    pub default_policy: &'static str,
    pub key_list_policy: bool,
    pub kv_max_value_size: usize,
    pub txn_max_req_len: usize,
    pub printable_paths_only: bool,
    pub translate_wan_addrs: bool,
    pub block_endpoints: Vec<String>,
    pub response_headers: Vec<(HeaderName, HeaderValue)>,
    pub allow_write_http_from: Vec<Network>,
    pub use_cache: bool,
    pub discovery_max_stale: Duration,
    /// Where the web page lives, when it is enabled.
    pub ui_path: Option<String>,
    pub disable_coordinates: bool,
    /// `limits.http_max_conns_per_client`; changes with a reload. Zero is no limit.
    pub max_conns_per_client: Arc<AtomicUsize>,
    /// A request head may take this many bytes.
    pub max_header_bytes: usize,
}
