//! What a text means: objects of entries, lists and scalars, each knowing where it stood.
//!
//! Always true: `entries` keeps the order and the repetitions of the text. Labels of a block are nested objects with
//! one entry each.

/// A place in the text, both counted from one; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

impl Position {
    pub const START: Position = Position { line: 1, column: 1 };
}

/// The entries between two braces, or of a whole text.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Object {
    pub entries: Vec<Entry>,
}

/// One `key = value`, `key { … }`, or the outermost label of `key "label" { … }`.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: String,
    pub position: Position,
    pub value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    pub position: Position,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Only JSON has it.
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Value>),
    Object(Object),
}

impl Object {
    /// All values under `key`, in the order written. Keys are compared as the reference does: case does not count.
    pub fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Value> + 'a {
        self.entries.iter().filter(move |entry| same_key(&entry.key, key)).map(|entry| &entry.value)
    }

    /// The last value under `key`: what counts where only one can.
    pub fn last(&self, key: &str) -> Option<&Value> {
        self.entries.iter().rev().find(|entry| same_key(&entry.key, key)).map(|entry| &entry.value)
    }

    /// The labelled blocks under `key`, as `(label, body)`: `key "a" {…}`, `{"key": {"a": {…}}}` and
    /// `{"key": [{"a": {…}}]}` all give `("a", …)`. Values that are no objects are skipped.
    pub fn labelled<'a>(&'a self, key: &'a str) -> Vec<&'a Entry> {
        self.values(key).flat_map(Value::objects).flat_map(|object| object.entries.iter()).collect()
    }
}

impl Value {
    pub fn as_object(&self) -> Option<&Object> {
        match &self.kind {
            Kind::Object(object) => Some(object),
            _ => None,
        }
    }

    pub fn as_text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_list(&self) -> Option<&[Value]> {
        match &self.kind {
            Kind::List(list) => Some(list),
            _ => None,
        }
    }

    /// This value as objects: itself, or the members of a list of objects. HCL sees no difference between the two.
    pub fn objects(&self) -> Vec<&Object> {
        match &self.kind {
            Kind::Object(object) => vec![object],
            Kind::List(list) => list.iter().filter_map(Value::as_object).collect(),
            _ => Vec::new(),
        }
    }

    /// The Go type that the reference decodes this value into, as its error texts name it.
    pub fn go_type(&self) -> &'static str {
        match &self.kind {
            Kind::Null => "nil",
            Kind::Bool(_) => "bool",
            Kind::Integer(_) => "int",
            Kind::Float(_) => "float64",
            Kind::Text(_) => "string",
            Kind::List(_) => "[]interface {}",
            Kind::Object(_) => "map[string]interface {}",
        }
    }
}

/// Whether two keys are the same key. Compat: the reference folds case (`Name`, `name`, `NAME`).
pub fn same_key(a: &str, b: &str) -> bool {
    a == b || a.eq_ignore_ascii_case(b) || (!a.is_ascii() || !b.is_ascii()) && a.to_lowercase() == b.to_lowercase()
}
