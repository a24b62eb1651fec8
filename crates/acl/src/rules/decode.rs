//! From the tree of a text to [`Rules`].
//!
//! Always true: what the reference's decoder takes is taken, with the same meaning, and what it refuses is refused
//! with its text. Its reading has two steps, and so has this: first every value must have the right shape, in the
//! order of its fields; then every level must be one that its resource knows, in the order of its checks.

use hcl::{Entry, Kind as Shape, Object, Position, Value};

use super::{BadRules, Kind, Rule, Rules, Single, Syntax, Written};
use crate::quote::quote;

/// A rule as written, its levels unchecked.
struct Raw<'a> {
    kind: Kind,
    exact: bool,
    name: &'a str,
    level: String,
    intentions: String,
}

pub(super) fn rules(text: &str, syntax: Syntax, tree: &Object) -> Result<Rules, BadRules> {
    let reader = Reader { json: text.trim_start().starts_with('{') };
    let legacy = syntax == Syntax::Legacy;
    let known: &[Single] = if legacy { &[Single::Keyring, Single::Operator] } else { &Single::ALL };

    let mut singles: Vec<(Single, String)> = Vec::new();
    let mut raw: Vec<Raw<'_>> = Vec::new();
    if !legacy {
        singles.push((Single::Acl, reader.word(tree, "root", "acl")?));
    }
    for kind in Kind::ALL {
        reader.named(tree, kind, kind.word(), !legacy, &mut raw)?;
        if !legacy {
            reader.named(tree, kind, kind.prefix_word(), false, &mut raw)?;
        }
    }
    for &single in known {
        if single != Single::Acl {
            singles.push((single, reader.word(tree, "root", single.word())?));
        }
    }
    if !legacy {
        // Compat: rules of a resource that was withdrawn are read and then ignored.
        for withdrawn in ["identity", "identity_prefix"] {
            reader.named(tree, Kind::Service, withdrawn, true, &mut Vec::new())?;
        }
    }

    let mut rules = Rules::default();
    check_single(&singles, Single::Acl, &mut rules)?;
    for kind in Kind::ALL {
        for exact in [true, false] {
            // The legacy syntax has one word for both, and its texts show that word.
            for raw in raw.iter().filter(|raw| raw.kind == kind && raw.exact == exact) {
                rules.named.push(check_named(raw, legacy)?);
            }
        }
    }
    for single in [Single::Keyring, Single::Operator, Single::Mesh, Single::Peering] {
        check_single(&singles, single, &mut rules)?;
    }
    Ok(rules)
}

fn check_single(read: &[(Single, String)], single: Single, rules: &mut Rules) -> Result<(), BadRules> {
    let Some((_, word)) = read.iter().find(|(of, word)| *of == single && !word.is_empty()) else { return Ok(()) };
    match known_level(word, false) {
        Some(level) => rules.single[single as usize] = Some(level),
        None => return Err(BadRules(format!("Invalid {} policy: {}", single.word(), quote(word)))),
    }
    Ok(())
}

fn check_named(raw: &Raw<'_>, legacy: bool) -> Result<Rule, BadRules> {
    let refuse = |part| BadRules::level(raw.kind, raw.exact || legacy, part, raw.name, &raw.level, &raw.intentions);
    let level = known_level(&raw.level, raw.kind == Kind::Key).ok_or_else(|| refuse(""))?;
    let intentions = match raw.intentions.as_str() {
        "" => None,
        word => Some(known_level(word, false).ok_or_else(|| refuse("intentions "))?),
    };
    Ok(Rule { kind: raw.kind, name: raw.name.into(), exact: raw.exact, level, intentions })
}

fn known_level(word: &str, list: bool) -> Option<Written> {
    Written::parse(word).filter(|written| list || written.level != super::Level::List)
}

/// Which notation is read: the reference knows no positions in JSON, and only there sees a list of objects as the
/// objects themselves.
struct Reader {
    json: bool,
}

impl Reader {
    /// The text under `key`; empty when there is none. The last one counts.
    fn word(&self, object: &Object, path: &str, key: &str) -> Result<String, BadRules> {
        let mut word = String::new();
        for value in object.values(key) {
            word = self.text(value, &format!("{path}.{key}"))?;
        }
        Ok(word)
    }

    fn text(&self, value: &Value, path: &str) -> Result<String, BadRules> {
        match &value.kind {
            Shape::Null => Ok(String::new()),
            Shape::Text(text) => Ok(text.clone()),
            Shape::Integer(number) => Ok(number.to_string()),
            Shape::Bool(_) | Shape::Float(_) | Shape::List(_) | Shape::Object(_) => {
                let found = match &value.kind {
                    Shape::List(list) if self.json && !list.is_empty() && flat_objects(list).is_some() => {
                        "*ast.ObjectList"
                    }
                    _ => go_node(value),
                };
                Err(self.at(first_position(value), &format!("{path}: unknown type for string {found}")))
            }
        }
    }

    /// Every rule under `key`.
    fn named<'a>(
        &self,
        tree: &'a Object,
        kind: Kind,
        key: &str,
        exact: bool,
        into: &mut Vec<Raw<'a>>,
    ) -> Result<(), BadRules> {
        let mut count = 0;
        for entry in tree.entries.iter().filter(|entry| hcl::tree::same_key(&entry.key, key)) {
            for object in self.blocks(&entry.value, kind, key)? {
                for rule in &object.entries {
                    self.rule(rule, kind, &format!("root.{key}"), exact, &mut count, into)?;
                }
            }
        }
        Ok(())
    }

    /// What stands under a resource's word, as objects from names to rules.
    fn blocks<'a>(&self, value: &'a Value, kind: Kind, key: &str) -> Result<Vec<&'a Object>, BadRules> {
        match &value.kind {
            Shape::Object(object) => Ok(vec![object]),
            Shape::List(list) if list.is_empty() => Ok(Vec::new()),
            Shape::List(list) => {
                if self.json
                    && let Some(objects) = flat_objects(list)
                {
                    return Ok(objects);
                }
                let (_, go_name, _) = kind.go_names();
                let member = list.first().unwrap_or(value);
                Err(self.at(
                    first_position(member),
                    &match member.kind {
                        Shape::Object(_) => format!("root.{key}[0]: {go_name} asked for 'key', impossible"),
                        _ => format!("root.{key}[0]: not an object type for struct ({})", go_node(member)),
                    },
                ))
            }
            _ => Err(self.at(Some(value.position), &format!("unknown slice type: {}", go_node(value)))),
        }
    }

    fn rule<'a>(
        &self,
        rule: &'a Entry,
        kind: Kind,
        path: &str,
        exact: bool,
        count: &mut usize,
        into: &mut Vec<Raw<'a>>,
    ) -> Result<(), BadRules> {
        let bodies = match &rule.value.kind {
            Shape::Object(object) => vec![object],
            Shape::List(list) => match flat_objects(list).filter(|objects| self.json && !objects.is_empty()) {
                Some(objects) => objects,
                None => {
                    let message = format!("{path}[{count}]: not an object type for struct (*ast.ListType)");
                    return Err(self.at(Some(rule.value.position), &message));
                }
            },
            // Compat: `key { policy = "read" }` is a rule about the name `policy`: a bare value is read as if it
            // were the rule's own field of that name.
            _ => {
                let field = |name: &str| match hcl::tree::same_key(&rule.key, name) {
                    true => self.text(&rule.value, &format!("{path}[{count}].{}", go_field(name))),
                    false => Ok(String::new()),
                };
                let intentions = if kind == Kind::Service { field("intentions")? } else { String::new() };
                into.push(Raw { kind, exact, name: &rule.key, level: field("policy")?, intentions });
                *count += 1;
                return Ok(());
            }
        };
        for body in bodies {
            let at = format!("{path}[{count}]");
            let level = self.word(body, &at, "Policy")?;
            let intentions = if kind == Kind::Service { self.word(body, &at, "Intentions")? } else { String::new() };
            into.push(Raw { kind, exact, name: &rule.key, level, intentions });
            *count += 1;
        }
        Ok(())
    }

    fn at(&self, position: Option<Position>, message: &str) -> BadRules {
        let place = match position {
            Some(Position { line, column }) if !self.json => format!("{line}:{column}"),
            _ => "-".to_owned(),
        };
        BadRules(format!("Failed to parse ACL rules: At {place}: {message}"))
    }
}

fn go_field(name: &str) -> &str {
    if name == "policy" { "Policy" } else { "Intentions" }
}

/// Lists within lists of nothing but objects, as those objects.
fn flat_objects(list: &[Value]) -> Option<Vec<&Object>> {
    let mut objects = Vec::new();
    for value in list {
        match &value.kind {
            Shape::Object(object) => objects.push(object),
            // The parser bounds how deep lists nest.
            Shape::List(inner) => objects.extend(flat_objects(inner)?),
            _ => return None,
        }
    }
    Some(objects)
}

/// Compat: an object has no place of its own, only that of the first thing in it.
fn first_position(value: &Value) -> Option<Position> {
    match &value.kind {
        Shape::Object(object) => object.entries.first().map(|entry| entry.position),
        _ => Some(value.position),
    }
}

fn go_node(value: &Value) -> &'static str {
    match value.kind {
        Shape::List(_) => "*ast.ListType",
        Shape::Object(_) => "*ast.ObjectList",
        _ => "*ast.LiteralType",
    }
}
