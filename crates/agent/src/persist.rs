//! Registrations in the data directory, in the reference's own layout, so that an agent's directory can be
//! taken over in both directions:
//!
//! ```text
//! services/<sha256 of service id>       {"Token","Service","Source"}
//! checks/<sha256 of check id>           {"Check","ChkType","Token","Source"}
//! checks/state/<sha256 of check id>     {"CheckID","Output","Status","Expires"}
//! ```
//!
//! Always true: a file is whole or absent (written aside, synced, renamed), and readable by its owner only,
//! since it may hold a token. A file that cannot be read is reported and left where it is.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use state::catalog::NodeService;
use state::health::HealthCheck;

use crate::check::definition::CheckType;
use crate::check::ttl::PersistedState;

/// A service as it is kept.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PersistedService {
    pub token: String,
    pub service: Option<NodeService>,
    pub source: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub locally_registered_as_sidecar: bool,
}

/// A check as it is kept.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PersistedCheck {
    pub check: Option<HealthCheck>,
    pub chk_type: Option<CheckType>,
    pub token: String,
    pub source: String,
}

/// Registrations below a data directory; `None` keeps nothing (-dev).
#[derive(Debug, Clone)]
pub struct Persist {
    dir: Option<PathBuf>,
}

impl Persist {
    #[must_use]
    pub fn new(dir: Option<PathBuf>) -> Self {
        Persist { dir }
    }

    fn path(&self, kind: &str, id: &str) -> Option<PathBuf> {
        let name: String = Sha256::digest(id.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        self.dir.as_ref().map(|dir| dir.join(kind).join(name))
    }

    pub fn save_service(&self, kept: &PersistedService) -> io::Result<()> {
        let id = kept.service.as_ref().map_or("", |service| service.id.as_str());
        self.save("services", id, kept)
    }

    pub fn save_check(&self, kept: &PersistedCheck) -> io::Result<()> {
        let id = kept.check.as_ref().map_or("", |check| check.check_id.as_str());
        self.save("checks", id, kept)
    }

    pub fn save_state(&self, kept: &PersistedState) -> io::Result<()> {
        self.save("checks/state", &kept.check_id, kept)
    }

    fn save<T: Serialize>(&self, kind: &str, id: &str, kept: &T) -> io::Result<()> {
        let Some(path) = self.path(kind, id) else { return Ok(()) };
        let json = wire::json::to_vec(kept).map_err(io::Error::other)?;
        write_private(&path, &json)
    }

    pub fn remove_service(&self, id: &str) {
        self.remove("services", id);
    }

    pub fn remove_check(&self, id: &str) {
        self.remove("checks", id);
        self.remove("checks/state", id);
    }

    fn remove(&self, kind: &str, id: &str) {
        let Some(path) = self.path(kind, id) else { return };
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::error!(path = %path.display(), %error, "cannot remove a persisted registration");
            }
            _ => {}
        }
    }

    #[must_use]
    pub fn services(&self) -> Vec<PersistedService> {
        self.load("services")
    }

    #[must_use]
    pub fn checks(&self) -> Vec<PersistedCheck> {
        self.load("checks")
    }

    /// The kept state of a TTL check, unless it is out of date at `now` (seconds since 1970).
    #[must_use]
    pub fn state(&self, check_id: &str, now: i64) -> Option<PersistedState> {
        let path = self.path("checks/state", check_id)?;
        let kept: PersistedState = read(&path)?;
        if kept.is_expired(now) {
            self.remove("checks/state", check_id);
            return None;
        }
        Some(kept)
    }

    fn load<T: DeserializeOwned>(&self, kind: &str) -> Vec<T> {
        let Some(dir) = self.dir.as_ref().map(|dir| dir.join(kind)) else { return Vec::new() };
        let Ok(listing) = fs::read_dir(&dir) else { return Vec::new() };
        let mut paths: Vec<PathBuf> = listing
            .filter_map(|file| file.ok().map(|file| file.path()))
            .filter(|path| path.is_file() && path.extension().is_none())
            .collect();
        paths.sort();
        paths.iter().filter_map(|path| read(path)).collect()
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "cannot read a persisted registration");
            return None;
        }
    };
    // Other versions may have written more than we know.
    match wire::json::from_slice(&bytes, wire::json::Options::LENIENT) {
        Ok(kept) => Some(kept),
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "a persisted registration is damaged; left alone");
            None
        }
    }
}

/// Writes a file that only its owner may read: aside, synced, renamed.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let aside = path.with_extension("tmp");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use state::catalog::NodeService;

    use super::{Persist, PersistedService, PersistedState};

    #[test]
    fn registrations_come_back_and_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let persist = Persist::new(Some(dir.path().to_owned()));
        let service = NodeService { id: "web/1".into(), service: "web".into(), ..NodeService::default() };
        let kept = PersistedService {
            token: "t".into(),
            service: Some(service),
            source: "local".into(),
            ..PersistedService::default()
        };
        persist.save_service(&kept).unwrap();
        let file = std::fs::read_dir(dir.path().join("services")).unwrap().next().unwrap().unwrap();
        assert_eq!(file.file_name().len(), 64);
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(dir.path().join("services/damaged"), b"{").unwrap();
        let loaded = persist.services();
        assert_eq!(loaded.len(), 1);
        assert_eq!(loaded[0].service.as_ref().unwrap().id, "web/1");
        persist.remove_service("web/1");
        assert!(persist.services().is_empty());
    }

    #[test]
    fn an_old_state_counts_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let persist = Persist::new(Some(dir.path().to_owned()));
        let kept =
            PersistedState { check_id: "c".into(), expires: 100, status: "passing".into(), ..Default::default() };
        persist.save_state(&kept).unwrap();
        assert_eq!(persist.state("c", 99).unwrap().status, "passing");
        assert!(persist.state("c", 100).is_none());
        assert!(persist.state("c", 98).is_none(), "it is removed once it is out of date");
    }
}
