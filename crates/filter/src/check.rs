//! An expression against the shape of its rows: what is refused here cannot fail later.

use regex::bytes::Regex;

use crate::grammar::{Expression, Operator};
use crate::pattern::Compiler;
use crate::quote::quote;
use crate::{Error, Shape, number};

/// A checked expression.
#[derive(Debug, Clone)]
pub(crate) enum Test {
    Not(Box<Test>),
    And(Vec<Test>),
    Or(Vec<Test>),
    Match(Match),
}

/// One comparison.
#[derive(Debug, Clone)]
pub(crate) struct Match {
    pub selector: Vec<String>,
    pub relation: Relation,
    /// `!=`, `not in`, `is not empty`, `not matches`.
    pub negated: bool,
}

/// What a value is held against, in the value's own kind.
#[derive(Debug, Clone)]
pub(crate) enum Relation {
    Equal(Operand),
    In(Operand),
    Empty,
    Matches(Regex),
}

/// The right-hand side, read as the selected field's kind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operand {
    Str(String),
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
}

pub(crate) fn check(expression: Expression, shape: &'static Shape) -> Result<Test, Error> {
    Checker { shape, patterns: Compiler::new(patterns(&expression)) }.check(expression)
}

/// How many regular expressions there are.
fn patterns(expression: &Expression) -> usize {
    match expression {
        Expression::Not(inner) => patterns(inner),
        Expression::And(parts) | Expression::Or(parts) => parts.iter().map(patterns).sum(),
        Expression::Match { operator, .. } => usize::from(matches!(operator, Operator::Matches | Operator::NotMatches)),
    }
}

struct Checker {
    shape: &'static Shape,
    patterns: Compiler,
}

impl Checker {
    fn check(&mut self, expression: Expression) -> Result<Test, Error> {
        Ok(match expression {
            Expression::Not(inner) => Test::Not(Box::new(self.check(*inner)?)),
            Expression::And(parts) => Test::And(self.each(parts)?),
            Expression::Or(parts) => Test::Or(self.each(parts)?),
            Expression::Match { selector, operator, value } => Test::Match(self.comparison(selector, operator, value)?),
        })
    }

    fn each(&mut self, parts: Vec<Expression>) -> Result<Vec<Test>, Error> {
        parts.into_iter().map(|part| self.check(part)).collect()
    }

    fn comparison(&mut self, selector: Vec<String>, operator: Operator, value: Option<String>) -> Result<Match, Error> {
        let target = selector.iter().enumerate().try_fold(self.shape, |shape, (index, name)| {
            let unknown = || Error(format!("Selector {} is not valid", quote(&selector[..=index].join("."))));
            shape.step(name).ok_or_else(unknown)
        })?;
        if !target.takes(operator) {
            let (operator, selector) = (quote(operator.name()), quote(&selector.join(".")));
            return Err(Error(format!("Invalid match operator {operator} for selector {selector}")));
        }
        let value = value.unwrap_or_default();
        let operand = |value: String| {
            operand(&value, target).map_err(|why| {
                let (value, selector) = (quote(&value), quote(&selector.join(".")));
                Error(format!("Failed to coerce value {value} for selector {selector}: {why}"))
            })
        };
        let relation = match operator {
            Operator::Equal | Operator::NotEqual => Relation::Equal(operand(value)?),
            Operator::In | Operator::NotIn => Relation::In(operand(value)?),
            Operator::IsEmpty | Operator::IsNotEmpty => Relation::Empty,
            Operator::Matches | Operator::NotMatches => Relation::Matches(self.patterns.compile(&value)?),
        };
        let negated =
            matches!(operator, Operator::NotEqual | Operator::NotIn | Operator::IsNotEmpty | Operator::NotMatches);
        Ok(Match { selector, relation, negated })
    }
}

fn operand(value: &str, target: &Shape) -> Result<Operand, String> {
    Ok(match target {
        Shape::List(element) => return operand(value, element),
        Shape::Bool => Operand::Bool(number::bool(value)?),
        Shape::Int => Operand::Int(number::int(value)?),
        Shape::Uint => Operand::Uint(number::uint(value, 64)?),
        Shape::Uint32 => Operand::Uint(number::uint(value, 32)?),
        Shape::Uint16 => Operand::Uint(number::uint(value, 16)?),
        Shape::Uint8 => Operand::Uint(number::uint(value, 8)?),
        Shape::Float => Operand::Float(number::float(value)?),
        Shape::String | Shape::Map(_) | Shape::Struct(_) | Shape::Opaque => Operand::Str(value.to_owned()),
    })
}
