//! How a filter looks at a row: by name, borrowing.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A row, or a struct inside one.
pub trait Record {
    /// The field of this name. Only names of the row's [`crate::Shape`] are asked for, and the value must be of
    /// the shape's kind; anything else is [`Value::Nil`].
    fn field(&self, name: &str) -> Value<'_>;
}

/// A map with string keys.
pub trait Entries {
    /// What is under `key`.
    fn entry(&self, key: &str) -> Option<Value<'_>>;
    fn is_empty(&self) -> bool;
}

/// A value of a row.
pub enum Value<'a> {
    /// A nil map or pointer: as good as a key that is not there. An absent list is an empty one.
    Nil,
    Str(&'a str),
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    /// A list of strings, the common case, without a box.
    Strings(&'a [String]),
    List(Box<dyn Iterator<Item = Value<'a>> + 'a>),
    Map(&'a dyn Entries),
    Struct(&'a dyn Record),
    /// A struct that the row makes up when asked.
    View(Box<dyn Record + 'a>),
}

impl<'a> Value<'a> {
    /// A list of structs.
    pub fn records<T: Record + 'a>(items: impl IntoIterator<Item = &'a T, IntoIter: 'a>) -> Self {
        Value::List(Box::new(items.into_iter().map(|item| Value::Struct(item))))
    }

    /// A map that may be nil.
    pub fn map<T: Entries>(entries: Option<&'a T>) -> Self {
        entries.map_or(Value::Nil, |entries| Value::Map(entries))
    }
}

impl<T: Record + ?Sized> Record for Arc<T> {
    fn field(&self, name: &str) -> Value<'_> {
        (**self).field(name)
    }
}

impl<T: Record + ?Sized> Record for &T {
    fn field(&self, name: &str) -> Value<'_> {
        (**self).field(name)
    }
}

impl Entries for BTreeMap<String, String> {
    fn entry(&self, key: &str) -> Option<Value<'_>> {
        self.get(key).map(|value| Value::Str(value))
    }

    fn is_empty(&self) -> bool {
        BTreeMap::is_empty(self)
    }
}

impl<T: Record> Entries for BTreeMap<String, T> {
    fn entry(&self, key: &str) -> Option<Value<'_>> {
        self.get(key).map(|value| Value::Struct(value))
    }

    fn is_empty(&self) -> bool {
        BTreeMap::is_empty(self)
    }
}
