//! A checked expression against a row.

use crate::check::{Match, Operand, Relation, Test};
use crate::record::{Record, Value};

pub(crate) fn test(expression: &Test, record: &dyn Record) -> bool {
    match expression {
        Test::Not(inner) => !test(inner, record),
        Test::And(parts) => parts.iter().all(|part| test(part, record)),
        Test::Or(parts) => parts.iter().any(|part| test(part, record)),
        Test::Match(comparison) => descend(comparison, &comparison.selector, Value::Struct(record)),
    }
}

/// Follows the rest of a selector. A list on the way asks whether any element matches, negated operators too.
fn descend(comparison: &Match, rest: &[String], value: Value<'_>) -> bool {
    let Some((name, rest)) = rest.split_first() else {
        return holds(&comparison.relation, &mut { value }) != comparison.negated;
    };
    match value {
        Value::Struct(record) => descend(comparison, rest, record.field(name)),
        Value::View(record) => descend(comparison, rest, record.field(name)),
        Value::Map(entries) => match entries.entry(name) {
            Some(value) => descend(comparison, rest, value),
            None => absent(comparison),
        },
        Value::List(items) => {
            let selector = &comparison.selector[comparison.selector.len() - rest.len() - 1..];
            items.into_iter().any(|item| descend(comparison, selector, item))
        }
        _ => absent(comparison),
    }
}

/// What holds of a key that is not there. Compat: it matches every regular expression.
fn absent(comparison: &Match) -> bool {
    match comparison.relation {
        Relation::Equal(_) | Relation::In(_) => comparison.negated,
        Relation::Empty => !comparison.negated,
        Relation::Matches(_) => true,
    }
}

fn holds(relation: &Relation, value: &mut Value<'_>) -> bool {
    match relation {
        Relation::Equal(operand) => equal(operand, value),
        Relation::In(operand) => contains(operand, value),
        Relation::Empty => match value {
            Value::Strings(items) => items.is_empty(),
            Value::List(items) => items.next().is_none(),
            Value::Map(entries) => entries.is_empty(),
            _ => true,
        },
        Relation::Matches(pattern) => match value {
            Value::Str(text) => pattern.is_match(text.as_bytes()),
            _ => false,
        },
    }
}

fn equal(operand: &Operand, value: &Value<'_>) -> bool {
    match (operand, value) {
        (Operand::Str(wanted), Value::Str(text)) => wanted == text,
        (Operand::Bool(wanted), Value::Bool(flag)) => wanted == flag,
        (Operand::Int(wanted), Value::Int(number)) => wanted == number,
        (Operand::Uint(wanted), Value::Uint(number)) => wanted == number,
        #[allow(clippy::float_cmp, reason = "the language compares exactly")]
        (Operand::Float(wanted), Value::Float(number)) => wanted == number,
        _ => false,
    }
}

fn contains(operand: &Operand, value: &mut Value<'_>) -> bool {
    match (operand, value) {
        (Operand::Str(wanted), Value::Str(text)) => text.contains(wanted.as_str()),
        (Operand::Str(wanted), Value::Strings(items)) => items.contains(wanted),
        (Operand::Str(wanted), Value::Map(entries)) => entries.entry(wanted).is_some(),
        (operand, Value::List(items)) => items.any(|item| equal(operand, &item)),
        _ => false,
    }
}
