//! Dependencies stand once, with a reason, in the root manifest, and are used.

use std::collections::BTreeSet;
use std::fs;

use crate::assert_tidy;
use crate::tree::{packages, root, sources_of};

/// The lines of `[workspace.dependencies]`, each with the line before it.
fn listed() -> Vec<(String, String)> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("there is a root manifest");
    let (_, rest) = manifest.split_once("\n[workspace.dependencies]\n").expect("dependencies stand in the root");
    let section = rest.split("\n[").next().unwrap_or_default();
    let mut previous = "";
    let mut found = Vec::new();
    for line in section.lines() {
        if let Some((name, _)) = line.split_once(" = ").filter(|(name, _)| !name.starts_with('#')) {
            found.push((name.to_owned(), previous.to_owned()));
        }
        previous = line;
    }
    found
}

fn ours() -> BTreeSet<&'static str> {
    packages().iter().map(|package| package.name.as_str()).collect()
}

#[test]
fn each_has_a_reason() {
    let ours = ours();
    let wrong: Vec<String> = listed()
        .into_iter()
        .filter(|(name, _)| !ours.contains(name.as_str()))
        .filter(|(_, above)| !above.starts_with("# ") || above.starts_with("# ---"))
        .map(|(name, _)| format!("{name}: the line above it does not say why"))
        .collect();
    assert_tidy("each dependency has its reason above it in Cargo.toml", &wrong);
}

#[test]
fn each_is_taken_by_a_crate() {
    let taken: BTreeSet<&str> =
        packages().iter().flat_map(|package| &package.dependencies).map(|used| used.name.as_str()).collect();
    let wrong: Vec<String> =
        listed().into_iter().map(|(name, _)| name).filter(|name| !taken.contains(name.as_str())).collect();
    assert_tidy("nobody takes these dependencies of the root manifest: remove them", &wrong);
}

#[test]
fn each_is_used_by_the_crate_that_takes_it() {
    let mut wrong = Vec::new();
    for package in packages() {
        for used in &package.dependencies {
            let name = used.name.replace('-', "_");
            if !sources_of(package).any(|source| has_word(&source.text, &name)) {
                wrong.push(format!("{} takes {} and does not name it", package.name, used.name));
            }
        }
    }
    assert_tidy("a crate takes what it uses", &wrong);
}

#[test]
fn crates_take_them_from_the_root() {
    let mut wrong = Vec::new();
    for package in packages() {
        let mut in_dependencies = false;
        for line in package.manifest.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
            if line.starts_with('[') {
                in_dependencies = line.ends_with("dependencies]");
            } else if in_dependencies && !line.replace(' ', "").contains("workspace=true") {
                wrong.push(format!("crates/{}/Cargo.toml: {line}", package.name));
            }
        }
        if !package.manifest.contains("[lints]\nworkspace = true") {
            wrong.push(format!("crates/{}/Cargo.toml does not take the workspace's lints", package.name));
        }
    }
    assert_tidy("crates take dependencies and lints with `workspace = true`", &wrong);
}

fn has_word(text: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back().is_none_or(|c| !part_of_word(c));
        let after = text[at + word.len()..].chars().next().is_none_or(|c| !part_of_word(c));
        before && after
    })
}
