//! Rules about single files.

use crate::assert_tidy;
use crate::tree::sources;

/// Past 600 lines one asks which second concept is inside; past this it is there. Healthy files have a third of it.
const CODE_LINES_MAX: usize = 800;
/// Tests may be longer: they are read one at a time.
const TEST_LINES_MAX: usize = 1000;
/// Names of crates and modules that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] = ["common", "helper", "helpers", "misc", "types", "util", "utils", "shared"];
/// Ends of type names that say nothing about what the type does.
const EMPTY_ENDS: [&str; 4] = ["Manager", "Helper", "Util", "Utils"];

#[test]
fn files_open_with_what_they_are() {
    let wrong: Vec<String> = sources()
        .iter()
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| format!("{} starts without `//!`", source.path))
        .collect();
    assert_tidy("every file opens with a module doc: what it is, what is always true, what it does not do", &wrong);
}

#[test]
fn files_hold_one_concept() {
    let mut wrong = Vec::new();
    for source in sources() {
        let (lines, most) = if source.is_test() {
            (source.text.lines().count(), TEST_LINES_MAX)
        } else {
            (source.code_lines().count(), CODE_LINES_MAX)
        };
        if lines > most {
            wrong.push(format!("{} has {lines} lines, more than {most}", source.path));
        }
    }
    assert_tidy("a file that grows past its bound holds a second concept: split it", &wrong);
}

#[test]
fn names_say_something() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        let stem = source.path.trim_end_matches(".rs").trim_end_matches("/mod").trim_end_matches("/src/lib");
        if stem.rsplit('/').next().is_some_and(|name| EMPTY_NAMES.contains(&name)) {
            wrong.push(format!("{}: a name for anything", source.path));
        }
        for (at, line) in source.code_lines() {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            let declared = words.by_ref().find(|word| matches!(*word, "struct" | "enum" | "trait"));
            let name = declared.and_then(|_| words.find(|word| !word.is_empty()));
            if name.is_some_and(|name| EMPTY_ENDS.iter().any(|end| name.ends_with(end))) {
                wrong.push(format!("{}:{at}: {}", source.path, name.unwrap_or_default()));
            }
        }
    }
    assert_tidy("names say what is inside", &wrong);
}

#[test]
fn no_test_is_switched_off() {
    // Put together, so that this line is not one.
    let ignored = ["#[", "ignore"].concat();
    let lines = sources().iter().flat_map(|source| source.text.lines().map(move |line| (source, line)));
    let wrong: Vec<String> = lines
        .filter(|(_, line)| line.trim_start().starts_with(&ignored))
        .map(|(source, _)| source.path.clone())
        .collect();
    assert_tidy("a test asserts today's behaviour and says what is wrong with it, or it goes", &wrong);
}
