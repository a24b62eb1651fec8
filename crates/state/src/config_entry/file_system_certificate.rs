//! A certificate of a gateway, by its files (`file-system-certificate`). The files are the gateway's: nobody looks
//! into them here.

use acl::{Need, Resource};
use serde::{Deserialize, Serialize};

use super::{Meta, Rules, check_meta};

/// `structs.FileSystemCertificateConfigEntry`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename = "FileSystemCertificate!", rename_all = "PascalCase")]
pub struct FileSystemCertificate {
    pub name: String,
    /// A path.
    pub certificate: String,
    /// A path.
    pub private_key: String,
}

impl Rules for FileSystemCertificate {
    fn name(&self) -> &str {
        &self.name
    }

    fn read_needs(&self) -> Vec<Need<'_>> {
        vec![Need::read(Resource::Mesh)]
    }

    fn write_needs(&self) -> Vec<Need<'_>> {
        vec![Need::write(Resource::Mesh)]
    }

    fn normalize(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn validate(&self, meta: &Meta) -> Result<(), String> {
        check_meta(meta)
    }
}
