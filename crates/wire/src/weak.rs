//! Untyped trees into typed structs, as Go's `mapstructure` does it with weakly typed input and Consul's hooks.
//!
//! Config entries are written by people, in HCL or JSON, so the reference takes a number for a text, one thing for a
//! list of one, a list of one for the thing, and keys in either spelling. What still does not fit is collected, and
//! told all at once.
//!
//! A struct whose serde name ends in `!` has one spelling of its fields only.
//!
//! Always true: a mismatch never stops the reading: the field keeps its zero, the fault is noted.
//! Not here: what the values mean. Recursion is bounded by the depth of the tree, which its parser bounds.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Write;

use serde::de::value::{Error as Fault, I64Deserializer, StrDeserializer, StringDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde_json::Value;

use crate::duration::GoDuration;
use crate::json;

/// By this name the reader recognises a length of time, which may be a text.
const DURATION: &str = "time.Duration";

/// Reads a tree. Also says which keys no field answered to, as paths, in order.
pub fn decode<T: DeserializeOwned>(tree: &Value) -> Result<(T, Vec<String>), String> {
    match read(tree) {
        (Some(value), notes) if notes.faults.is_empty() => Ok((value, notes.unused.into_iter().collect())),
        (_, mut notes) => Err(faults_text(&mut notes.faults)),
    }
}

/// Reads a tree that is two structs in one: a key of either is no stranger, and all faults are told together.
pub fn decode_two<A: DeserializeOwned, B: DeserializeOwned>(tree: &Value) -> Result<(A, B, Vec<String>), String> {
    let ((one, mut of_one), (other, of_other)) = (read(tree), read(tree));
    of_one.faults.extend(of_other.faults);
    match (one, other) {
        (Some(one), Some(other)) if of_one.faults.is_empty() => {
            let is_inside = |key: &&String| key.contains('.') || key.contains('[');
            let strange = of_one.unused.iter().filter(|key| is_inside(key) || of_other.unused.contains(*key));
            let unused: BTreeSet<&String> = strange.chain(of_other.unused.iter().filter(is_inside)).collect();
            Ok((one, other, unused.into_iter().cloned().collect()))
        }
        _ => Err(faults_text(&mut of_one.faults)),
    }
}

fn read<T: DeserializeOwned>(tree: &Value) -> (Option<T>, Notes) {
    let notes = RefCell::new(Notes::default());
    let decoded = T::deserialize(Weak { value: tree, path: String::new(), notes: &notes });
    let mut notes = notes.into_inner();
    match decoded {
        Ok(value) => (Some(value), notes),
        Err(fault) => {
            notes.faults.push(fault.to_string());
            (None, notes)
        }
    }
}

/// A parsed JSON document as such a tree: numbers are floats, as in Go.
#[must_use]
pub fn tree(document: &json::Value<'_>) -> Value {
    match document {
        json::Value::Null => Value::Null,
        json::Value::Bool(value) => Value::Bool(*value),
        json::Value::Number(text) => number(text.parse().unwrap_or_default()),
        json::Value::String(text) => Value::String(text.clone().into_owned()),
        json::Value::Array(items) => Value::Array(items.iter().map(tree).collect()),
        json::Value::Object(members) => {
            Value::Object(members.iter().map(|(key, value)| (key.clone().into_owned(), tree(value))).collect())
        }
    }
}

fn number(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// Go's word for the kind of a value.
#[must_use]
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

#[derive(Default)]
struct Notes {
    faults: Vec<String>,
    unused: BTreeSet<String>,
}

fn faults_text(faults: &mut [String]) -> String {
    faults.sort();
    let mut text = format!("{} error(s) decoding:\n", faults.len());
    for fault in faults {
        let _ = write!(text, "\n* {fault}");
    }
    text
}

/// One value on its way into a type.
struct Weak<'a> {
    value: &'a Value,
    path: String,
    notes: &'a RefCell<Notes>,
}

impl<'a> Weak<'a> {
    fn fault(&self, text: String) {
        self.notes.borrow_mut().faults.push(text);
    }

    fn mismatch(&self, expected: &str) {
        let got = match kind(self.value) {
            "slice" => "[]interface {}",
            "map" => "map[string]interface {}",
            other => other,
        };
        self.fault(format!(
            "'{}' expected type '{expected}', got unconvertible type '{got}', value: '{}'",
            self.path,
            shown(self.value)
        ));
    }

    fn no_map(&self) {
        self.fault(format!("'{}' expected a map, got '{}'", self.path, kind(self.value)));
    }

    /// A list of one stands for its item where no list is wanted.
    fn single(mut self) -> Self {
        if let Value::Array(items) = self.value
            && let [item] = items.as_slice()
        {
            self.value = item;
        }
        self
    }

    fn integer(&self, expected: &str) -> i64 {
        match self.value {
            Value::Null => 0,
            Value::Bool(value) => i64::from(*value),
            Value::Number(number) => whole(number),
            Value::String(text) if text.is_empty() => 0,
            Value::String(text) => parse_integer(text).unwrap_or_else(|reason| {
                let word = if expected.starts_with('u') { "uint" } else { "int" };
                let function = if word == "uint" { "ParseUint" } else { "ParseInt" };
                self.fault(format!(
                    "cannot parse '{}' as {word}: strconv.{function}: parsing {}: {reason}",
                    self.path,
                    json::quote(text)
                ));
                0
            }),
            _ => {
                self.mismatch(expected);
                0
            }
        }
    }

    fn float(&self, expected: &str) -> f64 {
        match self.value {
            Value::Null => 0.0,
            Value::Bool(value) => f64::from(u8::from(*value)),
            Value::Number(number) => number.as_f64().unwrap_or_default(),
            Value::String(text) if text.is_empty() => 0.0,
            Value::String(text) => text.parse().unwrap_or_else(|_| {
                self.fault(format!(
                    "cannot parse '{}' as float: strconv.ParseFloat: parsing {}: invalid syntax",
                    self.path,
                    json::quote(text)
                ));
                0.0
            }),
            _ => {
                self.mismatch(expected);
                0.0
            }
        }
    }

    fn boolean(&self) -> bool {
        match self.value {
            Value::Null => false,
            Value::Bool(value) => *value,
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::String(text) => match text.as_str() {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
                "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
                other => {
                    self.fault(format!(
                        "cannot parse '{}' as bool: strconv.ParseBool: parsing {}: invalid syntax",
                        self.path,
                        json::quote(other)
                    ));
                    false
                }
            },
            _ => {
                self.mismatch("bool");
                false
            }
        }
    }

    fn text(&self) -> String {
        match self.value {
            Value::Null => String::new(),
            Value::Bool(value) => u8::from(*value).to_string(),
            Value::Number(number) => match number.as_f64() {
                Some(value) if number.is_f64() => value.to_string(),
                _ => number.to_string(),
            },
            Value::String(text) => text.clone(),
            _ => {
                self.mismatch("string");
                String::new()
            }
        }
    }

    fn duration(&self) -> i64 {
        match self.value {
            Value::String(text) => match GoDuration::parse(text) {
                Ok(span) => span.0,
                Err(error) => {
                    self.fault(format!("error decoding '{}': {error}", self.path));
                    0
                }
            },
            _ => self.integer(DURATION),
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "Go converts the float in the same way")]
fn whole(number: &serde_json::Number) -> i64 {
    number.as_i64().unwrap_or_else(|| number.as_f64().unwrap_or_default() as i64)
}

/// Go's `ParseInt` with a base told by the prefix.
fn parse_integer(text: &str) -> Result<i64, &'static str> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, digits) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        _ if lower.len() > 1 && lower.starts_with('0') => (8, &lower[1..]),
        _ => (10, &*lower),
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(base)) {
        return Err("invalid syntax");
    }
    let magnitude = i128::from_str_radix(digits, base).map_err(|_| "value out of range")?;
    i64::try_from(if negative { -magnitude } else { magnitude }).map_err(|_| "value out of range")
}

/// A value as Go's `%v` prints it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => match number.as_f64() {
            Some(value) if number.is_f64() => shown_float(value),
            _ => number.to_string(),
        },
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(" ")),
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(key, _)| *key);
            let members: Vec<_> = members.into_iter().map(|(key, value)| format!("{key}:{}", shown(value))).collect();
            format!("map[{}]", members.join(" "))
        }
    }
}

/// A float as Go's `%v` prints it: with an exponent from the seventh digit on.
fn shown_float(value: f64) -> String {
    let scientific = format!("{value:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    value.to_string()
}

fn below(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

/// The member that a field takes: exactly named, else regardless of case, else regardless of underscores.
fn member<'m>(
    members: &'m serde_json::Map<String, Value>,
    field: &str,
    aliases: bool,
) -> Option<(&'m String, &'m Value)> {
    let plain = |text: &str| text.chars().filter(|c| *c != '_').collect::<String>().to_lowercase();
    members
        .get_key_value(field)
        .or_else(|| members.iter().find(|(key, _)| key.to_lowercase() == field.to_lowercase()))
        .or_else(|| members.iter().find(|(key, _)| aliases && plain(key) == plain(field)))
}

/// A list of one whose item is wanted as it is: so are the lists of one inside (HCL blocks).
fn unsliced(value: &Value) -> Value {
    fn inside(value: &Value) -> Value {
        match value {
            Value::Object(members) => Value::Object(
                members
                    .iter()
                    .map(|(key, value)| match value {
                        Value::Array(items) if items.len() == 1 => (key.clone(), inside(&items[0])),
                        other => (key.clone(), inside(other)),
                    })
                    .collect(),
            ),
            other => other.clone(),
        }
    }
    match value {
        Value::Array(items) if items.len() == 1 => inside(&items[0]),
        other => other.clone(),
    }
}

impl<'de> Deserializer<'de> for Weak<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        unsliced(self.value).deserialize_any(visitor).map_err(Fault::custom)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_bool(self.single().boolean())
    }

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_i64(self.single().integer("int8"))
    }

    fn deserialize_i16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_i64(self.single().integer("int16"))
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_i64(self.single().integer("int32"))
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_i64(self.single().integer("int"))
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "Go wraps in the same way")]
    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_u8(self.single().integer("uint8") as u8)
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "Go wraps in the same way")]
    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_u16(self.single().integer("uint16") as u16)
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "Go wraps in the same way")]
    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_u32(self.single().integer("uint32") as u32)
    }

    #[allow(clippy::cast_sign_loss, reason = "Go wraps in the same way")]
    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_u64(self.single().integer("uint64") as u64)
    }

    #[allow(clippy::cast_possible_truncation, reason = "Go rounds in the same way")]
    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_f32(self.single().float("float32") as f32)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_f64(self.single().float("float64"))
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_string(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_string(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_string(self.single().text())
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_byte_buf(self.single().text().into_bytes())
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Fault> {
        if name == DURATION {
            let nanos: I64Deserializer<Fault> = self.single().duration().into_deserializer();
            return visitor.visit_newtype_struct(nanos);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let items = match self.value {
            Value::Null => &[],
            Value::Array(items) => items.as_slice(),
            Value::Object(members) if members.is_empty() => &[],
            single => std::slice::from_ref(single),
        };
        visitor.visit_seq(Items { items, at: 0, path: self.path, notes: self.notes })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let it = self.single();
        let mut members: Vec<(String, &Value, String)> = Vec::new();
        match it.value {
            Value::Null => {}
            Value::Object(object) => {
                members.extend(object.iter().map(|(key, value)| {
                    let path = format!("{}[{key}]", it.path);
                    (key.clone(), value, path)
                }));
            }
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    match item {
                        Value::Object(object) => {
                            members.extend(object.iter().map(|(key, value)| {
                                let path = format!("{}[{at}][{key}]", it.path);
                                (key.clone(), value, path)
                            }));
                        }
                        other => Weak { value: other, path: format!("{}[{at}]", it.path), notes: it.notes }.no_map(),
                    }
                }
            }
            _ => it.no_map(),
        }
        visitor.visit_map(Members { members: members.into_iter(), next: None, notes: it.notes })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let it = self.single();
        let mut found = Vec::new();
        match it.value {
            Value::Null => {}
            Value::Object(members) => {
                let mut used = BTreeSet::new();
                for field in fields {
                    if let Some((key, value)) = member(members, field, !name.ends_with('!'))
                        && used.insert(key.as_str())
                    {
                        found.push((*field, value, below(&it.path, field)));
                    }
                }
                let unused = members.keys().filter(|key| !used.contains(key.as_str()));
                it.notes.borrow_mut().unused.extend(unused.map(|key| below(&it.path, key)));
            }
            _ => it.no_map(),
        }
        visitor.visit_map(Fields { fields: found.into_iter(), next: None, notes: it.notes })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_enum(self.single().text().into_deserializer())
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_string(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }
}

struct Items<'a> {
    items: &'a [Value],
    at: usize,
    path: String,
    notes: &'a RefCell<Notes>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let Some(value) = self.items.get(self.at) else { return Ok(None) };
        let path = format!("{}[{}]", self.path, self.at);
        self.at += 1;
        seed.deserialize(Weak { value, path, notes: self.notes }).map(Some)
    }
}

struct Members<'a> {
    members: std::vec::IntoIter<(String, &'a Value, String)>,
    next: Option<(&'a Value, String)>,
    notes: &'a RefCell<Notes>,
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let Some((key, value, path)) = self.members.next() else { return Ok(None) };
        self.next = Some((value, path));
        let key: StringDeserializer<Fault> = key.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let (value, path) = self.next.take().ok_or_else(|| Fault::custom("a value is asked for before its key"))?;
        seed.deserialize(Weak { value, path, notes: self.notes })
    }
}

struct Fields<'a> {
    fields: std::vec::IntoIter<(&'static str, &'a Value, String)>,
    next: Option<(&'a Value, String)>,
    notes: &'a RefCell<Notes>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let Some((field, value, path)) = self.fields.next() else { return Ok(None) };
        self.next = Some((value, path));
        let key: StrDeserializer<'_, Fault> = field.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let (value, path) = self.next.take().ok_or_else(|| Fault::custom("a value is asked for before its key"))?;
        seed.deserialize(Weak { value, path, notes: self.notes })
    }
}

/// A length of time that may be written as a text, and is a text in JSON.
pub mod span_text {
    use serde::{Deserializer, Serializer};

    use crate::duration::GoDuration;

    pub fn serialize<S: Serializer>(span: &GoDuration, serializer: S) -> Result<S::Ok, S::Error> {
        crate::duration::as_string::serialize(span, serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<GoDuration, D::Error> {
        super::span::deserialize(deserializer)
    }
}

/// A length of time that may be written as a text, and is a number of nanoseconds in JSON.
pub mod span {
    use serde::de::Visitor;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::duration::GoDuration;

    pub fn serialize<S: Serializer>(span: &GoDuration, serializer: S) -> Result<S::Ok, S::Error> {
        span.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<GoDuration, D::Error> {
        struct Inner;
        impl<'de> Visitor<'de> for Inner {
            type Value = GoDuration;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(super::DURATION)
            }
            fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<GoDuration, D::Error> {
                GoDuration::deserialize(inner)
            }
        }
        deserializer.deserialize_newtype_struct(super::DURATION, Inner)
    }
}

/// The same, where nothing said differs from zero.
pub mod span_option {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::duration::GoDuration;

    pub fn serialize<S: Serializer>(span: &Option<GoDuration>, serializer: S) -> Result<S::Ok, S::Error> {
        span.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<GoDuration>, D::Error> {
        #[derive(Deserialize)]
        struct Inner(#[serde(with = "super::span")] GoDuration);
        Ok(Option::<Inner>::deserialize(deserializer)?.map(|inner| inner.0))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::{decode, tree};
    use crate::duration::GoDuration;
    use crate::json::{Mode, Value};

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, rename_all = "PascalCase")]
    struct Outer {
        name: String,
        max_count: i64,
        on: bool,
        inner: Option<Inner>,
        list: Vec<Inner>,
        meta: BTreeMap<String, String>,
        #[serde(with = "super::span")]
        timeout: GoDuration,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, rename_all = "PascalCase")]
    struct Inner {
        peer_name: String,
    }

    fn check(json: &str, expect: &str) {
        let value = tree(&Value::parse(json.as_bytes(), Mode::Decoder).unwrap());
        let got = match decode::<Outer>(&value) {
            Ok((outer, unused)) => format!("{outer:?} {unused:?}"),
            Err(text) => text,
        };
        assert!(got.contains(expect), "{json}\n{got}\n{expect}");
    }

    #[test]
    fn what_can_be_taken_is_taken() {
        check(r#"{"name":5,"max_count":"7","ON":"true"}"#, r#"name: "5", max_count: 7, on: true"#);
        check(r#"{"Inner":[{"peer_name":"p"}]}"#, r#"inner: Some(Inner { peer_name: "p" })"#);
        check(r#"{"list":{"PeerName":"p"}}"#, r#"list: [Inner { peer_name: "p" }]"#);
        check(r#"{"timeout":"5s"}"#, "GoDuration(5000000000)");
        check(r#"{"timeout":7}"#, "GoDuration(7)");
        check(r#"{"foo":1,"inner":{"bar":2}}"#, r#"["Inner.bar", "foo"]"#);
        check(r#"{"name":1234567890}"#, r#"name: "1234567890""#);
    }

    #[test]
    fn faults_are_told_together() {
        check(
            r#"{"name":[],"list":[{"peer_name":{}}],"meta":{"a":[1,2]},"timeout":"x","max_count":"y"}"#,
            "5 error(s) decoding:\n\n\
             * 'List[0].PeerName' expected type 'string', got unconvertible type 'map[string]interface {}', value: \
             'map[]'\n\
             * 'Meta[a]' expected type 'string', got unconvertible type '[]interface {}', value: '[1 2]'\n\
             * 'Name' expected type 'string', got unconvertible type '[]interface {}', value: '[]'\n\
             * cannot parse 'MaxCount' as int: strconv.ParseInt: parsing \"y\": invalid syntax\n\
             * error decoding 'Timeout': time: invalid duration \"x\"",
        );
        check(r#"{"inner":"x"}"#, "'Inner' expected a map, got 'string'");
    }
}
