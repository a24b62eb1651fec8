//! What of the configuration concerns the agent itself.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use state::catalog::Locality;

/// Settings of an agent. Names follow the configuration keys.
#[derive(Debug, Clone)]
pub struct Settings {
    pub datacenter: String,
    pub node_name: String,
    pub node_id: String,
    pub advertise_address: String,
    pub tagged_addresses: BTreeMap<String, String>,
    pub node_meta: BTreeMap<String, String>,
    pub locality: Option<Locality>,
    /// Where registrations are kept; `None` keeps nothing (-dev).
    pub data_dir: Option<PathBuf>,
    pub sync_interval: Duration,
    pub check_update_interval: Duration,
    pub check_output_max: usize,
    pub discard_check_output: bool,
    pub check_deregister_interval_min: Duration,
    pub check_reap_interval: Duration,
    pub enable_local_script_checks: bool,
    pub enable_remote_script_checks: bool,
    pub disable_coordinates: bool,
    /// Whether central defaults complete the proxies of this agent (`enable_central_service_config`).
    pub central_service_config: bool,
    /// Ports that sidecars get when they are given none (`ports.sidecar_min_port`, `ports.sidecar_max_port`).
    pub sidecar_ports: RangeInclusive<i64>,
}
