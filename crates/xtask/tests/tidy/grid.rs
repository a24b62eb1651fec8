//! A concept has two homes of the same name: `state/src/<concept>` says what it means, `api/src/<concept>/` how one
//! speaks to it.

use std::fs;

use crate::assert_tidy;
use crate::tree::{root, sources};

/// Folders of `api` that are no concept: the pipelines around all of them.
const PIPELINES: [&str; 2] = ["cli", "http"];
/// Concepts without replicated state of their own: they speak of the agent, the servers, or of other concepts.
const FACE_ONLY: [&str; 3] = ["agent", "operator", "status"];
/// Concepts that only the command line has, made of requests that other concepts answer.
const CLI_ONLY: [&str; 2] = ["lock", "watch"];

fn folders(of: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(of)).expect("the crate is there");
    let entries = entries.map(|entry| entry.expect("the directory can be read"));
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn has(path: &str) -> bool {
    root().join(path).exists()
}

#[test]
fn what_is_spoken_of_has_a_meaning() {
    let mut wrong = Vec::new();
    for concept in folders("crates/api/src") {
        let concept = concept.as_str();
        if PIPELINES.contains(&concept) {
            continue;
        }
        let file = |name: &str| {
            has(&format!("crates/api/src/{concept}/{name}.rs")) || has(&format!("crates/api/src/{concept}/{name}"))
        };
        if CLI_ONLY.contains(&concept) {
            if !file("cli") {
                wrong.push(format!("api/src/{concept} has no cli"));
            }
            continue;
        }
        if !file("http") {
            wrong.push(format!("api/src/{concept} has no http"));
        }
        let home = format!("crates/state/src/{concept}");
        if !FACE_ONLY.contains(&concept) && !has(&home) && !has(&format!("{home}.rs")) {
            wrong.push(format!("api/src/{concept} has no home of the same name in state"));
        }
    }
    assert_tidy("a concept has two homes of the same name", &wrong);
}

#[test]
fn folders_say_what_they_are() {
    let mut wrong = Vec::new();
    for of in ["crates/state/src", "crates/api/src"] {
        for folder in folders(of) {
            let path = format!("{of}/{folder}/mod.rs");
            match sources().iter().find(|source| source.path == path) {
                None => wrong.push(format!("{path} is missing")),
                // A concept of the state says at least what it is and what is always true of it.
                Some(source) if of.contains("state") => {
                    let doc = source.text.lines().take_while(|line| line.starts_with("//!")).count();
                    if doc < 3 {
                        wrong.push(format!("{path}: {doc} lines of doc do not say what is always true"));
                    }
                }
                Some(_) => {}
            }
        }
    }
    assert_tidy("a concept's folder opens with what it is", &wrong);
}
