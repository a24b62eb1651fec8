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
        let value = interpolate(text, &scope)
            .map_err(|reason| Error::failed(format!("Bad format '{text}' in Service{path}: {reason}")))?;
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
    let built = RegexBuilder::new(text).size_limit(REGEX_SIZE_MAX).build();
    built.map(Some).map_err(|error| Error::failed(format!("Bad Regexp: {error}")))
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

fn interpolate(text: &str, scope: &Scope<'_>) -> Result<String, String> {
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
        let end = after.find('}').ok_or("expected closing brace")?;
        out.push_str(&evaluate(after[2..end].trim(), scope)?);
        rest = &after[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn evaluate(expression: &str, scope: &Scope<'_>) -> Result<String, String> {
    if let Some(argument) = expression.strip_prefix("match").map(str::trim) {
        let argument = argument.strip_prefix('(').and_then(|inner| inner.strip_suffix(')'));
        let argument = argument.ok_or("match takes one number")?.trim();
        let group: i64 = argument.parse().map_err(|_| "match takes one number".to_owned())?;
        return Ok(usize::try_from(group).map_or(String::new(), scope.group));
    }
    if let Some(quoted) = expression.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')) {
        return Ok(quoted.to_owned());
    }
    match expression {
        "name.full" => Ok(scope.full.to_owned()),
        "name.prefix" => Ok(scope.prefix.to_owned()),
        "name.suffix" => Ok(scope.suffix.to_owned()),
        // Network segments are an Enterprise feature: every agent is in the unnamed one.
        "agent.segment" => Ok(String::new()),
        other => Err(format!("unknown variable accessed: {other}")),
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
        check("${zork}", "", "x", Err("Bad format '${zork}' in Service.Service: unknown variable accessed: zork"));
        check("${name.full", "", "x", Err("Bad format '${name.full' in Service.Service: expected closing brace"));
        assert!(super::compile_regex("(").is_err());
    }
}
