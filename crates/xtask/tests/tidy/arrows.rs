//! Which crate may use which. A new arrow is the most expensive change there is: it is argued in ARCHITECTURE.md in
//! the commit that adds it here.

use crate::assert_tidy;
use crate::tree::packages;

/// What ships: each crate after those it may use.
const MAY_USE: &[(&str, &[&str])] = &[
    // Pure.
    ("filter", &[]),
    ("hcl", &[]),
    ("wire", &[]),
    ("acl", &["hcl"]),
    ("state", &["acl", "filter", "wire"]),
    ("gossip", &["wire"]),
    ("replica", &["state", "wire"]),
    // Shell.
    ("disk", &["replica"]),
    ("net", &["gossip", "wire"]),
    ("server", &["acl", "disk", "filter", "net", "replica", "state", "wire"]),
    ("agent", &["acl", "filter", "gossip", "net", "server", "state", "wire"]),
    // Face.
    ("api", &["acl", "agent", "filter", "hcl", "net", "server", "state", "wire"]),
    ("dns", &["acl", "agent", "server", "state", "wire"]),
    // Assembly.
    ("config", &["acl", "hcl", "wire"]),
    ("curule", &["acl", "agent", "api", "config", "dns", "gossip", "net", "server", "state", "wire"]),
];

/// What proves; nothing that ships may use these, but for its tests.
const PROOFS: &[(&str, &[&str])] = &[
    ("bench", &["gossip"]),
    // It knows no crate of ours: it would test a stranger the same way.
    ("conformance", &[]),
    (
        "fuzzing",
        &["acl", "agent", "api", "config", "dns", "filter", "gossip", "hcl", "net", "replica", "state", "wire"],
    ),
    ("sim", &["acl", "disk", "gossip", "replica", "server", "state", "wire"]),
    ("xtask", &["conformance"]),
];

#[test]
fn crates_use_only_what_lies_below_them() {
    let mut wrong = Vec::new();
    for package in packages() {
        let rows = || MAY_USE.iter().chain(PROOFS);
        let Some((_, allowed)) = rows().find(|(name, _)| *name == package.name) else {
            wrong.push(format!("{} is new: give it a row in {}", package.name, file!()));
            continue;
        };
        for used in package.dependencies.iter().filter(|used| used.ours) {
            let proves = used.dev && PROOFS.iter().any(|(name, _)| *name == used.name);
            if !proves && !allowed.contains(&used.name.as_str()) {
                wrong.push(format!("{} must not use {}", package.name, used.name));
            }
        }
    }
    assert_tidy("dependencies between crates point one way (ARCHITECTURE.md)", &wrong);
}

#[test]
fn the_table_of_arrows_is_in_order() {
    let wrong: Vec<String> = MAY_USE
        .iter()
        .enumerate()
        .flat_map(|(at, (name, uses))| uses.iter().map(move |used| (at, *name, *used)))
        .filter(|(at, _, used)| !MAY_USE[..*at].iter().any(|(name, _)| name == used))
        .map(|(_, name, used)| format!("{name} may use {used}, which does not stand above it"))
        .collect();
    assert_tidy("each crate stands after those it may use, so that there is no circle", &wrong);
}
