//! The configuration as written: what sources said, checked against the schema, and how two sources merge.
//!
//! Always true: a [`Section`] holds only keys of its [`Schema`], each with a [`Setting`] of the key's shape; what no source
//! said is absent. Printing a section for debugging shows names, never values, since any of them may be a secret.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use crate::schema::{AGENT, Schema, Shape};

/// One value that a source gave.
#[derive(Clone, PartialEq)]
pub enum Setting {
    Bool(bool),
    Integer(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
    Texts(Vec<String>),
    TextMap(BTreeMap<String, String>),
    TextsMap(BTreeMap<String, Vec<String>>),
    Section(Section),
    Sections(Vec<Section>),
    SectionMap(BTreeMap<String, Section>),
    Free(Map<String, Value>),
    Frees(Vec<Map<String, Value>>),
}

/// The settings of one section.
#[derive(Clone, PartialEq, Default)]
pub struct Section {
    settings: BTreeMap<&'static str, Setting>,
}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.settings.keys()).finish()
    }
}

impl Section {
    pub fn insert(&mut self, name: &'static str, setting: Setting) {
        self.settings.insert(name, setting);
    }

    pub fn remove(&mut self, name: &str) -> Option<Setting> {
        self.settings.remove(name)
    }

    pub fn is_empty(&self) -> bool {
        self.settings.is_empty()
    }

    /// The setting at a dotted path.
    pub fn get(&self, path: &str) -> Option<&Setting> {
        match path.split_once('.') {
            None => self.settings.get(path),
            Some((name, rest)) => match self.settings.get(name)? {
                Setting::Section(section) => section.get(rest),
                _ => None,
            },
        }
    }

    pub fn has(&self, path: &str) -> bool {
        self.get(path).is_some()
    }

    pub fn bool(&self, path: &str) -> Option<bool> {
        match self.get(path)? {
            Setting::Bool(value) => Some(*value),
            _ => None,
        }
    }

    pub fn integer(&self, path: &str) -> Option<i64> {
        match self.get(path)? {
            Setting::Integer(value) => Some(*value),
            _ => None,
        }
    }

    pub fn unsigned(&self, path: &str) -> Option<u64> {
        match self.get(path)? {
            Setting::Unsigned(value) => Some(*value),
            _ => None,
        }
    }

    pub fn float(&self, path: &str) -> Option<f64> {
        match self.get(path)? {
            Setting::Float(value) => Some(*value),
            _ => None,
        }
    }

    pub fn text(&self, path: &str) -> Option<&str> {
        match self.get(path)? {
            Setting::Text(value) => Some(value),
            _ => None,
        }
    }

    pub fn texts(&self, path: &str) -> &[String] {
        match self.get(path) {
            Some(Setting::Texts(value)) => value,
            _ => &[],
        }
    }

    pub fn text_map(&self, path: &str) -> BTreeMap<String, String> {
        match self.get(path) {
            Some(Setting::TextMap(value)) => value.clone(),
            _ => BTreeMap::new(),
        }
    }

    pub fn texts_map(&self, path: &str) -> BTreeMap<String, Vec<String>> {
        match self.get(path) {
            Some(Setting::TextsMap(value)) => value.clone(),
            _ => BTreeMap::new(),
        }
    }

    pub fn section(&self, path: &str) -> Option<&Section> {
        match self.get(path)? {
            Setting::Section(value) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn section_mut(&mut self, name: &str) -> Option<&mut Section> {
        match self.settings.get_mut(name)? {
            Setting::Section(value) => Some(value),
            _ => None,
        }
    }

    pub fn sections(&self, path: &str) -> &[Section] {
        match self.get(path) {
            Some(Setting::Sections(value)) => value,
            _ => &[],
        }
    }

    pub fn section_map(&self, path: &str) -> BTreeMap<String, Section> {
        match self.get(path) {
            Some(Setting::SectionMap(value)) => value.clone(),
            _ => BTreeMap::new(),
        }
    }

    pub fn free(&self, path: &str) -> Map<String, Value> {
        match self.get(path) {
            Some(Setting::Free(value)) => value.clone(),
            _ => Map::new(),
        }
    }

    pub fn frees(&self, path: &str) -> &[Map<String, Value>] {
        match self.get(path) {
            Some(Setting::Frees(value)) => value,
            _ => &[],
        }
    }

    /// Puts a setting at a dotted path of the schema, making sections on the way. A path that the schema does not have
    /// is left alone: tests hold every caller to the schema.
    pub fn put(&mut self, schema: &'static Schema, path: &str, setting: Setting) {
        let (name, rest) = match path.split_once('.') {
            Some((name, rest)) => (name, Some(rest)),
            None => (path, None),
        };
        let Some(key) = schema.key(name) else {
            debug_assert!(false, "no key {path} in the schema");
            return;
        };
        match (rest, key.shape) {
            (None, _) => self.insert(key.name, setting),
            (Some(rest), Shape::Section(inner) | Shape::Whole(inner)) => {
                let entry = self.settings.entry(key.name).or_insert_with(|| Setting::Section(Section::default()));
                if let Setting::Section(section) = entry {
                    section.put(inner, rest, setting);
                }
            }
            (Some(_), _) => debug_assert!(false, "{name} of {path} is no section"),
        }
    }

    /// Lays a later source over this one.
    pub fn merge(&mut self, schema: &'static Schema, later: Section) {
        for (name, setting) in later.settings {
            let shape = schema.key(name).map(|key| key.shape);
            match (self.settings.get_mut(name), setting, shape) {
                (Some(Setting::Section(mine)), Setting::Section(theirs), Some(Shape::Section(inner))) => {
                    mine.merge(inner, theirs);
                }
                (Some(Setting::Texts(mine)), Setting::Texts(theirs), _) => mine.extend(theirs),
                (Some(Setting::Sections(mine)), Setting::Sections(theirs), _) => mine.extend(theirs),
                (Some(Setting::Frees(mine)), Setting::Frees(theirs), _) => mine.extend(theirs),
                (Some(Setting::TextMap(mine)), Setting::TextMap(theirs), _) => mine.extend(theirs),
                (Some(Setting::TextsMap(mine)), Setting::TextsMap(theirs), _) => mine.extend(theirs),
                (Some(Setting::SectionMap(mine)), Setting::SectionMap(theirs), _) => mine.extend(theirs),
                (Some(Setting::Free(mine)), Setting::Free(theirs), _) => mine.extend(theirs),
                (_, setting, _) => {
                    self.settings.insert(name, setting);
                }
            }
        }
    }
}

/// A whole configuration as written: a section whose keys are those of a configuration file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Written {
    pub root: Section,
}

impl Written {
    pub fn put(&mut self, path: &str, setting: Setting) {
        self.root.put(&AGENT, path, setting);
    }

    pub fn merge(&mut self, later: Written) {
        self.root.merge(&AGENT, later.root);
    }

    /// Splits off the lists at the top level. Compat: lists given as flags come before those of files, everything else
    /// given as flags comes after.
    pub fn split_lists(self) -> (Written, Written) {
        let (lists, others) =
            self.root.settings.into_iter().partition(|(_, setting)| {
                matches!(setting, Setting::Texts(_) | Setting::Sections(_) | Setting::Frees(_))
            });
        (Written { root: Section { settings: lists } }, Written { root: Section { settings: others } })
    }

    fn known(path: &str, fits: impl Fn(Shape) -> bool) {
        debug_assert!(AGENT.shape(path).is_some_and(fits), "{path} is not in the schema with this shape");
    }

    pub fn bool(&self, path: &str) -> Option<bool> {
        Written::known(path, |shape| matches!(shape, Shape::Bool));
        self.root.bool(path)
    }

    pub fn integer(&self, path: &str) -> Option<i64> {
        Written::known(path, |shape| matches!(shape, Shape::Integer));
        self.root.integer(path)
    }

    pub fn unsigned(&self, path: &str) -> Option<u64> {
        Written::known(path, |shape| matches!(shape, Shape::Unsigned));
        self.root.unsigned(path)
    }

    pub fn float(&self, path: &str) -> Option<f64> {
        Written::known(path, |shape| matches!(shape, Shape::Float));
        self.root.float(path)
    }

    pub fn text(&self, path: &str) -> Option<&str> {
        Written::known(path, |shape| matches!(shape, Shape::Text));
        self.root.text(path)
    }

    pub fn texts(&self, path: &str) -> &[String] {
        Written::known(path, |shape| matches!(shape, Shape::Texts));
        self.root.texts(path)
    }

    pub fn text_map(&self, path: &str) -> BTreeMap<String, String> {
        Written::known(path, |shape| matches!(shape, Shape::TextMap));
        self.root.text_map(path)
    }

    /// Whether any source said anything at this path.
    pub fn has(&self, path: &str) -> bool {
        Written::known(path, |_| true);
        self.root.has(path)
    }
}
