//! A text written anew in the layout of `hclfmt`, with some keys renamed: how old rules become new ones.
//!
//! Always true: comments stay, values stay as they were written, and the layout is the reference's to the byte, its
//! oddities included, since people compare the result. Texts nested deeper than [`MAX_PRINT_DEPTH`] are refused: the
//! layout looks at every item twice on each level.

mod layout;
mod syntax;
#[cfg(test)]
mod tests;

use self::layout::Printer;
use self::syntax::{Document, Item, Key, Literal, LiteralKind, Node, Place};
use crate::tree::{Entry, Kind, Object, Value};
use crate::{Error, Position, json, literal, native};

/// Deepest nesting that is printed, labels counted. Rules need three levels; the work is up to threefold with each.
pub const MAX_PRINT_DEPTH: usize = 6;

/// Longest text that is printed: no log entry holds longer rules.
pub const MAX_PRINT_BYTES: usize = 512 * 1024;

/// Writes `text` anew. `rename` is asked for the first key of every item, wherever it stands.
pub fn renamed(text: &str, rename: impl Fn(&str) -> Option<&'static str>) -> Result<String, Error> {
    if text.len() > MAX_PRINT_BYTES {
        return Err(Error::bare(Position::START, format!("text is longer than {MAX_PRINT_BYTES} bytes")));
    }
    let mut document = if text.trim_start().starts_with('{') {
        let object = json::parse(text)?;
        check_depth(&object, 0)?;
        Document { items: of_json(&object), groups: Vec::new() }
    } else {
        let object = native::parse(text, native::Repeats::Allowed)?;
        check_depth(&object, 0)?;
        let read = syntax::read(&text.replace("\r\n", "\n"));
        read.ok_or_else(|| Error::bare(Position::START, "cannot be printed"))?
    };
    rename_items(&mut document.items, &rename);
    Ok(Printer::new(&document).print())
}

fn check_depth(object: &Object, depth: usize) -> Result<(), Error> {
    fn check_value(value: &Value, depth: usize) -> Result<(), Error> {
        match &value.kind {
            Kind::Object(object) => check_depth(object, depth + 1),
            Kind::List(list) => list.iter().try_for_each(|value| check_value(value, depth + 1)),
            _ => Ok(()),
        }
    }
    if depth > MAX_PRINT_DEPTH {
        return Err(Error::bare(Position::START, format!("nested deeper than {MAX_PRINT_DEPTH} levels")));
    }
    object.entries.iter().try_for_each(|entry| check_value(&entry.value, depth))
}

fn rename_items(items: &mut [Item], rename: &impl Fn(&str) -> Option<&'static str>) {
    for item in items {
        if let Some(key) = item.keys.first_mut() {
            let name = if key.text.starts_with('"') { literal::unquote(&key.text) } else { Some(key.text.clone()) };
            if let Some(new) = name.and_then(|name| rename(&name)) {
                new.clone_into(&mut key.text);
            }
        }
        rename_in(&mut item.value, rename);
    }
}

fn rename_in(node: &mut Node, rename: &impl Fn(&str) -> Option<&'static str>) {
    match node {
        Node::Literal(_) => {}
        Node::List { members, .. } => members.iter_mut().for_each(|member| rename_in(member, rename)),
        Node::Object { items, .. } => rename_items(items, rename),
    }
}

/// JSON as items: an object of nothing but objects gives its keys to those within it.
fn of_json(object: &Object) -> Vec<Item> {
    object.entries.iter().flat_map(|entry| of_entry(entry, Vec::new())).collect()
}

fn of_entry(entry: &Entry, mut keys: Vec<Key>) -> Vec<Item> {
    keys.push(Key { place: Place::default(), text: quoted(&entry.key) });
    if let Some(objects) = flat_objects(&entry.value) {
        return objects.into_iter().flat_map(|object| of_object(object, keys.clone())).collect();
    }
    vec![Item { keys, assigned: true, value: of_value(&entry.value), lead: None, line: None }]
}

fn of_object(object: &Object, keys: Vec<Key>) -> Vec<Item> {
    let nested = !object.entries.is_empty() && object.entries.iter().all(|entry| flat_objects(&entry.value).is_some());
    if nested {
        return object.entries.iter().flat_map(|entry| of_entry(entry, keys.clone())).collect();
    }
    let value = Node::Object { open: Place::default(), items: of_json(object), close: Place::default() };
    vec![Item { keys, assigned: true, value, lead: None, line: None }]
}

/// An object, or a list of nothing but objects, as those objects.
fn flat_objects(value: &Value) -> Option<Vec<&Object>> {
    match &value.kind {
        Kind::Object(object) => Some(vec![object]),
        Kind::List(list) if !list.is_empty() => list.iter().map(Value::as_object).collect(),
        _ => None,
    }
}

fn of_value(value: &Value) -> Node {
    let plain = |text: String| (text, LiteralKind::Plain);
    let (text, kind) = match &value.kind {
        // Compat: nothing is printed for it.
        Kind::Null => plain(String::new()),
        Kind::Bool(bool) => plain(bool.to_string()),
        Kind::Integer(integer) => plain(integer.to_string()),
        Kind::Float(float) => plain(float.to_string()),
        Kind::Text(text) => (quoted(text), LiteralKind::Quoted),
        Kind::List(list) => {
            return Node::List { open: Place::default(), members: list.iter().map(of_value).collect() };
        }
        Kind::Object(object) => {
            return Node::Object { open: Place::default(), items: of_json(object), close: Place::default() };
        }
    };
    Node::Literal(Literal { place: Place::default(), text, kind, lead: None, line: None })
}

/// A text in double quotes, as JSON and HCL both read it back.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if (control as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", control as u32)),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}
