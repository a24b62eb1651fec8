//! Text that must not be printed, logged or stored by accident.
//!
//! Always true: a [`Secret`] shows nothing of itself, has no `Display` and no `Serialize` of its own, and two of them
//! are compared in a time that does not depend on where they differ. Its value leaves only through
//! [`Secret::expose`], or where a field says `#[serde(with = "acl::secret::exposed")]`, so that a search for
//! `expose` finds every place.

use std::fmt;

/// A token's secret, a key, a password.
#[derive(Clone, Default)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` to itself.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The value, for those who must send or store it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is `other`, in a time that tells nothing but the lengths.
    #[must_use]
    pub fn matches(&self, other: &str) -> bool {
        same(self.0.as_bytes(), other.as_bytes())
    }
}

fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    // `black_box` keeps the loop from being turned into one that stops early.
    let difference = a.iter().zip(b).fold(0u8, |sum, (a, b)| std::hint::black_box(sum | (a ^ b)));
    std::hint::black_box(difference) == 0
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(&other.0)
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hidden")
    }
}

/// For the few fields whose secret is sent or stored on purpose: `#[serde(with = "acl::secret::exposed")]`.
pub mod exposed {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Secret;

    /// Writes the value.
    pub fn serialize<S: Serializer>(secret: &Secret, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(secret.expose())
    }

    /// Reads the value.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        String::deserialize(from).map(Secret::new)
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn a_secret_shows_nothing() {
        let secret = Secret::new("hush");
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "hidden Some(hidden)");
    }

    #[test]
    fn secrets_compare_by_value() {
        assert_eq!(Secret::new("a-b"), Secret::new("a-b"));
        assert_ne!(Secret::new("a-b"), Secret::new("a-c"));
        assert_ne!(Secret::new("a-b"), Secret::new("a-bc"));
        assert!(Secret::new("x").matches("x") && !Secret::new("x").matches(""));
        assert!(Secret::default().is_empty());
    }
}
