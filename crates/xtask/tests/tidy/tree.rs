//! What the rules look at: the workspace's packages and the text of its sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

/// A crate of the workspace.
pub(crate) struct Package {
    pub name: String,
    pub dir: PathBuf,
    pub manifest: String,
    pub dependencies: Vec<Dependency>,
}

/// A line of a crate's dependencies.
pub(crate) struct Dependency {
    pub name: String,
    /// Another crate of the workspace.
    pub ours: bool,
    /// Only its tests use it.
    pub dev: bool,
}

/// A Rust file.
pub(crate) struct Source {
    /// From the root.
    pub path: String,
    pub text: String,
}

impl Source {
    /// Whether all of it is compiled for tests only.
    pub(crate) fn is_test(&self) -> bool {
        let mut parts = self.path.split('/');
        parts.any(|part| matches!(part, "tests" | "tests.rs" | "examples" | "fuzz" | "conformance"))
    }

    /// The lines before its test module, numbered from 1, without comments.
    pub(crate) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = self.text.find("#[cfg(test)]\nmod ").unwrap_or(self.text.len());
        let numbered = self.text[..end].lines().enumerate();
        numbered.map(|(at, line)| (at + 1, line.split("//").next().unwrap_or_default()))
    }
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("xtask lies two levels below the root")
}

pub(crate) fn packages() -> &'static [Package] {
    static PACKAGES: OnceLock<Vec<Package>> = OnceLock::new();
    PACKAGES.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
            .current_dir(root())
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
        let packages = metadata["packages"].as_array().expect("a workspace has packages");
        packages.iter().map(package).collect()
    })
}

fn package(value: &Value) -> Package {
    let text = |value: &Value| value.as_str().expect("cargo names it").to_owned();
    let manifest = PathBuf::from(text(&value["manifest_path"]));
    let dependencies = value["dependencies"].as_array().expect("a package lists its dependencies");
    let dependency = |value: &Value| Dependency {
        name: text(&value["name"]),
        ours: !value["path"].is_null(),
        dev: value["kind"] == "dev",
    };
    Package {
        name: text(&value["name"]),
        dir: manifest.parent().expect("a manifest lies in a directory").to_owned(),
        manifest: fs::read_to_string(&manifest).expect("cargo has read it"),
        dependencies: dependencies.iter().map(dependency).collect(),
    }
}

/// Every Rust file of the repository.
pub(crate) fn sources() -> &'static [Source] {
    static SOURCES: OnceLock<Vec<Source>> = OnceLock::new();
    SOURCES.get_or_init(|| {
        let mut found = Vec::new();
        for dir in ["crates", "fuzz"] {
            collect(&root().join(dir), &mut found);
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        found
    })
}

/// The Rust files of one crate.
pub(crate) fn sources_of(package: &Package) -> impl Iterator<Item = &'static Source> {
    let below = format!("{}/", package.dir.strip_prefix(root()).expect("crates lie below the root").display());
    sources().iter().filter(move |source| source.path.starts_with(&below))
}

fn collect(dir: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries {
        let path = entry.expect("the directory can be read").path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("sources are UTF-8");
            let path = path.strip_prefix(root()).expect("it was found below the root").display().to_string();
            found.push(Source { path, text });
        }
    }
}
