//! A parsed file to [`Written`]: HCL and JSON, one path.
//!
//! Always true: all faults of a file are told at once, in the words and the order of the reference; nothing is converted
//! between texts, numbers and bools.
//!
//! The reference reads HCL into plain maps and lists first, where each block is a list of maps, and takes a list of one
//! apart again where no list is wanted. [`Plain`] is that middle form: quirks such as `server = [true]` follow from it.

use std::collections::{BTreeMap, BTreeSet};

use hcl::{Kind, Object};
use serde_json::{Map, Number, Value};

use crate::schema::{AGENT, Schema, Shape};
use crate::written::{Section, Setting, Written};

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Values of the wrong type.
    Types(Vec<String>),
    /// Keys that are not in the schema.
    UnknownKeys(Vec<String>),
}

/// Which language the file is written in: JSON has only one type of number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Hcl,
    Json,
}

type Plains = BTreeMap<String, Plain>;

#[derive(Debug, Clone)]
enum Plain {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Plain>),
    /// HCL blocks and `= { … }`.
    Blocks(Vec<Plains>),
    Map(Plains),
}

pub(crate) fn decode(object: &Object, format: Format) -> Result<Written, Fault> {
    let mut decoder = Decoder { unused: Vec::new(), wrong: Vec::new() };
    let root = decoder.section("", &AGENT, &plains(object, format));
    if !decoder.wrong.is_empty() {
        decoder.wrong.sort();
        return Err(Fault::Types(decoder.wrong));
    }
    if !decoder.unused.is_empty() {
        return Err(Fault::UnknownKeys(decoder.unused));
    }
    Ok(Written { root })
}

fn plains(object: &Object, format: Format) -> Plains {
    let mut map = Plains::new();
    for entry in &object.entries {
        let value = match &entry.value.kind {
            Kind::Object(object) if format == Format::Hcl => Plain::Blocks(vec![plains(object, format)]),
            kind => plain(kind, format),
        };
        let slot = map.entry(entry.key.clone()).or_insert(Plain::Null);
        // Compat: in HCL a repeated block or list adds to the first, in JSON the last one counts.
        match (&mut *slot, value) {
            (Plain::Blocks(mine), Plain::Blocks(theirs)) => mine.extend(theirs),
            (Plain::List(mine), Plain::List(theirs)) if format == Format::Hcl => mine.extend(theirs),
            (Plain::List(mine), Plain::Blocks(theirs)) => mine.extend(theirs.into_iter().map(Plain::Map)),
            (Plain::Blocks(mine), Plain::List(theirs)) => {
                let mut list: Vec<Plain> = std::mem::take(mine).into_iter().map(Plain::Map).collect();
                list.extend(theirs);
                *slot = Plain::List(list);
            }
            (_, value) => *slot = value,
        }
    }
    map
}

fn plain(kind: &Kind, format: Format) -> Plain {
    match kind {
        Kind::Null => Plain::Null,
        Kind::Bool(value) => Plain::Bool(*value),
        Kind::Integer(value) if format == Format::Json => Plain::Float(*value as f64),
        Kind::Integer(value) => Plain::Integer(*value),
        Kind::Float(value) => Plain::Float(*value),
        Kind::Text(value) => Plain::Text(value.clone()),
        Kind::List(list) => Plain::List(list.iter().map(|value| plain(&value.kind, format)).collect()),
        Kind::Object(object) => Plain::Map(plains(object, format)),
    }
}

impl Plain {
    fn go_type(&self) -> &'static str {
        match self {
            Plain::Null => "nil",
            Plain::Bool(_) => "bool",
            Plain::Integer(_) => "int",
            Plain::Float(_) => "float64",
            Plain::Text(_) => "string",
            Plain::List(_) => "[]interface {}",
            Plain::Blocks(_) => "[]map[string]interface {}",
            Plain::Map(_) => "map[string]interface {}",
        }
    }

    fn go_kind(&self) -> &'static str {
        match self {
            Plain::List(_) | Plain::Blocks(_) => "slice",
            Plain::Map(_) => "map",
            other => other.go_type(),
        }
    }

    /// The value as Go's `%v` prints it.
    fn go_value(&self) -> String {
        match self {
            Plain::Null => "<nil>".to_owned(),
            Plain::Bool(value) => value.to_string(),
            Plain::Integer(value) => value.to_string(),
            Plain::Float(value) => go_float(*value),
            Plain::Text(value) => value.clone(),
            Plain::List(list) => format!("[{}]", list.iter().map(Plain::go_value).collect::<Vec<_>>().join(" ")),
            Plain::Blocks(list) => format!("[{}]", list.iter().map(go_map).collect::<Vec<_>>().join(" ")),
            Plain::Map(map) => go_map(map),
        }
    }

    /// Takes a list of one apart.
    fn single(&self) -> Option<Plain> {
        match self {
            Plain::Blocks(list) if list.len() == 1 => list.first().cloned().map(Plain::Map),
            Plain::List(list) if list.len() == 1 => list.first().cloned(),
            _ => None,
        }
    }

    fn members(&self) -> Option<Vec<Plain>> {
        match self {
            Plain::Blocks(list) => Some(list.iter().cloned().map(Plain::Map).collect()),
            Plain::List(list) => Some(list.clone()),
            _ => None,
        }
    }

    /// The value for a consumer that knows no schema. Compat: every list of one in it has become its member.
    fn free(&self) -> Value {
        if let Some(single) = self.single() {
            return single.free();
        }
        match self {
            Plain::Null => Value::Null,
            Plain::Bool(value) => Value::Bool(*value),
            Plain::Integer(value) => Value::Number((*value).into()),
            Plain::Float(value) => match whole_number(*value) {
                Some(integer) => Value::Number(integer.into()),
                None => Number::from_f64(*value).map_or(Value::Null, Value::Number),
            },
            Plain::Text(value) => Value::String(value.clone()),
            Plain::List(list) => Value::Array(list.iter().map(Plain::free).collect()),
            Plain::Blocks(list) => Value::Array(list.iter().map(|map| Value::Object(free_map(map))).collect()),
            Plain::Map(map) => Value::Object(free_map(map)),
        }
    }
}

fn free_map(map: &Plains) -> Map<String, Value> {
    map.iter().map(|(key, value)| (key.clone(), value.free())).collect()
}

/// A float without fraction that an integer can hold exactly.
fn whole_number(value: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (value.fract() == 0.0 && value.abs() <= EXACT).then_some(value as i64)
}

fn go_map(map: &Plains) -> String {
    let entries: Vec<String> = map.iter().map(|(key, value)| format!("{key}:{}", value.go_value())).collect();
    format!("map[{}]", entries.join(" "))
}

/// A float as Go's `%v` prints it: an exponent from 1e21 on and below 1e-4.
fn go_float(value: f64) -> String {
    let magnitude = value.abs();
    if value == 0.0 || (1e-4..1e21).contains(&magnitude) {
        return value.to_string();
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(exponent) => ('-', exponent),
                None => ('+', exponent),
            };
            format!("{digits}e{sign}{exponent:0>2}")
        }
        None => text,
    }
}

struct Decoder {
    unused: Vec<String>,
    wrong: Vec<String>,
}

impl Decoder {
    fn section(&mut self, path: &str, schema: &'static Schema, map: &Plains) -> Section {
        let map = rename_aliases(schema, map);
        let wrong_before = self.wrong.len();
        let mut section = Section::default();
        let mut used = BTreeSet::new();
        for key in schema.keys {
            let exact = map.get_key_value(key.name);
            let found = exact.or_else(|| map.iter().find(|(name, _)| hcl::tree::same_key(name, key.name)));
            let Some((name, value)) = found else { continue };
            used.insert(name.clone());
            if let Some(setting) = self.setting(&join(path, key.name), key.shape, value) {
                section.insert(key.name, setting);
            }
        }
        if self.wrong.len() == wrong_before {
            self.unused.extend(map.keys().filter(|name| !used.contains(*name)).map(|name| join(path, name)));
        }
        section
    }

    fn setting(&mut self, path: &str, shape: Shape, value: &Plain) -> Option<Setting> {
        if let Plain::Null = value {
            return None;
        }
        match shape {
            Shape::Texts | Shape::Sections(_) | Shape::Frees => self.list(path, shape, value),
            Shape::TextMap | Shape::TextsMap | Shape::SectionMap(_) | Shape::Free => self.map(path, shape, value),
            Shape::Section(schema) | Shape::Whole(schema) => {
                let section = self.inner_section(path, schema, value)?;
                Some(Setting::Section(section))
            }
            Shape::Bool | Shape::Integer | Shape::Unsigned | Shape::Float | Shape::Text => {
                self.scalar(path, shape, value)
            }
        }
    }

    fn inner_section(&mut self, path: &str, schema: &'static Schema, value: &Plain) -> Option<Section> {
        match unwrapped(value) {
            Plain::Map(map) => Some(self.section(path, schema, &map)),
            Plain::Null => None,
            other => {
                self.wrong.push(format!("'{path}' expected a map, got '{}'", other.go_kind()));
                None
            }
        }
    }

    fn scalar(&mut self, path: &str, shape: Shape, value: &Plain) -> Option<Setting> {
        let value = unwrapped(value);
        let wanted = match (shape, &value) {
            (_, Plain::Null) => return None,
            (Shape::Bool, Plain::Bool(value)) => return Some(Setting::Bool(*value)),
            (Shape::Integer, Plain::Integer(value)) => return Some(Setting::Integer(*value)),
            // Compat: a fraction is cut off.
            (Shape::Integer, Plain::Float(value)) => return Some(Setting::Integer(*value as i64)),
            (Shape::Unsigned, Plain::Integer(value)) => match u64::try_from(*value) {
                Ok(value) => return Some(Setting::Unsigned(value)),
                Err(_) => {
                    self.wrong.push(format!("cannot parse '{path}', {value} overflows uint"));
                    return None;
                }
            },
            (Shape::Unsigned, Plain::Float(value)) if *value < 0.0 => {
                self.wrong.push(format!("cannot parse '{path}', {value:.6} overflows uint"));
                return None;
            }
            (Shape::Unsigned, Plain::Float(value)) => {
                return Some(Setting::Unsigned(*value as u64));
            }
            (Shape::Float, Plain::Integer(value)) => return Some(Setting::Float(*value as f64)),
            (Shape::Float, Plain::Float(value)) => return Some(Setting::Float(*value)),
            (Shape::Text, Plain::Text(value)) => return Some(Setting::Text(value.clone())),
            (Shape::Bool, _) => "bool",
            (Shape::Integer, _) => "int",
            (Shape::Unsigned, _) => "uint64",
            (Shape::Float, _) => "float64",
            (_, _) => "string",
        };
        self.wrong.push(format!(
            "'{path}' expected type '{wanted}', got unconvertible type '{}', value: '{}'",
            value.go_type(),
            value.go_value()
        ));
        None
    }

    fn list(&mut self, path: &str, shape: Shape, value: &Plain) -> Option<Setting> {
        let Some(members) = value.members() else {
            let kind = value.go_kind();
            self.wrong.push(format!("'{path}': source data must be an array or slice, got {kind}"));
            return None;
        };
        let members = members.iter().enumerate().map(|(index, member)| (format!("{path}[{index}]"), member));
        Some(match shape {
            Shape::Sections(schema) => Setting::Sections(
                members.map(|(path, member)| self.inner_section(&path, schema, member).unwrap_or_default()).collect(),
            ),
            Shape::Frees => Setting::Frees(
                members
                    .map(|(path, member)| match self.map(&path, Shape::Free, member) {
                        Some(Setting::Free(map)) => map,
                        _ => Map::new(),
                    })
                    .collect(),
            ),
            _ => Setting::Texts(
                members
                    .map(|(path, member)| match self.scalar(&path, Shape::Text, member) {
                        Some(Setting::Text(text)) => text,
                        _ => String::new(),
                    })
                    .collect(),
            ),
        })
    }

    fn map(&mut self, path: &str, shape: Shape, value: &Plain) -> Option<Setting> {
        let map = match unwrapped(value) {
            Plain::Map(map) => map,
            Plain::Null => return None,
            other => {
                self.wrong.push(format!("'{path}' expected a map, got '{}'", other.go_kind()));
                return None;
            }
        };
        let members = map.iter().map(|(key, member)| (key.clone(), format!("{path}[{key}]"), member));
        Some(match shape {
            Shape::Free => Setting::Free(free_map(&map)),
            Shape::SectionMap(schema) => Setting::SectionMap(
                members
                    .map(|(key, path, member)| (key, self.inner_section(&path, schema, member).unwrap_or_default()))
                    .collect(),
            ),
            Shape::TextsMap => Setting::TextsMap(
                members
                    .map(|(key, path, member)| match self.list(&path, Shape::Texts, member) {
                        Some(Setting::Texts(texts)) => (key, texts),
                        _ => (key, Vec::new()),
                    })
                    .collect(),
            ),
            _ => Setting::TextMap(
                members
                    .map(|(key, path, member)| match self.scalar(&path, Shape::Text, member) {
                        Some(Setting::Text(text)) => (key, text),
                        _ => (key, String::new()),
                    })
                    .collect(),
            ),
        })
    }
}

/// Compat: where no list is wanted, a list of one is its member; the reference looks twice.
fn unwrapped(value: &Plain) -> Plain {
    match value.single() {
        Some(inner) => inner.single().unwrap_or(inner),
        None => value.clone(),
    }
}

/// Gives older spellings their current name, unless the current name is there too.
fn rename_aliases(schema: &Schema, map: &Plains) -> Plains {
    let canonical = |name: &str| {
        let lower = name.to_lowercase();
        schema.keys.iter().find(|key| key.aliases.contains(&lower.as_str())).map(|key| key.name)
    };
    let mut renamed = Plains::new();
    for (name, value) in map {
        match canonical(name) {
            None => renamed.insert(name.clone(), value.clone()),
            Some(current) => renamed.insert(current.to_owned(), map.get(current).unwrap_or(value).clone()),
        };
    }
    renamed
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
