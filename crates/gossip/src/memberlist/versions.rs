//! Whether all members of a merge understand each other.

use super::Memberlist;
use super::message::{PushedNode, Versions};
use crate::delegate::NodeState;

/// The versions that every living member understands.
struct Common {
    least: [u8; 2],
    most: [u8; 2],
}

impl Common {
    fn narrow(&mut self, versions: &Versions) {
        for (layer, of_layer) in versions.chunks_exact(3).enumerate() {
            self.least[layer] = self.least[layer].max(of_layer[0]);
            self.most[layer] = self.most[layer].min(of_layer[1]);
        }
    }

    fn check(&self, name: &str, versions: &Versions) -> Result<(), String> {
        for (layer, what) in ["protocol", "delegate protocol"].into_iter().enumerate() {
            let (spoken, least, most) = (versions[3 * layer + 2], self.least[layer], self.most[layer]);
            if spoken < least || spoken > most {
                return Err(format!("Node '{name}' {what} version ({spoken}) is incompatible: [{least}, {most}]"));
            }
        }
        Ok(())
    }
}

impl Memberlist {
    /// Everybody, here and there, dead or alive, must speak what all the living understand. The text says who does not.
    pub(super) fn verify_versions(&self, theirs: &[PushedNode]) -> Result<(), String> {
        let mut common = Common { least: [0; 2], most: [u8::MAX; 2] };
        for node in theirs.iter().filter(|node| node.state == Some(NodeState::Alive)) {
            if let Some(versions) = &node.vsn {
                common.narrow(versions);
            }
        }
        for entry in self.roster.iter().filter(|entry| entry.node.state == NodeState::Alive) {
            common.narrow(&entry.node.versions);
        }
        for node in theirs {
            common.check(&node.name, &node.vsn.unwrap_or_default())?;
        }
        self.roster.iter().try_for_each(|entry| common.check(&entry.node.name, &entry.node.versions))
    }
}
