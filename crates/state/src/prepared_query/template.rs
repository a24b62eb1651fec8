//! Templates of prepared queries: `${name.full}`, `${name.prefix}`, `${name.suffix}`, `${match(N)}`,
//! `${agent.segment}` in every text of the service part (Consul documentation, "Prepared Query Templates").
//!
//! The interpolation language is the part of the reference's that a query can make use of: variables,
//! `match` with a number, quoted texts, and `$${` for a literal `${`.

use regex::{Regex, RegexBuilder};

use super::{NAME_PREFIX_MATCH, PreparedQuery, ServiceQuery};
use crate::Error;

/// A regular expression of a template may not compile to more than this.
const REGEX_SIZE_MAX: usize = 1 << 20;

/// Refuses a template that could not be rendered.
pub(super) fn compile(query: &PreparedQuery) -> Result<(), Error> {
    render(query, &query.name).map(drop)
}

/// The query as it answers for `name`.
pub(super) fn render(query: &PreparedQuery, name: &str) -> Result<PreparedQuery, Error> {
    if query.template.r#type != NAME_PREFIX_MATCH {
        return Err(Error::failed(format!("Bad Template.Type '{}'", query.template.r#type)));
    }
    let pattern = compile_regex(&query.template.regexp)?;
    let captures = pattern.as_ref().and_then(|pattern| pattern.captures(name));
    let scope = Scope {
        full: name,
        prefix: &query.name,
        suffix: name.strip_prefix(&query.name).unwrap_or(name),
        group: &|at| captures.as_ref().and_then(|all| all.get(at)).map_or("", |group| group.as_str()).to_owned(),
    };
    let mut rendered = query.clone();
    for (path, text) in texts(&mut rendered.service) {
        let value = interpolate(text, &scope).map_err(|fault| {
            let (what, reason) = match fault {
                Fault::Format(reason) => ("Bad format", reason),
                Fault::Evaluation(reason) => ("Bad evaluation for", reason),
            };
            Error::failed(format!("{what} '{text}' in Service{path}: {reason}"))
        })?;
        *text = value;
    }
    if query.template.remove_empty_tags
        && let Some(tags) = &mut rendered.service.tags
    {
        tags.retain(|tag| !tag.is_empty());
    }
    Ok(rendered)
}

fn compile_regex(text: &str) -> Result<Option<Regex>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    filter::check_pattern(text).map_err(|error| Error::failed(format!("Bad Regexp: {error}")))?;
    let built = RegexBuilder::new(text).size_limit(REGEX_SIZE_MAX).build();
    let too_large = |_| Error::failed(format!("Bad Regexp: error parsing regexp: expression too large: `{text}`"));
    built.map(Some).map_err(too_large)
}

/// Every text of the service part, with its place.
fn texts(service: &mut ServiceQuery) -> Vec<(String, &mut String)> {
    let mut found = vec![(".Service".to_owned(), &mut service.service), (".Near".to_owned(), &mut service.near)];
    let lists = [
        (".Failover.Datacenters", &mut service.failover.datacenters),
        (".Tags", &mut service.tags),
        (".IgnoreCheckIDs", &mut service.ignore_check_ids),
    ];
    for (path, list) in lists {
        for (at, text) in list.iter_mut().flatten().enumerate() {
            found.push((format!("{path}[{at}]"), text));
        }
    }
    for (path, map) in [(".NodeMeta", &mut service.node_meta), (".ServiceMeta", &mut service.service_meta)] {
        for (key, text) in map.iter_mut().flatten() {
            found.push((format!("{path}[{key}]"), text));
        }
    }
    found
}

struct Scope<'a> {
    full: &'a str,
    prefix: &'a str,
    suffix: &'a str,
    group: &'a dyn Fn(usize) -> String,
}

/// Why a text cannot be rendered, in the words of the reference's interpolation language.
enum Fault {
    /// It does not follow the grammar.
    Format(String),
    /// It names what is not there.
    Evaluation(String),
}

fn interpolate(text: &str, scope: &Scope<'_>) -> Result<String, Fault> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, after) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = &after[2..];
            continue;
        }
        out.push_str(before);
        let mut reader = Reader { whole: text, rest: &after[2..], scope };
        let value = reader.expression();
        // The grammar is looked at before the names are.
        if value.is_ok() || reader.rest.is_empty() && matches!(value, Err(Fault::Evaluation(_))) {
            reader.expect("}")?;
        }
        out.push_str(&value?);
        rest = reader.rest;
    }
    out.push_str(rest);
    Ok(out)
}

/// Reads one expression between `${` and `}`.
struct Reader<'t, 's> {
    whole: &'t str,
    rest: &'t str,
    scope: &'s Scope<'s>,
}

impl<'t> Reader<'t, '_> {
    /// A variable, a number, a quoted text, or `match` of one of them.
    fn expression(&mut self) -> Result<String, Fault> {
        self.skip_blanks();
        let (token, place) = (self.token(), self.place());
        let is_name = token.starts_with(|first: char| first.is_alphabetic() || first == '_');
        let is_number = token.starts_with(|first: char| first.is_ascii_digit());
        if !is_name && !is_number && token.len() < 2 {
            return Err(self.unexpected("expression"));
        }
        self.rest = &self.rest[token.len()..];
        if is_number {
            return Ok(token.to_owned());
        }
        if !is_name {
            return Ok(token[1..token.len() - 1].to_owned());
        }
        if self.rest.starts_with('(') {
            return self.call(token, &place);
        }
        match token {
            "name.full" => Ok(self.scope.full.to_owned()),
            "name.prefix" => Ok(self.scope.prefix.to_owned()),
            "name.suffix" => Ok(self.scope.suffix.to_owned()),
            // Network segments are an Enterprise feature: every agent is in the unnamed one.
            "agent.segment" => Ok(String::new()),
            other => Err(Fault::Evaluation(format!("{place}: unknown variable accessed: {other}"))),
        }
    }

    fn call(&mut self, name: &str, place: &str) -> Result<String, Fault> {
        self.rest = &self.rest[1..];
        let mut arguments = Vec::new();
        self.skip_blanks();
        while !self.rest.starts_with(')') {
            arguments.push(self.expression()?);
            self.skip_blanks();
            if !self.rest.starts_with(')') {
                self.expect(",")?;
            }
        }
        self.rest = &self.rest[1..];
        if name != "match" {
            return Err(Fault::Evaluation(format!("{place}: unknown function called: {name}")));
        }
        let [argument] = &arguments[..] else {
            let count = arguments.len();
            return Err(Fault::Evaluation(format!("{place}: match: expected 1 arguments, got {count}")));
        };
        let group: i64 = argument.parse().map_err(|_| {
            Fault::Evaluation(format!("{place}: match: argument 1 should be type int, got type string"))
        })?;
        Ok(usize::try_from(group).map_or(String::new(), self.scope.group))
    }

    fn expect(&mut self, wanted: &str) -> Result<(), Fault> {
        self.skip_blanks();
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None => Err(self.unexpected(&format!("\"{wanted}\""))),
        }
    }

    fn unexpected(&self, wanted: &str) -> Fault {
        let token = self.token();
        let found = match token.chars().next() {
            None => "end of string".to_owned(),
            Some(first) if first.is_ascii_digit() => format!("integer {token}"),
            Some('"') => "opening quote".to_owned(),
            Some(_) => format!("\"{token}\""),
        };
        Fault::Format(format!("parse error at {}: expected {wanted} but found {found}", self.place()))
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// What comes next: a name, a number, a quoted text with its quotes, or one character.
    fn token(&self) -> &'t str {
        let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '*');
        let end = match self.rest.chars().next() {
            None => 0,
            Some('"') => self.rest[1..].find('"').map_or(1, |at| at + 2),
            Some(first) if is_word(first) => self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len()),
            Some(first) => first.len_utf8(),
        };
        &self.rest[..end]
    }

    /// Line and column of what comes next, both from one.
    fn place(&self) -> String {
        let read = &self.whole[..self.whole.len() - self.rest.len()];
        let line = read.matches('\n').count() + 1;
        let column = read.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("{line}:{column}")
    }
}

#[cfg(test)]
mod tests {
    use super::{PreparedQuery, render};

    fn check(service: &str, regexp: &str, name: &str, expect: Result<&str, &str>) {
        let mut query = PreparedQuery { name: "geo-db-".into(), ..PreparedQuery::default() };
        query.template.r#type = "name_prefix_match".into();
        query.template.regexp = regexp.into();
        query.service.service = service.into();
        let rendered = render(&query, name).map(|query| query.service.service).map_err(|error| error.to_string());
        assert_eq!(rendered.as_deref().map_err(String::as_str), expect);
    }

    #[test]
    fn names_and_groups_are_filled_in() {
        check("${name.full}", "", "geo-db-x", Ok("geo-db-x"));
        check("a-${name.suffix}-${name.prefix}", "", "geo-db-x", Ok("a-x-geo-db-"));
        check("${match(1)}.${ match(2) }.${match(9)}", "^geo-(.*?)-([^-]+)$", "geo-db-x", Ok("db.x."));
        check("$${name.full}", "", "geo-db-x", Ok("${name.full}"));
    }

    #[test]
    fn what_cannot_be_rendered_is_refused() {
        check(
            "${zork}",
            "",
            "x",
            Err("Bad evaluation for '${zork}' in Service.Service: 1:3: unknown variable accessed: zork"),
        );
        let bad = |text: &str, reason: &str| {
            let expect = format!("Bad format '{text}' in Service.Service: parse error at {reason}");
            check(text, "", "x", Err(&expect));
        };
        bad("a ${bad", "1:8: expected \"}\" but found end of string");
        bad("${}", "1:3: expected expression but found \"}\"");
        bad("${match(}", "1:9: expected expression but found \"}\"");
        check(
            "${match()}",
            "",
            "x",
            Err("Bad evaluation for '${match()}' in Service.Service: 1:3: match: expected 1 arguments, got 0"),
        );
        assert!(super::compile_regex("(").is_err());
    }
}
