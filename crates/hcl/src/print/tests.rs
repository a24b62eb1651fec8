//! Texts as the `hclfmt` of the reference lays them out (made by running it), and what holds for any text.

use proptest::prelude::{ProptestConfig, prop, prop_assert, prop_assert_eq, proptest};

use super::renamed;
use crate::{Object, parse};

fn rename(key: &str) -> Option<&'static str> {
    match key {
        "policy" => Some("policy"),
        "key" => Some("key_prefix"),
        "agent" => Some("agent_prefix"),
        "service" => Some("service_prefix"),
        "event" => Some("event_prefix"),
        "query" => Some("query_prefix"),
        "session" => Some("session_prefix"),
        "node" => Some("node_prefix"),
        _ => None,
    }
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(renamed(text, rename).unwrap(), expected);
}

#[test]
fn layout_is_that_of_the_reference() {
    check(
        r##"key "foo" { policy = "write" }"##,
        r##"key_prefix "foo" {
  policy = "write"
}"##,
    );
    check(
        r##"agent "" {
  policy="read"
}
# c
key "x" { policy = "deny" } # line
operator="read"
keyring = "write""##,
        r##"agent_prefix "" {
  policy = "read"
}

# c
key_prefix "x" {
  policy = "deny"
} # line

operator = "read"

keyring = "write""##,
    );
    check(
        r##"# head

// top
key "a" {
 # inner
 policy = "read" # why
 intentions = "x" # y

}

/* end */
"##,
        r##"# head

// top
key_prefix "a" {
  # inner
  policy     = "read" # why
  intentions = "x"    # y
}

/* end */
"##,
    );
    check(
        r##"service "a" {}
service "b" {}

event "" {}"##,
        r##"service_prefix "a" {}
service_prefix "b" {}

event_prefix "" {}"##,
    );
    check(
        r##""key" "a" { "policy" = "read" }"##,
        r##"key_prefix "a" {
  policy = "read"
}"##,
    );
    check(
        r##"query "q" {
  # alone

  policy = "read"

  x = <<EOF
 one
EOF
  y = [1,2]
  z = [
    "a", # first
    # lead
    "bbb",
  ]
}"##,
        r##"query_prefix "q" {
  # alone

  policy = "read"

  x = <<EOF
 one
EOF

  y = [1, 2]

  z = [
    "a",   # first

    # lead
    "bbb",
  ]
}"##,
    );
    check(
        r##"session "s" { node "n" { policy = "read" } key = { agent = 1 } }"##,
        r##"session_prefix "s" {
  node_prefix "n" {
    policy = "read"
  }

  key_prefix = {
    agent_prefix = 1
  }
}"##,
    );
    check(
        r##"{"key":{"a":{"policy":"read"},"b":{"policy":"deny"}},"operator":"read"}"##,
        r##"key_prefix "a" {
  policy = "read"
}

key_prefix "b" {
  policy = "deny"
}

"operator" = "read""##,
    );
    check(
        r##"# only"##,
        r##"# only
"##,
    );
    check(r##""##, r##""##);
}

#[test]
fn what_cannot_be_read_is_refused() {
    let refused = |text: &str| renamed(text, rename).unwrap_err().to_string();
    assert_eq!(refused("bad"), "At 1:5: key 'bad' expected start of object ('{') or assignment ('=')");
    let deep = format!("{}{}", "a {".repeat(20), "}".repeat(20));
    assert_eq!(refused(&deep), "nested deeper than 6 levels");
}

/// The tree without its places.
fn show(object: &Object) -> String {
    let text = format!("{object:?}");
    let mut shown = String::new();
    for part in text.split("Position { ") {
        shown.push_str(part.split_once(" }").map_or(
            part,
            |(place, rest)| {
                if place.starts_with("line:") { rest } else { part }
            },
        ));
    }
    shown
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_text_written_anew_means_the_same(parts in prop::collection::vec(
        prop::sample::select(vec![
            "a", "\"b\"", " = ", "{", "}", "[", "]", ", ", "<<E\nx\nE\n", " ", "\n", "# c\n", "/* d */", "// e\n", "7", "true",
            "f = 1\n", "g \"h\" { i = 2 }\n", "j = [1, \"k\"]\n", "l { m = 3 # n\n o = 4\n }\n",
        ]), 0..30))
    {
        let text = parts.concat();
        let again = renamed(&text, |_| None);
        let deep = again.as_ref().is_err_and(|error| error.message.starts_with("nested deeper"));
        if let Ok(tree) = parse(&text) && !deep {
            prop_assert!(again.is_ok(), "{again:?}");
            // The reference ends without a line end, which a text in a heredoc needs.
            let again = again.expect("checked") + "\n";
            let read = parse(&again);
            prop_assert!(read.is_ok(), "{again}");
            prop_assert_eq!(show(&read.expect("checked")), show(&tree));
        }
    }
}
