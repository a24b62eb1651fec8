//! The rules of the house that no compiler holds; each fails with what to do about it.
//!
//! One file per rule. What they look at is read once: manifests through `cargo metadata`, sources as text. They know
//! no crate but by name, so that a tree that does not compile can still be tidy.

mod arrows;
mod dependencies;
mod grid;
mod purity;
mod sources;
mod tree;

/// Fails a test with everything that is wrong, not with the first thing.
#[track_caller]
pub(crate) fn assert_tidy(rule: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{rule}\n  {}\n", wrong.join("\n  "));
}
