//! What a selector may name and which operators it takes there: the static side of a row.

use crate::grammar::Operator;

/// The kind of a value, known before any row is seen.
#[derive(Debug, PartialEq, Eq)]
pub enum Shape {
    String,
    Bool,
    Int,
    Uint,
    /// Narrow numbers refuse what they cannot hold. Their values are given as `Value::Uint` too.
    Uint8,
    Uint16,
    Uint32,
    Float,
    /// Of scalars: `in` and emptiness. Of structs: emptiness, and selectors go through to the elements.
    List(&'static Shape),
    /// With string keys, which selectors and `in` name.
    Map(&'static Shape),
    /// The fields by name.
    Struct(&'static [(&'static str, Shape)]),
    /// A field that is known and takes no operator; as a map's value, one that cannot be named.
    Opaque,
}

impl Shape {
    fn is_scalar(&self) -> bool {
        matches!(self, Shape::String) || self.is_plain()
    }

    /// Numbers and truths, which are only ever compared.
    fn is_plain(&self) -> bool {
        use Shape::{Bool, Float, Int, Uint, Uint8, Uint16, Uint32};
        matches!(self, Bool | Int | Uint | Uint8 | Uint16 | Uint32 | Float)
    }

    /// What one more step of a selector leads to.
    pub(crate) fn step(&'static self, name: &str) -> Option<&'static Shape> {
        match self {
            Shape::Struct(fields) => fields.iter().find(|(field, _)| *field == name).map(|(_, shape)| shape),
            Shape::Map(Shape::Opaque) => None,
            Shape::Map(value) => Some(value),
            Shape::List(element) => element.step(name),
            _ => None,
        }
    }

    pub(crate) fn takes(&self, operator: Operator) -> bool {
        use Operator::{Equal, In, IsEmpty, IsNotEmpty, Matches, NotEqual, NotIn, NotMatches};
        match self {
            Shape::String => matches!(operator, Equal | NotEqual | In | NotIn | Matches | NotMatches),
            plain if plain.is_plain() => matches!(operator, Equal | NotEqual),
            Shape::List(element) if !element.is_scalar() => matches!(operator, IsEmpty | IsNotEmpty),
            Shape::List(_) | Shape::Map(_) => matches!(operator, In | NotIn | IsEmpty | IsNotEmpty),
            _ => false,
        }
    }
}
